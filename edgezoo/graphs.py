"""Reading ONNX files with care; nothing here runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def parse(data: bytes) -> onnx.ModelProto:
    """The graph in `data`; weights in other files are not followed. Raises ValueError if it is not ONNX."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ValueError(f"not an ONNX file: {error}") from None
    if not model.graph.node and not model.graph.initializer:
        raise ValueError("not an ONNX file: it holds no graph")
    return model


def load(path: Path) -> onnx.ModelProto:
    """The graph in a file, with the weights that it keeps in other files of the same folder, and of no other.

    Raises OSError, and ValueError if it is not ONNX or points out of its folder.
    """
    import onnx

    model = parse(path.read_bytes())
    for place in outside_data(model):
        if Path(place).name != place:
            raise ValueError(f"refused: its weights point to {place!r}, out of its folder")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except onnx.checker.ValidationError as error:
        raise ValueError(f"its weights cannot be read: {error}") from None
    return model


def outside_data(model: onnx.ModelProto) -> list[str]:
    """The files outside that tensors of the graph point to."""
    tensors = list(_tensors(model.graph))
    for function in model.functions:
        for node in function.node:
            tensors += _of_node(node)
    return [place for tensor in tensors if (place := _outside(tensor)) is not None]


def precisions_in(data: bytes) -> set[str]:
    """What the graph in `data` computes in, `fp32`, `fp16`, `int8`, by weights and Q/DQ pairs. Raises ValueError."""
    import onnx

    graph = parse(data).graph
    kinds = onnx.TensorProto
    types: dict[int, str] = {kinds.FLOAT: "fp32", kinds.FLOAT16: "fp16", kinds.BFLOAT16: "bf16"}
    found = {types[tensor.data_type] for tensor in graph.initializer if tensor.data_type in types}
    found |= {types[to] for node in graph.node for to in _targets(node) if to in types}
    return found | ({"int8"} if any(node.op_type == "QuantizeLinear" for node in graph.node) else set())


def weighted(data: bytes) -> dict[str, bool]:
    """The convolutions and products with weights of the graph in `data`, by name in order; whether they are quantised.

    Raises ValueError.
    """
    graph = parse(data).graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}

    def constant(name: str) -> bool:
        maker = makers.get(name)
        return name in constants or (maker is not None and all(map(constant, maker.input)))

    found = {}
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and constant(node.input[1]):
            maker = makers.get(node.input[1])
            found[node.name or node.output[0]] = maker is not None and maker.op_type == "DequantizeLinear"
    return found


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    """The element types of tensors, as ONNX numbers them, by name; what cannot be told is not there.

    Raises ValueError if the graph contradicts itself.
    """
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise ValueError(f"the types of its tensors cannot be told: {' '.join(str(error).split())[:200]}") from None
    found: dict[str, int] = {}
    left = [graph]
    while left:
        graph = left.pop()
        ports = [*graph.value_info, *graph.input, *graph.output]
        found |= {port.name: port.type.tensor_type.elem_type for port in ports}
        found |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        left += [inner for node in graph.node for entry in node.attribute for inner in (entry.g, *entry.graphs)]
    return {name: kind for name, kind in found.items() if name and kind}


def half_scales(data: bytes) -> bool:
    """Whether the graph in `data` has Q/DQ pairs whose scales are float16; False for what is no graph."""
    import onnx

    try:
        graph = parse(data).graph if b"QuantizeLinear" in data else onnx.GraphProto()
    except ValueError:
        return False
    scales = {node.input[1] for node in graph.node if node.op_type == "QuantizeLinear"}
    return any(tensor.name in scales and tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in graph.initializer)


def _targets(node: onnx.NodeProto) -> Iterator[int]:
    """The types that a Cast casts to, and those of a Constant."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to":
            yield attribute.i
        elif node.op_type == "Constant" and attribute.name == "value":
            yield attribute.t.data_type


def _outside(tensor: onnx.TensorProto) -> str | None:
    import onnx

    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return None
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "a file without a name")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _of_node(node)


def _of_node(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        yield attribute.t
        yield from attribute.tensors
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)
