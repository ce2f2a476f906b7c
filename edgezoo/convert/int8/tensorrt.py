"""INT8 as TensorRT wants it: symmetric, pairs on the inputs of weighted operators, the rest in FP16.

After https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html: it moves a
pair across what commutes with it and fuses a convolution with the activation and the addition behind it, provided that
the other branch of the addition is quantised and that whatever meets in a Concat is on one grid.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from edgezoo.convert.half import half
from edgezoo.convert.int8.wiring import Ranges, Wiring, output_axis, symmetric_grid
from edgezoo.errors import ConvertError, UnknownName

if TYPE_CHECKING:
    import onnx

VERSIONS = ("8.6", "10", "11")
THIN = 16
"""Convolutions of fewer channels lose in INT8 more than they win."""
_OLD_OPSET = 17  # the newest that the parser of 8.6 reads


def tensors(model: onnx.ModelProto) -> list[str]:
    """Those whose ranges `emit` asks for."""
    wiring = Wiring(model)
    return [*dict.fromkeys(source for _, _, source in _sites(wiring, _wide(wiring, ())))]


def layers(model: onnx.ModelProto) -> list[str]:
    """The nodes that `emit` can make integer."""
    return _wide(Wiring(model), ())


def emit(model: onnx.ModelProto, ranges: Ranges, floats: Collection[str], *, oldest: str = "10") -> onnx.ModelProto:
    """`model` with its wide convolutions in integers, but for `floats`, for TensorRT `oldest` and newer.

    Raises ConvertError, UnknownName.
    """
    if oldest not in VERSIONS:
        raise UnknownName("TensorRT version", oldest, VERSIONS)
    wiring = Wiring(model, half_scales=oldest != "8.6")
    integer = _wide(wiring, floats)
    for node, place, source in _sites(wiring, integer):
        wiring.read(node, place, node.input[place], symmetric_grid(*ranges[source]))
    for name in integer:
        wiring.quantise_weights(wiring.weighted[name])
    graph = wiring.finish()
    return _old(graph) if oldest == "8.6" else half(graph, ranges=ranges).graph


def _can_be_integer(wiring: Wiring, node: onnx.NodeProto) -> bool:
    """Whether it is worth it: no thin convolution, no product of a matrix and a vector."""
    if node.op_type not in ("Conv", "ConvTranspose"):
        return False
    weights = wiring.constants[node.input[1]]
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    other = weights.shape[1 - output_axis(node)] * groups
    own = weights.shape[output_axis(node)] * (groups if node.op_type == "ConvTranspose" else 1)
    return bool(min(other, own) >= THIN)


def _wide(wiring: Wiring, floats: Collection[str]) -> list[str]:
    return [name for name, node in wiring.weighted.items() if name not in floats and _can_be_integer(wiring, node)]


def _sites(wiring: Wiring, integer: Collection[str]) -> Iterator[tuple[onnx.NodeProto, int, str]]:
    """Inputs that are read as bytes, each with the tensor whose range they take."""
    wanted = set(integer)
    order = {name: place for place, node in enumerate(wiring.model.graph.node) for name in node.output}
    for node in wiring.network:
        if node.name in wanted:
            yield node, 0, node.input[0]
        elif node.op_type == "Add" and all(name in wiring.producer for name in node.input):
            skip = min(range(2), key=lambda place: order[node.input[place]])
            yield node, skip, node.input[skip]
        elif node.op_type == "Concat" and any(reader.name in wanted for reader in wiring.readers[node.output[0]]):
            yield from ((node, place, node.output[0]) for place in range(len(node.input)))


def _old(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in the opset that TensorRT 8.6 reads."""
    from onnx import version_converter

    opset = next(entry for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))
    if opset.version <= _OLD_OPSET:
        return graph
    try:
        old = version_converter.convert_version(graph, _OLD_OPSET)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ConvertError(f"the graph cannot go back to opset {_OLD_OPSET} for TensorRT 8.6: {reason}") from None
    for node in old.graph.node:  # left behind by the converter, though no opset so old knows it
        kept = [attribute for attribute in node.attribute if attribute.name != "noop_with_empty_axes"]
        del node.attribute[:]
        node.attribute.extend(kept)
    old.ir_version = min(old.ir_version, 8)
    return old
