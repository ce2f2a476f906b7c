"""Boxes and the placement of an image in a network's input. Coordinates are continuous: pixel i
spans [i, i+1), so that a box of a whole image W x H is (0, 0, W, H) in every frame of reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]  # (n, 4), x1 y1 x2 y2
Matrix = npt.NDArray[np.float64]  # (3, 3)


@dataclass(frozen=True, eq=False, slots=True)
class Placement:
    """Where the source image lies in the network's input, and the way home."""

    matrix: Matrix
    """3x3, from source pixels to network pixels; scale and shift only."""
    source_wh: tuple[int, int]

    @classmethod
    def of(cls, *, scale_xy: tuple[float, float], shift_xy: tuple[float, float], source_wh: tuple[int, int]) -> Placement:
        (sx, sy), (tx, ty) = scale_xy, shift_xy
        return cls(np.array([[sx, 0, tx], [0, sy, ty], [0, 0, 1]], np.float64), source_wh)

    def to_network(self, boxes_xyxy: Boxes) -> Boxes:
        """(n, 4) xyxy from source to network pixels."""
        scale, shift = self._axes()
        return (boxes_xyxy * scale + shift).astype(np.float32)

    def to_source(self, boxes_xyxy: Boxes) -> Boxes:
        """(n, 4) xyxy from network to source pixels, clipped to the image."""
        scale, shift = self._axes()
        width, height = self.source_wh
        home = (boxes_xyxy - shift) / scale
        return np.clip(home, 0, (width, height, width, height)).astype(np.float32)

    def _axes(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        scale, shift = np.diagonal(self.matrix)[:2], self.matrix[:2, 2]
        return np.concatenate([scale, scale]), np.concatenate([shift, shift])


def area(boxes_xyxy: Boxes) -> npt.NDArray[np.float32]:
    """(n,) areas; a box whose corners are swapped has none."""
    sides = np.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float32)


def iou(a_xyxy: Boxes, b_xyxy: Boxes) -> npt.NDArray[np.float32]:
    """Intersection over union of boxes that broadcast against each other, (..., 4) and (..., 4)."""
    shared = np.concatenate(
        [np.maximum(a_xyxy[..., :2], b_xyxy[..., :2]), np.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:])], axis=-1
    )
    intersection = area(shared)
    union = area(a_xyxy) + area(b_xyxy) - intersection
    return np.asarray(intersection / np.maximum(union, np.finfo(np.float32).tiny), np.float32)


def nms(boxes_xyxy: Boxes, scores: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], *, iou_above: float) -> npt.NDArray[np.int64]:
    """Greedy, class-aware non-maximum suppression; indices of the survivors, best score first.

    All classes advance together: each round takes the best box left of every class and removes what
    overlaps it, so the rounds are as many as the fullest class has survivors, not as many as there are boxes.
    Equal scores keep the order they came in.
    """
    order = np.lexsort((-scores, labels))
    columns, label = boxes_xyxy[order].T.copy(), labels[order]
    kept = []
    while order.size:
        starts = np.empty(label.size, bool)
        starts[0] = True
        np.not_equal(label[1:], label[:-1], out=starts[1:])
        heads = np.flatnonzero(starts)
        kept.append(order[heads])
        if heads.size == order.size:
            break
        best = columns[:, heads[np.cumsum(starts) - 1]]
        alive = _overlap(best, columns) <= iou_above
        alive[heads] = False
        order, label, columns = order[alive], label[alive], columns[:, alive]
    if not kept:
        return np.empty(0, np.int64)
    survivors = np.concatenate(kept)
    return survivors[np.lexsort((survivors, -scores[survivors]))]


def _overlap(a: Boxes, b: Boxes) -> npt.NDArray[np.float32]:
    """IoU of boxes held as columns (4, n): `iou` without the strides, for the inner loop of `nms`."""
    wide = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
    high = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
    intersection = np.maximum(wide, 0) * np.maximum(high, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    return np.asarray(intersection / np.maximum(union, np.finfo(np.float32).tiny), np.float32)
