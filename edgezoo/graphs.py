"""Reading ONNX files with care; nothing here runs them."""

from __future__ import annotations

from collections.abc import Iterator
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


def outside_data(data: bytes) -> str | None:
    """The file outside that some tensor of the graph points to, or None. Raises ValueError if it is not ONNX."""
    model = parse(data)
    graphs = [model.graph]
    if model.functions:
        attributes = (
            attribute for function in model.functions for node in function.node for attribute in node.attribute
        )
        for attribute in attributes:
            graphs += [attribute.g, *attribute.graphs]
            if place := _outside(attribute.t) or next(filter(None, map(_outside, attribute.tensors)), None):
                return place
    return next((place for graph in graphs for tensor in _tensors(graph) if (place := _outside(tensor))), None)


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
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
