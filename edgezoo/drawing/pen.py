"""What drawing is done with: colours, text, plates with round corners."""

from __future__ import annotations

import colorsys
import functools
import math
import unicodedata
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgezoo.frame import Image
from edgezoo.optional import require
from edgezoo.results import Point

Color: TypeAlias = tuple[int, int, int]  # B, G, R
Rect: TypeAlias = tuple[int, int, int, int]  # x1, y1, x2, y2 in whole pixels; x2 and y2 are outside

# fmt: off
_PALETTE_RGB = (
    0xFF7A59, 0x41C7F4, 0xFFD23F, 0x9B6BFF, 0x35D98C, 0xF45BB5, 0x3F82FF, 0xA9E02A, 0xFF9A1F, 0x00B8A0,
    0xE8374A, 0xC9B5FF, 0x2F9444, 0xFFC9A3, 0x5A54D8, 0xC99A63, 0x7DF5E0, 0xBF1A62, 0x8FB57F, 0xA2522D,
)
# fmt: on
DARK, LIGHT = (24, 20, 18), (255, 255, 255)
SHIFT = 4  # fixed-point bits of the coordinates that OpenCV's antialiased lines take
_PLAIN = str.maketrans({"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "–": "-", "’": "'"})


@functools.cache
def color_of(class_id: int) -> Color:
    """The colour of a class, the same in every picture and every run."""
    if 0 <= class_id < len(_PALETTE_RGB):
        red, green, blue = _PALETTE_RGB[class_id].to_bytes(3, "big")
        return blue, green, red
    hue = class_id * 0.618034 % 1  # the golden ratio spreads neighbours over the circle
    rgb = colorsys.hsv_to_rgb(hue, (0.55, 0.75, 0.9)[class_id % 3], (1.0, 0.85, 0.7)[class_id // 3 % 3])
    red, green, blue = (round(255 * part) for part in rgb)
    return blue, green, red


@functools.cache
def ink_on(color: Color) -> Color:
    """Dark or light, whichever reads better on `color` (contrast as WCAG 2 defines it)."""
    blue, green, red = ((part / 255) ** 2.2 for part in color)
    return DARK if 0.0722 * blue + 0.7152 * green + 0.2126 * red > 0.2 else LIGHT


def text_px(canvas: Image) -> int:
    """Font size: 14 px on 768x432, 27 on 1920x1080, 43 on 3840x2160; below 9 px nothing can be read."""
    height, width = canvas.shape[:2]
    return max(9, round(14 * math.pow(width * height / (768 * 432), 0.35)))


def overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


class Pen:
    """Text of one size: OpenCV 5's own font, which knows many scripts, or the ASCII strokes of OpenCV 4."""

    def __init__(self, size_px: int) -> None:
        self.cv2 = require("cv2")
        self.size_px = size_px
        self.line_px = max(2, round(size_px / 7.5))
        self.pad_px = max(2, round(size_px * 0.36))
        self.row_px = round(size_px * 1.42)
        self._face = self.cv2.FontFace("sans") if hasattr(self.cv2, "FontFace") else None
        self._stroke_scale, self._stroke_px = size_px * 0.034, max(1, round(size_px / 16))

    def clean(self, text: str) -> str:
        """`text` on one line, in letters that this font has."""
        text = "".join(" " if letter.isspace() else letter for letter in text.strip())
        if text.isascii() or self._face is not None:
            return text if text.isprintable() else "".join(letter for letter in text if letter.isprintable())
        letters = unicodedata.normalize("NFKD", text.translate(_PLAIN))
        return "".join(letter if letter.isascii() else "?" for letter in letters if not unicodedata.combining(letter))

    def width(self, text: str) -> int:
        if self._face is not None:
            return int(self.cv2.getTextSize((0, 0), text, (0, 0), self._face, self.size_px, 600)[2])
        (width, _), _ = self.cv2.getTextSize(text, self.cv2.FONT_HERSHEY_DUPLEX, self._stroke_scale, self._stroke_px)
        return int(width)

    def fit(self, text: str, room_px: int) -> str:
        """As much of `text` as `room_px` holds, its cut marked with dots; possibly nothing."""
        width, dots = self.width(text), "…" if self._face is not None else ".."
        keep = len(text)
        while width > room_px:
            keep = min(keep - 1, int(keep * room_px / width))
            if keep < 1:
                return ""
            width = self.width(text[:keep].rstrip() + dots)
        return text if keep == len(text) else text[:keep].rstrip() + dots

    def write(self, area: Image, text: str, left: int, *, color: Color) -> None:
        """`text` in the middle of the height of `area`, a view of the canvas that it cannot leave."""
        baseline = round((area.shape[0] + 0.74 * self.size_px) / 2)
        if self._face is not None:
            self.cv2.putText(area, text, (left, baseline), color, self._face, self.size_px, 600)
        else:
            font, line = self.cv2.FONT_HERSHEY_DUPLEX, self.cv2.LINE_AA
            self.cv2.putText(area, text, (left, baseline), font, self._stroke_scale, color, self._stroke_px, line)


def plate(canvas: Image, rect: Rect, color: Color, *, opacity: float, radius: float) -> Image:
    """A filled rectangle with round corners; returns the view of the canvas that it covers."""
    cv2 = require("cv2")
    area = canvas[max(rect[1], 0) : rect[3], max(rect[0], 0) : rect[2]]
    height, width = area.shape[:2]
    if height == 0 or width == 0:
        return area
    plate = area.copy()
    cv2.fillConvexPoly(plate, rounded((0, 0, width, height), radius=radius)[0], color, cv2.LINE_AA, SHIFT)
    cv2.addWeighted(plate, opacity, area, 1 - opacity, 0, dst=area)
    return area


_TURNS = np.radians([start + step for start in (180, 270, 0, 90) for step in (0, 22.5, 45, 67.5, 90)])
_ARCS = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1)  # clockwise from the left; y points down
_SIDES = np.repeat([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)], 5, axis=0)


def rounded(rect: Rect, *, radius: float) -> npt.NDArray[np.int32]:
    """(1, 20, 2) points around a rectangle with round corners, in OpenCV's fixed point."""
    wide, high = rect[2] - 1 - rect[0], rect[3] - 1 - rect[1]
    radius = min(radius, wide / 2, high / 2)
    points = _ARCS * radius + _SIDES * (wide - 2 * radius, high - 2 * radius) + (rect[0] + radius, rect[1] + radius)
    return np.rint(points * (1 << SHIFT)).astype(np.int32)[None]


def fixed_point(points: Sequence[Point]) -> npt.NDArray[np.int32]:
    """(n, 2) in OpenCV's fixed point; pixel i is i..i+1 here and i-0.5..i+0.5 there."""
    return np.rint((np.array(points) - 0.5) * (1 << SHIFT)).astype(np.int32)
