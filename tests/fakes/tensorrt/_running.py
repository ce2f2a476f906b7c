"""The graph inside an engine, run by ONNX Runtime at the shapes that were set."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from tensorrt._network import ITensor, shape_of, type_of


class Graph:
    """Q and DQ are run as they are written: fusing them into integer kernels would change the numbers."""

    def __init__(self, serialized: bytes) -> None:
        self.model = onnx.load_model_from_string(serialized)
        graph = self.model.graph
        weights = {weight.name for weight in graph.initializer}
        self.values = [value for value in graph.input if value.name not in weights]
        self.inputs = [ITensor(value, given=True) for value in self.values]
        self.outputs = [ITensor(value, taken=True) for value in graph.output]
        self._session = self._open(serialized)

    def _open(self, serialized: bytes) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        levels = onnxruntime.GraphOptimizationLevel
        for level in (levels.ORT_ENABLE_BASIC, levels.ORT_DISABLE_ALL):
            options.graph_optimization_level = level
            try:
                return onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
            except Exception as error:
                refused = error
        raise refused

    def run(self, feeds: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Answers in the types that the engine tells, which before TensorRT 10 are not the graph's for 64-bit ones."""
        wide = {value.name for value in self.values if value.type.tensor_type.elem_type == onnx.TensorProto.INT64}
        feeds = {name: array.astype(np.int64) if name in wide else array for name, array in feeds.items()}
        found = self._session.run(None, feeds)
        types = {value.name: value.type.tensor_type.elem_type for value in self.model.graph.output}
        return {
            name: np.ascontiguousarray(array.astype(np.int32) if narrowed(types[name]) else array)
            for name, array in zip(types, found)
        }

    @functools.lru_cache(maxsize=64)  # noqa: B019
    def shapes(self, given: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, tuple[int, ...]]:
        """The outputs' shapes for these of the inputs: by name where a size has one, else by inference."""
        shapes, named = dict(given), {}
        for value in self.values:
            for size, number in zip(value.type.tensor_type.shape.dim, shapes[value.name]):
                named[size.dim_param] = number
        found = {}
        for value in self.model.graph.output:
            sizes = value.type.tensor_type.shape.dim
            found[value.name] = tuple(
                size.dim_value if size.HasField("dim_value") else named.get(size.dim_param or "?", -1) for size in sizes
            )
        if any(-1 in shape for shape in found.values()) and all(-1 not in shape for shape in shapes.values()):
            return self._inferred(shapes)
        return found

    def _inferred(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        fixed = onnx.ModelProto()
        fixed.CopyFrom(self.model)
        for value in fixed.graph.input:
            for size, number in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ())):
                size.dim_value = number
        for value in fixed.graph.output:
            value.type.tensor_type.ClearField("shape")
        inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
        return {value.name: shape_of(value) for value in inferred.graph.output}


def narrowed(kind: int) -> bool:
    return kind == onnx.TensorProto.INT64 and type_of(kind).name == "INT32"
