"""Where Q/DQ may stand for TensorRT: every breach of its INT8 rules in a graph, found from the rules alone.

It knows nothing of the code that writes such graphs. A breach is one line, `rule: node: what is wrong`. The rules:

door        `images` is uint8 and its one reader is a Cast to float
ops         no integer operators: TensorRT reads Q/DQ
activation  int8, zero point 0, one scale; QuantizeLinear is followed by nothing but DequantizeLinear of that scale
weight      int8, zero point 0, one scale per output channel; nothing but weights goes through Q/DQ as a constant
both        a weighted operator has Q/DQ right before its input and before its weight, or before neither
purpose     whatever reads a pair runs in int8: quantised weighted operators, residual Adds, Concat, pooling, Resize.
            So none stands on an output for its own sake, none before an activation function, none behind another
bias        in float, through no Q/DQ
skip        a residual Add has a pair on the skip branch and none on the branch of the convolution
concat      all inputs of a Concat are quantised, with one scale, or none is
narrow      no convolution of fewer than 16 input or 16 output channels, of all groups together, is quantised
vector      no Gemm, and no MatMul of (N, C), is quantised
tail        no Q/DQ where no weighted operator follows
types       8.6: opset 17 or older, float32 scales. 10, 11: opset 19 or newer, float16 but for the door, the tail and
            what was kept. All: no uint8 but at the graph's ends, no int64 that goes out
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Literal

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

CONVOLUTIONS = ("Conv", "ConvTranspose")
PRODUCTS = ("Gemm", "MatMul")
POOLING = ("MaxPool", "AveragePool", "GlobalAveragePool", "Resize")
FEWEST_CHANNELS = 16
_JOINTS = ("Add", "Concat", "DequantizeLinear", "Resize", "MaxPool")  # where a branch ends, seen from its end


def breaches(model: onnx.ModelProto, tensorrt: Literal["8.6", "10", "11"], *, kept: Collection[str] = ()) -> list[str]:
    """Every breach, rule by rule; `kept`: the nodes that were left in float32 on purpose."""
    walk = Walk(model)
    rules = (door, ops, activation, weight, both, purpose, bias, skip, concat, narrow, vector, tail)
    found = [line for rule in rules for line in rule(walk)]
    return found + list(types(walk, tensorrt, kept))


def quantised(model: onnx.ModelProto) -> list[str]:
    """The names of the weighted operators whose input and weight both go through Q/DQ."""
    walk = Walk(model)
    return [node.name for node in walk.weighted if walk.is_quantised(node)]


class Walk:
    """A graph that can be walked in both directions."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = onnx.shape_inference.infer_shapes(model).graph
        self.graph, self.nodes = graph, list(graph.node)
        self.opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        self.values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        ports = {port.name: port.type.tensor_type for port in [*graph.value_info, *graph.input, *graph.output]}
        self.kinds = defaultdict(int, {name: port.elem_type for name, port in ports.items()})
        self.kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        self.shapes = {name: [side.dim_value for side in port.shape.dim] for name, port in ports.items()}
        self.shapes |= {name: list(value.shape) for name, value in self.values.items()}
        self.outputs = {port.name for port in graph.output}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[tuple[NodeProto, int]]] = {}
        self.fixed = set(self.values)
        self.weighted: list[NodeProto] = []
        for node in self.nodes:
            for slot, name in enumerate(node.input):
                self.readers.setdefault(name, []).append((node, slot))
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            if self.fixed.issuperset(name for name in node.input if name):
                self.fixed.update(node.output)
            elif node.op_type in CONVOLUTIONS or (node.op_type in PRODUCTS and self.fixed.intersection(node.input[:2])):
                self.weighted.append(node)
        self.ahead = self._ahead()
        self.door = self._door()

    def _ahead(self) -> set[str]:
        """The tensors on the way to a weighted operator."""
        found: set[str] = set()
        for node in reversed(self.nodes):
            if node in self.weighted or found.intersection(node.output):
                found.update(node.input)
        return found

    def _door(self) -> set[str]:
        """The tensors before all weighted operators and Q/DQ."""
        found = {port.name for port in self.graph.input}
        for node in self.nodes:
            inside = node in self.weighted or node.op_type in ("QuantizeLinear", "DequantizeLinear")
            fed = [name for name in node.input if name and name not in self.fixed]
            if fed and not inside and found.issuperset(fed):
                found.update(node.output)
        return found

    def pairs(self, op: str, *, constant: bool) -> Iterator[NodeProto]:
        """The QuantizeLinear or DequantizeLinear on constants, or on activations."""
        yield from (node for node in self.nodes if node.op_type == op and (node.input[0] in self.fixed) == constant)

    def in_tail(self, node: NodeProto) -> bool:
        return node not in self.weighted and not self.ahead.intersection(node.output)

    def is_dequantised(self, name: str) -> bool:
        return name in self.makers and self.makers[name].op_type == "DequantizeLinear"

    def is_quantised(self, node: NodeProto) -> bool:
        return self.is_dequantised(node.input[0]) and self.is_dequantised(node.input[1])

    def scale(self, node: NodeProto) -> np.ndarray:
        return self.values.get(node.input[1], np.array(np.nan))

    def before_pair(self, name: str) -> str:
        """The tensor that a pair stands on; itself where there is no pair."""
        for op in ("DequantizeLinear", "QuantizeLinear"):
            if name in self.makers and self.makers[name].op_type == op:
                name = self.makers[name].input[0]
        return name

    def sources(self, name: str, stop: Collection[str] = ()) -> set[str]:
        """All tensors that a tensor is made of; not past a node of one of the kinds in `stop`."""
        found, left = set(), [name]
        while left:
            node = self.makers.get(left.pop())
            if node is not None and node.op_type not in stop:
                new = set(node.input) - found
                found |= new
                left += new
        return found

    def ends_a_quantised(self, name: str) -> bool:
        """Whether a branch comes out of a quantised weighted operator."""
        reached = {name} | self.sources(name, (*_JOINTS, *CONVOLUTIONS, *PRODUCTS))
        return any(node.output[0] in reached and self.is_quantised(node) for node in self.weighted)

    def residual(self, node: NodeProto) -> tuple[str, str] | None:
        """The skip branch and the other one of a residual Add; None for any other node."""
        if node.op_type != "Add" or self.fixed.intersection(node.input) or self.in_tail(node):
            return None
        one, two = node.input
        bases = self.before_pair(one), self.before_pair(two)
        if bases[0] in self.sources(two):
            orders = [(one, two)]
        elif bases[1] in self.sources(one):
            orders = [(two, one)]
        else:  # neither is made of the other: one of them is to be quantised, whichever
            orders = sorted([(one, two), (two, one)], key=lambda order: not self.is_dequantised(order[0]))
        orders = [order for order in orders if self.ends_a_quantised(self.before_pair(order[1]))]
        return orders[0] if orders and bases[0] != bases[1] else None


