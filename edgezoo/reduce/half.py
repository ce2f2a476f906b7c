"""FP16: the network in half precision; the door, the decode tail and what half cannot hold stay float32.

Casts stand only where the two meet. ONNX Runtime's own converter (1.32) also rounds to half between nodes that it
leaves in float, which moves the boxes of the built-in model by 0.23 px instead of 0.02, and puts nodes out of order.

ONNX Runtime on a CPU computes such a graph in float and rounds only where it must, so that an overflow does not show
there: measured ranges are what guards against it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgezoo.convert.opset import in_opset, opset_of
from edgezoo.errors import ConvertError, UnknownName
from edgezoo.reduce.regions import QUANTISERS, Ranges, plain, regions

if TYPE_CHECKING:
    import onnx

SCALES_MAY_BE_HALF = 19  # the first opset whose QuantizeLinear takes them
_LARGEST = float(np.finfo(np.float16).max)
_NORMAL = float(np.finfo(np.float16).tiny)
_MARGIN = 4  # a camera will show what no calibration image did
_WORST = 2.0**-9  # of a weight tensor's largest value: four times what half does to a number in its normal range

# Ops whose answer is a place or a running sum, or that square on their way: eleven bits do not carry them.
_FLOAT_OPS = frozenset({"CumSum", "GridSample", "LpNormalization", "ReduceL2", "ReduceSumSquare", "RoiAlign", "TopK"})
# Ops whose outputs hold nothing that their inputs do not: what does not fit before them does not fit behind them.
_MOVES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_PICKS = frozenset({"Concat", "DepthToSpace", "Expand", "Gather", "MaxPool", "Pad", "Slice", "Split"})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Half:
    """A graph in half precision, and why parts of it are not."""

    graph: onnx.ModelProto
    kept: Mapping[str, str]
    """The nodes that stay float32, each with the reason."""


def half(graph: onnx.ModelProto, *, keep: Collection[str] = (), ranges: Ranges | None = None) -> Half:
    """A copy of a bundle's float32 graph, with or without Q/DQ, whose network computes in float16.

    `keep`: names of nodes to leave in float32. `ranges`: the smallest and largest value of tensors, as measured; what
    comes near the end of half's range stays float32. Inputs and outputs keep their types. Nodes without a name get
    one; a graph with Q/DQ is raised to the first opset whose scales may be half. Raises ConvertError, UnknownName.
    """
    import onnx

    model = _prepared(graph)
    names = {node.name for node in model.graph.node}
    for name in keep:
        if name not in names:
            raise UnknownName("node", name, names)
    kept = _kept(model.graph, keep, ranges or {})
    _narrow(model, kept)
    del model.graph.value_info[:]
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConvertError(f"the float16 graph is not valid ONNX: {str(error).strip().splitlines()[0]}") from None
    return Half(graph=model, kept=kept)


def _prepared(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A plain copy in an opset that will do."""
    model = plain(graph)
    if opset_of(model) < SCALES_MAY_BE_HALF and any(node.op_type in QUANTISERS for node in model.graph.node):
        model = plain(in_opset(model, SCALES_MAY_BE_HALF))  # which adds nodes without a name
        model.ir_version = max(model.ir_version, 9)
    return model


# What stays float32.


def _kept(graph: onnx.GraphProto, keep: Collection[str], ranges: Ranges) -> dict[str, str]:
    parts = regions(graph)
    if not parts.weighted:
        raise ConvertError("expected a network with weights (Conv, Gemm, MatMul), got none; float16 gains nothing here")
    unfit = _unfit(graph, ranges)
    reasons: dict[str, str] = {}
    for place, node in enumerate(graph.node):
        misfit = next((unfit[name] for name in [*node.output, *node.input] if name in unfit), None)
        if place in parts.door:
            reasons[node.name] = "door"
        elif place in parts.tail:
            reasons[node.name] = "decode tail"
        elif node.name in keep:
            reasons[node.name] = "asked for"
        elif node.op_type in _FLOAT_OPS:
            reasons[node.name] = f"{node.op_type} needs float32"
        elif misfit is not None:
            reasons[node.name] = misfit
    _follow(graph, parts.constant, reasons)
    return {node.name: reasons[node.name] for node in graph.node if node.name in reasons}


def _unfit(graph: onnx.GraphProto, ranges: Ranges) -> dict[str, str]:
    """The tensors that half cannot hold, with the reason."""
    from onnx import TensorProto, numpy_helper

    found = {}
    for name, (low, high) in ranges.items():
        largest = max(abs(low), abs(high))
        if not largest <= _LARGEST / _MARGIN:
            found[name] = f"{name} reaches {largest:.3g}"
        elif 0 < largest < _NORMAL:
            found[name] = f"{name} stays below {largest:.3g}"
    biases = {
        name for node in graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm") for name in node.input[2:3]
    }
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            value = numpy_helper.to_array(tensor)
            value = value[np.isfinite(value)]
            largest = np.abs(value).max(initial=0)
            worst = np.abs(value - _rounded(value).astype(np.float32)).max(initial=0)
            if worst > _WORST * (max(largest, 1) if tensor.name in biases else largest):  # a bias may vanish
                found[tensor.name] = f"the largest value of {tensor.name} is {largest:.3g}"
    for node in graph.node:
        if node.op_type in _MOVES | _PICKS | QUANTISERS:
            reason = next((found[name] for name in node.input if name in found), None)
            found.update({name: reason for name in node.output if reason is not None and name not in ranges})
    return found


