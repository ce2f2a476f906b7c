"""Lines and zones on a picture, with what they have counted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgezoo.drawing.pen import DARK, LIGHT, SHIFT, Pen, Rect, fixed_point, overlap, plate
from edgezoo.frame import Image
from edgezoo.results import Count, LineCount, Point, ZoneCount


class Places:
    """Lines and zones lie under the boxes, their numbers over them: make it, draw the boxes, then `write`."""

    def __init__(self, canvas: Image, counts: Sequence[Count], pen: Pen, taken: list[Rect]) -> None:
        """What the numbers will cover is added to `taken`."""
        self._chips: list[tuple[Rect, str]] = []
        for count in counts:
            corner = _draw_line(canvas, count, pen) if isinstance(count, LineCount) else _draw_zone(canvas, count, pen)
            text = pen.fit(pen.clean(str(count)), canvas.shape[1] - 2 * pen.pad_px)
            if text:
                taken.append(_free(canvas, pen, text, corner, taken))
                self._chips.append((taken[-1], text))

    def write(self, canvas: Image, pen: Pen) -> None:
        for rect, text in self._chips:
            area = plate(canvas, rect, DARK, opacity=0.75, radius=pen.size_px / 5)
            pen.write(area, text, pen.pad_px, color=LIGHT)


def _draw_line(canvas: Image, line: LineCount, pen: Pen) -> Point:
    """With an arrow at its middle that points in; returns where its numbers may begin."""
    cv2 = pen.cv2
    (ax, ay), (bx, by) = line.a_xy, line.b_xy
    x, y, reach = (ax + bx) / 2, (ay + by) / 2, 1.2 * pen.size_px / max(math.hypot(bx - ax, by - ay), 1.0)
    tip_x, tip_y = x - (by - ay) * reach, y + (bx - ax) * reach
    for color, thick in ((DARK, pen.line_px + 2), (LIGHT, pen.line_px)):
        cv2.polylines(canvas, [fixed_point([line.a_xy, line.b_xy])], False, color, thick, cv2.LINE_AA, SHIFT)
        tail, tip = fixed_point([(x, y), (tip_x, tip_y)]).tolist()
        cv2.arrowedLine(canvas, tail, tip, color, thick, cv2.LINE_AA, SHIFT, 0.45)
    return max(x, tip_x) + pen.pad_px, max(y, tip_y) + pen.pad_px


def _draw_zone(canvas: Image, zone: ZoneCount, pen: Pen) -> Point:
    """A little lighter than its surroundings, more so while something is inside."""
    cv2, strength = pen.cv2, 0.22 if zone.inside else 0.1
    columns, rows = zip(*zone.corners_xy)
    left, top = max(0, int(min(columns))), max(0, int(min(rows)))
    area = canvas[top : max(0, math.ceil(max(rows))), left : max(0, math.ceil(max(columns)))]
    if area.size:
        light = area.copy()
        inside = fixed_point([(x - left, y - top) for x, y in zone.corners_xy])
        cv2.fillPoly(light, [inside], LIGHT, cv2.LINE_AA, SHIFT)
        cv2.addWeighted(light, strength, area, 1 - strength, 0, dst=area)
    for color, thick in ((DARK, pen.line_px + 1), (LIGHT, max(1, pen.line_px - 1))):
        cv2.polylines(canvas, [fixed_point(zone.corners_xy)], True, color, thick, cv2.LINE_AA, SHIFT)
    return min(columns) + pen.line_px, min(rows) + pen.line_px


def _free(canvas: Image, pen: Pen, text: str, corner: Point, taken: Sequence[Rect]) -> Rect:
    """A place for `text` at `corner`, or below what is there already."""
    height, width = canvas.shape[:2]
    wide, high = min(pen.width(text) + 2 * pen.pad_px, width), min(pen.row_px, height)
    left, top = (round(max(0, min(at, most))) for at, most in zip(corner, (width - wide, height - high)))
    tops = [top, *(y2 for _, _, _, y2 in taken if top < y2 <= height - high)]
    rects = [(left, each, left + wide, each + high) for each in sorted(tops)]
    return next((rect for rect in rects if not any(overlap(rect, other) for other in taken)), rects[0])
