"""Results on pictures: boxes with their labels, or a panel of the likeliest classes.

All sizes grow with the picture, so that what is drawn reads the same on a thumbnail and in 4K.
"""

from __future__ import annotations

import colorsys
import functools
import math
import unicodedata
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgezoo.frame import Image, check_image
from edgezoo.optional import require
from edgezoo.results import Detections, Labels, Result, name_of

Color: TypeAlias = tuple[int, int, int]  # B, G, R
Rect: TypeAlias = tuple[int, int, int, int]  # x1, y1, x2, y2 in whole pixels; x2 and y2 are outside

# fmt: off
_PALETTE_RGB = (
    0xFF7A59, 0x41C7F4, 0xFFD23F, 0x9B6BFF, 0x35D98C, 0xF45BB5, 0x3F82FF, 0xA9E02A, 0xFF9A1F, 0x00B8A0,
    0xE8374A, 0xC9B5FF, 0x2F9444, 0xFFC9A3, 0x5A54D8, 0xC99A63, 0x7DF5E0, 0xBF1A62, 0x8FB57F, 0xA2522D,
)
# fmt: on
_DARK, _LIGHT = (24, 20, 18), (255, 255, 255)
_SHIFT = 4  # fixed-point bits of the coordinates that OpenCV's antialiased lines take
_PLAIN = str.maketrans({"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "–": "-", "’": "'"})


def draw(image: Image, result: Result, *, corner: str | None = None) -> Image:
    """A copy of the BGR `image` with `result` on it, and the lines of `corner` in its top-left corner.

    Raises ShapeError: `image` is not uint8 (H, W, 3).
    """
    canvas = np.array(check_image(image), order="C")
    pen = _Pen(_text_px(canvas))
    corner_panel = _Panel.of_text(canvas, pen, corner) if corner and corner.strip() else None
    if isinstance(result, Detections):
        _draw_detections(canvas, result, pen, taken=[corner_panel.rect] if corner_panel else [])
    else:
        _draw_labels(canvas, result, pen)
    if corner_panel is not None:
        corner_panel.draw(canvas, pen)
    return canvas


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
    return _DARK if 0.0722 * blue + 0.7152 * green + 0.2126 * red > 0.2 else _LIGHT


def _text_px(canvas: Image) -> int:
    """Font size: 14 px on 768x432, 27 on 1920x1080, 43 on 3840x2160; below 9 px nothing can be read."""
    height, width = canvas.shape[:2]
    return max(9, round(14 * math.pow(width * height / (768 * 432), 0.35)))


class _Pen:
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


def _draw_detections(canvas: Image, found: Detections, pen: _Pen, *, taken: list[Rect]) -> None:
    """Boxes first, then labels, the best score on top; labels keep clear of each other and of `taken`."""
    boxes = _visible(canvas, found, pen)
    for index in reversed(boxes):
        outline = _rounded(boxes[index], radius=pen.line_px * 1.5)
        color = color_of(int(found.class_ids[index]))
        if pen.size_px >= 12:  # a dark rim sets the line off from bright surroundings; thumbnails have no room for it
            shade = tuple(part // 4 for part in color)
            pen.cv2.polylines(canvas, outline, True, shade, pen.line_px + 2, pen.cv2.LINE_8, _SHIFT)
        pen.cv2.polylines(canvas, outline, True, color, pen.line_px, pen.cv2.LINE_AA, _SHIFT)
    chips: list[tuple[Rect, str, Color]] = []
    for index, box in boxes.items():
        class_id = int(found.class_ids[index])
        text = _label(pen, name_of(found.names, class_id), float(found.scores[index]), canvas.shape[1])
        if text:
            rect = _chip_rect(canvas, pen, text, box, taken)
            taken.append(rect)
            chips.append((rect, text, color_of(class_id)))
    for rect, text, color in reversed(chips):
        area = _plate(canvas, rect, color, opacity=0.93, radius=pen.size_px / 5)
        pen.write(area, text, pen.pad_px, color=ink_on(color))


def _visible(canvas: Image, found: Detections, pen: _Pen) -> dict[int, Rect]:
    """Boxes that touch the image, in whole pixels, so far inside that their lines are seen whole; best score first."""
    height, width = canvas.shape[:2]
    edge = pen.line_px // 2
    boxes: dict[int, Rect] = {}
    sides = found.boxes_xyxy.tolist()
    for index in np.argsort(-found.scores, kind="stable").tolist():
        x1, y1, x2, y2 = sides[index]
        if x1 <= width and y1 <= height and x2 >= 0 and y2 >= 0:  # false for NaN as well
            left, top = round(min(max(x1, edge), width - 1 - edge)), round(min(max(y1, edge), height - 1 - edge))
            right, bottom = round(min(x2, width - edge)), round(min(y2, height - edge))
            boxes[index] = (left, top, max(right, left + 1), max(bottom, top + 1))
    return boxes


def _label(pen: _Pen, name: str, score: float, width_px: int) -> str:
    """`car 87%`, its name cut where the image is too narrow."""
    room, percent = width_px - 2 * pen.pad_px, f"{score:.0%}"
    name = pen.clean(name)
    text = f"{name} {percent}".strip()
    if pen.width(text) <= room:
        return text
    short = pen.fit(name, room - pen.width(f" {percent}"))
    return f"{short} {percent}" if short else pen.fit(percent, room)


def _chip_rect(canvas: Image, pen: _Pen, text: str, box: Rect, taken: list[Rect]) -> Rect:
    """Where the label of `box` goes: above it, else inside at its top, else below, the first of these that is free."""
    height, width = canvas.shape[:2]
    wide, high = min(pen.width(text) + 2 * pen.pad_px, width), min(pen.row_px, height)
    half = pen.line_px // 2
    tops = [box[1] - high + half, max(box[1] - half, 0), box[3]]
    tops = [top for top in tops if 0 <= top <= height - high] or [height - high]
    lefts = [max(0, min(left, width - wide)) for left in (box[0] - half, box[2] + half - wide)]
    for left in lefts:
        for top in tops:
            right, bottom = left + wide, top + high
            if not any(left < x2 and x1 < right and top < y2 and y1 < bottom for x1, y1, x2, y2 in taken):
                return left, top, right, bottom
    return lefts[0], tops[0], lefts[0] + wide, tops[0] + high


class _Panel:
    """Lines of text on a translucent dark plate."""

    def __init__(self, lines: list[str], rect: Rect) -> None:
        self.lines, self.rect = lines, rect

    @classmethod
    def of_text(cls, canvas: Image, pen: _Pen, text: str) -> _Panel:
        """In the top-left corner; its width moves in steps, so that it does not tremble with every digit."""
        height, width = canvas.shape[:2]
        margin, step = _margin(canvas, pen), 2 * pen.size_px
        room = width - 2 * (margin + pen.pad_px)
        lines = [pen.fit(pen.clean(line), room) for line in text.strip("\n").split("\n")]
        wide = max(map(pen.width, lines)) + 2 * pen.pad_px
        wide = min(-(-wide // step) * step, width - margin)
        high = min(len(lines) * pen.row_px + pen.pad_px, height - margin)
        return cls(lines, (margin, margin, margin + wide, margin + high))

    def draw(self, canvas: Image, pen: _Pen) -> None:
        area = _plate(canvas, self.rect, _DARK, opacity=0.62, radius=pen.size_px / 3)
        for row, line in enumerate(self.lines):
            top = pen.pad_px // 2 + row * pen.row_px
            if top < area.shape[0]:
                pen.write(area[top : top + pen.row_px], line, pen.pad_px, color=_LIGHT)


def _draw_labels(canvas: Image, labels: Labels, pen: _Pen) -> None:
    """A panel in the bottom-left corner: at most five names, each with its score and a bar."""
    height, width = canvas.shape[:2]
    margin, pad, bar = _margin(canvas, pen), round(pen.pad_px * 1.6), max(3, pen.size_px // 4)
    row = pen.row_px + bar + round(pen.size_px * 0.3)
    count = min(len(labels), 5, max(1, int(height * 0.7) // row))
    room = width - 2 * (margin + pad)
    if count == 0 or room < pen.size_px or row + 2 * margin > height:
        return
    percents = [f"{score:.0%}" for score in labels.scores[:count].tolist()]
    right = max(map(pen.width, percents)) + pen.size_px
    names = [pen.fit(pen.clean(name), room - right) for name, _ in labels[:count]]
    wide = min(room, max(10 * pen.size_px, max(map(pen.width, names)) + right))
    rect = (margin, height - margin - count * row - pad, margin + wide + 2 * pad, height - margin)
    area = _plate(canvas, rect, _DARK, opacity=0.62, radius=pen.size_px / 3)
    for index, (name, percent) in enumerate(zip(names, percents, strict=True)):
        top, color = pad // 2 + index * row, color_of(int(labels.class_ids[index]))
        line = area[top : top + pen.row_px]
        pen.write(line, name, pad, color=_LIGHT)
        pen.write(line, percent, pad + wide - pen.width(percent), color=_LIGHT)
        track = (pad, top + pen.row_px, pad + wide, top + pen.row_px + bar)
        _plate(area, track, _LIGHT, opacity=0.22, radius=bar / 2)
        share = float(np.clip(np.nan_to_num(labels.scores[index]), 0, 1))
        if share > 0:
            full = pad + max(bar, round(wide * share))
            _plate(area, (*track[:2], full, track[3]), color, opacity=1, radius=bar / 2)


def _margin(canvas: Image, pen: _Pen) -> int:
    return min(pen.size_px // 2, int(canvas.shape[0]) // 4, int(canvas.shape[1]) // 4)


def _plate(canvas: Image, rect: Rect, color: Color, *, opacity: float, radius: float) -> Image:
    """A filled rectangle with round corners; returns the view of the canvas that it covers."""
    cv2 = require("cv2")
    area = canvas[max(rect[1], 0) : rect[3], max(rect[0], 0) : rect[2]]
    height, width = area.shape[:2]
    if height == 0 or width == 0:
        return area
    plate = area.copy()
    cv2.fillConvexPoly(plate, _rounded((0, 0, width, height), radius=radius)[0], color, cv2.LINE_AA, _SHIFT)
    cv2.addWeighted(plate, opacity, area, 1 - opacity, 0, dst=area)
    return area


_TURNS = np.radians([start + step for start in (180, 270, 0, 90) for step in (0, 22.5, 45, 67.5, 90)])
_ARCS = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1)  # clockwise from the left; y points down
_SIDES = np.repeat([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)], 5, axis=0)


def _rounded(rect: Rect, *, radius: float) -> npt.NDArray[np.int32]:
    """(1, 20, 2) points around a rectangle with round corners, in OpenCV's fixed point."""
    wide, high = rect[2] - 1 - rect[0], rect[3] - 1 - rect[1]
    radius = min(radius, wide / 2, high / 2)
    points = _ARCS * radius + _SIDES * (wide - 2 * radius, high - 2 * radius) + (rect[0] + radius, rect[1] + radius)
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)[None]
