"""A camera that needs no camera: moving squares and discs whose boxes are known to the pixel.

`synthetic:#size=640x480&fps=30&frames=N&seed=0&live=1&code=0&shapes=3`. Each shape has a lane of its
own, so that none ever covers another. With `live=1` it behaves like a camera with a buffer for one
frame: frame k is taken at start + k / fps whoever listens, and a slow reader gets the newest one,
the gap in `index` telling what it missed; with `live=0` every frame comes, as fast as it can be drawn.
`code=1` burns number and time into the bottom edge (see `barcode`). NumPy only.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgezoo.address import Address
from edgezoo.errors import RequestError
from edgezoo.frame import Frame, Image
from edgezoo.sources import barcode
from edgezoo.sources._device import Device

COLORS_BGR = {
    "red": (0, 0, 230),
    "green": (0, 200, 0),
    "blue": (230, 0, 0),
    "yellow": (0, 230, 230),
    "magenta": (220, 0, 220),
    "cyan": (230, 220, 0),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
}

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """A square or a disc that bounces between the walls of its lane."""

    name: str
    """Colour and kind: `red square`."""
    side_px: int
    lane_y: int
    span_xy: tuple[int, int]
    """How far its upper left corner moves; corners run over 0..span, in the lane's own coordinates."""
    start_xy: tuple[int, int]
    step_xy: tuple[int, int]
    """Pixels a frame."""
    patch: Image
    mask: npt.NDArray[np.bool_] | None
    """(side, side, 1), true inside a disc; None for a square."""

    def box_xyxy(self, index: int) -> Box:
        """Its edges in frame `index`: the shape is image[y1:y2, x1:x2]."""
        x, y = (
            _bounce(start + step * index, span)
            for start, step, span in zip(self.start_xy, self.step_xy, self.span_xy, strict=True)
        )
        y += self.lane_y
        return x, y, x + self.side_px, y + self.side_px


class Synthetic:
    """Frames with known answers; endless unless `frames=` says how many."""

    def __init__(self, address: Address) -> None:
        address.check_options(("size", "fps", "frames", "seed", "live", "code", "shapes"))
        if address.target:
            raise RequestError(f"expected synthetic:#OPTIONS, got synthetic:{address.target}")
        self.address = str(address)
        self.live = _flag(address, "live", True)
        self.size_wh: tuple[int, int] | None = address.size_wh() or (640, 480)
        fps = address.number("fps", 30.0)
        if not fps:
            raise RequestError(f"{address}: expected fps above 0, got {address.options['fps']!r}")
        self.fps: float | None = fps
        self._fps = fps
        self.frames = _whole(address, "frames", 0) or None
        self.first = 0
        """The frame that an iteration begins with."""
        self._code = _flag(address, "code", False)
        self._device = Device(self.address)
        width, height = self.size_wh
        if self._code:
            barcode.burn(np.zeros((height, width, 3), np.uint8), index=0, time_ns=0)  # refuses a size too small
            height -= barcode.height_px(height)
        dice = random.Random(_whole(address, "seed", 0))
        self._shapes = _shapes(address, width, height, dice)
        self._ground = _ground(*self.size_wh, dice)

    def answers(self, index: int) -> list[tuple[str, Box]]:
        """Name and edges (x1, y1, x2, y2) of every shape in frame `index`: image[y1:y2, x1:x2] holds it exactly."""
        return [(shape.name, shape.box_xyxy(index)) for shape in self._shapes]

    def image(self, index: int) -> Image:
        """Frame `index`, without a code; the same pixels for the same options. The caller owns it."""
        image: Image = self._ground.copy()
        for shape in self._shapes:
            x1, y1, x2, y2 = shape.box_xyxy(index)
            if shape.mask is None:
                image[y1:y2, x1:x2] = shape.patch
            else:
                np.copyto(image[y1:y2, x1:x2], shape.patch, where=shape.mask)
        return image

    def __iter__(self) -> Iterator[Frame]:
        with self._device.iterating():
            start_ns = time.monotonic_ns()
            index = self._next(self.first - 1, start_ns)
            while index is not None:
                grabbed_ns = time.monotonic_ns()
                image = self.image(index)
                if self._code:
                    taken_ns = self._due_ns(index, start_ns) if self.live else grabbed_ns
                    barcode.burn(image, index=index, time_ns=taken_ns)
                yield Frame(image, index, index / self._fps, grabbed_ns, self.address)
                index = self._next(index, start_ns)

    def close(self) -> None:
        self._device.close()

    def _next(self, last: int, start_ns: int) -> int | None:
        """The frame that comes after `last`, once it is time for it; None at the end."""
        ended = self._device.ended
        if ended.is_set() or (self.frames and last + 1 >= self.frames):
            return None
        if not self.live:
            return last + 1
        while (wait_ns := self._due_ns(last + 1, start_ns) - time.monotonic_ns()) > 0:
            if ended.wait(wait_ns / 1e9):
                return None
        newest = max(last + 1, self.first + int((time.monotonic_ns() - start_ns) * self._fps / 1e9))
        return min(newest, self.frames - 1) if self.frames else newest

    def _due_ns(self, index: int, start_ns: int) -> int:
        return start_ns + round((index - self.first) * 1e9 / self._fps)


