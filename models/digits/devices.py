"""Devices that show digits: meters, displays, keypads, dials, scales."""

from __future__ import annotations

import colors
import cv2
import fonts
import ink
import numpy as np
import segments
import words
from colors import Color
from fonts import Split
from ink import Ink
from patches import Patch, blend, framed, grained, pair
from signs import print_in

GLOWS: tuple[Color, ...] = (
    (40, 40, 255),
    (60, 255, 70),
    (255, 180, 60),
    (40, 170, 255),
    (255, 255, 255),
    (60, 240, 255),
)
HELD_OUT_GLOWS: tuple[Color, ...] = ((230, 255, 90), (255, 90, 210), *GLOWS[:2])


def meter(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Wheels behind windows; the last ones may be red."""
    count = int(rng.integers(3, min(most, 8) + 1))
    face = fonts.pick(rng, split, "print")
    cell_w, cell_h = digit_px * rng.uniform(0.95, 1.3), digit_px * rng.uniform(1.35, 1.8)
    pad = digit_px * rng.uniform(0.2, 0.8)
    patch = Patch.plain(count * cell_w + 2 * pad, cell_h + 2 * pad, colors.any_color(rng, 0.3))
    grained(rng, patch)
    bright = rng.random() < 0.25
    ground = colors.light(rng) if bright else colors.dark(rng)
    color = colors.against(rng, ground, max(colors.contrast(rng), 90))
    red_from = count - int(rng.integers(0, 4))
    for i, text in enumerate(words.digits(rng, count)):
        x1, y1 = int(pad + i * cell_w), int(pad)
        x2, y2 = int(x1 + cell_w * 0.92), int(y1 + cell_h)
        wheel = (40.0, 40.0, 170.0) if i >= red_from and not bright else ground
        # Both ends of a wheel turn away from the light.
        shade = 1 - 0.6 * np.abs(np.linspace(-1, 1, y2 - y1)) ** 2
        patch.image[y1:y2, x1:x2] = (np.array(wheel) * shade[:, np.newaxis])[:, np.newaxis]
        writing = ink.printed(face, text, digit_px)
        height, width = writing.alpha.shape
        x = x1 + (x2 - x1 - width) / 2
        y = y1 + (y2 - y1 - height) / 2 + rng.normal(0, 0.03) * digit_px
        patch.put(writing, x, y, (245, 245, 245) if wheel is not ground else color)
    if rng.random() < 0.5:
        name = print_in(rng, split, words.unit(rng) if rng.random() < 0.5 else words.word(rng), digit_px * 0.4)
        blend(
            patch.image,
            name.alpha,
            int(pad),
            int(patch.alpha.shape[0] - pad * 0.8),
            colors.against(rng, tuple(patch.image[-1, 0].tolist()), 120),
        )
    return patch


def display(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Seven segments, lit on dark or dark on grey."""
    text = words.number(rng, min(most, 8))
    if rng.random() < 0.15:
        text = " " + text if rng.random() < 0.5 else "-" + text
    writing = segments.display(rng, text, digit_px, split)
    height, width = writing.alpha.shape
    pad_x, pad_y = digit_px * rng.uniform(0.15, 0.8, 2)
    if rng.random() < 0.55:
        palette = HELD_OUT_GLOWS if split == "test" else GLOWS
        ground, color = colors.dark(rng), palette[rng.integers(len(palette))]
        ghost = rng.uniform(0, 0.12) if rng.random() < 0.6 else 0.0
    else:
        grey = rng.uniform(110, 215)
        ground = (grey * rng.uniform(0.75, 1.0), grey, grey * rng.uniform(0.8, 1.0))
        color = (
            colors.against(rng, (ground[0], ground[1] * 1.05, ground[2]), max(colors.contrast(rng), 75))
            if grey < 140
            else colors.dark(rng)
        )
        ghost = rng.uniform(0, 0.15) if rng.random() < 0.6 else 0.0
    patch = Patch.plain(width + 2 * pad_x + 2, height + 2 * pad_y + 2, ground)
    grained(rng, patch)
    if writing.ghost is not None and ghost:
        patch.put(Ink(writing.ghost), pad_x, pad_y, color, ghost)
    glow = rng.random() < 0.4 and colors.luma(ground) < 80
    if glow:
        sigma = digit_px * rng.uniform(0.03, 0.1)
        spread = np.asarray(cv2.GaussianBlur(ink.padded(writing.alpha, 20), (0, 0), sigma), np.uint8)
        blend(patch.image, spread, round(pad_x) - 20, round(pad_y) - 20, color, 0.45)
    patch.put(writing, pad_x, pad_y, color, rng.uniform(0.8, 1.0))
    if rng.random() < 0.3:
        name = print_in(rng, split, words.unit(rng), digit_px * 0.35, 0)
        blend(patch.image, name.alpha, int(width + pad_x), int(pad_y * 0.3), color)
    bezel = int(digit_px * rng.uniform(0.1, 0.6)) if rng.random() < 0.6 else 0
    return framed(rng, patch, bezel) if bezel else patch


def keypad(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Keys of a telephone, a calculator, a lift."""
    columns, rows = int(rng.integers(2, min(most, 4) + 1)), int(rng.integers(2, 5))
    face = fonts.pick(rng, split, "print")
    pitch = digit_px * rng.uniform(1.5, 2.4)
    case = colors.any_color(rng, 0.3)
    key, color = pair(rng)
    patch = Patch.plain(columns * pitch, rows * pitch, case)
    grained(rng, patch)
    order = "123456789*0#" if rng.random() < 0.5 else "789+456-123=0.+="
    round_keys = rng.random() < 0.4
    for i in range(rows * columns):
        center = np.array([i % columns + 0.5, i // columns + 0.5]) * pitch
        corner, size = (center - 0.42 * pitch).astype(int), int(0.84 * pitch)
        if round_keys:
            cv2.circle(patch.image, center.astype(int).tolist(), size // 2, key, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(patch.image, corner.tolist(), (corner + size).tolist(), key, -1)
        writing = ink.printed(face, order[i % len(order)], digit_px)
        at = center - np.array(writing.alpha.shape[::-1]) / 2
        patch.put(writing, at[0], at[1], color)
    return patch


def dial(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """A clock or a gauge: numbers around a centre, ticks and a hand or two."""
    face = fonts.pick(rng, split, "print")
    radius = digit_px * rng.uniform(3.2, 5.0)
    side = int(2 * radius + 2.4 * digit_px)
    ground, color = pair(rng)
    patch = Patch.plain(side, side, ground)
    grained(rng, patch)
    middle = np.array([side / 2, side / 2])
    clock = rng.random() < 0.6
    marks = [str(i) for i in range(1, 13)] if clock else [str(i * int(rng.choice([1, 2, 10]))) for i in range(9)]
    turns = [i / 12 for i in range(1, 13)] if clock else [(-0.36 + 0.72 * i / 8) for i in range(9)]
    for turn in np.linspace(turns[0], turns[-1], (len(turns) - 1) * 5 + 1):
        way = np.array([np.sin(2 * np.pi * turn), -np.cos(2 * np.pi * turn)])
        ends = [
            (middle + way * radius * r).astype(int).tolist()
            for r in (1.12 + digit_px / radius * 0.5, 1.18 + digit_px / radius * 0.5)
        ]
        cv2.line(patch.image, ends[0], ends[1], color, max(int(digit_px / 15), 1), cv2.LINE_AA)
    for mark, turn in zip(marks, turns):
        writing = ink.printed(face, mark, digit_px)
        center = middle + radius * np.array([np.sin(2 * np.pi * turn), -np.cos(2 * np.pi * turn)])
        at = center - np.array(writing.alpha.shape[::-1]) / 2
        patch.put(writing, at[0], at[1], color)
    for length in rng.uniform(0.4, 0.72, 2 if clock else 1):
        turn = rng.uniform(0, 1)
        tip = middle + radius * length * np.array([np.sin(2 * np.pi * turn), -np.cos(2 * np.pi * turn)])
        cv2.line(
            patch.image,
            middle.astype(int).tolist(),
            tip.astype(int).tolist(),
            color,
            max(int(digit_px / 7), 1),
            cv2.LINE_AA,
        )
    patch.alpha[:] = 0
    cv2.circle(patch.alpha, (side // 2, side // 2), side // 2 - 1, 255, -1, cv2.LINE_AA)
    return patch


def scale(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """A ruler or a thermometer: ticks and numbers along a line."""
    face = fonts.pick(rng, split, "print")
    step, first = int(rng.choice([1, 1, 2, 5, 10])), int(rng.integers(0, 9))
    numbers = [str((first + i) * step) for i in range(int(rng.integers(3, 6)))]
    ground, color = pair(rng)
    writings = [ink.printed(face, number, digit_px) for number in numbers]
    pitch = max(w.alpha.shape[1] for w in writings) + digit_px * rng.uniform(0.4, 1.0)
    patch = Patch.plain(pitch * len(numbers) + digit_px, digit_px * 2.6, ground)
    grained(rng, patch)
    for i in range(len(numbers) * 10):
        x, long = int(digit_px * 0.5 + pitch * (i + 5) / 10), 0.9 if i % 10 == 0 else 0.65 if i % 5 == 0 else 0.45
        cv2.line(patch.image, (x, 0), (x, int(digit_px * long)), color, max(int(digit_px / 18), 1))
    for i, writing in enumerate(writings):
        x = digit_px * 0.5 + pitch * (i + 0.5) - writing.alpha.shape[1] / 2
        patch.put(writing, x, digit_px * 1.15, color)
    return patch
