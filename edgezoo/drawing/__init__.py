"""Results on pictures: boxes with their labels, lines and zones with their counts, or a panel of the likeliest classes.

All sizes grow with the picture, so that what is drawn reads the same on a thumbnail and in 4K.
"""

from __future__ import annotations

import numpy as np

from edgezoo.drawing.pen import (
    DARK,
    LIGHT,
    SHIFT,
    Color,
    Pen,
    Rect,
    color_of,
    ink_on,
    overlap,
    plate,
    rounded,
    text_px,
)
from edgezoo.drawing.places import Places
from edgezoo.frame import Image, check_image
from edgezoo.results import UNTRACKED, Detections, Labels, Result, name_of

__all__ = ["color_of", "draw", "ink_on"]


def draw(image: Image, result: Result, *, corner: str | None = None) -> Image:
    """A copy of the BGR `image` with `result` on it, and the lines of `corner` in its top-left corner.

    Raises ShapeError: `image` is not uint8 (H, W, 3).
    """
    canvas = np.array(check_image(image), order="C")
    pen = Pen(text_px(canvas))
    corner_panel = _Panel.of_text(canvas, pen, corner) if corner and corner.strip() else None
    if isinstance(result, Detections):
        taken = [corner_panel.rect] if corner_panel else []
        places = Places(canvas, result.counts, pen, taken)
        _draw_detections(canvas, result, pen, taken=taken)
        places.write(canvas, pen)
    else:
        _draw_labels(canvas, result, pen)
    if corner_panel is not None:
        corner_panel.draw(canvas, pen)
    return canvas


def _draw_detections(canvas: Image, found: Detections, pen: Pen, *, taken: list[Rect]) -> None:
    """Boxes first, then labels, the best score on top; labels keep clear of each other and of `taken`."""
    boxes = _visible(canvas, found, pen)
    for index in reversed(boxes):
        outline = rounded(boxes[index], radius=pen.line_px * 1.5)
        color = color_of(int(found.class_ids[index]))
        if pen.size_px >= 12:  # a dark rim sets the line off from bright surroundings; thumbnails have no room for it
            shade = tuple(part // 4 for part in color)
            pen.cv2.polylines(canvas, outline, True, shade, pen.line_px + 2, pen.cv2.LINE_8, SHIFT)
        pen.cv2.polylines(canvas, outline, True, color, pen.line_px, pen.cv2.LINE_AA, SHIFT)
    chips: list[tuple[Rect, str, Color]] = []
    for index, box in boxes.items():
        class_id = int(found.class_ids[index])
        track_id = UNTRACKED if found.track_ids is None else int(found.track_ids[index])
        after = f"{found.scores[index]:.0%}" if track_id == UNTRACKED else f"#{track_id} {found.scores[index]:.0%}"
        text = _label(pen, name_of(found.names, class_id), after, canvas.shape[1])
        if text:
            rect = _chip_rect(canvas, pen, text, box, taken)
            taken.append(rect)
            chips.append((rect, text, color_of(class_id)))
    for rect, text, color in reversed(chips):
        area = plate(canvas, rect, color, opacity=0.93, radius=pen.size_px / 5)
        pen.write(area, text, pen.pad_px, color=ink_on(color))


def _visible(canvas: Image, found: Detections, pen: Pen) -> dict[int, Rect]:
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


def _label(pen: Pen, name: str, after: str, width_px: int) -> str:
    """`car 87%`, or `car #3 87%`; its name is cut where the image is too narrow."""
    room, name = width_px - 2 * pen.pad_px, pen.clean(name)
    text = f"{name} {after}".strip()
    if pen.width(text) <= room:
        return text
    short = pen.fit(name, room - pen.width(f" {after}"))
    return f"{short} {after}" if short else pen.fit(after, room)


def _chip_rect(canvas: Image, pen: Pen, text: str, box: Rect, taken: list[Rect]) -> Rect:
    """Where the label of `box` goes: above it, else inside at its top, else below, the first of these that is free."""
    height, width = canvas.shape[:2]
    wide, high = min(pen.width(text) + 2 * pen.pad_px, width), min(pen.row_px, height)
    half = pen.line_px // 2
    tops = [box[1] - high + half, max(box[1] - half, 0), box[3]]
    tops = [top for top in tops if 0 <= top <= height - high] or [height - high]
    lefts = [max(0, min(left, width - wide)) for left in (box[0] - half, box[2] + half - wide)]
    for left in lefts:
        for top in tops:
            rect = left, top, left + wide, top + high
            if not any(overlap(rect, other) for other in taken):
                return rect
    return lefts[0], tops[0], lefts[0] + wide, tops[0] + high


class _Panel:
    """Lines of text on a translucent dark plate."""

    def __init__(self, lines: list[str], rect: Rect) -> None:
        self.lines, self.rect = lines, rect

    @classmethod
    def of_text(cls, canvas: Image, pen: Pen, text: str) -> _Panel:
        """In the top-left corner; its width moves in steps, so that it does not tremble with every digit."""
        height, width = canvas.shape[:2]
        margin, step = _margin(canvas, pen), 2 * pen.size_px
        room = width - 2 * (margin + pen.pad_px)
        lines = [pen.fit(pen.clean(line), room) for line in text.strip("\n").split("\n")]
        wide = max(map(pen.width, lines)) + 2 * pen.pad_px
        wide = min(-(-wide // step) * step, width - margin)
        high = min(len(lines) * pen.row_px + pen.pad_px, height - margin)
        return cls(lines, (margin, margin, margin + wide, margin + high))

    def draw(self, canvas: Image, pen: Pen) -> None:
        area = plate(canvas, self.rect, DARK, opacity=0.62, radius=pen.size_px / 3)
        for row, line in enumerate(self.lines):
            top = pen.pad_px // 2 + row * pen.row_px
            if top < area.shape[0]:
                pen.write(area[top : top + pen.row_px], line, pen.pad_px, color=LIGHT)


def _draw_labels(canvas: Image, labels: Labels, pen: Pen) -> None:
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
    area = plate(canvas, rect, DARK, opacity=0.62, radius=pen.size_px / 3)
    for index, (name, percent) in enumerate(zip(names, percents, strict=True)):
        top, color = pad // 2 + index * row, color_of(int(labels.class_ids[index]))
        line = area[top : top + pen.row_px]
        pen.write(line, name, pad, color=LIGHT)
        pen.write(line, percent, pad + wide - pen.width(percent), color=LIGHT)
        track = (pad, top + pen.row_px, pad + wide, top + pen.row_px + bar)
        plate(area, track, LIGHT, opacity=0.22, radius=bar / 2)
        share = float(np.clip(np.nan_to_num(labels.scores[index]), 0, 1))
        if share > 0:
            full = pad + max(bar, round(wide * share))
            plate(area, (*track[:2], full, track[3]), color, opacity=1, radius=bar / 2)


def _margin(canvas: Image, pen: Pen) -> int:
    return min(pen.size_px // 2, int(canvas.shape[0]) // 4, int(canvas.shape[1]) // 4)