# The rules.


def door(walk: Walk) -> Iterator[str]:
    readers = walk.readers.get("images", [])
    casts = [node for node, _ in readers if node.op_type == "Cast" and walk.kinds[node.output[0]] in _REAL]
    if len(readers) != 1 or len(casts) != 1 or walk.kinds["images"] != TensorProto.UINT8:
        yield f"door: images: expected uint8 and one Cast to float, got {[node.op_type for node, _ in readers]}"


def ops(walk: Walk) -> Iterator[str]:
    for node in walk.nodes:
        integer = node.op_type.startswith(("QLinear", "DynamicQuantize")) or node.op_type.endswith("Integer")
        if integer or node.domain not in ("", "ai.onnx"):
            yield f"ops: {node.name}: TensorRT does not read {node.domain or 'ai.onnx'}.{node.op_type}"


def activation(walk: Walk) -> Iterator[str]:
    for node in walk.pairs("QuantizeLinear", constant=False):
        readers = walk.readers.get(node.output[0], [])
        if walk.kinds[node.output[0]] != TensorProto.INT8 or _has_zero_point(walk, node):
            yield f"activation: {node.name}: not symmetric int8"
        if walk.scale(node).shape != () or not walk.scale(node) > 0:
            yield f"activation: {node.name}: expected one positive scale, got shape {walk.scale(node).shape}"
        if node.output[0] in walk.outputs or any(reader.op_type != "DequantizeLinear" for reader, _ in readers):
            yield f"activation: {node.name}: read by something else than DequantizeLinear"
    for node in walk.pairs("DequantizeLinear", constant=False):
        maker = walk.makers.get(node.input[0])
        if maker is None or maker.op_type != "QuantizeLinear":
            yield f"activation: {node.name}: expected QuantizeLinear before it"
        elif _has_zero_point(walk, node) or not np.array_equal(walk.scale(node), walk.scale(maker)):
            yield f"activation: {node.name}: its scale or zero point is not that of {maker.name}"


def weight(walk: Walk) -> Iterator[str]:
    for node in walk.pairs("DequantizeLinear", constant=True):
        for reader, slot in walk.readers.get(node.output[0], []):
            if reader not in walk.weighted or slot not in (1, 2):
                yield f"weight: {node.name}: {reader.op_type} reads a constant through Q/DQ"
            elif slot == 1 and (wrong := _wrong_weight(walk, node, reader)):
                yield f"weight: {node.name}: {wrong}"


def _wrong_weight(walk: Walk, node: NodeProto, reader: NodeProto) -> str | None:
    """What is wrong with a weight that goes through DequantizeLinear."""
    maker = walk.makers.get(node.input[0])
    chain = [node] if maker is None or maker.op_type != "QuantizeLinear" else [maker, node]
    shape, axis = walk.shapes[node.input[0]], _channel_axis(walk, reader)
    for part in chain:
        if walk.kinds[node.input[0]] != TensorProto.INT8 or _has_zero_point(walk, part):
            return "not symmetric int8"
        scale, stated = walk.scale(part), next((a.i for a in part.attribute if a.name == "axis"), 1)
        if scale.shape != (shape[axis],) or stated % len(shape) != axis or not np.all(scale > 0):
            return f"expected {shape[axis]} positive scales on axis {axis}, got {scale.size} on axis {stated}"
        if not np.array_equal(scale, walk.scale(node)):
            return f"its scales are not those of {part.name}"
    return None


