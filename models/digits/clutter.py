"""Things that are no digit, many of them nearly one: rings, bars, curves, wheels, grids, letters."""

from __future__ import annotations

from collections.abc import Callable

import colors
import cv2
import fonts
import ink
import numpy as np
import words
from colors import Color
from fonts import Split
from patches import Image, blend

Point = tuple[int, int]


def scatter(rng: np.random.Generator, image: Image, split: Split, count: int) -> None:
    """Draw `count` things into the image."""
    height, width = image.shape[:2]
    rings: list[tuple[Point, float]] = []
    for _ in range(count):
        size = float(np.exp(rng.uniform(np.log(14), np.log(0.5 * max(width, height)))))
        at = (int(rng.integers(width)), int(rng.integers(height)))
        under = image[max(at[1] - 4, 0) : at[1] + 4, max(at[0] - 4, 0) : at[0] + 4].reshape(-1, 3).mean(axis=0)
        ground: Color = (float(under[0]), float(under[1]), float(under[2]))
        color = colors.against(rng, ground, rng.uniform(25, 180))
        if rng.random() < 0.4:
            _text(rng, image, at, size, color, split)
            continue
        thing = THINGS[rng.integers(len(THINGS))]
        if thing in ROUND:
            if any(_like_eight(at, size, *other) for other in rings):
                continue
            rings.append((at, size))
        thing(rng, image, at, size, color)


def _like_eight(at: Point, size: float, other: Point, other_size: float) -> bool:
    """Whether two rings touch and are of like size: an eight to anyone."""
    near = np.hypot(at[0] - other[0], at[1] - other[1]) < 0.65 * (size + other_size)
    return bool(near and 0.45 < size / other_size < 2.2)


def _thick(rng: np.random.Generator, size: float) -> int:
    return max(int(size * rng.uniform(0.01, 0.14)), 1)


