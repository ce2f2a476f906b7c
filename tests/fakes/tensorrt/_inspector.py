"""The engine inspector's words, which differ between versions.

8.6 tells type and layout in one sentence (`Thirty-two wide channel vectorized row major Int8 format`: they are those of
NVIDIA's engine explorer, trex/activations.py), 10 does so for its older kernels and with one word (`Half`) for the
newer. 11 splits the field in two and tells I/O tensors as objects: NVIDIA's migration guide, "Migrating
IEngineInspector Usage from TensorRT 10.x to 11.x", and Polygraphy 0.53.6, which reads `Datatype` and `Format`. Which
words 11 puts into `Format` of a layer is not told there; those of 10 stand here.
Sizes that are not known yet make the type unknown too (`N/A due to dynamic shapes`), until a context with shapes is
set: NVIDIA's developer guide says so of every version.
"""

from __future__ import annotations

import json
from typing import Any

from tensorrt._context import IExecutionContext
from tensorrt._engine import ICudaEngine
from tensorrt._names import ENUMS, NUMBERS, Real, Stored, real

_WORDS = {"Float": "FP32", "Half": "FP16", "BFloat16": "BFloat16", "Bool": "BOOL"}
_UNKNOWN = "N/A due to dynamic shapes"


@real
class EngineInspector(Real):
    execution_context = Stored(None, IExecutionContext)

    def __init__(self, engine: ICudaEngine) -> None:
        super().__init__()
        self._engine = engine

    def get_layer_information(self, layer_index: int, format: Any) -> str:
        return self._written(self._told()[layer_index], format)

    def get_engine_information(self, format: Any) -> str:
        names = list(self._engine._ports)
        ports = {"Bindings": names} if NUMBERS[0] < 11 else {"I/O Tensors": [self._port(name) for name in names]}
        return self._written({"Layers": self._told(), **ports}, format)

    def _written(self, told: Any, form: Any) -> str:
        json_ = form is ENUMS["LayerInformationFormat"].JSON
        return json.dumps(told, indent=2) if json_ else "\n".join(f"{key}: {value}" for key, value in told.items())

    def _told(self) -> list[Any]:
        layers, verbosity = self._engine._header["layers"], self._engine.profiling_verbosity.name
        if verbosity == "DETAILED":
            return [self._detailed(layer) for layer in layers]
        return [layer["Name"] for layer in layers] if verbosity == "LAYER_NAMES_ONLY" else []

    def _detailed(self, layer: dict[str, Any]) -> dict[str, Any]:
        told = {key: value for key, value in layer.items() if key != "work"}
        short = NUMBERS >= (10, 13) or (NUMBERS[0] >= 10 and layer["LayerType"] == "PointWiseV2")
        if NUMBERS[0] >= 10:
            told["LayerType"] = "kgen" if layer["LayerType"] == "PointWiseV2" else layer["LayerType"]
            told |= {"StreamId": 0, "Metadata": f"[ONNX Layer: {layer['Name']}]"}
        for side in ("Inputs", "Outputs"):
            told[side] = [self._tensor(port, short=short) for port in layer[side]]
        return {**told, "TacticValue": "0x0000000000000000"}

    def _tensor(self, port: dict[str, Any], *, short: bool) -> dict[str, Any]:
        sizes = self._sizes(port)
        kind, sentence = (_UNKNOWN, _UNKNOWN) if -1 in sizes else (port["type"], _sentence(port, sizes))
        told = {"Name": port["name"], "Location": "Device", "Dimensions": sizes}
        if NUMBERS[0] >= 11:
            return {**told, "Datatype": kind, "Format": sentence}
        return {**told, "Format/Datatype": kind if short else sentence}

    def _sizes(self, port: dict[str, Any]) -> list[int]:
        """With the batch size of the context, where one is set that has its shapes."""
        context = self.execution_context
        if context is None or context.infer_shapes():
            return port["sizes"]
        batch = next(iter(context._shapes.values()))[0]
        return [batch if size == -1 else size for size in port["sizes"]]

    def _port(self, name: str) -> dict[str, Any]:
        port, engine = self._engine._ports[name], self._engine
        kinds = {"FLOAT": "Float", "HALF": "Half", "INT8": "Int8", "UINT8": "UInt8", "INT32": "Int32", "INT64": "Int64"}
        shapes = [list(shape) for shape in engine.get_tensor_profile_shape(name, 0)]
        ranges = dict(zip(("MinShape", "OptShape", "MaxShape"), shapes))
        return {
            "Name": name,
            "IOMode": "Input" if port in engine._graph.inputs else "Output",
            "DataType": kinds.get(port.dtype.name, port.dtype.name),
            "Dimensions": list(port._shape),
            "Location": "Device",
            "IsShapeInferenceIO": False,
            "ProfileInfo": [{**ranges, "Format": engine.get_tensor_format_desc(name)}],
        }


def _sentence(port: dict[str, Any], sizes: list[int]) -> str:
    word = _WORDS.get(port["type"], port["type"])
    if port["packed"] and len(sizes) > 1:
        if port["type"] == "Int8":
            wide = "Four" if sizes[1] <= 4 else "Thirty-two"
            return f"{wide} wide channel vectorized row major Int8 format"
        return f"Channel major {word} format where channel % {4 if sizes[1] <= 4 else 8} == 0"
    if port["type"] == "Int8":
        return "Row major Int8 format"
    return f"Row major linear {word}" + " format" * (port["type"] in ("Half", "BFloat16", "UInt8", "Int64"))
