"""Handwritten digits: the centre lines of scikit-learn's 8x8 samples and of strokes of our own, redrawn with a pen.

A sample is only 8 pixels wide, so that its grey tones say where the pen went and little more: it is enlarged, thinned
to a skeleton and kept as the distance from it. A pen of any width, slanted and bent, is then one threshold.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import cv2
import ink
import numpy as np
import numpy.typing as npt
from fonts import Split
from ink import Glyph, Ink, Mask
from skimage import morphology
from sklearn.datasets import load_digits

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SIDE = 128
MIDDLE, TALL = 64.0, 64.0
"""A centre line stands in the middle of its field and is about this high."""
PARTS: dict[Split, tuple[float, float]] = {"train": (0.0, 0.7), "val": (0.7, 0.8), "test": (0.8, 1.0)}
LOOPS = {0: {1}, 1: {0}, 2: {0, 1}, 3: {0}, 4: {0, 1}, 5: {0}, 6: {1}, 7: {0}, 8: {2}, 9: {1}}

thinned: Callable[[npt.NDArray[np.bool_]], npt.NDArray[np.bool_]] = morphology.skeletonize
Field = npt.NDArray[np.float32]  # (SIDE, SIDE), pixels to the pen's way


@dataclass(frozen=True, slots=True)
class Hand:
    """What the digits of one writer have in common."""

    pen: float
    """Width of the stroke; like all lengths here in digit heights."""
    slant: float
    wide: float
    gap: float
    unrest: float
    own_strokes: float
    """How many digits come from `strokes.toml` instead of a sample."""

    @classmethod
    def of(cls, rng: np.random.Generator, split: Split) -> Hand:
        return cls(
            pen=float(np.exp(rng.uniform(np.log(0.05), np.log(0.15)))),
            slant=float(rng.normal(0.08, 0.16)),
            wide=float(rng.uniform(0.8, 1.2)),
            gap=float(rng.uniform(0.1, 0.4)),
            unrest=float(rng.uniform(0.01, 0.06)),
            own_strokes=0.4 if split == "train" else 0.0,
        )


def written(rng: np.random.Generator, text: str, digit_px: float, split: Split) -> Ink:
    """Digits, spaces and `.,-/:` by one hand."""
    hand = Hand.of(rng, split)
    return ink.line(_glyphs(rng, text, digit_px, hand, split), "handwriting")


def _glyphs(
    rng: np.random.Generator, text: str, digit_px: float, hand: Hand, split: Split
) -> Iterator[tuple[str, Glyph]]:
    for character in text:
        if character == " ":
            yield character, Glyph(np.zeros((0, 0), np.uint8), 0, 0, 0.5 * digit_px)
            continue
        field = _field(rng, character, hand, split)
        yield character, _draw(rng, field, digit_px * float(rng.uniform(0.9, 1.1)), hand)


@cache
def sample_ids(split: Split) -> tuple[tuple[int, ...], ...]:
    """For each digit the samples that `split` may use; they are dealt out before anything is drawn of them."""
    targets = load_digits().target
    order = np.random.default_rng(8).permutation(targets.size)
    first, last = PARTS[split]
    own = [order[targets[order] == class_id] for class_id in range(10)]
    return tuple(tuple(int(i) for i in o[int(first * o.size) : int(last * o.size)]) for o in own)


def _field(rng: np.random.Generator, character: str, hand: Hand, split: Split) -> Field:
    if not character.isdigit() or rng.random() < hand.own_strokes:
        ways = _ways()[character]
        return _of_strokes(rng, ways[rng.integers(len(ways))])
    ids = sample_ids(split)[int(character)]
    while (field := _of_sample(ids[rng.integers(len(ids))], int(character))) is None:
        pass
    return field


@lru_cache(maxsize=2048)
def _of_sample(index: int, class_id: int) -> Field | None:
    """None for a sample whose loops are lost: an 8 that reads as a 6 would teach the wrong thing."""
    tones = np.pad(_images()[index].astype(np.float32), 4)
    large = cv2.GaussianBlur(cv2.resize(tones, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), (0, 0), 2.2)
    # What is darker than its own surroundings is stroke: one level for all would fill the loops of 6, 8 and 9.
    around = cv2.GaussianBlur(large, (0, 0), 9)
    for level in (1.05, 0.95, 1.15, 1.25, 0.85, 1.35, 1.5):
        line = thinned((large > 4.5) & (large > level * around))
        if _loops(line) in LOOPS[class_id]:
            return _distance(line)
    return None


def _loops(line: npt.NDArray[np.bool_]) -> int:
    drawn = cv2.dilate(line.astype(np.uint8), np.ones((3, 3), np.uint8))
    contours, levels = cv2.findContours(drawn, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return sum(level[3] >= 0 and cv2.contourArea(c) > 12 for c, level in zip(contours, levels[0]))


@cache
def _images() -> npt.NDArray[np.float64]:
    images: npt.NDArray[np.float64] = load_digits().images
    return images


@cache
def _ways() -> dict[str, list[list[npt.NDArray[np.float64]]]]:
    ways: dict[str, list[list[npt.NDArray[np.float64]]]] = {}
    for way in tomllib.loads((Path(__file__).parent / "strokes.toml").read_text())["way"]:
        ways.setdefault(str(way["digit"]), []).append([np.array(stroke) for stroke in way["strokes"]])
    return ways


def _of_strokes(rng: np.random.Generator, strokes: list[npt.NDArray[np.float64]]) -> Field:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    size = np.array([TALL * rng.uniform(0.5, 0.75), TALL])
    for stroke in strokes:
        points = _spline(stroke + rng.normal(0, 0.025, stroke.shape)) - 0.5
        cv2.polylines(canvas, [np.round(points * size + MIDDLE).astype(np.int32)], False, 255)
    return _distance(canvas > 0)


def _spline(points: npt.NDArray[np.float64], steps: int = 10) -> npt.NDArray[np.float64]:
    """Catmull-Rom through all points."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, steps)[:, np.newaxis]
    parts = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:])
    ]
    return np.concatenate(parts)


def _distance(line: npt.NDArray[np.bool_]) -> Field:
    """Blurred a little, which rounds the steps of a line of whole pixels."""
    field = cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(cv2.GaussianBlur(field, (0, 0), 1.5), np.float32)


def _draw(rng: np.random.Generator, field: Field, digit_px: float, hand: Hand) -> Glyph:
    """The pen along the field's zero line, cropped to its ink."""
    scale = TALL / digit_px
    side = int(1.5 * digit_px) + 4
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) - side / 2
    bend_x, bend_y = (_waves(rng, side, 0.05 * TALL) for _ in range(2))
    map_x = (x / hand.wide + (hand.slant + rng.normal(0, 0.04)) * y) * scale + MIDDLE + bend_x
    map_y = y * scale + MIDDLE + bend_y
    far = cv2.remap(field, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) / scale
    radius = max(hand.pen * digit_px / 2, 0.8) * (1 + _waves(rng, side, 0.25))
    alpha: Mask = (np.clip(radius - far + 0.5, 0, 1) * 255).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(alpha)
    rise = round(rng.normal(0, hand.unrest) * digit_px)
    # The base line is where the field's digits end, so that points and dashes keep their height.
    base = side / 2 + digit_px / 2
    return Glyph(
        np.ascontiguousarray(alpha[top : top + height, left : left + width]),
        0,
        round(top - base) + rise,
        width + hand.gap * digit_px,
    )


def _waves(rng: np.random.Generator, side: int, strength: float) -> Field:
    """Smooth noise, about -strength..strength."""
    coarse = rng.normal(0, strength / 2, (4, 4)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
