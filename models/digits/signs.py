"""Things that are written or printed: labels, plates, price tags, notes, tables, and ink on whatever is there."""

from __future__ import annotations

import colors
import cv2
import fonts
import handwriting
import ink
import numpy as np
import segments
import words
from colors import Color
from fonts import Split
from ink import Ink, Mask
from patches import Patch, bordered, grained, pair


def label(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Words and entries, one of them large."""
    lines = []
    for _ in range(rng.integers(1, 5)):
        large = digit_px * rng.uniform(0.7, 1.0)
        if rng.random() < 0.65:
            lines.append(print_in(rng, split, words.entry(rng, most), large))
        else:
            lines.append(print_in(rng, split, words.phrase(rng, int(rng.integers(1, 3))), large * 0.7))
    if not any(line.digits for line in lines):
        lines.append(print_in(rng, split, words.entry(rng, most), digit_px))
    patch, color = _stack(rng, lines, digit_px)
    bordered(rng, patch, color, 0.4)
    return patch


def plate(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """A house or door number, perhaps with screws, perhaps round."""
    text = words.digits(rng, int(rng.integers(1, min(most, 4) + 1)))
    if rng.random() < 0.2 and most >= 3:
        text += "ACDEFH"[rng.integers(6)]
    writing = print_in(rng, split, text, digit_px)
    patch, color = _stack(rng, [writing], digit_px)
    height, width = patch.alpha.shape
    if len(text) < 3 and rng.random() < 0.3:
        side = int(1.25 * max(height, width))
        round_one = Patch.plain(side, side, tuple(patch.image[0, 0].tolist()))
        x, y = (side - width) // 2, (side - height) // 2
        round_one.image[y : y + height, x : x + width] = patch.image
        cv2.circle(round_one.image, (side // 2, side // 2), int(side * 0.45), color, max(side // 40, 1), cv2.LINE_AA)
        round_one.alpha[:] = 0
        cv2.circle(round_one.alpha, (side // 2, side // 2), side // 2 - 1, 255, -1, cv2.LINE_AA)
        round_one.ink[y : y + height, x : x + width] = patch.ink
        round_one.digits = [d.moved(x, y) for d in patch.digits]
        return round_one
    bordered(rng, patch, color, 0.7)
    if rng.random() < 0.4:
        inset, radius = int(digit_px * 0.14), max(int(digit_px * 0.05), 1)
        for x, y in ((inset, inset), (width - inset, inset), (inset, height - inset), (width - inset, height - inset)):
            cv2.circle(patch.image, (x, y), radius, colors.any_color(rng, 0.1), -1, cv2.LINE_AA)
    return patch


def tag(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """A price: large whole part, small cents, a word above."""
    large = print_in(rng, split, words.digits(rng, int(rng.integers(1, min(most, 3) + 1))), digit_px)
    cents = print_in(rng, split, words.digits(rng, 2), digit_px * rng.uniform(0.45, 1.0))
    sign = print_in(rng, split, "€$£"[rng.integers(3)], digit_px * rng.uniform(0.5, 1.0), 0)
    word = print_in(rng, split, words.word(rng), digit_px * rng.uniform(0.25, 0.5))
    pad = digit_px * 0.4
    parts = [large, cents, sign] if rng.random() < 0.5 else [sign, large, cents]
    width = max(sum(p.alpha.shape[1] for p in parts) + 0.5 * digit_px, word.alpha.shape[1]) + 2 * pad
    tall = max(p.alpha.shape[0] for p in parts)
    grounds: tuple[Color, ...] = ((60, 220, 245), (40, 40, 215), (240, 240, 240), (80, 200, 120))
    ground = grounds[rng.integers(4)]
    if rng.random() < 0.4:
        ground = colors.any_color(rng, 0.9)
    color = colors.against(rng, ground, max(colors.contrast(rng), 80))
    patch = Patch.plain(width, tall + word.alpha.shape[0] + 2.6 * pad, ground)
    grained(rng, patch)
    patch.put(word, pad, pad * 0.6, color)
    x, y = pad, pad * 1.4 + word.alpha.shape[0]
    for part in parts:
        patch.put(part, x, y, color)
        x += part.alpha.shape[1] + 0.15 * digit_px
    if rng.random() < 0.4:
        hole = (int(patch.alpha.shape[1] - pad / 2), int(pad / 2))
        cv2.circle(patch.alpha, hole, max(int(pad * 0.2), 1), 0, -1, cv2.LINE_AA)
    bordered(rng, patch, color, 0.3)
    return patch


def note(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Handwriting on paper: blank, ruled or squared."""
    lines = []
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.8:
            lines.append(handwriting.written(rng, _dictated(rng, min(most, 8)), digit_px, split))
        else:
            lines.append(print_in(rng, split, words.number(rng, most), digit_px, 1.0))
    paper = colors.light(rng) if rng.random() < 0.8 else colors.any_color(rng, 0.4)
    pens = ((30, 30, 30), (150, 60, 30), (40, 40, 170), (70, 110, 40), (90, 90, 90))
    color: Color = pens[rng.integers(len(pens))]
    if abs(colors.luma(color) - colors.luma(paper)) < 90:
        color = colors.against(rng, paper, 130)
    pad, gap = digit_px * rng.uniform(0.3, 1.0), digit_px * rng.uniform(0.2, 0.6)
    width = max(line.alpha.shape[1] for line in lines) + 2 * pad
    height = sum(line.alpha.shape[0] for line in lines) + gap * (len(lines) - 1) + 2 * pad
    patch = Patch.plain(width, height + 2, paper)
    ruling, step = rng.random(), int(digit_px * rng.uniform(0.5, 1.6))
    rule = tuple(float(c) for c in np.array(paper) * rng.uniform(0.75, 0.93))
    if ruling < 0.5:
        patch.image[:: max(step, 4)] = rule
    if ruling < 0.25:
        patch.image[:, :: max(step, 4)] = rule
    grained(rng, patch)
    y = pad
    for line in lines:
        patch.put(line, pad + rng.uniform(0, 1) * (patch.alpha.shape[1] - 2 * pad - line.alpha.shape[1]), y, color)
        y += line.alpha.shape[0] + gap
    return patch


def table(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Cells with numbers: a calendar, a form, a list."""
    columns, rows = int(rng.integers(2, max(most // 3, 2) + 1)), int(rng.integers(2, 5))
    face = fonts.pick(rng, split, "print")
    by_hand = rng.random() < 0.3
    ground, color = pair(rng)
    cell_w, cell_h = digit_px * rng.uniform(2.6, 3.2), digit_px * rng.uniform(1.5, 2.0)
    patch = Patch.plain(columns * cell_w + 2, rows * cell_h + 2, ground)
    grained(rng, patch)
    if rng.random() < 0.7:
        for x in np.arange(columns + 1) * cell_w:
            cv2.line(patch.image, (int(x), 0), (int(x), patch.alpha.shape[0]), color, 1)
        for y in np.arange(rows + 1) * cell_h:
            cv2.line(patch.image, (0, int(y)), (patch.alpha.shape[1], int(y)), color, 1)
    for i in range(rows * columns):
        if rng.random() < 0.2:
            continue
        text = words.digits(rng, int(rng.integers(1, 3)))
        writing = handwriting.written(rng, text, digit_px, split) if by_hand else ink.printed(face, text, digit_px)
        height, width = writing.alpha.shape
        x, y = (i % columns + 0.5) * cell_w - width / 2, (i // columns + 0.5) * cell_h - height / 2
        if width < cell_w * 0.95 and height < cell_h * 0.95:
            patch.put(writing, x, y, color)
    return patch


def bare(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Ink without a ground of its own: painted on a wall, a jersey, a box."""
    kind = rng.random()
    if kind < 0.6:
        writing = print_in(
            rng, split, words.entry(rng, most) if rng.random() < 0.4 else words.number(rng, min(most, 5)), digit_px
        )
    elif kind < 0.9:
        writing = handwriting.written(rng, _dictated(rng, min(most, 5)), digit_px, split)
    else:
        writing = segments.display(rng, words.number(rng, min(most, 5)), digit_px, split)
    pad = max(int(digit_px * 0.15), 2)
    alpha = ink.padded(writing.alpha, pad)
    digits = [d.moved(pad, pad) for d in writing.digits]
    return Patch(np.zeros((*alpha.shape, 3), np.uint8), alpha, alpha, digits, bare=True)


def single(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """One digit, alone: on a ball, a key, a jersey, a card."""
    if rng.random() < 0.4:
        return bare(rng, split, digit_px, 1)
    return plate(rng, split, digit_px, 1)


def _stack(rng: np.random.Generator, lines: list[Ink], digit_px: float) -> tuple[Patch, Color]:
    """Lines of ink below each other on a rectangle."""
    ground, color = pair(rng)
    pad, gap = digit_px * rng.uniform(0.25, 0.9), digit_px * rng.uniform(0.2, 0.6)
    width = max(line.alpha.shape[1] for line in lines) + 2 * pad
    height = sum(line.alpha.shape[0] for line in lines) + gap * (len(lines) - 1) + 2 * pad
    patch = Patch.plain(width, height + 2, ground)
    grained(rng, patch)
    align, y = rng.integers(3), pad
    for line in lines:
        free = patch.alpha.shape[1] - 2 * pad - line.alpha.shape[1]
        patch.put(line, pad + max(free, 0) * (0, 0.5, 1)[align], y, color)
        y += line.alpha.shape[0] + gap
    return patch, color


def _dictated(rng: np.random.Generator, most: int) -> str:
    text = words.number(rng, most)
    if len(text) > 5 and text.isdigit() and rng.random() < 0.4:
        return text[:3] + " -/"[rng.integers(3)] + text[3:]
    return text


def print_in(rng: np.random.Generator, split: Split, text: str, digit_px: float, script: float = 0.12) -> Ink:
    look: fonts.Look = "script" if rng.random() < script else "print"
    face = fonts.pick(rng, split, look)
    # A bar alone is a one only to who knows: it needs company, or a flag.
    while [c for c in text if c.isdigit()] == ["1"] and ink.is_bar(face):
        face = fonts.pick(rng, split, look)
    writing = ink.printed(face, text, digit_px, float(rng.choice([0.0, 0.0, 0.05, 0.15])))
    return _worn(rng, writing, digit_px)


def _worn(rng: np.random.Generator, writing: Ink, digit_px: float) -> Ink:
    """Now and then fatter, or set of dots as a jet or a matrix prints it."""
    kind = rng.random()
    if kind < 0.08 and digit_px > 24:
        size = max(int(digit_px / 20), 2)
        fat = cv2.dilate(ink.padded(writing.alpha, size), np.ones((size, size), np.uint8))
        return _again(writing, np.asarray(fat, np.uint8), size)
    if 0.08 < kind < 0.14 and digit_px > 30:
        step = digit_px / rng.integers(9, 14)
        y, x = np.indices(writing.alpha.shape, np.float32)
        ring = (x % step - step / 2) ** 2 + (y % step - step / 2) ** 2
        dots = np.clip(step * 0.48 - np.sqrt(ring) + 0.5, 0, 1)
        return _again(writing, (writing.alpha * dots).astype(np.uint8), 0)
    return writing


def _again(writing: Ink, alpha: Mask, pad: int) -> Ink:
    """The same writing in changed ink: each digit's outline is taken anew, within where it was."""
    digits = []
    for old in writing.digits:
        x1, y1, x2, y2 = (old.box_xyxy() + np.array([0, 0, 2 * pad, 2 * pad])).astype(int)
        if new := ink.digit_of(alpha[y1:y2, x1:x2], old.class_id, old.kind):
            digits.append(new.moved(x1, y1))
    return Ink(alpha, tuple(digits))
