"""INT8 as OpenVINO is fast in it: a pair before each weighted operator, and none between it and its activation.

OpenVINO computes a convolution with the activation and the addition behind it in one kernel, in float inside, and
rounds once, to what the next convolution reads.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from edgezoo.reduce.int8.wiring import Ranges, Wiring, but_for, range_of, unsigned_grid

if TYPE_CHECKING:
    import onnx


def tensors(model: onnx.ModelProto) -> list[str]:
    """Those whose ranges `emit` asks for."""
    wiring = Wiring(model)
    return [*dict.fromkeys(node.input[place] for node, place in sites(wiring, wiring.layers))]


def layers(model: onnx.ModelProto) -> list[str]:
    """The nodes that `emit` can make integer."""
    return Wiring(model).layers


def emit(model: onnx.ModelProto, ranges: Ranges, floats: Collection[str]) -> onnx.ModelProto:
    """`model` with the weighted nodes in integers, but for `floats`. Raises ConvertError, UnknownName."""
    wiring = Wiring(model)
    integer = but_for(wiring.layers, floats)
    for node, place in sites(wiring, integer):
        name = node.input[place]
        wiring.read(node, place, name, unsigned_grid(*range_of(ranges, name)))
    for name in integer:
        wiring.quantise_weights(wiring.weighted[name])
    return wiring.finish()


def sites(wiring: Wiring, integer: Collection[str]) -> list[tuple[onnx.NodeProto, int]]:
    """The inputs that are read as bytes: what is multiplied by weights, and what is added to such a product."""
    found = []
    for node in wiring.network:
        if node.name in integer:
            found.append((node, 0))
        elif wiring.is_residual(node) and any(wiring.behind(name, integer) for name in node.input):
            found += [(node, 0), (node, 1)]
    return found
