"""A float graph on its way to integers: where Q/DQ pairs are put in, and on which grid of numbers.

A grid is affine, `real = scale * (stored - zero)` (https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgezoo.convert.regions import regions
from edgezoo.errors import ConvertError

if TYPE_CHECKING:
    import onnx

Ranges = Mapping[str, tuple[float, float]]
"""The lowest and highest value of tensors, by name."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LEAST = 1e-8  # of a scale: a tensor that is always zero must not divide by it


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers that a byte stands for."""

    scale: float
    zero: int
    signed: bool

    @property
    def kind(self) -> type[np.int8] | type[np.uint8]:
        return np.int8 if self.signed else np.uint8


def unsigned_grid(low: float, high: float) -> Grid:
    """256 steps from `low` to `high`, with zero among them."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32(max((high - low) / 255, _LEAST)))
    return Grid(scale, int(np.clip(round(-low / scale), 0, 255)), signed=False)


def symmetric_grid(low: float, high: float) -> Grid:
    """255 steps around zero."""
    return Grid(float(np.float32(max(abs(low), abs(high), 127 * _LEAST) / 127)), 0, signed=True)


class Wiring:
    """A copy of a graph, its wiring, and the Q/DQ pairs put into it so far. Every node of the graph has a name."""

    def __init__(self, model: onnx.ModelProto, *, half_scales: bool = False) -> None:
        """`half_scales`: every scale is a number that float16 has, for a graph that is to become half."""
        import onnx
        from onnx import numpy_helper

        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.producer = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in filter(None, node.input):
                self.readers.setdefault(name, []).append(node)
        parts = regions(graph)
        self.weighted = {graph.node[place].name: graph.node[place] for place in sorted(parts.weighted)}
        self.network = [
            node for place, node in enumerate(graph.node) if place not in parts.door | parts.tail | parts.constant
        ]
        """The nodes between door and tail, in order."""
        self.outputs = {port.name for port in graph.output}
        self._half_scales = half_scales
        self.bytes: set[str] = set()
        """Tensors that are bytes already."""
        self._put: dict[tuple[str, Grid, float], str] = {}
        self._added: list[onnx.NodeProto] = []
        self._after: list[tuple[onnx.NodeProto, int, str]] = []

    def read(self, node: onnx.NodeProto, place: int, tensor: str, grid: Grid, *, scale: float | None = None) -> None:
        """Let that input of the node come from `tensor` in bytes on `grid`, of which it takes a step for `scale`."""
        if self._half_scales:
            grid = Grid(float(self._rounded(np.float32(grid.scale))), grid.zero, grid.signed)
        key = (tensor, grid, scale or grid.scale)
        if key not in self._put:
            count = sum(1 for name, _, _ in self._put if name == tensor)
            self._put[key] = self._pair(tensor, f"{tensor}#{count}" if count else tensor, grid, scale or grid.scale)
        self._after.append((node, place, self._put[key]))

    def _pair(self, tensor: str, base: str, grid: Grid, scale: float) -> str:
        zero = self.constant(f"{base}/zero", np.array(grid.zero, grid.kind))
        stored = f"{base}/bytes"
        if tensor in self.constants:
            value = np.round(self.constants[tensor] / grid.scale) + grid.zero
            limits = np.iinfo(grid.kind)
            self.constant(stored, np.clip(value, limits.min, limits.max).astype(grid.kind))
        elif tensor in self.bytes:
            stored = tensor
        else:
            step = self.constant(f"{base}/scale", np.float32(grid.scale))
            self.add("QuantizeLinear", [tensor, step, zero], stored)
        step = self.constant(f"{base}/read_scale", np.float32(scale))
        return self.add("DequantizeLinear", [stored, step, zero], f"{base}/real")

    def quantise_weights(self, node: onnx.NodeProto) -> npt.NDArray[np.float32]:
        """Symmetric int8, a scale for each output channel; the scales."""
        weights = self.constants[node.input[1]].astype(np.float32)
        axis = output_axis(node)
        shape = [1] * weights.ndim
        shape[axis] = -1
        others = tuple(k for k in range(weights.ndim) if k != axis)
        scales: npt.NDArray[np.float32] = self._rounded(
            np.maximum(np.abs(weights).max(axis=others), 127 * _LEAST).astype(np.float32) / 127
        )
        base = f"{node.name}/weights"
        stored = self.constant(
            f"{base}/bytes", np.round(weights / scales.reshape(shape)).clip(-127, 127).astype(np.int8)
        )
        step, zero = (
            self.constant(f"{base}/scale", scales),
            self.constant(f"{base}/zero", np.zeros(len(scales), np.int8)),
        )
        self._after.append((node, 1, self.add("DequantizeLinear", [stored, step, zero], f"{base}/real", axis=axis)))
        return scales

    def _rounded(self, scales: Any) -> Any:
        """Scales as float32, but of the values that float16 has in full precision where that is wanted."""
        if not self._half_scales:
            return scales
        return np.maximum(scales.astype(np.float16), np.finfo(np.float16).tiny).astype(np.float32)

    def quantise_bias(self, node: onnx.NodeProto, scales: npt.NDArray[np.float32]) -> None:
        """int32 on the grid of the accumulator, of which `scales` are the steps."""
        if len(node.input) < 3 or not node.input[2]:
            return
        steps = scales.astype(np.float64)
        limits = np.iinfo(np.int32)
        value = np.clip(np.round(self.constants[node.input[2]] / steps), limits.min + 1, limits.max).astype(np.int32)
        base = f"{node.name}/bias"
        stored, step = self.constant(f"{base}/bytes", value), self.constant(f"{base}/scale", steps.astype(np.float32))
        zero = self.constant(f"{base}/zero", np.zeros_like(value))
        self._after.append((node, 2, self.add("DequantizeLinear", [stored, step, zero], f"{base}/real", axis=0)))

    def constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self._added.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def finish(self) -> onnx.ModelProto:
        """The graph with its new wires, its nodes in order, and nothing in it that nobody reads."""
        import onnx

        for node, place, name in self._after:
            node.input[place] = name
        graph = self.model.graph
        nodes = _without_dead(list(_in_order([*graph.node, *self._added], self.model)), self.outputs)
        read = {name for node in nodes for name in node.input} | self.outputs
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        for part, content in ((graph.node, nodes), (graph.initializer, kept)):
            del part[:]
            part.extend(content)
        del graph.value_info[:]
        try:
            onnx.checker.check_model(self.model)
        except onnx.checker.ValidationError as error:
            reason = str(error).strip().splitlines()[0]
            raise ConvertError(f"the quantised graph is not valid ONNX: {reason}") from None
        return self.model


def output_axis(node: onnx.NodeProto) -> int:
    """The axis of a node's weights that counts its output channels."""
    if node.op_type == "Gemm":
        return 0 if any(attribute.name == "transB" and attribute.i for attribute in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}[node.op_type]


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    from onnx import helper

    found = next((each for each in node.attribute if each.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def _in_order(nodes: list[onnx.NodeProto], model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node behind those whose outputs it reads; Kahn's algorithm."""
    made = {name for node in nodes for name in node.output}
    waiting = {id(node): len({name for name in node.input if name in made}) for node in nodes}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in set(node.input) & made:
            readers.setdefault(name, []).append(node)
    ready = [node for node in nodes if not waiting[id(node)]]
    while ready:
        node = ready.pop()
        yield node
        for name in node.output:
            for reader in readers.get(name, []):
                waiting[id(reader)] -= 1
                if not waiting[id(reader)]:
                    ready.append(reader)


def _without_dead(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    read = set(outputs)
    kept = []
    for node in reversed(nodes):
        if read.intersection(node.output):
            kept.append(node)
            read.update(node.input)
    return kept[::-1]
