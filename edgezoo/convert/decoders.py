"""Exits: how a raw network's outputs become the task's. A card names one of these.

Each is written twice: `emit` as nodes of the graph, `oracle` in NumPy. The oracle reads what the original
answers, so that a conversion is held against arithmetic of its own and not against itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.backends import Arrays
from edgezoo.cards import Decoder
from edgezoo.convert.graph import Nodes
from edgezoo.errors import ConvertError, UnknownName

Raw = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """One decoder."""

    task: str
    about: str
    emit: Callable[[Nodes, Sequence[str], Decoder, tuple[int, int]], None]
    """(nodes, raw outputs, the card's decoder, size_wh) -> adds nodes that end in the task's outputs."""
    oracle: Callable[[Raw, Decoder, tuple[int, int]], Arrays]
    outputs: int = 1
    """How many raw outputs it takes."""


def exit_of(decoder: Decoder) -> Exit:
    """The exit that a card names. Raises UnknownName."""
    if decoder.name not in EXITS:
        raise UnknownName("decoder", decoder.name, EXITS)
    return EXITS[decoder.name]


def _logits(nodes: Nodes, raw: Sequence[str], decoder: Decoder, size_wh: tuple[int, int]) -> None:
    nodes.add("Softmax", raw[0], out="scores", axis=1)


def _logits_oracle(raw: Raw, decoder: Decoder, size_wh: tuple[int, int]) -> Arrays:
    powers = np.exp(raw[0] - raw[0].max(axis=1, keepdims=True))
    return {"scores": powers / powers.sum(axis=1, keepdims=True)}


def _probabilities(nodes: Nodes, raw: Sequence[str], decoder: Decoder, size_wh: tuple[int, int]) -> None:
    nodes.add("Identity", raw[0], out="scores")


def _probabilities_oracle(raw: Raw, decoder: Decoder, size_wh: tuple[int, int]) -> Arrays:
    return {"scores": raw[0]}


def yolox_cells(
    strides: Sequence[int], size_wh: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Per candidate, its cell (A, 2) as column and row, and its stride (A, 1); levels in order, rows first."""
    cells, sizes = [], []
    for stride in strides:
        columns, rows = np.meshgrid(np.arange(size_wh[0] // stride), np.arange(size_wh[1] // stride))
        cells.append(np.stack([columns, rows], axis=-1).reshape(-1, 2))
        sizes.append(np.full((columns.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def _yolox(nodes: Nodes, raw: Sequence[str], decoder: Decoder, size_wh: tuple[int, int]) -> None:
    cells, strides = yolox_cells(decoder.strides, size_wh)
    shift = nodes.add("Slice", raw[0], *nodes.ints([0], [2], [2]))
    size = nodes.add("Slice", raw[0], *nodes.ints([2], [4], [2]))
    center = nodes.add("Mul", nodes.add("Add", shift, nodes.constant(cells)), nodes.constant(strides))
    half = nodes.add("Mul", nodes.add("Exp", size), nodes.constant(strides / 2))
    nodes.add("Concat", nodes.add("Sub", center, half), nodes.add("Add", center, half), out="boxes", axis=2)
    objectness = nodes.add("Slice", raw[0], *nodes.ints([4], [5], [2]))
    classes = nodes.add("Slice", raw[0], *nodes.ints([5], [_END], [2]))
    nodes.add("Mul", objectness, classes, out="scores")


def _yolox_oracle(raw: Raw, decoder: Decoder, size_wh: tuple[int, int]) -> Arrays:
    cells, strides = yolox_cells(decoder.strides, size_wh)
    if raw[0].shape[1] != len(cells):
        raise ConvertError(
            f"yolox-raw: expected {len(cells)} candidates for {size_wh[0]}x{size_wh[1]} px and strides "
            f"{decoder.strides}, got {raw[0].shape[1]}; check size_wh and strides in the card"
        )
    center, size = (raw[0][..., :2] + cells) * strides, np.exp(raw[0][..., 2:4]) * strides
    boxes = np.concatenate([center - size / 2, center + size / 2], axis=-1)
    return {"boxes": boxes, "scores": raw[0][..., 4:5] * raw[0][..., 5:]}


def _boxes_scores(nodes: Nodes, raw: Sequence[str], decoder: Decoder, size_wh: tuple[int, int]) -> None:
    if decoder.boxes == "xyxy":
        nodes.add("Identity", raw[0], out="boxes")
    else:
        _corners(nodes, raw[0])
    nodes.add("Identity", raw[1], out="scores")


def _boxes_scores_oracle(raw: Raw, decoder: Decoder, size_wh: tuple[int, int]) -> Arrays:
    return {"boxes": raw[0] if decoder.boxes == "xyxy" else _corners_oracle(raw[0]), "scores": raw[1]}


def _yolov8(nodes: Nodes, raw: Sequence[str], decoder: Decoder, size_wh: tuple[int, int]) -> None:
    rows = nodes.add("Transpose", raw[0], perm=[0, 2, 1])
    _corners(nodes, nodes.add("Slice", rows, *nodes.ints([0], [4], [2])))
    nodes.add("Slice", rows, *nodes.ints([4], [_END], [2]), out="scores")


def _yolov8_oracle(raw: Raw, decoder: Decoder, size_wh: tuple[int, int]) -> Arrays:
    rows = raw[0].transpose(0, 2, 1)
    return {"boxes": _corners_oracle(rows[..., :4]), "scores": np.ascontiguousarray(rows[..., 4:])}


def _corners(nodes: Nodes, boxes_cxcywh: str) -> None:
    center = nodes.add("Slice", boxes_cxcywh, *nodes.ints([0], [2], [2]))
    half = nodes.add(
        "Mul", nodes.add("Slice", boxes_cxcywh, *nodes.ints([2], [4], [2])), nodes.constant(np.float32(0.5))
    )
    nodes.add("Concat", nodes.add("Sub", center, half), nodes.add("Add", center, half), out="boxes", axis=2)


def _corners_oracle(boxes_cxcywh: npt.NDArray[Any]) -> npt.NDArray[Any]:
    center, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return np.concatenate([center - half, center + half], axis=-1)


_END = np.iinfo(np.int32).max

EXITS = {
    "logits": Exit(task="classify", about="(N, C) before the softmax", emit=_logits, oracle=_logits_oracle),
    "probabilities": Exit(task="classify", about="(N, C) after it", emit=_probabilities, oracle=_probabilities_oracle),
    "yolox-raw": Exit(
        task="detect",
        about="(N, A, 5 + C): centre and log size per cell, objectness and class scores through a sigmoid",
        emit=_yolox,
        oracle=_yolox_oracle,
    ),
    "yolov8-raw": Exit(
        task="detect",
        about="(N, 4 + C, A): centre and size in network pixels, class scores through a sigmoid",
        emit=_yolov8,
        oracle=_yolov8_oracle,
    ),
    "boxes-scores": Exit(
        task="detect",
        about="(N, A, 4) in network pixels and (N, A, C)",
        emit=_boxes_scores,
        oracle=_boxes_scores_oracle,
        outputs=2,
    ),
}
