"""Boxes and the placement of an image in a network's input. Coordinates are continuous: pixel i
spans [i, i+1), so that a box of a whole image W x H is (0, 0, W, H) in every frame of reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    def of(
        cls, *, scale_xy: tuple[float, float], shift_xy: tuple[float, float], source_wh: tuple[int, int]
    ) -> Placement:
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


def nms(
    boxes_xyxy: Boxes, scores: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], *, iou_above: float
) -> npt.NDArray[np.int64]:
    """Greedy, class-aware non-maximum suppression; indices of the survivors, best score first.

    Equal scores keep the order they came in. Two ways, both over boxes sorted by class and score: a round
    lets the best box left of every class remove what overlaps it, all classes at once, and pays while it
    removes much; once it does not, what is left is sparse and all pairs within a class are compared.
    """
    order = np.lexsort((-scores, labels))
    boxes = _Columns.of(boxes_xyxy[order], labels[order], iou_above)
    kept = [order[:0]]
    while order.size:
        starts = boxes.class_starts()
        heads = np.flatnonzero(starts)
        gone = boxes.overlap(heads[np.cumsum(starts) - 1], slice(None))
        gone[heads] = True
        left = np.flatnonzero(~gone)
        kept.append(order[heads])
        removed = order.size - heads.size - left.size
        order, boxes = order[left], boxes.take(left)
        if removed < left.size // 4:
            kept.append(order[boxes.survivors()])
            break
    winners = np.concatenate(kept)
    return winners[np.lexsort((winners, -scores[winners]))]


@dataclass(frozen=True, eq=False, slots=True)
class _Columns:
    """Boxes sorted by class, then by falling score, laid out for arithmetic over many pairs."""

    low: npt.NDArray[np.float32]  # (2, n), x1 y1
    high: npt.NDArray[np.float32]  # (2, n), x2 y2
    share: npt.NDArray[np.float32]  # (n,), the area times the limit
    labels: npt.NDArray[np.int64]
    limit: np.float32

    @classmethod
    def of(cls, boxes_xyxy: Boxes, labels: npt.NDArray[np.int64], iou_above: float) -> _Columns:
        low, high, limit = boxes_xyxy[:, :2].T.copy(), boxes_xyxy[:, 2:].T.copy(), np.float32(iou_above)
        sides = np.maximum(high - low, 0)
        return cls(low, high, sides[0] * sides[1] * limit, labels, limit)

    def take(self, chosen: npt.NDArray[np.int64]) -> _Columns:
        low, high = self.low.take(chosen, axis=1), self.high.take(chosen, axis=1)
        return _Columns(low, high, self.share[chosen], self.labels[chosen], self.limit)

    def class_starts(self) -> npt.NDArray[np.bool_]:
        starts = np.ones(self.labels.size, bool)
        np.not_equal(self.labels[1:], self.labels[:-1], out=starts[1:])
        return starts

    def overlap(self, a: Any, b: Any) -> npt.NDArray[np.bool_]:
        """Whether boxes `a` and `b` overlap by more than the limit: shared / (A + B - shared) > limit, undivided."""
        sides = np.minimum(self.high[:, a], self.high[:, b])
        sides -= np.maximum(self.low[:, a], self.low[:, b])
        np.maximum(sides, 0, out=sides)
        shared = sides[0] * sides[1]
        shared *= 1 + self.limit
        return np.asarray(shared > self.share[a] + self.share[b])

    def survivors(self) -> npt.NDArray[np.bool_]:
        """Which boxes greedy suppression keeps: those that no kept better one of their class overlaps."""
        count = self.labels.size
        largest_class = np.diff(np.flatnonzero(self.class_starts()), append=count).max(initial=0)
        better, worse = [], []
        for distance in range(1, largest_class):
            ahead, behind = slice(None, -distance), slice(distance, None)
            pairs = np.flatnonzero(self.overlap(ahead, behind) & (self.labels[ahead] == self.labels[behind]))
            better.append(pairs)
            worse.append(pairs + distance)
        kept = np.ones(count, bool)
        if better:
            above, below = np.concatenate(better), np.concatenate(worse)
            settled = False
            while not settled:  # after k turns every chain of k overlapping boxes is settled
                turn = np.ones(count, bool)
                turn[below[kept[above]]] = False
                settled, kept = bool((turn == kept).all()), turn
        return kept
