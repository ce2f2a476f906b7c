"""The parts of a bundle's graph, found by its structure: the door, the network, the decode tail.

No node's name is asked: what counts is which nodes carry weights, and what lies before and behind those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

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
