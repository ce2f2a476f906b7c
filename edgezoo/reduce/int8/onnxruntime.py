"""INT8 as ONNX Runtime's CPU kernels are fast in it: U8S8, and as little float between them as can be.

Each operator between two weighted ones has an integer kernel, provided that a Q/DQ pair stands on every wire. What has
none is rewritten in operators that have: `relu6(x + 3)`, the heart of hard-swish and hard-sigmoid, is an integer
addition that saturates, and its sixth goes into the scale that the next operator reads.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from edgezoo.reduce.int8.images import take_bytes
from edgezoo.reduce.int8.wiring import Grid, Wiring, attribute, but_for, range_of, unsigned_grid
from edgezoo.reduce.regions import Ranges

if TYPE_CHECKING:
    import onnx

_MOVES = frozenset({"Flatten", "MaxPool", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
"""Answer bytes on the grid that they take."""
_COMPUTES = frozenset({"Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid"})
_SIXTHS = frozenset({"HardSigmoid", "HardSwish"})

_RELU6 = "/relu6"  # how the name of an Add ends that is relu6(x + 3)
_POOLED = "/pooled"  # how that of a mean ends that still has its axes
_SIX = unsigned_grid(0.0, 6.0)
_SIXTHS_OF_SIX = Grid(_SIX.scale / 6, 0, signed=False)
_SIGMOID = unsigned_grid(0.0, 1.0)  # with the one itself, which a large x is multiplied by
_NOTHING_BELOW = -8.0  # x * sigmoid(x) is -0.003 there: bytes are better spent above
_ZERO_BELOW = -3.0  # of relu6(x + 3)


def tensors(model: onnx.ModelProto) -> list[str]:
    """Those whose ranges `emit` asks for."""
    wiring = Wiring(model)
    names = (name for node in wiring.network for name in [*node.input, *node.output])
    return [*dict.fromkeys(name for name in names if name in wiring.ranks)]


def layers(model: onnx.ModelProto) -> list[str]:
    """The nodes that `emit` can make integer."""
    return _layers(Wiring(model))


def emit(model: onnx.ModelProto, ranges: Ranges, floats: Collection[str]) -> onnx.ModelProto:
    """`model` in integers, but for the weighted nodes `floats` and what stands between them and those before.

    Raises ConvertError, UnknownName.
    """
    wiring = Wiring(model)
    left = _left_float(wiring, set(wiring.weighted).difference(but_for(_layers(wiring), floats)))
    return _Placement(_rewritten(wiring, left), ranges, left).finish()


def _layers(wiring: Wiring) -> list[str]:
    return [name for name in wiring.layers if _has_product(wiring, wiring.weighted[name])]


def _has_product(wiring: Wiring, node: onnx.NodeProto) -> bool:
    """Whether there is an integer kernel for a weighted node."""
    if node.op_type != "Gemm":
        return node.op_type != "ConvTranspose"
    one_row = all(wiring.constants[name].shape[:-1] in ((), (1,)) for name in node.input[2:] if name)
    return one_row and attribute(node, "alpha", 1) == attribute(node, "beta", 1) == 1


def _left_float(wiring: Wiring, floats: Collection[str]) -> set[str]:
    tensors = [tensor for name in floats for tensor in wiring.weighted[name].input]
    before = [wiring.upstream(tensor, until=lambda node: node.name in wiring.weighted) for tensor in tensors]
    return {*floats, *(node.name for nodes in before for node in nodes if node.name not in wiring.weighted)}


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
            nodes.append(helper.make_node("Add", [x, three], [shifted], name=f"{node.name}{_RELU6}"))
            if node.op_type == "HardSwish":
                nodes.append(helper.make_node("Mul", [x, shifted], [out], name=node.name))
        elif node.op_type == "ReduceMean" and _is_global(wiring, node):
            pooled = out if attribute(node, "keepdims", 1) else f"{out}{_POOLED}"
            nodes.append(helper.make_node("GlobalAveragePool", [x], [pooled], name=node.name))
            if pooled != out:
                nodes.append(helper.make_node("Flatten", [pooled], [out], name=f"{node.name}/flat"))
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
    return axes is not None and wiring.ranks.get(node.input[0]) == 4 and sorted(axis % 4 for axis in axes) == [2, 3]


class _Placement:
    """A Q/DQ pair on every wire to, from and between operators that have integer kernels."""

    def __init__(self, wiring: Wiring, ranges: Ranges, left: Collection[str]) -> None:
        self.wiring, self.ranges = wiring, ranges
        self.relu6 = {node.output[0] for node in wiring.network if node.op_type == "Add" and node.name.endswith(_RELU6)}
        inside = [node for node in wiring.network if node.name not in left]
        self.integer = {node.name for node in inside if self._has_kernel(node)}
        self.absorbed = {node.output[0]: node.input[0] for node in inside if self._saturates(node)}

    def _has_kernel(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "Resize" and attribute(node, "mode", b"nearest") != b"nearest":
            return False
        known = node.op_type in _MOVES | _COMPUTES and node.output[0] in self.wiring.ranks
        return known or node.name in self.wiring.weighted

    def _saturates(self, node: onnx.NodeProto) -> bool:
        """Whether its work is done by the grid of the integer operator before it."""
        before = self.wiring.producer.get(node.input[0]) if self._is_end_of_a_grid(node) else None
        return (
            before is not None
            and before.name in self.integer
            and before.op_type not in _MOVES
            and len(self.wiring.readers[node.input[0]]) == 1
        )

    def _is_end_of_a_grid(self, node: onnx.NodeProto) -> bool:
        """Whether it does nothing but cut off, and not zero, which every grid has."""
        if node.op_type != "Clip":
            return node.op_type == "Relu"
        low, high = (
            self.wiring.constants.get(name, np.nan) if name else default
            for name, default in zip([*node.input[1:], "", ""], (-np.inf, np.inf))
        )
        return bool(low <= 0 <= high)

    def finish(self) -> onnx.ModelProto:
        wiring = self.wiring
        for node in wiring.network:
            if node.name in self.integer:
                scale = self._read_inputs(node)
                if node.name in wiring.weighted:
                    wiring.quantise_weights(node, scale=scale)
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
        stored = _SIX if name in self.relu6 else grid
        self.wiring.read(node, place, self.absorbed.get(name, name), stored, scale=grid.scale)
        return grid.scale

    def _grid(self, name: str) -> Grid:
        """The numbers that are read from a tensor."""
        if name in self.wiring.constants:
            value = self.wiring.constants[name]
            return unsigned_grid(float(value.min()), float(value.max()))
        if name in self.relu6:
            return _SIXTHS_OF_SIX
        node = self.wiring.producer.get(name)
        if node is not None and node.name in self.integer and node.op_type in _MOVES:
            return self._grid(node.input[0])
        if node is not None and node.op_type == "Sigmoid":
            return _SIGMOID
        low, high = range_of(self.ranges, name.removesuffix(_POOLED))
        return unsigned_grid(max(low, self._lowest(name)), high)

    def _lowest(self, name: str) -> float:
        """Where what reads a tensor tells no smaller number from: what is multiplied by a gate of itself."""
        readers = self.wiring.readers.get(name, [])
        gates = {node.output[0]: node.op_type for node in readers if self._is_gate(node)}
        rest = [node for node in readers if not self._is_gate(node)]
        if not gates or any(node.op_type != "Mul" or not gates.keys() & set(node.input) for node in rest):
            return -np.inf
        return _NOTHING_BELOW if "Sigmoid" in gates.values() else _ZERO_BELOW

    def _is_gate(self, node: onnx.NodeProto) -> bool:
        return node.op_type == "Sigmoid" or node.output[0] in self.relu6
