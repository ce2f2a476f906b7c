"""INT8 as ONNX Runtime's CPU kernels are fast in it: U8S8, and as little float between them as can be.

Each operator between two weighted ones has an integer kernel, provided that a Q/DQ pair stands on every wire. What has
none is rewritten in operators that have: `relu6(x + 3)`, the heart of hard-swish and hard-sigmoid, is an integer
addition that saturates, and its sixth goes into the scale that the next operator reads.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from edgezoo.convert.int8.images import take_bytes
from edgezoo.convert.int8.wiring import Grid, Ranges, Wiring, attribute, unsigned_grid

if TYPE_CHECKING:
    import onnx

_MOVES = frozenset({"Flatten", "MaxPool", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
"""Answer bytes on the grid that they take."""
_COMPUTES = frozenset({"Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid"})
_SATURATES = frozenset({"Clip", "Relu"})
"""Do nothing that the end of a grid does not do."""
_SIXTHS = frozenset({"HardSigmoid", "HardSwish"})

_SIX = unsigned_grid(0.0, 6.0)
_SIGMOID = Grid(1 / 256, 0, signed=False)
_NOTHING_BELOW = -8.0  # x * sigmoid(x) is -0.003 there: bytes are better spent above


def tensors(model: onnx.ModelProto) -> list[str]:
    """Those whose ranges `emit` asks for."""
    wiring = Wiring(model)
    made = [name for node in wiring.network for name in node.output if node.op_type != "HardSigmoid"]
    return [*dict.fromkeys([*(node.input[0] for node in wiring.weighted.values()), *made])]


def layers(model: onnx.ModelProto) -> list[str]:
    """The nodes that `emit` can make integer."""
    return [*Wiring(model).weighted]


def emit(model: onnx.ModelProto, ranges: Ranges, floats: Collection[str]) -> onnx.ModelProto:
    """`model` in integers, but for the weighted nodes `floats` and what stands between them and those before."""
    wiring = Wiring(model)
    left = _left_float(wiring, floats)
    placement = _Placement(_rewritten(wiring, left), ranges, left)
    return placement.finish()


def _left_float(wiring: Wiring, floats: Collection[str]) -> set[str]:
    found = set(floats)
    todo = [wiring.weighted[name].input[0] for name in floats]
    while todo:
        node = wiring.producer.get(todo.pop())
        if node is not None and node.name not in wiring.weighted and node.name not in found:
            found.add(node.name)
            todo += node.input
    return found


def _rewritten(wiring: Wiring, left: Collection[str]) -> Wiring:
    """The graph with integer operators in the place of those that have no integer kernel."""
    from onnx import helper

    graph = wiring.model.graph
    inside = {node.name for node in wiring.network} - set(left)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        x, out = (node.input[0], node.output[0]) if node.input else ("", "")
        if node.name not in inside:
            nodes.append(node)
        elif node.op_type in _SIXTHS and _is_sixth(node):
            three = wiring.constant(f"{node.name}/three", np.float32(3))
            shifted = out if node.op_type == "HardSigmoid" else f"{out}/relu6"
            nodes.append(helper.make_node("Add", [x, three], [shifted], name=f"{node.name}/relu6"))
            if node.op_type == "HardSwish":
                nodes.append(helper.make_node("Mul", [x, shifted], [out], name=node.name))
        elif node.op_type == "ReduceMean" and _is_global(wiring, node):
            nodes.append(helper.make_node("GlobalAveragePool", [x], [out], name=node.name))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return Wiring(wiring.model)


def _is_sixth(node: onnx.NodeProto) -> bool:
    if node.op_type == "HardSwish":
        return True
    return bool(np.isclose(attribute(node, "alpha", 0.2), 1 / 6) and np.isclose(attribute(node, "beta", 0.5), 0.5))


def _is_global(wiring: Wiring, node: onnx.NodeProto) -> bool:
    """Whether it is over all of an image (N, C, H, W)."""
    axes = attribute(node, "axes", None) if len(node.input) < 2 else wiring.constants.get(node.input[1])
    return axes is not None and sorted(axis % 4 for axis in axes) == [2, 3] and bool(attribute(node, "keepdims", 1))


class _Placement:
    """A Q/DQ pair on every wire to, from and between operators that have integer kernels."""

    def __init__(self, wiring: Wiring, ranges: Ranges, left: Collection[str]) -> None:
        self.wiring, self.ranges = wiring, ranges
        relu6 = {node.output[0] for node in wiring.network if node.name.endswith("/relu6") and node.op_type == "Add"}
        self.relu6 = relu6
        inside = [node for node in wiring.network if node.name not in left]
        self.integer = {node.name for node in inside if self._has_kernel(node)}
        self.absorbed = {node.output[0]: node.input[0] for node in inside if self._saturates(node)}

    def _has_kernel(self, node: onnx.NodeProto) -> bool:
        return node.name in self.wiring.weighted or node.op_type in _MOVES | _COMPUTES

    def _saturates(self, node: onnx.NodeProto) -> bool:
        """Whether its work is done by the grid of the integer operator before it."""
        before = self.wiring.producer.get(node.input[0]) if node.op_type in _SATURATES else None
        return (
            before is not None
            and before.name in self.integer
            and before.op_type not in _MOVES
            and len(self.wiring.readers[node.input[0]]) == 1
        )

    def finish(self) -> onnx.ModelProto:
        wiring = self.wiring
        for node in wiring.network:
            if node.name in self.integer:
                scale = self._read_inputs(node)
                if node.name in wiring.weighted:
                    scales = wiring.quantise_weights(node)
                    wiring.quantise_bias(node, scales * np.float32(scale))
        for node in wiring.model.graph.node:  # float nodes read what integer ones answer
            if node.name not in self.integer and node.output[0] not in self.absorbed:
                for place, name in enumerate(node.input):
                    before = wiring.producer.get(self.absorbed.get(name, name))
                    if before is not None and before.name in self.integer and before.op_type != "Gemm":
                        self._read(node, place)
        return wiring.finish()

    def _read_inputs(self, node: onnx.NodeProto) -> float:
        """Let a node read bytes; the scale of the first."""
        if node.name in self.wiring.weighted and (taken := take_bytes(self.wiring, node)) is not None:
            self.wiring.read(node, 0, *taken)
            return taken[1].scale
        several = node.op_type in ("Add", "Concat", "Mul")
        scales = [self._read(node, place) for place in range(len(node.input) if several else 1)]
        return scales[0]

    def _read(self, node: onnx.NodeProto, place: int) -> float:
        name = node.input[place]
        grid = self._grid(name)
        scale = grid.scale / 6 if name in self.relu6 else grid.scale
        self.wiring.read(node, place, self.absorbed.get(name, name), grid, scale=scale)
        return scale

    def _grid(self, name: str) -> Grid:
        if name in self.wiring.constants:
            value = self.wiring.constants[name]
            return unsigned_grid(float(value.min()), float(value.max()))
        if name in self.relu6:
            return _SIX
        node = self.wiring.producer.get(name)
        if node is not None and node.name in self.integer and node.op_type in _MOVES:
            return self._grid(node.input[0])
        if node is not None and node.op_type == "Sigmoid":
            return _SIGMOID
        low, high = self.ranges[name]
        return unsigned_grid(max(low, _NOTHING_BELOW) if self._feeds_silu(name) else low, high)

    def _feeds_silu(self, name: str) -> bool:
        readers = self.wiring.readers.get(name, [])
        gates = {node.output[0] for node in readers if node.op_type == "Sigmoid"}
        return bool(gates) and all(
            node.op_type == "Sigmoid" or (node.op_type == "Mul" and gates & set(node.input)) for node in readers
        )
