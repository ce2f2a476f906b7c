"""The things that carry digits: labels, meters, displays, plates, notes, tags, keypads, dials, bare ink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import colors
import cv2
import fonts
import handwriting
import ink
import numpy as np
import numpy.typing as npt
import segments
import words
from colors import Color
from fonts import Split
from ink import Digit, Ink, Mask

Image = npt.NDArray[np.uint8]  # (H, W, 3), BGR


@dataclass(eq=False, slots=True)
class Patch:
    """A flat thing on its own canvas; `bare` ink gets its colour from where it lands."""

    image: Image
    alpha: Mask
    ink: Mask
    """Coverage by the writing that its digits stand in: what tells later whether they can still be read."""
    digits: list[Digit] = field(default_factory=list)
    bare: bool = False

    @classmethod
    def plain(cls, width: float, height: float, color: Color) -> Patch:
        shape = (max(int(height), 4), max(int(width), 4))
        image = np.empty((*shape, 3), np.uint8)
        image[:] = color
        return cls(image, np.full(shape, 255, np.uint8), np.zeros(shape, np.uint8))

    def put(self, writing: Ink, x: float, y: float, color: Color, strength: float = 1.0) -> None:
        """Blend ink in with its upper left corner at x, y, or where it just fits; its digits become the patch's."""
        height, width = writing.alpha.shape
        room = (self.image.shape[1] - width, self.image.shape[0] - height)
        if writing.digits and min(room) < 0:
            raise ValueError(f"expected ink that fits a patch of {self.image.shape[:2]}, got {writing.alpha.shape}")
        left, top = (int(np.clip(round(at), 0, max(most, 0))) for at, most in zip((x, y), room))
        blend(self.image, writing.alpha, left, top, color, strength)
        if writing.digits:
            window = self.ink[top : top + height, left : left + width]
            np.maximum(window, writing.alpha, out=window)
            self.digits += [d.moved(left, top) for d in writing.digits]


def blend(image: Image, alpha: Mask, left: int, top: int, color: Color, strength: float = 1.0) -> None:
    """Paint `color` through `alpha`; what falls outside the image is left out."""
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + alpha.shape[1], image.shape[1]), min(top + alpha.shape[0], image.shape[0])
    if x2 <= x1 or y2 <= y1:
        return
    window = image[y1:y2, x1:x2]
    share = alpha[y1 - top : y2 - top, x1 - left : x2 - left, np.newaxis].astype(np.float32) * (strength / 255)
    window[:] = window + (np.array(color, np.float32) - window) * share


def random_patch(rng: np.random.Generator, split: Split, digit_px: float, room_px: float) -> Patch:
    """Any of the things, its main digits `digit_px` high and its width about `room_px` at most."""
    most = int(np.clip(room_px / (0.8 * digit_px), 1, 10))
    makers: list[tuple[Callable[[np.random.Generator, Split, float, int], Patch], float, int]] = [
        (label, 3, 3),
        (meter, 2, 3),
        (display, 3.5, 2),
        (plate, 1.5, 1),
        (note, 3, 1),
        (tag, 1.5, 2),
        (bare, 3, 1),
        (single, 1, 1),
        (keypad, 1, 4),
        (dial, 0.7, 7),
        (scale, 0.8, 7),
        (table, 1, 7),
    ]
    fitting = [(maker, weight) for maker, weight, least in makers if least <= most]
    weights = np.array([weight for _, weight in fitting])
    maker = fitting[rng.choice(len(fitting), p=weights / weights.sum())][0]
    return maker(rng, split, digit_px, most)


def _print(rng: np.random.Generator, split: Split, text: str, digit_px: float, script: float = 0.12) -> Ink:
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
        padded = cv2.copyMakeBorder(writing.alpha, size, size, size, size, cv2.BORDER_CONSTANT)
        return _again(writing, cv2.dilate(padded, np.ones((size, size), np.uint8)), size)
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


