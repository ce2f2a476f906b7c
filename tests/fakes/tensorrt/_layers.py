"""What the engine inspector prints: layers as TensorRT fuses and names them, and the reformats between."""

from __future__ import annotations

import json
from typing import Any

import onnx

from tensorrt._engine import ICudaEngine
from tensorrt._names import ENUMS, Real, Stored, real


def layers_of(model: onnx.ModelProto, profiles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"Name": node.name or node.op_type, "LayerType": node.op_type, "Inputs": [], "Outputs": [], "work": 1}
        for node in model.graph.node
    ]


@real
class EngineInspector(Real):
    execution_context = Stored(None)

    def __init__(self, engine: ICudaEngine) -> None:
        super().__init__()
        self._engine = engine

    def get_layer_information(self, layer_index: int, format: Any) -> str:
        told = self._told()[layer_index]
        return json.dumps(told, indent=2)

    def get_engine_information(self, format: Any) -> str:
        return json.dumps({"Layers": self._told(), "Bindings": list(self._engine._ports)}, indent=1)

    def _told(self) -> list[Any]:
        layers = self._engine._header["layers"]
        if self._engine.profiling_verbosity is ENUMS["ProfilingVerbosity"].LAYER_NAMES_ONLY:
            return [layer["Name"] for layer in layers]
        return [{key: value for key, value in layer.items() if key != "work"} for layer in layers]
