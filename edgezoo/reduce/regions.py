"""A bundle's graph made plain to work on, and its parts by structure: the door, the network, the decode tail.

No node's name is asked: what counts is which nodes carry weights, and what lies before and behind those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgezoo.errors import ConvertError

if TYPE_CHECKING:
    import onnx

Ranges = Mapping[str, tuple[float, float]]
"""The lowest and highest value of tensors, by name."""

QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Regions:
    """Places in `graph.node`; a node of none of the first three sets is inside the network, without weights."""

    weighted: frozenset[int]
    """Conv and ConvTranspose, and Gemm and MatMul that read a constant."""
    door: frozenset[int]
    """Fed by the graph's inputs, with nothing weighted and no Q/DQ before them."""
    tail: frozenset[int]
    """With nothing weighted behind them."""
    constant: frozenset[int]
    """Fed by constants alone, such as the DequantizeLinear of a weight; in no other set."""


def regions(graph: onnx.GraphProto) -> Regions:
    """The parts of a graph whose nodes stand in order, as ONNX asks."""
    fixed = {tensor.name for tensor in graph.initializer}
    started: set[str] = set()  # tensors that the network has had a hand in
    weighted, door, constant = set(), set(), set()
    for place, node in enumerate(graph.node):
        if all(name in fixed for name in node.input if name):
            constant.add(place)
            fixed.update(node.output)
            continue
        if _is_weighted(node, fixed):
            weighted.add(place)
        if place in weighted or node.op_type in QUANTISERS or started.intersection(node.input):
            started.update(node.output)
        else:
            door.add(place)
    ahead: set[str] = set()  # tensors that a weighted node will read
    tail = set()
    for place in reversed(range(len(graph.node))):
        node = graph.node[place]
        if place in weighted or ahead.intersection(node.output):
            ahead.update(name for name in node.input if name)
        elif place not in constant:
            tail.add(place)
    return Regions(
        weighted=frozenset(weighted),
        door=frozenset(door - tail),
        tail=frozenset(tail),
        constant=frozenset(constant),
    )


def _is_weighted(node: onnx.NodeProto, fixed: set[str]) -> bool:
    if node.op_type in ("Conv", "ConvTranspose"):
        return True
    return node.op_type in ("Gemm", "MatMul") and any(name in fixed for name in node.input[:2])


def plain(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with every node named, every constant an initializer, and no functions. Raises ConvertError."""
    import onnx
    from onnx import inliner

    model = onnx.ModelProto()
    model.CopyFrom(graph)
    if model.functions:
        model = inliner.inline_local_functions(model)
    taken = {node.name for node in model.graph.node}
    nodes = []
    for place, node in enumerate(model.graph.node):
        if any(attribute.type in (attribute.GRAPH, attribute.GRAPHS) for attribute in node.attribute):
            raise ConvertError(
                f"expected a graph without branches and loops, got {node.op_type} {node.name!r}; "
                "export the model without control flow"
            )
        if node.op_type == "Constant":
            model.graph.initializer.append(_as_tensor(node))
            continue
        if not node.name:
            node.name = next(name for name in _spare(f"{node.op_type}_{place}") if name not in taken)
            taken.add(node.name)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _spare(name: str) -> Iterator[str]:
    while True:
        yield name
        name += "_"


def _as_tensor(node: onnx.NodeProto) -> onnx.TensorProto:
    """The value of a Constant node."""
    import onnx
    from onnx import helper, numpy_helper

    value = helper.get_attribute_value(node.attribute[0])
    if isinstance(value, onnx.TensorProto):
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
        return tensor
    kind = np.float32 if node.attribute[0].name.startswith("value_float") else np.int64
    return numpy_helper.from_array(np.array(value, kind), node.output[0])