def _ground(rng: np.random.Generator, patch: Patch) -> None:
    """Uneven material: a slope of light and some grain."""
    height, width = patch.alpha.shape
    across, down = (np.linspace(-1, 1, n, dtype=np.float32) * rng.normal(0, 8) for n in (width, height))
    coarse = rng.standard_normal((max(height // 3, 1), max(width // 3, 1)), np.float32) * rng.uniform(0, 6)
    tones = patch.image + (cv2.resize(coarse, (width, height)) + across + down[:, np.newaxis])[..., np.newaxis]
    patch.image[:] = np.clip(tones, 0, 255)


def _border(rng: np.random.Generator, patch: Patch, color: Color, share: float = 0.6) -> None:
    if rng.random() < share:
        height, width = patch.alpha.shape
        inset = int(rng.uniform(0.01, 0.06) * min(height, width))
        thick = max(int(rng.uniform(0.01, 0.03) * height), 1)
        cv2.rectangle(patch.image, (inset, inset), (width - 1 - inset, height - 1 - inset), color, thick, cv2.LINE_AA)


def _pair(rng: np.random.Generator) -> tuple[Color, Color]:
    kind = rng.random()
    ground = colors.light(rng) if kind < 0.45 else colors.dark(rng) if kind < 0.65 else colors.any_color(rng)
    return ground, colors.against(rng, ground, colors.contrast(rng))


def _stack(rng: np.random.Generator, lines: list[Ink], digit_px: float) -> tuple[Patch, Color]:
    """Lines of ink below each other on a rectangle."""
    ground, color = _pair(rng)
    pad, gap = digit_px * rng.uniform(0.25, 0.9), digit_px * rng.uniform(0.2, 0.6)
    width = max(line.alpha.shape[1] for line in lines) + 2 * pad
    height = sum(line.alpha.shape[0] for line in lines) + gap * (len(lines) - 1) + 2 * pad
    patch = Patch.plain(width, height + 2, ground)
    _ground(rng, patch)
    align, y = rng.integers(3), pad
    for line in lines:
        free = patch.alpha.shape[1] - 2 * pad - line.alpha.shape[1]
        patch.put(line, pad + max(free, 0) * (0, 0.5, 1)[align], y, color)
        y += line.alpha.shape[0] + gap
    return patch, color


def label(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Words and entries, one of them large."""
    lines = []
    for _ in range(rng.integers(1, 5)):
        large = digit_px * rng.uniform(0.7, 1.0)
        if rng.random() < 0.65:
            lines.append(_print(rng, split, words.entry(rng, most), large))
        else:
            lines.append(_print(rng, split, words.phrase(rng, int(rng.integers(1, 3))), large * 0.7))
    if not any(line.digits for line in lines):
        lines.append(_print(rng, split, words.entry(rng, most), digit_px))
    patch, color = _stack(rng, lines, digit_px)
    _border(rng, patch, color, 0.4)
    return patch


def plate(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """A house or door number, perhaps with screws, perhaps round."""
    text = words.digits(rng, int(rng.integers(1, min(most, 4) + 1)))
    if rng.random() < 0.2 and most >= 3:
        text += "ACDEFH"[rng.integers(6)]
    writing = _print(rng, split, text, digit_px)
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
    _border(rng, patch, color, 0.7)
    if rng.random() < 0.4:
        inset, radius = int(digit_px * 0.14), max(int(digit_px * 0.05), 1)
        for x, y in ((inset, inset), (width - inset, inset), (inset, height - inset), (width - inset, height - inset)):
            cv2.circle(patch.image, (x, y), radius, colors.any_color(rng, 0.1), -1, cv2.LINE_AA)
    return patch


def tag(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """A price: large whole part, small cents, a word above."""
    large = _print(rng, split, words.digits(rng, int(rng.integers(1, min(most, 3) + 1))), digit_px)
    cents = _print(rng, split, words.digits(rng, 2), digit_px * rng.uniform(0.45, 1.0))
    sign = _print(rng, split, "€$£"[rng.integers(3)], digit_px * rng.uniform(0.5, 1.0), 0)
    word = _print(rng, split, words.word(rng), digit_px * rng.uniform(0.25, 0.5))
    pad = digit_px * 0.4
    parts = [large, cents, sign] if rng.random() < 0.5 else [sign, large, cents]
    width = max(sum(p.alpha.shape[1] for p in parts) + 0.5 * digit_px, word.alpha.shape[1]) + 2 * pad
    tall = max(p.alpha.shape[0] for p in parts)
    ground = ((60, 220, 245), (40, 40, 215), (240, 240, 240), (80, 200, 120))[rng.integers(4)]
    if rng.random() < 0.4:
        ground = colors.any_color(rng, 0.9)
    color = colors.against(rng, ground, max(colors.contrast(rng), 80))
    patch = Patch.plain(width, tall + word.alpha.shape[0] + 2.6 * pad, ground)
    _ground(rng, patch)
    patch.put(word, pad, pad * 0.6, color)
    x, y = pad, pad * 1.4 + word.alpha.shape[0]
    for part in parts:
        patch.put(part, x, y, color)
        x += part.alpha.shape[1] + 0.15 * digit_px
    if rng.random() < 0.4:
        hole = (int(patch.alpha.shape[1] - pad / 2), int(pad / 2))
        cv2.circle(patch.alpha, hole, max(int(pad * 0.2), 1), 0, -1, cv2.LINE_AA)
    _border(rng, patch, color, 0.3)
    return patch


def meter(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Wheels behind windows; the last ones may be red."""
    count = int(rng.integers(3, min(most, 8) + 1))
    face = fonts.pick(rng, split, "print")
    cell_w, cell_h = digit_px * rng.uniform(0.95, 1.3), digit_px * rng.uniform(1.35, 1.8)
    pad = digit_px * rng.uniform(0.2, 0.8)
    patch = Patch.plain(count * cell_w + 2 * pad, cell_h + 2 * pad, colors.any_color(rng, 0.3))
    _ground(rng, patch)
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
        name = _print(rng, split, words.unit(rng) if rng.random() < 0.5 else words.word(rng), digit_px * 0.4)
        blend(
            patch.image,
            name.alpha,
            int(pad),
            int(patch.alpha.shape[0] - pad * 0.8),
            colors.against(rng, tuple(patch.image[-1, 0].tolist()), 120),
        )
    return patch


GLOWS: tuple[Color, ...] = (
    (40, 40, 255),
    (60, 255, 70),
    (255, 180, 60),
    (40, 170, 255),
    (255, 255, 255),
    (60, 240, 255),
)
HELD_OUT_GLOWS: tuple[Color, ...] = ((230, 255, 90), (255, 90, 210), *GLOWS[:2])


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
    _ground(rng, patch)
    if writing.ghost is not None and ghost:
        patch.put(Ink(writing.ghost), pad_x, pad_y, color, ghost)
    glow = rng.random() < 0.4 and colors.luma(ground) < 80
    if glow:
        sigma = digit_px * rng.uniform(0.03, 0.1)
        spread = cv2.copyMakeBorder(writing.alpha, 20, 20, 20, 20, cv2.BORDER_CONSTANT)
        blend(patch.image, cv2.GaussianBlur(spread, (0, 0), sigma), round(pad_x) - 20, round(pad_y) - 20, color, 0.45)
    patch.put(writing, pad_x, pad_y, color, rng.uniform(0.8, 1.0))
    if rng.random() < 0.3:
        name = _print(rng, split, words.unit(rng), digit_px * 0.35, 0)
        blend(patch.image, name.alpha, int(width + pad_x), int(pad_y * 0.3), color)
    bezel = int(digit_px * rng.uniform(0.1, 0.6)) if rng.random() < 0.6 else 0
    return _framed(rng, patch, bezel) if bezel else patch


def _framed(rng: np.random.Generator, patch: Patch, width: int) -> Patch:
    edge = colors.any_color(rng, 0.3)
    image = cv2.copyMakeBorder(patch.image, width, width, width, width, cv2.BORDER_CONSTANT, value=edge)
    alpha = cv2.copyMakeBorder(patch.alpha, width, width, width, width, cv2.BORDER_CONSTANT, value=255)
    writing = cv2.copyMakeBorder(patch.ink, width, width, width, width, cv2.BORDER_CONSTANT)
    return Patch(image, alpha, writing, [d.moved(width, width) for d in patch.digits])


def note(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Handwriting on paper: blank, ruled or squared."""
    lines = []
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.8:
            lines.append(handwriting.written(rng, _dictated(rng, min(most, 8)), digit_px, split))
        else:
            lines.append(_print(rng, split, words.number(rng, most), digit_px, 1.0))
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
    _ground(rng, patch)
    y = pad
    for line in lines:
        patch.put(line, pad + rng.uniform(0, 1) * (patch.alpha.shape[1] - 2 * pad - line.alpha.shape[1]), y, color)
        y += line.alpha.shape[0] + gap
    return patch


def _dictated(rng: np.random.Generator, most: int) -> str:
    text = words.number(rng, most)
    if len(text) > 5 and text.isdigit() and rng.random() < 0.4:
        return text[:3] + " -/"[rng.integers(3)] + text[3:]
    return text


def bare(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Ink without a ground of its own: painted on a wall, a jersey, a box."""
    kind = rng.random()
    if kind < 0.6:
        writing = _print(
            rng, split, words.entry(rng, most) if rng.random() < 0.4 else words.number(rng, min(most, 5)), digit_px
        )
    elif kind < 0.9:
        writing = handwriting.written(rng, _dictated(rng, min(most, 5)), digit_px, split)
    else:
        writing = segments.display(rng, words.number(rng, min(most, 5)), digit_px, split)
    pad = max(int(digit_px * 0.15), 2)
    alpha = cv2.copyMakeBorder(writing.alpha, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    digits = [d.moved(pad, pad) for d in writing.digits]
    return Patch(np.zeros((*alpha.shape, 3), np.uint8), alpha, alpha, digits, bare=True)


def single(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """One digit, alone: on a ball, a key, a jersey, a card."""
    if rng.random() < 0.4:
        return bare(rng, split, digit_px, 1)
    return plate(rng, split, digit_px, 1)


def dressed(rng: np.random.Generator, patch: Patch, under: Image) -> Patch:
    """Bare ink in a colour that shows on what lies under it, with a rim where that is restless."""
    mean, spread = under.reshape(-1, 3).mean(axis=0), float(under.mean(axis=2).std())
    ground: Color = (float(mean[0]), float(mean[1]), float(mean[2]))
    color = colors.against(rng, ground, max(colors.contrast(rng), 70) + spread)
    image = np.empty_like(patch.image)
    image[:] = color
    alpha = patch.alpha
    if spread > 28 or rng.random() < 0.15:
        tallest = max((d.box_xyxy()[3] - d.box_xyxy()[1] for d in patch.digits), default=20.0)
        rim = int(max(tallest * rng.uniform(0.04, 0.1), 1))
        alpha = cv2.dilate(alpha, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1)))
        image[:] = colors.against(rng, color, 140)
        blend(image, patch.alpha, 0, 0, color)
    elif rng.random() < 0.2:
        shift = 1 + int(patch.alpha.shape[0] * 0.03)
        alpha = np.maximum(alpha, np.roll(alpha, (shift, shift), (0, 1)) // 2)
        image[:] = np.array(ground) * 0.45 if colors.luma(color) > colors.luma(ground) else np.array(ground) * 0.8
        blend(image, patch.alpha, 0, 0, color)
    return replace(patch, image=image, alpha=alpha)


def keypad(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Keys of a telephone, a calculator, a lift."""
    columns, rows = int(rng.integers(2, min(most, 4) + 1)), int(rng.integers(2, 5))
    face = fonts.pick(rng, split, "print")
    pitch = digit_px * rng.uniform(1.5, 2.4)
    case = colors.any_color(rng, 0.3)
    key, color = _pair(rng)
    patch = Patch.plain(columns * pitch, rows * pitch, case)
    _ground(rng, patch)
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
    ground, color = _pair(rng)
    patch = Patch.plain(side, side, ground)
    _ground(rng, patch)
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
    ground, color = _pair(rng)
    writings = [ink.printed(face, number, digit_px) for number in numbers]
    pitch = max(w.alpha.shape[1] for w in writings) + digit_px * rng.uniform(0.4, 1.0)
    patch = Patch.plain(pitch * len(numbers) + digit_px, digit_px * 2.6, ground)
    _ground(rng, patch)
    for i in range(len(numbers) * 10):
        x, long = int(digit_px * 0.5 + pitch * (i + 5) / 10), 0.9 if i % 10 == 0 else 0.65 if i % 5 == 0 else 0.45
        cv2.line(patch.image, (x, 0), (x, int(digit_px * long)), color, max(int(digit_px / 18), 1))
    for i, writing in enumerate(writings):
        x = digit_px * 0.5 + pitch * (i + 0.5) - writing.alpha.shape[1] / 2
        patch.put(writing, x, digit_px * 1.15, color)
    return patch


def table(rng: np.random.Generator, split: Split, digit_px: float, most: int) -> Patch:
    """Cells with numbers: a calendar, a form, a list."""
    columns, rows = int(rng.integers(2, max(most // 3, 2) + 1)), int(rng.integers(2, 5))
    face = fonts.pick(rng, split, "print")
    by_hand = rng.random() < 0.3
    ground, color = _pair(rng)
    cell_w, cell_h = digit_px * rng.uniform(2.6, 3.2), digit_px * rng.uniform(1.5, 2.0)
    patch = Patch.plain(columns * cell_w + 2, rows * cell_h + 2, ground)
    _ground(rng, patch)
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
