"""Flat things that carry digits: their canvas, and what materials look like."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import colors
import cv2
import numpy as np
import numpy.typing as npt
from colors import Color
from ink import Digit, Ink, Mask, padded

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
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1))
        alpha = np.asarray(cv2.dilate(alpha, brush), np.uint8)
        image[:] = colors.against(rng, color, 140)
        blend(image, patch.alpha, 0, 0, color)
    elif rng.random() < 0.2:
        shift = 1 + int(patch.alpha.shape[0] * 0.03)
        alpha = np.maximum(alpha, np.roll(alpha, (shift, shift), (0, 1)) // 2)
        image[:] = np.array(ground) * 0.45 if colors.luma(color) > colors.luma(ground) else np.array(ground) * 0.8
        blend(image, patch.alpha, 0, 0, color)
    return replace(patch, image=image, alpha=alpha)


def grained(rng: np.random.Generator, patch: Patch) -> None:
    """Uneven material: a slope of light and some grain."""
    height, width = patch.alpha.shape
    across, down = (np.linspace(-1, 1, n, dtype=np.float32) * rng.normal(0, 8) for n in (width, height))
    coarse = rng.standard_normal((max(height // 3, 1), max(width // 3, 1)), np.float32) * rng.uniform(0, 6)
    tones = patch.image + (cv2.resize(coarse, (width, height)) + across + down[:, np.newaxis])[..., np.newaxis]
    patch.image[:] = np.clip(tones, 0, 255)


def bordered(rng: np.random.Generator, patch: Patch, color: Color, share: float = 0.6) -> None:
    if rng.random() < share:
        height, width = patch.alpha.shape
        inset = int(rng.uniform(0.01, 0.06) * min(height, width))
        thick = max(int(rng.uniform(0.01, 0.03) * height), 1)
        cv2.rectangle(patch.image, (inset, inset), (width - 1 - inset, height - 1 - inset), color, thick, cv2.LINE_AA)


def framed(rng: np.random.Generator, patch: Patch, width: int) -> Patch:
    edge = colors.any_color(rng, 0.3)
    image = cv2.copyMakeBorder(patch.image, width, width, width, width, cv2.BORDER_CONSTANT, value=edge)
    return Patch(
        np.asarray(image, np.uint8),
        padded(patch.alpha, width, 255),
        padded(patch.ink, width),
        [d.moved(width, width) for d in patch.digits],
    )


def pair(rng: np.random.Generator) -> tuple[Color, Color]:
    kind = rng.random()
    ground = colors.light(rng) if kind < 0.45 else colors.dark(rng) if kind < 0.65 else colors.any_color(rng)
    return ground, colors.against(rng, ground, colors.contrast(rng))
