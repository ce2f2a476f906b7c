"""Seven-segment digits, drawn as polygons: what a display lights, and the ghost of the segments it does not."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import fonts
import ink
import numpy as np
import numpy.typing as npt
from fonts import Split
from ink import Digit, Ink

#   a
# f   b
#   g
# e   c
#   d
LIT = {
    "0": ("abcdef",),
    "1": ("bc",),
    "2": ("abdeg",),
    "3": ("abcdg",),
    "4": ("bcfg",),
    "5": ("acdfg",),
    "6": ("acdefg", "cdefg"),
    "7": ("abc", "abcf"),
    "8": ("abcdefg",),
    "9": ("abcdfg", "abcfg"),
    "-": ("g",),
    " ": ("",),
}


@dataclass(frozen=True, slots=True)
class Module:
    """The make of a display; lengths in digit heights."""

    width: float
    thick: float
    gap: float
    slant: float
    space: float
    pointed: bool
    """Whether segments end in points, or are cut straight."""

    @classmethod
    def of(cls, rng: np.random.Generator, split: Split) -> Module:
        """The test's displays are wider and thinner, or thicker, than all that training shows."""
        if split == "test":
            width, thick = ((0.64, 0.72), (0.06, 0.08)) if rng.random() < 0.5 else ((0.48, 0.54), (0.15, 0.17))
        else:
            width, thick = (0.46, 0.63), (0.08, 0.15)
        return cls(
            width=float(rng.uniform(*width)),
            thick=float(rng.uniform(*thick)),
            gap=float(rng.uniform(0.0, 0.035)),
            slant=float(rng.choice([0.0, 0.07, 0.12, 0.17])),
            space=float(rng.uniform(0.14, 0.35)),
            pointed=bool(rng.random() < 0.7),
        )


def display(rng: np.random.Generator, text: str, digit_px: float, split: Split) -> Ink:
    """Digits, spaces and `-.:` as a display shows them, with the unlit segments as `ghost`."""
    if rng.random() < 0.25 and "-" not in text:
        return _in_a_face(fonts.pick(rng, split, "segments"), text, digit_px)
    module = Module.of(rng, split)
    tails = [int(rng.integers(2)) for _ in range(10)]
    pen, cells, dots = module.thick, [], []
    for character in text:
        if character in ".:":
            heights = (1.0,) if character == "." else (0.3, 0.75)
            dots += [(pen - module.space / 2, y) for y in heights]
            pen += 0.0 if character == "." else module.space
            continue
        ways = LIT[character]
        way = ways[tails[int(character)] % len(ways)] if character.isdigit() else ways[0]
        cells.append((character, way, pen))
        pen += module.width + module.space
    shape = (int(digit_px * (1 + 2 * module.thick)) + 2, int(digit_px * (pen + module.slant + module.thick)) + 2)
    alpha, ghost, digits = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), []
    for character, way, x in cells:
        one = np.zeros(shape, np.uint8)
        for name, outline in _outlines(module).items():
            points = _place(outline + np.array([x, module.thick / 2]), module, digit_px)
            cv2.fillPoly(ghost if name not in way else one, [points], 255, cv2.LINE_AA, shift=4)
        np.maximum(ghost, one, out=ghost)
        np.maximum(alpha, one, out=alpha)
        if character.isdigit() and (digit := ink.digit_of(one, int(character), "segments")):
            digits.append(digit)
    for x, y in dots:
        center = _place(np.array([[x, y + module.thick / 2]]), module, digit_px)[0]
        cv2.circle(alpha, center.tolist(), max(int(module.thick * digit_px * 8), 12), 255, -1, cv2.LINE_AA, shift=4)
    return Ink(alpha, tuple(digits), np.maximum(alpha, ghost))


def _in_a_face(face: fonts.Face, text: str, digit_px: float) -> Ink:
    lit = ink.printed(face, text.replace(" ", "!"), digit_px)  # the exclamation mark is this face's dark cell
    ghost = ink.printed(face, "".join("8" if c.isdigit() else c for c in text).replace(" ", "!"), digit_px)
    # Both are cropped to their ink: an unlit segment on the left shifts them against each other.
    if ghost.alpha.shape[0] != lit.alpha.shape[0] or ghost.alpha.shape[1] != lit.alpha.shape[1]:
        return lit
    return Ink(lit.alpha, tuple(Digit(d.class_id, "segments", d.hull) for d in lit.digits), ghost.alpha)


def _place(points: npt.NDArray[np.float64], module: Module, digit_px: float) -> npt.NDArray[np.int32]:
    x, y = points[:, 0] + module.slant * (1 - points[:, 1]), points[:, 1]
    return np.round(np.stack([x, y], axis=1) * digit_px * 16 + 16).astype(np.int32)


def _outlines(module: Module) -> dict[str, npt.NDArray[np.float64]]:
    """Polygon of each segment in a digit that is 1 high from its top's middle line to its bottom's."""
    right, half, inset = module.width - module.thick, module.thick / 2, module.gap
    corners = {"tl": (0, 0), "tr": (right, 0), "ml": (0, 0.5), "mr": (right, 0.5), "bl": (0, 1), "br": (right, 1)}
    ends = {"a": "tl tr", "b": "tr mr", "c": "mr br", "d": "bl br", "e": "ml bl", "f": "tl ml", "g": "ml mr"}
    outlines = {}
    for name, (first, last) in ((n, e.split()) for n, e in ends.items()):
        start, stop = np.array(corners[first], float), np.array(corners[last], float)
        along = (stop - start) / np.linalg.norm(stop - start)
        across = np.array([-along[1], along[0]]) * half
        cut = half if module.pointed else (half * 0.2 if along[0] else half)
        start, stop = start + along * inset, stop - along * inset
        a, b = start + along * cut, stop - along * cut
        outlines[name] = np.array([a + across, b + across, stop, b - across, a - across, start])
        if not module.pointed:
            outlines[name] = np.array([a + across, b + across, b - across, a - across])
    return outlines
