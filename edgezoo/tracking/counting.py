"""What passes a line and what is in a zone, of one source. A box trembles, so both have a margin that grows with it:
between "surely here" and "surely there" nothing changes.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgezoo.geometry import Boxes
from edgezoo.results import Crossing, LineCount, Point, ZoneCount
from edgezoo.tracking.places import Line, Points, Size, Zone, anchors, on_picture

Ids: TypeAlias = npt.NDArray[np.int64]

MARGIN = 0.05  # of a box's mean side
SMALLEST_MARGIN_PX = 1.0


class LineCounter:
    """Counts every pass, so that in less out is how many are behind the line."""

    def __init__(self, line: Line, name: str) -> None:
        self._line, self._name = line, name
        self._a = self._b = (0.0, 0.0)
        self._sure: dict[int, tuple[bool, Point]] = {}  # the side a track surely was on at last, true: right; and where
        self._in = self._out = 0

    def resize(self, size_wh: Size, *, before_wh: Size, first_wh: Size) -> None:
        """The picture has another size than before; `first_wh` is the one that pixels were meant for."""
        self._a, self._b = map(_as_point, on_picture(self._line, size_wh=size_wh, first_wh=first_wh).tolist())
        wide, high = size_wh[0] / before_wh[0], size_wh[1] / before_wh[1]
        self._sure = {track_id: (side, (x * wide, y * high)) for track_id, (side, (x, y)) in self._sure.items()}

    def update(self, track_ids: Ids, boxes_xyxy: Boxes) -> LineCount:
        """With the tracks that are seen in this picture."""
        at = anchors(boxes_xyxy, self._line.anchor)
        (ax, ay), (bx, by) = self._a, self._b
        right = ((at[:, 1] - ay) * (bx - ax) - (at[:, 0] - ax) * (by - ay)) / math.hypot(bx - ax, by - ay)
        sure = np.flatnonzero(np.abs(right) > margins_px(boxes_xyxy))
        crossings: list[Crossing] = []
        sides, points = (right[sure] > 0).tolist(), map(_as_point, at[sure].tolist())
        for track_id, side, here in zip(track_ids[sure].tolist(), sides, points):
            before, there = self._sure.get(track_id, (side, here))
            self._sure[track_id] = side, here
            if before != side and _meets(there, here, self._a, self._b):
                crossings.append(Crossing(track_id, "in" if side else "out"))
        self._in += sum(crossing.direction == "in" for crossing in crossings)
        self._out += sum(crossing.direction == "out" for crossing in crossings)
        return LineCount(self._name, self._a, self._b, self._in, self._out, tuple(crossings))

    def forget(self, gone: set[int]) -> None:
        """These tracks never come back."""
        for track_id in gone:
            self._sure.pop(track_id, None)


class ZoneCounter:
    """Knows who is inside, and counts each track that ever was."""

    def __init__(self, zone: Zone, name: str) -> None:
        self._zone, self._name = zone, name
        self._corners: Points = np.zeros((0, 2))
        self._told: tuple[Point, ...] = ()
        self._deep_px = 0.0
        self._inside: set[int] = set()
        self._been: set[int] = set()
        self._entered = 0

    def resize(self, size_wh: Size, *, before_wh: Size, first_wh: Size) -> None:
        """The picture has another size than before; `first_wh` is the one that pixels were meant for."""
        self._corners = on_picture(self._zone, size_wh=size_wh, first_wh=first_wh)
        self._told = tuple(map(_as_point, self._corners.tolist()))
        self._deep_px = _reach_px(self._corners)

    def update(self, track_ids: Ids, boxes_xyxy: Boxes) -> ZoneCount:
        """With the tracks that are seen in this picture."""
        depth, margin = depths_px(self._corners, anchors(boxes_xyxy, self._zone.anchor)), margins_px(boxes_xyxy)
        deep = depth > np.minimum(margin, self._deep_px)  # a zone may be smaller than the margin of a large box
        self._inside.update(track_ids[deep].tolist())
        self._inside.difference_update(track_ids[depth < -margin].tolist())
        new = self._inside - self._been
        self._been |= new
        self._entered += len(new)
        return ZoneCount(self._name, self._told, len(self._inside), self._entered)

    def forget(self, gone: set[int]) -> None:
        """These tracks never come back."""
        self._inside -= gone
        self._been -= gone


Counter: TypeAlias = LineCounter | ZoneCounter


def margins_px(boxes_xyxy: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(n,) how far an anchor has to be from a border to be surely on one side."""
    sides = np.asarray(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], np.float64)
    return np.asarray(np.maximum(MARGIN * sides.mean(axis=1), SMALLEST_MARGIN_PX))


def depths_px(corners: Points, points: Points) -> npt.NDArray[np.float64]:
    """(n,) how far each point is from the border of a polygon; below 0 outside."""
    start, end = corners, np.roll(corners, -1, axis=0)
    way, to = end - start, points[:, None] - start
    share = (to * way).sum(axis=2) / np.maximum((way * way).sum(axis=1), np.finfo(np.float64).tiny)
    nearest = to - np.clip(share, 0, 1)[..., None] * way
    distance = np.hypot(nearest[..., 0], nearest[..., 1]).min(axis=1)
    x, y = points[:, :1], points[:, 1:]
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    rise = np.where(way[:, 1] == 0, 1, way[:, 1])
    left_of = x < start[:, 0] + (y - start[:, 1]) * way[:, 0] / rise
    inside = (spans & left_of).sum(axis=1) % 2 == 1
    return np.asarray(np.where(inside, distance, -distance))


def _reach_px(corners: Points) -> float:
    """A depth that a zone surely has somewhere: a quarter of the circle's radius, for a circle."""
    x, y = corners.T
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    around = float(np.hypot(*(np.roll(corners, -1, axis=0) - corners).T).sum())
    return area / around / 2


def _meets(p: Point, q: Point, a: Point, b: Point) -> bool:
    """Whether the way from p to q, on both sides of the line through a and b, leads between these two."""
    left, right = _turn(p, q, a), _turn(p, q, b)
    return left * right <= 0


def _turn(p: Point, q: Point, r: Point) -> float:
    return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])


def _as_point(xy: list[float]) -> Point:
    return xy[0], xy[1]