def _channel_axis(walk: Walk, node: NodeProto) -> int:
    """Where a weight has its output channels."""
    turned = any(entry.name == "transB" and entry.i for entry in node.attribute)
    if node.op_type == "Conv" or turned:
        return 0
    return 1 if node.op_type in ("ConvTranspose", "Gemm") else len(walk.shapes[node.input[1]]) - 1


def both(walk: Walk) -> Iterator[str]:
    for node in walk.weighted:
        there = [walk.is_dequantised(name) for name in node.input[:2]]
        if any(there) and not all(there):
            yield f"both: {node.name}: Q/DQ before its {'input' if there[0] else 'weight'} alone"


def purpose(walk: Walk) -> Iterator[str]:
    for node in walk.pairs("DequantizeLinear", constant=False):
        if walk.in_tail(node):
            continue
        for reader, slot in walk.readers.get(node.output[0], []):
            serves = reader.op_type in (*POOLING, "Concat") or walk.residual(reader) is not None
            if not serves and not (reader in walk.weighted and slot == 0):
                yield f"purpose: {node.name}: read by {reader.op_type}, which does not run in int8"
        if node.output[0] in walk.outputs:
            yield f"purpose: {node.name}: is an output of the graph"


def bias(walk: Walk) -> Iterator[str]:
    for node in walk.weighted:
        for name in node.input[2:3]:
            if name and (walk.is_dequantised(name) or walk.kinds[name] not in _REAL):
                yield f"bias: {node.name}: expected a bias in float"


def skip(walk: Walk) -> Iterator[str]:
    for node in walk.nodes:
        if (branches := walk.residual(node)) is not None:
            there = [walk.is_dequantised(name) for name in branches]
            if there != [True, False]:
                yield f"skip: {node.name}: {'both branches have' if all(there) else 'the skip branch has no'} Q/DQ"


def concat(walk: Walk) -> Iterator[str]:
    for node in walk.nodes:
        pairs = [walk.makers[name] for name in node.input if walk.is_dequantised(name)]
        if node.op_type == "Concat" and pairs and not walk.in_tail(node):
            scales = {float(walk.scale(pair).max()) for pair in pairs}
            if len(pairs) != len(node.input) or len(scales) != 1:
                yield f"concat: {node.name}: {len(pairs)} of {len(node.input)} inputs quantised, {len(scales)} scales"


def narrow(walk: Walk) -> Iterator[str]:
    for node in walk.weighted:
        if node.op_type in CONVOLUTIONS and walk.is_quantised(node):
            groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
            ends = np.array(walk.shapes[node.input[1]][:2]) * [1, groups]
            if ends.min() < FEWEST_CHANNELS:
                yield f"narrow: {node.name}: quantised with {ends.min()} channels"


def vector(walk: Walk) -> Iterator[str]:
    for node in walk.weighted:
        if node.op_type in PRODUCTS and walk.is_quantised(node) and len(walk.shapes.get(node.input[0], [])) < 3:
            yield f"vector: {node.name}: a product with a vector is quantised"


def tail(walk: Walk) -> Iterator[str]:
    for op in ("QuantizeLinear", "DequantizeLinear"):
        for node in walk.pairs(op, constant=False):
            if walk.in_tail(node):
                yield f"tail: {node.name}: nothing with weights follows"


def types(walk: Walk, tensorrt: str, kept: Collection[str]) -> Iterator[str]:
    ends = {port.name for port in [*walk.graph.input, *walk.graph.output]}
    for name, kind in list(walk.kinds.items()):
        made_by = walk.makers[name].op_type if name in walk.makers else ""
        if kind == TensorProto.UINT8 and name not in ends | walk.fixed and made_by != "QuantizeLinear":
            yield f"types: {name}: uint8 inside the graph"
        if kind == TensorProto.INT64 and name in walk.outputs:
            yield f"types: {name}: an output of int64"
    old = tensorrt == "8.6"
    if walk.opset > 17 if old else walk.opset < 19:
        yield f"types: opset: expected {'17 or older' if old else '19 or newer'}, got {walk.opset}"
    for node in walk.nodes:
        pair = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if old and pair and walk.kinds[node.input[1]] != TensorProto.FLOAT:
            yield f"types: {node.name}: a scale that is not float32"
        moved = {walk.kinds[name] for name in [*node.input, *node.output] if name and name not in walk.fixed}
        outside = node.op_type == "Cast" or walk.door.issuperset(node.output) or walk.in_tail(node)
        if not old and not outside and TensorProto.FLOAT in moved and node.name not in kept:
            yield f"types: {node.name}: computes in float32"


_REAL = (TensorProto.FLOAT, TensorProto.FLOAT16)


def _has_zero_point(walk: Walk, node: NodeProto) -> bool:
    name = node.input[2] if len(node.input) > 2 else ""
    return bool(name) and (name not in walk.values or bool(walk.values[name].any()))