def _text(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color, split: Split) -> None:
    face = fonts.pick(rng, split, "script" if rng.random() < 0.2 else "print")
    kind, letter = rng.random(), min(size, 160.0)
    if kind < 0.45:
        text = words.word(rng)
    elif kind < 0.65:
        text, letter = words.phrase(rng, int(rng.integers(2, 7))), min(size, 40.0)
    elif kind < 0.85:
        text = words.lone(rng)
    else:
        text = words.MARKS[rng.integers(len(words.MARKS))]
    # A letter that is cut by the edge may turn into a digit (Q, R, P): text stays whole.
    alpha = ink.printed(face, text, letter, float(rng.choice([0, 0, 0.1]))).alpha
    angle = float(rng.normal(0, 8)) if rng.random() < 0.8 else float(rng.uniform(-35, 35))
    alpha = _turned(alpha, angle)
    shrink = min(image.shape[1] / alpha.shape[1], image.shape[0] / alpha.shape[0]) * 0.95
    if shrink < 1:
        alpha = np.asarray(cv2.resize(alpha, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
    x = int(np.clip(at[0] - alpha.shape[1] / 2, 0, image.shape[1] - alpha.shape[1]))
    y = int(np.clip(at[1] - alpha.shape[0] / 2, 0, image.shape[0] - alpha.shape[0]))
    if rng.random() < 0.35:
        card = np.full(alpha.shape, 255, np.uint8)
        ground = colors.any_color(rng)
        blend(image, card, x, y, ground)
        color = colors.against(rng, ground, colors.contrast(rng))
    blend(image, alpha, x, y, color)


def _turned(alpha: ink.Mask, angle: float) -> ink.Mask:
    height, width = alpha.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    sine, cosine = abs(turn[0, 1]), abs(turn[0, 0])
    w, h = int(height * sine + width * cosine) + 2, int(height * cosine + width * sine) + 2
    turn[:, 2] += (w - width) / 2, (h - height) / 2
    return np.asarray(cv2.warpAffine(alpha, turn, (w, h)), np.uint8)


def _ring(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    """Round or lying, never upright and narrow: that would be a zero."""
    axes = (int(size / 2), int(size / 2 * rng.uniform(0.3, 1.0)))
    cv2.ellipse(image, at, axes, rng.uniform(-15, 15), 0, 360, color, _thick(rng, size), cv2.LINE_AA)
    if rng.random() < 0.4:
        cv2.circle(image, at, int(size * rng.uniform(0.05, 0.3)), colors.any_color(rng), -1, cv2.LINE_AA)


def _disc(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    cv2.ellipse(
        image,
        at,
        (int(size / 2), int(size / 2 * rng.uniform(0.5, 1))),
        rng.uniform(0, 180),
        0,
        360,
        color,
        -1,
        cv2.LINE_AA,
    )


def _eye(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    for x in (0, int(size * 1.2)):
        spot = (at[0] + x, at[1])
        cv2.ellipse(image, spot, (int(size / 2), int(size / 4)), 0, 0, 360, colors.light(rng), -1, cv2.LINE_AA)
        cv2.circle(image, spot, int(size / 5), color, -1, cv2.LINE_AA)
        cv2.circle(image, spot, int(size / 10), (10, 10, 10), -1, cv2.LINE_AA)


def _wheel(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    thick = _thick(rng, size)
    cv2.circle(image, at, int(size / 2), color, thick, cv2.LINE_AA)
    count, start = int(rng.integers(3, 13)), rng.uniform(0, np.pi)
    for turn in start + np.arange(count) / count * 2 * np.pi:
        rim = (int(at[0] + size / 2 * np.cos(turn)), int(at[1] + size / 2 * np.sin(turn)))
        cv2.line(image, at, rim, color, max(thick // 2, 1), cv2.LINE_AA)
    cv2.circle(image, at, int(size / 10), color, -1, cv2.LINE_AA)


def _line(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    """A pole, a cable, a shelf: long."""
    turn, long = (
        rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]) + rng.normal(0, 0.05),
        max(size, 80) * rng.uniform(1, 4),
    )
    step = np.array([np.cos(turn), np.sin(turn)]) * long / 2
    ends = (np.array(at) - step).astype(int).tolist(), (np.array(at) + step).astype(int).tolist()
    cv2.line(image, *ends, color, max(int(long * rng.uniform(0.005, 0.03)), 1), cv2.LINE_AA)


def _bars(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    """A row of upright bars: a fence, a barcode, a radiator, piano keys."""
    regular, step, count = rng.random() < 0.5, size * rng.uniform(0.05, 0.3), int(rng.integers(4, 40))
    x = min(float(at[0]), image.shape[1] - 6 * step)  # a lone one at the edge would be a 1
    for _ in range(count):
        thick = step * (0.4 if regular else rng.uniform(0.15, 0.9))
        cv2.rectangle(image, (int(x), at[1]), (int(x + max(thick, 1)), int(at[1] + size)), color, -1)
        x += max(step * (1 if regular else rng.uniform(0.5, 1.5)), 2)


def _grid(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    """Window panes, tiles, a rack."""
    columns, rows, thick = int(rng.integers(2, 8)), int(rng.integers(2, 8)), _thick(rng, size / 3)
    wide, tall = size * rng.uniform(0.4, 1), size * rng.uniform(0.4, 1)
    filled, inner = rng.random() < 0.5, colors.any_color(rng)
    for i in range(columns):
        for j in range(rows):
            a = (int(at[0] + i * wide / 2), int(at[1] + j * tall / 2))
            b = (int(a[0] + wide / 2 - thick), int(a[1] + tall / 2 - thick))
            cv2.rectangle(image, a, b, inner if filled else color, -1 if filled else thick)


def _polygon(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    turns = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
    points = (np.array(at) + np.stack([np.cos(turns), np.sin(turns)], axis=1) * size / 2).astype(np.int32)
    if rng.random() < 0.6:
        cv2.fillPoly(image, [points], color, cv2.LINE_AA)
    else:
        cv2.polylines(image, [points], True, color, _thick(rng, size), cv2.LINE_AA)


def _curve(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    """A cable, a branch, a handle, an S: smooth, open, more wide than tall or very long."""
    t = np.linspace(0, 1, 40)
    phase, waves = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 2.5)
    points = np.stack(
        [t * size * rng.uniform(1.5, 4), np.sin(t * waves * 2 * np.pi + phase) * size * rng.uniform(0.1, 0.5)], axis=1
    )
    turn = rng.uniform(-0.7, 0.7)  # upright it may be an S, that is, a 5
    points = points @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) + at
    cv2.polylines(image, [points.astype(np.int32)], False, color, _thick(rng, size), cv2.LINE_AA)


def _arcs(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    start = rng.uniform(0, 360)
    for radius in np.arange(size * 0.15, size * 0.6, size * rng.uniform(0.08, 0.3)):
        cv2.ellipse(
            image,
            at,
            (int(radius), int(radius)),
            0,
            start,
            start + rng.uniform(40, 200),
            color,
            _thick(rng, size / 2),
            cv2.LINE_AA,
        )


def _hatching(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    lean, step = rng.uniform(-1, 1) * size, max(size * rng.uniform(0.04, 0.15), 3)
    for x in np.arange(0, size, step):
        cv2.line(
            image, (int(at[0] + x), at[1]), (int(at[0] + x + lean), int(at[1] + size * 0.7)), color, 1, cv2.LINE_AA
        )


def _branch(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    ends = [(np.array(at, float), rng.uniform(0, 2 * np.pi), size * 0.5, max(size * 0.05, 1))]
    for _ in range(15):
        start, turn, long, thick = ends.pop(0)
        tip = start + np.array([np.cos(turn), np.sin(turn)]) * long
        cv2.line(image, start.astype(int).tolist(), tip.astype(int).tolist(), color, max(int(thick), 1), cv2.LINE_AA)
        ends += [
            (tip, turn + rng.uniform(0.2, 0.8), long * 0.7, thick * 0.7),
            (tip, turn - rng.uniform(0.2, 0.8), long * 0.7, thick * 0.7),
        ]


def _scribble(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    """Looks like writing from afar: close waves along a line."""
    x = np.linspace(0, size * 2.5, 90)
    tall = size * 0.12
    y = (
        np.sin(x / size * rng.uniform(25, 45))
        * tall
        * np.interp(x, np.linspace(0, x[-1], 12), rng.uniform(0.2, 1.0, 12))
    )
    x = x + np.cos(x / size * 33) * tall * rng.uniform(0.2, 0.6)
    points = np.stack([x + at[0], y + at[1]], axis=1).astype(np.int32)
    cv2.polylines(image, [points], False, color, max(int(size / 60), 1), cv2.LINE_AA)


def _keys(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    """A keyboard without its letters, a wall of drawers."""
    pitch = max(size * 0.22, 8)
    for row in range(int(rng.integers(2, 5))):
        for column in range(int(rng.integers(4, 12))):
            a = (int(at[0] + (column + row * 0.3) * pitch), int(at[1] + row * pitch))
            cv2.rectangle(image, a, (int(a[0] + pitch * 0.85), int(a[1] + pitch * 0.85)), color, -1)
            if rng.random() < 0.5:
                cv2.circle(
                    image,
                    (int(a[0] + pitch * 0.42), int(a[1] + pitch * 0.42)),
                    max(int(pitch * 0.12), 1),
                    colors.dark(rng),
                    -1,
                    cv2.LINE_AA,
                )


def _handle(rng: np.random.Generator, image: Image, at: Point, size: float, color: Color) -> None:
    """A mug's or a door's: an open bow on a body."""
    body = colors.any_color(rng)
    cv2.rectangle(image, at, (int(at[0] + size * 0.7), int(at[1] + size)), body, -1)
    center = (int(at[0] + size * 0.7), int(at[1] + size * 0.5))
    cv2.ellipse(image, center, (int(size * 0.3), int(size * 0.3)), 0, -90, 90, body, _thick(rng, size), cv2.LINE_AA)


Thing = Callable[[np.random.Generator, Image, Point, float, Color], None]
THINGS: tuple[Thing, ...] = (
    _ring, _ring, _disc, _eye, _wheel, _line, _line, _bars, _bars, _grid, _polygon, _curve, _curve, _arcs, _hatching,
    _branch, _scribble, _keys, _handle,
)  # fmt: skip
ROUND = {_ring, _wheel, _arcs}
