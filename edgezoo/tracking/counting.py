"""What passes a line and what is in a zone, of one source. A box trembles, so both have a margin that grows with it:
between "surely here" and "surely there" nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.results import Crossing, LineCount, Point, ZoneCount
from edgezoo.tracking.places import Line, Points, Zone, anchors

MARGIN = 0.05  # of a box's mean side
SMALLEST_MARGIN_PX = 1.0


@dataclass(eq=False, slots=True)
class LineCounter:
    """Counts each track once for each direction."""

    line: Line
    name: str
    _sure: dict[int, tuple[bool, Point]] = field(default_factory=dict)
    """On which side a track surely was at last, and where; true: on the right."""
    _counted: dict[int, set[str]] = field(default_factory=dict)
    _in: int = 0
    _out: int = 0

    def update(self, ends: Points, track_ids: npt.NDArray[np.int64], boxes_xyxy: npt.NDArray[Any]) -> LineCount:
        """The tracks seen in this picture, on which the line runs between `ends`."""
        (ax, ay), (bx, by) = ends.tolist()
        at = anchors(boxes_xyxy, self.line.anchor)
        way = np.array([bx - ax, by - ay])
        length = float(np.hypot(*way))
        right = ((at[:, 1] - ay) * way[0] - (at[:, 0] - ax) * way[1]) / length
        crossings: list[Crossing] = []
        sure = np.flatnonzero(np.abs(right) > margins_px(boxes_xyxy))
        for track_id, side, x, y in zip(
            track_ids[sure].tolist(), (right[sure] > 0).tolist(), *at[sure].T.tolist(), strict=True
        ):
            before = self._sure.get(track_id)
            self._sure[track_id] = side, (x, y)
            if before is not None and before[0] != side and _meets(before[1], (x, y), (ax, ay), (bx, by)):
                crossing = Crossing(track_id, "in" if side else "out")
                counted = self._counted.setdefault(track_id, set())
                if crossing.direction not in counted:
                    counted.add(crossing.direction)
                    crossings.append(crossing)
        self._in += sum(crossing.direction == "in" for crossing in crossings)
        self._out += sum(crossing.direction == "out" for crossing in crossings)
        return LineCount(self.name, (ax, ay), (bx, by), self._in, self._out, tuple(crossings))

    def rescale(self, x: float, y: float) -> None:
        """The picture changed its size by these factors."""
        self._sure = {track_id: (side, (px * x, py * y)) for track_id, (side, (px, py)) in self._sure.items()}

    def forget(self, gone: set[int]) -> None:
        """These tracks never come back."""
        for track_id in gone:
            self._sure.pop(track_id, None)
            self._counted.pop(track_id, None)


@dataclass(eq=False, slots=True)
class ZoneCounter:
    """Knows who is inside, and counts each track that ever was."""

    zone: Zone
    name: str
    _inside: set[int] = field(default_factory=set)
    _been: set[int] = field(default_factory=set)
    _entered: int = 0

    def update(self, corners: Points, track_ids: npt.NDArray[np.int64], boxes_xyxy: npt.NDArray[Any]) -> ZoneCount:
        """The tracks seen in this picture, on which the zone has these corners."""
        depth = depths_px(corners, anchors(boxes_xyxy, self.zone.anchor))
        margin = margins_px(boxes_xyxy)
        deep = depth > np.minimum(
            margin, _reach_px(corners)
        )  # of a small zone nothing may be deep enough for a large box
        self._inside.update(track_ids[deep].tolist())
        self._inside.difference_update(track_ids[depth < -margin].tolist())
        new = self._inside - self._been
        self._been |= new
        self._entered += len(new)
        told = tuple((x, y) for x, y in corners.tolist())
        return ZoneCount(self.name, told, len(self._inside), self._entered)

    def rescale(self, x: float, y: float) -> None:
        """Nothing that it knows is in pixels."""

    def forget(self, gone: set[int]) -> None:
        """These tracks never come back."""
        self._inside -= gone
        self._been -= gone


Counter = LineCounter | ZoneCounter


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