def _shapes(address: Address, width: int, height: int, dice: random.Random) -> list[Shape]:
    count = _whole(address, "shapes", 3)
    if count > len(COLORS_BGR):
        raise RequestError(f"{address}: expected at most shapes={len(COLORS_BGR)}, one for each colour, got {count}")
    lane = height // max(count, 1)
    if min(lane, width) < 16:
        raise RequestError(f"{address}: expected 16 px for each shape's lane, got {min(lane, width)}; try a larger one")
    colors = dice.sample(sorted(COLORS_BGR), count)
    return [_shape(color, position * lane, lane, width, dice) for position, color in enumerate(colors)]


def _shape(color: str, lane_y: int, lane: int, width: int, dice: random.Random) -> Shape:
    side = min(dice.randint(lane // 2, lane * 7 // 8), width // 2)
    disc = dice.random() < 0.5
    patch: Image = np.empty((side, side, 3), np.uint8)
    patch[:] = COLORS_BGR[color]
    from_center = (np.arange(side) + 0.5 - side / 2) ** 2
    inside = from_center[:, np.newaxis] + from_center <= (side / 2) ** 2
    return Shape(
        name=f"{color} {'disc' if disc else 'square'}",
        side_px=side,
        lane_y=lane_y,
        span_xy=(width - side, lane - side),
        start_xy=(dice.randint(0, width), dice.randint(0, lane)),
        step_xy=(dice.randint(2, 6), dice.randint(0, 2)),
        patch=patch,
        mask=inside[:, :, np.newaxis] if disc else None,
    )


def _ground(width: int, height: int, dice: random.Random) -> Image:
    """A slope of greyish tones with a faint board on it: nothing in it looks like a shape's colour."""
    slope = np.linspace(0, 30, width)[np.newaxis, :] + np.linspace(0, 20, height)[:, np.newaxis]
    board = (np.arange(width)[np.newaxis, :] // 40 + np.arange(height)[:, np.newaxis] // 40) % 2 * 8
    tones = np.array([dice.randint(80, 110) for _ in range(3)])
    ground: Image = (slope[:, :, np.newaxis] + board[:, :, np.newaxis] + tones).astype(np.uint8)
    return ground


def _bounce(way: int, span: int) -> int:
    """Where a point is that has gone `way` between the walls 0 and `span`."""
    if span == 0:
        return 0
    way %= 2 * span
    return way if way <= span else 2 * span - way


def _whole(address: Address, name: str, default: int) -> int:
    value = address.number(name, default)
    if value is None or value != int(value):
        raise RequestError(f"{address}: expected a whole number for {name}, got {address.options[name]!r}")
    return int(value)


def _flag(address: Address, name: str, default: bool) -> bool:
    value = _whole(address, name, int(default))
    if value > 1:
        raise RequestError(f"{address}: expected {name}=0 or {name}=1, got {value}")
    return bool(value)
