"""INT8 as OpenVINO is fast in it: a pair before each weighted operator, and none between it and its activation.

OpenVINO computes a convolution with the activation and the addition behind it in one kernel, in float inside, and
rounds once, to what the next convolution reads.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from edgezoo.reduce.int8.wiring import Wiring, but_for, range_of, unsigned_grid
from edgezoo.reduce.regions import Ranges

if TYPE_CHECKING:
    import onnx


def tensors(model: onnx.ModelProto) -> list[str]:
    """Those whose ranges `emit` asks for."""
    wiring = Wiring(model)
    return [*dict.fromkeys(source for _, _, source in sites(wiring, wiring.layers))]


def layers(model: onnx.ModelProto) -> list[str]:
    """The nodes that `emit` can make integer."""
    return Wiring(model).layers


def emit(model: onnx.ModelProto, ranges: Ranges, floats: Collection[str]) -> onnx.ModelProto:
    """`model` with the weighted nodes in integers, but for `floats`. Raises ConvertError, UnknownName."""
    wiring = Wiring(model)
    integer = but_for(wiring.layers, floats)
    for node, place, source in sites(wiring, integer):
        wiring.read(node, place, node.input[place], unsigned_grid(*range_of(ranges, source)))
    for name in integer:
        wiring.quantise_weights(wiring.weighted[name])
    return wiring.finish()


def sites(wiring: Wiring, integer: Collection[str]) -> list[tuple[onnx.NodeProto, int, str]]:
    """The inputs that are read as bytes, each with the tensor whose range they take.

    They are what is multiplied by weights, what is added to such a product, and what a pool picks its maxima from for
    one: picking bytes is cheaper, and picks the same.
    """
    found = []
    for node in wiring.network:
        if node.name in integer:
            found.append((node, 0, node.input[0]))
            before = wiring.producer.get(node.input[0])
            if before is not None and before.op_type == "MaxPool":
                found.append((before, 0, node.input[0]))
        elif wiring.is_residual(node) and any(wiring.behind(name, integer) for name in node.input):
            found += [(node, place, node.input[place]) for place in range(2)]
    return found
