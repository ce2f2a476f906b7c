"""The network that a parser fills: what of an ONNX graph TensorRT would show."""

from __future__ import annotations

from typing import Any

import onnx

from tensorrt._logger import Dims
from tensorrt._names import ENUMS, NUMBERS, Real, Stored, real

DataType, LayerType = ENUMS["DataType"], ENUMS["LayerType"]
_TYPES = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF", 16: "BF16"}
_LAYERS = {
    "Conv": "CONVOLUTION",
    "ConvTranspose": "DECONVOLUTION",
    "Cast": "CAST",
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
    "Concat": "CONCATENATION",
    "MatMul": "MATRIX_MULTIPLY",
    "MaxPool": "POOLING",
    "AveragePool": "POOLING",
    "Softmax": "SOFTMAX",
    "Resize": "RESIZE",
    "ArgMax": "TOPK",
    "Gather": "GATHER",
    "Slice": "SLICE",
    "Reshape": "SHUFFLE",
    "Transpose": "SHUFFLE",
    "Flatten": "SHUFFLE",
    "Relu": "ACTIVATION",
    "Sigmoid": "ACTIVATION",
    "Clip": "ACTIVATION",
    "ReduceMean": "REDUCE",
    "GlobalAveragePool": "REDUCE",
}


def type_of(number: int) -> Any:
    """TensorRT's type for an ONNX one: before 10, 64-bit integers became 32-bit ones. None for what it has not."""
    name = _TYPES.get(number)
    if name == "INT64" and NUMBERS[0] < 10:
        name = "INT32"
    return DataType.__members__.get(name)


def shape_of(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(size.dim_value if size.HasField("dim_value") else -1 for size in value.type.tensor_type.shape.dim)


@real
class ITensor(Real):
    name = Stored("", str)
    dtype = Stored(None, DataType)
    is_network_input = property(lambda self: self._input)
    is_network_output = property(lambda self: self._output)
    is_shape_tensor = property(lambda self: False)
    location = Stored(ENUMS["TensorLocation"].DEVICE)
    shape = property(lambda self: Dims(self._shape), lambda self, shape: self._reshape(shape))

    def __init__(self, value: onnx.ValueInfoProto, *, given: bool = False, taken: bool = False) -> None:
        super().__init__()
        self.name, self._shape = value.name, shape_of(value)
        self._dtype = type_of(value.type.tensor_type.elem_type)
        self._input, self._output = given, taken

    def _reshape(self, shape: Any) -> None:
        self._shape = tuple(shape)


@real
class ILayer(Real):
    name = Stored("", str)
    metadata = Stored("", str)
    precision = Stored(DataType.FLOAT, DataType)
    type = property(lambda self: self._type)
    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))
    precision_is_set = property(lambda self: "_precision" in self.__dict__)

    def __init__(self, node: onnx.NodeProto, values: dict[str, onnx.ValueInfoProto]) -> None:
        super().__init__()
        self.name = node.name or f"(Unnamed Layer) [{node.op_type}]"
        self.metadata = f"[ONNX Layer: {self.name}]"
        kind = _LAYERS.get(node.op_type, "ELEMENTWISE")
        self._type = LayerType.__members__.get(kind, LayerType.IDENTITY)
        self._node, self._set = node, {}
        self._inputs = [_tensor(values, name) for name in node.input if name]
        self._outputs = [_tensor(values, name) for name in node.output if name]

    def get_input(self, index: int) -> ITensor | None:
        return self._inputs[index] if index < len(self._inputs) else None

    def get_output(self, index: int) -> ITensor | None:
        return self._outputs[index] if index < len(self._outputs) else None

    def get_output_type(self, index: int) -> Any:
        return self._set.get(index, self._outputs[index].dtype)

    def set_output_type(self, index: int, dtype: Any) -> None:
        self._set[index] = dtype

    def output_type_is_set(self, index: int) -> bool:
        return index in self._set


def _tensor(values: dict[str, onnx.ValueInfoProto], name: str) -> ITensor:
    return ITensor(values.get(name) or onnx.helper.make_empty_tensor_value_info(name))


@real
class INetworkDefinition(Real):
    name = Stored("", str)
    builder = property(lambda self: self._builder)
    flags = property(lambda self: self._flags)
    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))
    num_layers = property(lambda self: len(self._layers))
    has_implicit_batch_dimension = property(lambda self: False)

    def __init__(self, builder: Any, flags: int) -> None:
        super().__init__()
        self._builder, self._flags = builder, flags
        self._model: onnx.ModelProto | None = None
        self._inputs: list[ITensor] = []
        self._outputs: list[ITensor] = []
        self._layers: list[ILayer] = []

    def _fill(self, model: onnx.ModelProto) -> None:
        graph = onnx.shape_inference.infer_shapes(model).graph
        values = {value.name: value for value in [*graph.input, *graph.output, *graph.value_info]}
        weights = {weight.name for weight in graph.initializer}
        self._model = model
        self._inputs = [ITensor(value, given=True) for value in graph.input if value.name not in weights]
        self._outputs = [ITensor(value, taken=True) for value in graph.output]
        self._layers = [ILayer(node, values) for node in graph.node]

    def get_flag(self, flag: Any) -> bool:
        return bool(self._flags >> int(flag) & 1)

    def get_input(self, index: int) -> ITensor | None:
        return self._inputs[index] if index < len(self._inputs) else None

    def get_output(self, index: int) -> ITensor | None:
        return self._outputs[index] if index < len(self._outputs) else None

    def get_layer(self, index: int) -> ILayer | None:
        return self._layers[index] if index < len(self._layers) else None

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> ILayer | None:
        return self.get_layer(index)
