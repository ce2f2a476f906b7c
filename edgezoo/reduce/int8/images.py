"""The image as it comes: bytes are a quantised tensor already, and the door's arithmetic goes into the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgezoo.reduce.int8.wiring import Grid, Wiring, attribute

if TYPE_CHECKING:
    import onnx

_MOST_AT_THE_BORDER = 0.25  # of a standard deviation, by which a border padded in bytes may differ from one of zeros


@dataclass(frozen=True, slots=True)
class _Door:
    """The arithmetic between the image and the network: `(pixel - mean) * factor`, channel by channel."""

    order: npt.NDArray[np.int64]
    """Which channel of the image each channel of the network is."""
    mean: npt.NDArray[np.float64]
    factor: npt.NDArray[np.float64]


def take_bytes(wiring: Wiring, node: onnx.NodeProto) -> tuple[str, Grid] | None:
    """Let a weighted node that reads the door's output read the image's own bytes: their tensor and their grid.

    Its weights and bias are changed to those that make the same of it. None where it reads anything else, or where
    bytes cannot say what zeros around the image say.
    """
    door = _door(wiring, node.input[0])
    if door is None or node.op_type != "Conv" or attribute(node, "group", 1) != 1:
        return None
    if len(wiring.readers[node.input[0]]) > 1:  # they would read it in floats, next to the bytes
        return None
    grid = Grid(1.0, int(np.clip(np.round(door.mean.mean()), 0, 255)), signed=False)
    shift = (grid.zero - door.mean) * door.factor  # what the network would see where there is a zero of this grid
    pads = attribute(node, "pads", []) or attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    if np.any(pads) and np.abs(shift).max() > _MOST_AT_THE_BORDER:
        return None
    weights = wiring.constants[node.input[1]].astype(np.float64)
    bias = wiring.constants[node.input[2]] if len(node.input) > 2 and node.input[2] else 0.0
    folded = np.empty_like(weights)
    folded[:, door.order] = weights * door.factor.reshape(1, -1, 1, 1)
    _replace(wiring, node, 1, folded)
    _replace(wiring, node, 2, bias + (weights * shift.reshape(1, -1, 1, 1)).sum(axis=(1, 2, 3)))
    name = "images/bytes"
    if name not in wiring.bytes:
        wiring.add("Transpose", [wiring.model.graph.input[0].name], name, perm=[0, 3, 1, 2])
        wiring.bytes.add(name)
    return name, grid


def _replace(wiring: Wiring, node: onnx.NodeProto, place: int, value: npt.NDArray[Any]) -> None:
    name = f"{node.name}/of_bytes/{place}"
    wiring.constant(name, value.astype(np.float32))
    wiring.constants[name] = value.astype(np.float32)
    if place < len(node.input):
        node.input[place] = name
    else:
        node.input.append(name)


def _door(wiring: Wiring, tensor: str) -> _Door | None:
    """What is done to `images` until it is `tensor`, read off the nodes; None where that is anything else."""
    order, mean, factor = np.arange(3), np.zeros(3), np.ones(3)
    nodes = []
    while (node := wiring.producer.get(tensor)) is not None:
        nodes.append(node)
        tensor = node.input[0]
    if tensor != wiring.model.graph.input[0].name:
        return None
    laid_out = False
    for node in reversed(nodes):
        constant = wiring.constants.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type == "Transpose":
            laid_out = attribute(node, "perm", []) == [0, 3, 1, 2]
        elif node.op_type == "Gather" and _is_an_order(constant) and attribute(node, "axis", 0) == 1:
            order, mean, factor = order[constant], mean[constant], factor[constant]
        elif node.op_type in ("Sub", "Mul") and (value := _of_channels(constant, laid_out)) is not None:
            mean, factor = (mean + value / factor, factor) if node.op_type == "Sub" else (mean, factor * value)
        elif node.op_type != "Cast":
            return None
    return _Door(order, mean, factor) if laid_out else None


def _is_an_order(constant: npt.NDArray[Any] | None) -> bool:
    return constant is not None and sorted(constant.reshape(-1)) == [0, 1, 2]


def _of_channels(constant: npt.NDArray[Any] | None, laid_out: bool) -> npt.NDArray[np.float64] | None:
    """A number for each channel of an image; None where a constant is more than that."""
    axis = -3 if laid_out else -1
    if constant is None or constant.size != (constant.shape[axis] if constant.ndim >= -axis else 1):
        return None
    return np.broadcast_to(constant.reshape(-1), 3).astype(np.float64)
