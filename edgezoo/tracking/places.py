"""Where to count: lines and zones, in pixels of the picture or as fractions of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edgezoo.errors import RequestError
from edgezoo.results import Point

Anchor: TypeAlias = Literal["bottom", "center"]
"""What stands for a box: the middle of its lower edge, where things touch the ground, or its centre."""
Points: TypeAlias = npt.NDArray[np.float64]  # (n, 2)
Size: TypeAlias = tuple[int, int]  # width, height


@dataclass(frozen=True, slots=True)
class Line:
    """From `a` to `b`: what passes it from its left to its right goes in, the other way out.

    Upwards at the side of a picture, in is to the right; from left to right across it, in is downwards. Coordinates are
    fractions where none is above 1, else pixels of the source's first picture.

    Raises RequestError: no finite numbers of 0 or more, or no length.
    """

    a: Point
    b: Point
    name: str = ""
    """Without one it is `line`, the next one `line 2`."""
    anchor: Anchor = "bottom"

    def __post_init__(self) -> None:
        _check(self.corners, "a line")
        if self.a == self.b:
            raise RequestError(f"expected a line between two points, got {_told(self.a)} twice")

    @classmethod
    def parse(cls, text: str) -> Line:
        """`x1,y1,x2,y2[,NAME]`"""
        points, name = _split(text)
        if len(points) != 2:
            raise RequestError(f"expected a line as x1,y1,x2,y2[,NAME], got {text!r}; try 0,0.5,1,0.5,door")
        return cls(*points, name)

    @property
    def corners(self) -> tuple[Point, ...]:
        return self.a, self.b


@dataclass(frozen=True, slots=True)
class Zone:
    """A polygon; where it crosses itself, what is enclosed an even number of times is outside.

    Coordinates are fractions where none is above 1, else pixels of the source's first picture.

    Raises RequestError: no finite numbers of 0 or more, fewer than three corners, or no area.
    """

    corners: tuple[Point, ...]
    name: str = ""
    """Without one it is `zone`, the next one `zone 2`."""
    anchor: Anchor = "bottom"

    def __post_init__(self) -> None:
        _check(self.corners, "a zone")
        if len(self.corners) < 3 or not np.ptp(np.array(self.corners), axis=0).all() or _in_line(self.corners):
            told = " ".join(map(_told, self.corners))
            raise RequestError(f"expected a zone of three or more corners around an area, got {told}")

    @classmethod
    def parse(cls, text: str) -> Zone:
        """`x,y,x,y,x,y[,…][,NAME]`"""
        points, name = _split(text)
        if len(points) < 3:
            cure = "try 0,0.5,1,0.5,1,1,0,1,floor"
            raise RequestError(f"expected a zone as x,y,x,y,x,y[,NAME], three corners or more, got {text!r}; {cure}")
        return cls(points, name)


Place: TypeAlias = Line | Zone


def on_picture(place: Place, *, size_wh: Size, first_wh: Size) -> Points:
    """Its corners in pixels of a picture of `size_wh`, where the source's first one was `first_wh`."""
    corners = np.array(place.corners)
    whole = (1, 1) if corners.max() <= 1 else first_wh
    return np.asarray(corners * size_wh / whole)


def anchors(boxes_xyxy: npt.NDArray[Any], anchor: Anchor) -> Points:
    """(n, 2) the point that stands for each box."""
    x1, y1, x2, y2 = np.asarray(boxes_xyxy, np.float64).T
    return np.stack([(x1 + x2) / 2, y2 if anchor == "bottom" else (y1 + y2) / 2], axis=1)


def _split(text: str) -> tuple[tuple[Point, ...], str]:
    """The points and the name. No points: the numbers are no pairs."""
    words = text.split(",")
    numbers: list[float] = []
    for word in words:
        try:
            numbers.append(float(word))
        except ValueError:
            break
    name = ",".join(words[len(numbers) :]).strip()
    if len(numbers) % 2:
        return (), name
    return tuple(zip(numbers[::2], numbers[1::2])), name


def _check(corners: tuple[Point, ...], what: str) -> None:
    for x, y in corners:
        if not (math.isfinite(x) and math.isfinite(y) and x >= 0 and y >= 0):
            raise RequestError(f"expected {what} in pixels or in fractions of the picture, got {_told((x, y))}")


def _in_line(corners: tuple[Point, ...]) -> bool:
    (x0, y0), *others = corners
    return bool(np.linalg.matrix_rank(np.array([(x - x0, y - y0) for x, y in others])) < 2)


def _told(point: Point) -> str:
    return f"({point[0]:g}, {point[1]:g})"
