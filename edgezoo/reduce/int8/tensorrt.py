"""INT8 as TensorRT wants it: symmetric, pairs on the inputs of weighted operators, the rest in FP16.

After https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html: it moves a
pair across what commutes with it and fuses a convolution with the activation and the addition behind it, provided that
the other branch of the addition is quantised and that whatever meets in a Concat is on one grid.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from edgezoo.convert.opset import read_by_all
from edgezoo.errors import UnknownName
from edgezoo.reduce.half import half
from edgezoo.reduce.int8.wiring import Wiring, attribute, but_for, range_of, symmetric_grid
from edgezoo.reduce.regions import Ranges

if TYPE_CHECKING:
    import onnx

VERSIONS = ("8.6", "10", "11")
THIN = 16
"""Convolutions of fewer channels lose in INT8 more than they win."""


def tensors(model: onnx.ModelProto) -> list[str]:
    """Those whose ranges `emit` asks for."""
    wiring = Wiring(model)
    sources = [source for _, _, source in _sites(wiring, _wide(wiring))]
    sums = [name for node in wiring.network if wiring.is_residual(node) for name in node.input]
    return [*dict.fromkeys([*sources, *sums])]


def layers(model: onnx.ModelProto) -> list[str]:
    """The nodes that `emit` can make integer."""
    return _wide(Wiring(model))


def emit(
    model: onnx.ModelProto, ranges: Ranges, floats: Collection[str], *, oldest: str = "10", seen: Ranges | None = None
) -> onnx.ModelProto:
    """`model` with its wide convolutions in integers, but for `floats`, for TensorRT `oldest` and newer.

    `seen`: the ends of what tensors were seen to hold, which FP16 must hold too; without, `ranges`, that may be
    narrower.

    Raises ConvertError, UnknownName.
    """
    if oldest not in VERSIONS:
        raise UnknownName("TensorRT version", oldest, VERSIONS)
    wiring = Wiring(model, half_scales=oldest != "8.6")
    integer = but_for(_wide(wiring), floats)
    for node, place, source in _sites(wiring, integer):
        wiring.read(node, place, node.input[place], symmetric_grid(*range_of(ranges, source)))
    for name in integer:
        wiring.quantise_weights(wiring.weighted[name])
    graph = wiring.finish()
    return read_by_all(graph) if oldest == "8.6" else half(graph, ranges=ranges if seen is None else seen).graph


def _wide(wiring: Wiring) -> list[str]:
    """The layers that are worth it: no thin convolution, no product of a matrix and a vector."""
    return [name for name in wiring.layers if _is_wide(wiring, wiring.weighted[name])]


def _is_wide(wiring: Wiring, node: onnx.NodeProto) -> bool:
    if node.op_type not in ("Conv", "ConvTranspose"):
        return False
    one, other = wiring.constants[node.input[1]].shape[:2]
    return bool(min(one, other * attribute(node, "group", 1)) >= THIN)


def _sites(wiring: Wiring, integer: Collection[str]) -> Iterator[tuple[onnx.NodeProto, int, str]]:
    """Inputs that are read as bytes, each with the tensor whose range they take."""
    wanted = set(integer)
    for node in wiring.network:
        if node.name in wanted:
            yield node, 0, node.input[0]
        elif wiring.is_residual(node):
            if (skip := _skip(wiring, node, wanted)) is not None:
                yield node, skip, node.input[skip]
        elif (
            node.op_type == "Concat"
            and all(name in wiring.ranks for name in node.input)
            and any(reader.name in wanted for reader in wiring.readers[node.output[0]])
        ):
            yield from ((node, place, node.output[0]) for place in range(len(node.input)))


def _skip(wiring: Wiring, node: onnx.NodeProto, integer: Collection[str]) -> int | None:
    """Which branch of a sum goes around the integer convolution that the sum is fused with; None: it is with none."""
    for skip in range(2):
        around, through = node.input[skip], node.input[1 - skip]
        made_of_it = around == through or any(through in each.input for each in wiring.upstream(around))
        if not made_of_it and wiring.behind(through, integer):
            return skip
    return None