def _follow(graph: onnx.GraphProto, constant: frozenset[int], reasons: dict[str, str]) -> None:
    """Q/DQ go with the nodes that they are there for, so that a runtime can fuse them; other constants if one stays."""
    readers: dict[str, list[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.name)
    for place in reversed(range(len(graph.node))):
        node = graph.node[place]
        if node.name in reasons or not (place in constant or node.op_type in QUANTISERS):
            continue
        stay = [reader in reasons for name in node.output for reader in readers.get(name, [])]
        if stay and (all(stay) if node.op_type in QUANTISERS else any(stay)):
            reasons[node.name] = "read by a node that stays float32"


# The types.


def _narrow(model: onnx.ModelProto, kept: Collection[str]) -> None:
    """Make float tensors of nodes that are not kept half, with casts where the two meet."""
    from onnx import TensorProto, helper

    graph = model.graph
    floats = _float_tensors(model)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {port.name for port in graph.output}
    halves: set[str] = set()
    other: dict[str, str] = {}  # what a tensor is called in the other precision
    nodes: list[onnx.NodeProto] = []

    def cast(name: str, to: int, out: str) -> str:
        nodes.append(helper.make_node("Cast", [name], [out], name=out, to=to))
        return out

    for node in list(graph.node):
        takes, gives = _may_be_half(model, node)
        for i, name in enumerate(node.input):
            wanted = node.name not in kept and takes(i)
            if name not in floats or wanted == (name in halves):
                continue
            if name not in other and name in weights:
                other[name] = _half_weight(graph, weights[name])
            elif name not in other:
                to = TensorProto.FLOAT16 if wanted else TensorProto.FLOAT
                other[name] = cast(name, to, f"{name}/{'half' if wanted else 'float'}")
            node.input[i] = other[name]
        nodes.append(node)
        if node.name in kept:
            continue
        _narrow_attributes(node)
        for i, name in enumerate(node.output):
            if name not in floats or not gives(i):
                continue
            if name in outputs:
                node.output[i] = other[name] = f"{name}/half"
                cast(node.output[i], TensorProto.FLOAT, name)
            else:
                halves.add(name)
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input} | outputs
    left = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(left)


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    """Every tensor of float32. Raises ConvertError if a tensor's type cannot be known."""
    import onnx

    known = onnx.shape_inference.infer_shapes(model).graph
    kinds = {tensor.name: tensor.data_type for tensor in known.initializer}
    for port in [*known.value_info, *known.input, *known.output]:
        kinds[port.name] = port.type.tensor_type.elem_type
    for node in model.graph.node:
        for name in node.output:
            if name and not kinds.get(name):
                raise ConvertError(f"the type of {name!r} is not known: ONNX has no rule for {node.op_type}")
    return {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT}


def _may_be_half(model: onnx.ModelProto, node: onnx.NodeProto) -> tuple[Any, Any]:
    """Two functions of a place: whether ONNX lets that input, that output, of the node be float16."""
    from onnx import defs

    try:
        schema = defs.get_schema(node.op_type, opset_of(model), node.domain)
    except defs.SchemaError:  # not ONNX's own
        return (lambda i: False), (lambda i: False)

    def asks(ports: Any) -> Any:
        return lambda i: "tensor(float16)" in ports[min(i, len(ports) - 1)].types

    return asks(schema.inputs), asks(schema.outputs)


def _half_weight(graph: onnx.GraphProto, tensor: onnx.TensorProto) -> str:
    from onnx import numpy_helper

    name = f"{tensor.name}/half"
    graph.initializer.append(numpy_helper.from_array(_rounded(numpy_helper.to_array(tensor)), name))
    return name


def _narrow_attributes(node: onnx.NodeProto) -> None:
    """What a node that is not kept says about its own output's type."""
    from onnx import TensorProto, helper, numpy_helper

    for attribute in node.attribute:
        if attribute.name in ("to", "dtype", "output_dtype") and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        elif attribute.name == "value" and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(numpy_helper.from_array(_rounded(numpy_helper.to_array(attribute.t))))
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(helper.make_attribute("value", helper.make_tensor("", TensorProto.FLOAT16, [1], [0.0])))


def _rounded(value: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    """The nearest halves; what was not zero does not become it, as a scale must not."""
    with np.errstate(over="ignore", under="ignore"):
        near = value.astype(np.float16)
        return np.where(
            (near == 0) & (value != 0), np.copysign(np.finfo(np.float16).smallest_subnormal, value), near
        ).astype(np.float16)
