"""A float graph on its way to integers: where Q/DQ pairs are put in, and on which grid of numbers.

A grid is affine, `real = scale * (stored - zero)` (https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgezoo.convert.opset import in_opset, opset_of
from edgezoo.errors import ConvertError, UnknownName
from edgezoo.reduce.regions import Ranges, plain, regions

if TYPE_CHECKING:
    import onnx

_OLDEST_OPSET = 13  # whose DequantizeLinear takes a scale for each channel
_LEAST = 1e-8  # of a scale: a tensor that is always zero must not divide by it
_JOINTS = frozenset({"Add", "Concat", "MaxPool", "Resize"})
_LARGEST_BIAS = 2**30  # half of what an accumulator holds: the rest is for what is added to it


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


def range_of(ranges: Ranges, tensor: str) -> tuple[float, float]:
    """Raises ConvertError for a tensor that was not measured."""
    if tensor not in ranges:
        raise ConvertError(f"expected the range of tensor {tensor!r}, got none; calibrate with this graph")
    return ranges[tensor]


def but_for(layers: Collection[str], floats: Collection[str]) -> list[str]:
    """The layers that become integers. Raises UnknownName, and ConvertError where there are no layers at all."""
    if not layers:
        raise ConvertError("expected a network with layers that can be integers, got none; keep it in float")
    for name in floats:
        if name not in layers:
            raise UnknownName("layer that can be integer", name, layers)
    return [name for name in layers if name not in floats]


class Wiring:
    """A copy of a graph, its wiring, and the Q/DQ pairs put into it so far. Every node of the graph has a name."""

    def __init__(self, model: onnx.ModelProto, *, half_scales: bool = False) -> None:
        """`half_scales`: every scale is a number that float16 has, for a graph that is to become half."""
        import onnx
        from onnx import numpy_helper

        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        if opset_of(model) < _OLDEST_OPSET:
            self.model = plain(in_opset(model, _OLDEST_OPSET))
        graph = self.model.graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.producer = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in filter(None, node.input):
                self.readers.setdefault(name, []).append(node)
        known = onnx.shape_inference.infer_shapes(self.model).graph
        ports = {port.name: port.type.tensor_type for port in [*known.value_info, *known.input, *known.output]}
        self.ranks = {
            name: len(port.shape.dim)
            for name, port in ports.items()
            if port.elem_type == onnx.TensorProto.FLOAT and name not in self.constants
        }
        """How many axes each float32 tensor has."""
        parts = regions(graph)
        self.weighted = {graph.node[place].name: graph.node[place] for place in sorted(parts.weighted)}
        self.layers = [name for name, node in self.weighted.items() if self._has_weights(node)]
        """The weighted nodes whose weights and bias are float32 constants."""
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

    def _has_weights(self, node: onnx.NodeProto) -> bool:
        constants = [self.constants.get(name) for name in node.input[1:3] if name]
        return all(value is not None and value.dtype == np.float32 for value in constants) and (
            node.op_type in ("Conv", "ConvTranspose") or self.constants[node.input[1]].ndim == 2
        )

    def is_residual(self, node: onnx.NodeProto) -> bool:
        """Whether it adds two branches."""
        return node.op_type == "Add" and all(name in self.ranks for name in node.input)

    def upstream(
        self, tensor: str, *, until: Callable[[onnx.NodeProto], bool] = lambda node: False
    ) -> Iterator[onnx.NodeProto]:
        """The nodes that a tensor is made by, but not those that only serve one of `until`."""
        seen, todo = set(), [tensor]
        while todo:
            node = self.producer.get(todo.pop())
            if node is not None and node.name not in seen:
                seen.add(node.name)
                yield node
                todo += [] if until(node) else node.input

    def behind(self, tensor: str, layers: Collection[str]) -> bool:
        """Whether it comes from one of these layers, with no other and no joint of branches between."""
        nodes = self.upstream(tensor, until=lambda node: node.name in self.weighted or node.op_type in _JOINTS)
        return any(node.name in layers for node in nodes)

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

    def quantise_weights(self, node: onnx.NodeProto, *, scale: float | None = None) -> None:
        """Symmetric int8, a scale for each output channel; and the bias, where the input's `scale` is given."""
        from onnx import helper

        weights = self.constants[node.input[1]]
        axis = output_axis(node)
        shape = [1] * weights.ndim
        shape[axis] = -1
        others = tuple(k for k in range(weights.ndim) if k != axis)
        scales = self._rounded(np.maximum(np.abs(weights).max(axis=others) / 127, _LEAST).astype(np.float32))
        if scale is not None and len(node.input) > 2 and node.input[2]:
            scales = self._quantise_bias(node, scales, scale)
        stored = np.round(weights / scales.reshape(shape)).clip(-127, 127).astype(np.int8)
        if "Conv" in node.op_type and not attribute(node, "kernel_shape", ()):
            # TensorRT 8.6 knows a kernel's shape by itself only where it is stored as floats.
            node.attribute.append(helper.make_attribute("kernel_shape", weights.shape[2:]))
        self._read_constant(node, 1, "weights", stored, scales, axis=axis)

    def _read_constant(
        self, node: onnx.NodeProto, place: int, what: str, stored: npt.NDArray[Any], scales: Any, *, axis: int
    ) -> None:
        """Let that input of the node come from integers around zero, in steps of `scales` along an axis."""
        base = f"{node.name}/{what}"
        inputs = [
            self.constant(f"{base}/bytes", stored),
            self.constant(f"{base}/scale", scales),
            self.constant(f"{base}/zero", np.zeros_like(scales, stored.dtype)),
        ]
        self._after.append((node, place, self.add("DequantizeLinear", inputs, f"{base}/real", axis=axis)))

    def _rounded(self, scales: Any) -> Any:
        """Scales as float32; where that is wanted, the next larger ones that float16 has."""
        if not self._half_scales:
            return scales
        near = scales.astype(np.float16)
        return np.where(near < scales, np.nextafter(near, np.float16(np.inf)), near).astype(np.float32)

    def _quantise_bias(
        self, node: onnx.NodeProto, scales: npt.NDArray[np.float32], scale: float
    ) -> npt.NDArray[np.float32]:
        """int32 in steps of the input's `scale` times the weights' `scales`; these, as wide as the bias needs them."""
        bias = np.broadcast_to(self.constants[node.input[2]].reshape(-1), scales.shape).astype(np.float64)
        scales = np.maximum(scales, np.abs(bias) / (scale * _LARGEST_BIAS)).astype(np.float32)
        steps = (scales.astype(np.float64) * scale).astype(np.float32)
        self._read_constant(node, 2, "bias", np.round(bias / steps).astype(np.int32), steps, axis=0)
        return scales

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
        nodes = _without_dead(list(_in_order(graph.node, self._added)), self.outputs)
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


def _in_order(nodes: Iterable[onnx.NodeProto], added: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The graph's nodes as they stood, each right behind those of the added ones that it is the first to read."""
    waiting = {node.output[0]: node for node in added}

    def with_what_it_reads(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        for name in node.input:
            if name in waiting:
                yield from with_what_it_reads(waiting.pop(name))
        yield node

    for node in nodes:
        yield from with_what_it_reads(node)


def _without_dead(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    read = set(outputs)
    kept = []
    for node in reversed(nodes):
        if read.intersection(node.output):
            kept.append(node)
            read.update(node.input)
    return kept[::-1]
