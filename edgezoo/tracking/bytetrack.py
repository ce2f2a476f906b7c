"""Stable ids for the detections of one source: Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every
Detection Box", ECCV 2022.

What scores well is paired with the tracks that are expected there; what scores badly, as objects do that are half
hidden, may go on a track that is left, but never begins one. What differs from the authors' code:
- Time is in seconds, and a track moves by the time that has passed: frames of a live camera come at no even pace.
- A bad score may bring back a track that was hidden, too: in simulated crowds half as many ids change.
- Where a box is decides alone, not where it is times how it scores: networks for small devices score low.
- Of two tracks in one place neither is removed, for one may walk behind the other. But none begins where one is seen.
- A box of another class overlaps half as much as it does, where theirs are of one class.
- A bad score needs an overlap of 0.3, not 0.5; what is hidden is kept for two seconds, not for thirty frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.errors import RequestError
from edgezoo.geometry import Boxes
from edgezoo.results import UNTRACKED, Detections
from edgezoo.tracking.assignment import match
from edgezoo.tracking.motion import Motion

Ids = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]

SCORE = 0.25  # as a detector's own threshold
LOWEST_SCORE = 0.1
KEEP_S = 2.0
_STRONG_IOU, _WEAK_IOU, _SECOND_IOU, _DOUBLE_IOU = 0.2, 0.3, 0.3, 0.85
_OTHER_CLASS = 0.5  # a box of another class is as good as one that overlaps half as much: a van is a truck at times


@dataclass(eq=False, slots=True)
class _Tracks:
    """What is known of n objects, oldest first."""

    motion: Motion
    ids: Ids
    """UNTRACKED until the object is seen a second time."""
    class_ids: Ids
    seen_s: npt.NDArray[np.float64]
    born_xyxy: npt.NDArray[np.float64]
    """(n, 4) where each was seen first, in pixels of the picture of now."""

    @classmethod
    def of(cls, boxes_xyxy: npt.NDArray[Any], class_ids: Ids, at_s: float) -> _Tracks:
        count = len(boxes_xyxy)
        ids, now = np.full(count, UNTRACKED, np.int64), np.full(count, at_s)
        return cls(Motion.of(boxes_xyxy), ids, class_ids, now, np.array(boxes_xyxy, np.float64))

    def __getitem__(self, index: Any) -> _Tracks:
        return _Tracks(
            self.motion[index],
            self.ids[index],
            self.class_ids[index],
            self.seen_s[index],
            self.born_xyxy[index],
        )

    def join(self, other: _Tracks) -> _Tracks:
        return _Tracks(
            self.motion.join(other.motion),
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.class_ids, other.class_ids]),
            np.concatenate([self.seen_s, other.seen_s]),
            np.concatenate([self.born_xyxy, other.born_xyxy]),
        )


class Tracker:
    """`tracker.update(found, at_s=frame.pts_s, size_wh=(width, height))` answers an id for each detection.

    An object gets its id, 1 or above and never used again, when it is seen for the second time, in the first frame at
    once; UNTRACKED is what has none. `score`: what begins a track. `keep_s`: how long an object that is not seen keeps
    its id.
    """

    def __init__(self, *, score: float = SCORE, keep_s: float = KEEP_S) -> None:
        if not 0 <= score <= 1:
            raise RequestError(f"expected a score within 0..1, got {score:g}")
        if not 0 <= keep_s < float("inf"):
            raise RequestError(f"expected keep_s of 0 or more seconds, got {keep_s:g}")
        self._score, self._keep_s = score, keep_s
        self._tracks = _Tracks.of(np.empty((0, 4)), np.empty(0, np.int64), 0.0)
        self._at_s: float | None = None
        self._size_wh = (0, 0)
        self._given = 0
        self.named: tuple[Ids, Boxes] = np.empty(0, np.int64), np.empty((0, 4), np.float32)
        """Ids that the last update gave to what it saw for the second time, and the boxes of the first time."""

    @property
    def alive(self) -> Ids:
        """The ids that may still be seen again."""
        ids = self._tracks.ids
        return np.asarray(ids[ids != UNTRACKED])

    def update(self, found: Detections, *, at_s: float, size_wh: tuple[int, int]) -> Ids:
        """(n,) ids of the detections of a picture of `size_wh`, taken at `at_s`, which never goes back."""
        first = self._at_s is None
        self._advance(at_s, size_wh)
        tracks, scores = self._tracks, found.scores
        finite = np.isfinite(found.boxes_xyxy).all(axis=1, keepdims=True)
        boxes = np.where(finite, found.boxes_xyxy, 0)
        real = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        strong = np.flatnonzero(real & (scores >= self._score))
        weak = np.flatnonzero(real & (scores < self._score) & (scores >= LOWEST_SCORE))
        overlap = overlaps(tracks.motion.boxes_xyxy(), boxes)
        overlap[tracks.class_ids[:, None] != found.class_ids] *= _OTHER_CLASS
        owner = np.full(len(found), -1)

        def pair(rows: Rows, chosen: Rows, least: float) -> tuple[Rows, Rows]:
            """Let detections `chosen` go on tracks `rows`; what is left of both."""
            if not (rows.size and chosen.size):
                return rows, chosen
            took, given = match(overlap[rows[:, None], chosen] - least)
            owner[chosen[given]] = rows[took]
            rows_left, chosen_left = np.ones(rows.size, bool), np.ones(chosen.size, bool)
            rows_left[took] = chosen_left[given] = False
            return rows[rows_left], chosen[chosen_left]

        known = tracks.ids != UNTRACKED
        left, fresh = pair(np.flatnonzero(known), strong, _STRONG_IOU)
        pair(left, weak, _WEAK_IOU)
        _, fresh = pair(np.flatnonzero(~known), fresh, _SECOND_IOU)

        seen = np.flatnonzero(owner >= 0)
        self._see(owner[seen], boxes[seen], found.class_ids[seen], at_s)
        missed = np.ones(len(tracks.ids), bool)
        missed[owner[seen]] = False
        tracks.motion.keep_height(np.flatnonzero(missed))
        ids = np.full(len(found), UNTRACKED, np.int64)
        ids[seen] = tracks.ids[owner[seen]]

        if (gone := missed & ~known).any():
            self._tracks = tracks[~gone]
        if fresh.size:
            fresh = _beginners(boxes, fresh, seen)
            born = _Tracks.of(boxes[fresh], found.class_ids[fresh], at_s)
            if first:
                born.ids = ids[fresh] = self._new_ids(len(fresh))
            self._tracks = self._tracks.join(born)
        return ids

    def _advance(self, at_s: float, size_wh: tuple[int, int]) -> None:
        """To the time and the size of this picture; what was hidden for too long is given up."""
        motion = self._tracks.motion
        if self._at_s is not None:
            if size_wh != self._size_wh:
                wide, high = size_wh[0] / self._size_wh[0], size_wh[1] / self._size_wh[1]
                motion.scale(wide, high)
                self._tracks.born_xyxy *= (wide, high, wide, high)
            motion.advance(max(at_s - self._at_s, 0.0))
        self._at_s, self._size_wh = at_s, size_wh
        young = at_s - self._tracks.seen_s <= self._keep_s
        if not young.all():
            self._tracks = self._tracks[young]

    def _see(self, rows: Rows, boxes_xyxy: npt.NDArray[Any], class_ids: Ids, at_s: float) -> None:
        tracks = self._tracks
        tracks.motion.correct(rows, boxes_xyxy)
        tracks.class_ids[rows] = class_ids
        tracks.seen_s[rows] = at_s
        named = np.sort(rows[tracks.ids[rows] == UNTRACKED])
        tracks.ids[named] = self._new_ids(len(named))
        self.named = tracks.ids[named], tracks.born_xyxy[named].astype(np.float32)

    def _new_ids(self, count: int) -> Ids:
        self._given += count
        return np.arange(self._given - count + 1, self._given + 1, dtype=np.int64)


def _beginners(boxes_xyxy: npt.NDArray[Any], fresh: Rows, seen: Rows) -> Rows:
    """`fresh` without what is in the very place of one that was `seen` or stands before it: one thing, two names."""
    double = overlaps(boxes_xyxy[fresh], boxes_xyxy[np.concatenate([seen, fresh])]) > _DOUBLE_IOU
    double[:, seen.size :] = np.tril(double[:, seen.size :], -1)
    return np.asarray(fresh[~double.any(axis=1)])


def overlaps(a_xyxy: npt.NDArray[Any], b_xyxy: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(n, m) intersection over union of each of n boxes with each of m; in columns, five times as fast as in rows."""
    ax1, ay1, ax2, ay2 = np.asarray(a_xyxy, np.float64).T[:, :, None]
    bx1, by1, bx2, by2 = np.asarray(b_xyxy, np.float64).T
    wide = np.minimum(ax2, bx2)
    wide -= np.maximum(ax1, bx1)
    high = np.minimum(ay2, by2)
    high -= np.maximum(ay1, by1)
    shared = np.maximum(wide, 0, out=wide)
    shared *= np.maximum(high, 0, out=high)
    total = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
    return np.asarray(np.divide(shared, total, out=np.zeros_like(shared), where=total > 0))
