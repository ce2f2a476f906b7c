"""Ink: a line of characters as coverage, with the outline of each digit in it, so that boxes can be told after
any warp to a fraction of a pixel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from fonts import Face
from PIL import ImageFont

Mask = npt.NDArray[np.uint8]  # (H, W), coverage 0..255
Points = npt.NDArray[np.float32]  # (n, 2), x y
Kind = Literal["printed", "segments", "handwriting"]


@dataclass(frozen=True, eq=False, slots=True)
class Digit:
    """One digit and where its ink ends."""

    class_id: int
    kind: Kind
    hull: Points
    """Convex hull of the pixels that are covered by half or more; pixel i spans [i, i + 1)."""

    def moved(self, x: float, y: float) -> Digit:
        return replace(self, hull=self.hull + np.array([x, y], np.float32))

    def box_xyxy(self, homography: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float32]:
        """(4,) bounds, after a homography if there is one. A hull is enough: straight lines stay straight."""
        points = self.hull if homography is None else cv2.perspectiveTransform(self.hull[np.newaxis], homography)[0]
        return np.concatenate([points.min(axis=0), points.max(axis=0)])


@dataclass(frozen=True, eq=False, slots=True)
class Ink:
    """Coverage of a piece of writing; `ghost` is what glimmers behind a display's lit segments."""

    alpha: Mask
    digits: tuple[Digit, ...] = ()
    ghost: Mask | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Glyph:
    """One character: its coverage, where that starts relative to the pen on the base line, and the pen's way."""

    alpha: Mask
    left: int
    top: int
    advance: float


def digit_of(alpha: Mask, class_id: int, kind: Kind) -> Digit | None:
    """The digit drawn in `alpha`; None if nothing of it is half covered."""
    contours, _ = cv2.findContours((alpha > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    corners = np.array([[[0, 0]], [[1, 0]], [[0, 1]], [[1, 1]]], np.float32)
    points = np.concatenate(contours).reshape(1, -1, 2) + corners
    hull = cv2.convexHull(points.reshape(-1, 2).astype(np.float32)).reshape(-1, 2)
    return Digit(class_id, kind, np.asarray(hull, np.float32))


def padded(alpha: Mask, pad: int, value: int = 0) -> Mask:
    return np.pad(alpha, pad, constant_values=value)


def line(glyphs: Iterable[tuple[str, Glyph]], kind: Kind, spacing: float = 0.0) -> Ink:
    """Glyphs side by side on one base line, cropped to their ink."""
    pen, placed = 0.0, []
    for character, glyph in glyphs:
        if glyph.alpha.size:
            placed.append((character, glyph.alpha, round(pen) + glyph.left, glyph.top))
        pen += glyph.advance + spacing
    if not placed:
        return Ink(np.zeros((1, 1), np.uint8))
    left, top = min(x for _, _, x, _ in placed), min(y for *_, y in placed)
    width = max(x + a.shape[1] for _, a, x, _ in placed) - left
    height = max(y + a.shape[0] for _, a, _, y in placed) - top
    sheet, digits = np.zeros((height, width), np.uint8), []
    for character, alpha, x, y in placed:
        x, y = x - left, y - top
        window = sheet[y : y + alpha.shape[0], x : x + alpha.shape[1]]
        np.maximum(window, alpha, out=window)
        if character in "0123456789" and (digit := digit_of(alpha, int(character), kind)):
            digits.append(digit.moved(x, y))
    return Ink(sheet, tuple(digits))


def printed(face: Face, text: str, digit_px: float, spacing: float = 0.0) -> Ink:
    """`text` in a typeface whose zero is `digit_px` high; `spacing` in digit heights."""
    size = max(round(digit_px / _zero_height(str(face.path))), 4)
    kind: Kind = {"print": "printed", "script": "handwriting", "segments": "segments"}[face.look]  # type: ignore[assignment]
    return line(((c, _glyph(str(face.path), size, c)) for c in text), kind, spacing * digit_px)


@cache
def is_bar(face: Face) -> bool:
    """Whether this typeface's one is a bare upright stroke."""
    alpha = _glyph(str(face.path), 100, "1").alpha
    return float(alpha.mean()) > 0.8 * 255 or alpha.shape[1] < 0.25 * alpha.shape[0]


@lru_cache(maxsize=256)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@cache
def _zero_height(path: str) -> float:
    """Height of the zero for a font of size 1."""
    height: int = _glyph(path, 200, "0").alpha.shape[0]
    return height / 200


@lru_cache(maxsize=4096)
def _glyph(path: str, size: int, character: str) -> Glyph:
    font = _font(path, size)
    core, (left, top) = font.getmask2(character, "L", anchor="ls")
    alpha = np.array(core, np.uint8).reshape(core.size[::-1])
    return Glyph(alpha, left, top, font.getlength(character))
