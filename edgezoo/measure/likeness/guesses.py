"""The ways in which somebody's code may have brought an image into the network's frame: a recipe's, and its neighbours.

Beside what a recipe can say there is what other libraries do: resizes that look at every source pixel (Pillow,
torchvision), nearest pixels by their centres, a letterbox whose size is rounded, a crop after the resize.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgezoo.frame import Image
from edgezoo.geometry import Placement
from edgezoo.optional import require
from edgezoo.preprocess import Fit, Interpolation, Preprocess

Kernel = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
Align = Literal["top-left", "center"]
Quirk = Literal["", "rounded", "resized-first"]
Inside = tuple[slice, slice]

OWN: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic", "area")
"""The interpolations that a recipe can name."""

OTHERS = {
    "nearest-exact": "nearest by pixel centres, as Pillow's",
    "lanczos4": "OpenCV's Lanczos",
    "antialiased-bilinear": "antialiased bilinear, as Pillow's and torchvision's",
    "antialiased-bicubic": "antialiased bicubic, as Pillow's and torchvision's",
    "antialiased-lanczos": "Lanczos, as Pillow's",
}
"""Those that no recipe can name, and what they are."""

_CROPS = (1.0, 0.875)
_ALIGNS: tuple[Align, ...] = ("top-left", "center")
_LETTERBOXES: tuple[Quirk, ...] = ("", "rounded")
_CROPPED: tuple[Quirk, ...] = ("", "resized-first")
_BITS = 22  # of Pillow's fixed point


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """One way into the network's frame."""

    size_wh: tuple[int, int]
    fit: Fit
    align: Align
    crop: float
    interpolation: str
    """Of `OWN` or of `OTHERS`."""
    quirk: Quirk = ""
    """`rounded`: a letterbox's size to the nearest pixel, not down. `resized-first`: resized whole, then cropped."""
    fields: frozenset[str] = frozenset()
    """What of the recipe is changed."""

    @property
    def plain(self) -> bool:
        """Whether a recipe can say it."""
        return not self.quirk and self.interpolation in OWN

    def place(self, image: Image) -> tuple[Image, Inside]:
        """The image in the network's frame, BGR, on black; and where it lies there."""
        if self.quirk == "resized-first":
            return self._resized_first(image), (slice(None), slice(None))
        own: Interpolation = next((name for name in OWN if name == self.interpolation), "bilinear")
        recipe = Preprocess(
            size_wh=self.size_wh, fit=self.fit, align=self.align, pad=0, crop=self.crop, interpolation=own
        )
        placed, placement = recipe.place(image)
        window, inside = _rectangles(placement, self.size_wh)
        if self.plain:
            return placed, inside
        if self.quirk == "rounded":
            inside = self._rounded(image)
        placed[:] = 0
        part = placed[inside]
        part[:] = self._resize(image[window], (part.shape[1], part.shape[0]))
        return placed, inside

    def _rounded(self, image: Image) -> Inside:
        (net_width, net_height), (height, width) = self.size_wh, image.shape[:2]
        scale = min(net_width / width, net_height / height)
        fit_width, fit_height = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (
            (0, 0) if self.align == "top-left" else ((net_width - fit_width) // 2, (net_height - fit_height) // 2)
        )
        return slice(top, top + fit_height), slice(left, left + fit_width)

    def _resized_first(self, image: Image) -> Image:
        """The short side to the network's over `crop`, then the centre: `Resize(256), CenterCrop(224)`."""
        (net_width, net_height), (height, width) = self.size_wh, image.shape[:2]
        scale = max(net_width / self.crop / width, net_height / self.crop / height)
        size_wh = max(net_width, int(width * scale + 1e-6)), max(net_height, int(height * scale + 1e-6))
        resized = self._resize(image, size_wh)
        left, top = round((size_wh[0] - net_width) / 2), round((size_wh[1] - net_height) / 2)
        return resized[top : top + net_height, left : left + net_width]

    def _resize(self, image: Image, size_wh: tuple[int, int]) -> Image:
        if size_wh == (image.shape[1], image.shape[0]):
            return image
        if self.interpolation in _KERNELS:
            return antialiased(image, size_wh, self.interpolation)
        cv2 = require("cv2")
        flags = {
            "nearest": cv2.INTER_NEAREST,
            "bilinear": cv2.INTER_LINEAR,
            "bicubic": cv2.INTER_CUBIC,
            "area": cv2.INTER_AREA,
            "nearest-exact": cv2.INTER_NEAREST_EXACT,
            "lanczos4": cv2.INTER_LANCZOS4,
        }
        resized: Image = cv2.resize(np.ascontiguousarray(image), size_wh, interpolation=flags[self.interpolation])
        return resized


def guesses(recipe: Preprocess) -> list[Guess]:
    """The recipe's own way first, then all that change fit, align, crop or interpolation, alone and together."""
    fit, align, crop = recipe.fit, recipe.align, recipe.crop
    own = Guess(size_wh=recipe.size_wh, fit=fit, align=align, crop=crop, interpolation=recipe.interpolation)
    found = []
    for guess in (own, *_other_fits(own)):
        found.append(guess)
        for name in (*OWN, *OTHERS):
            if name != recipe.interpolation:
                found.append(replace(guess, interpolation=name, fields=guess.fields | {"interpolation"}))
    return found


def _other_fits(own: Guess) -> list[Guess]:
    """A field that the recipe's fit does not use is free: it does not count as changed."""
    found = [] if own.fit == "stretch" else [replace(own, fit="stretch", fields=frozenset({"fit"}))]
    for align in _ALIGNS:
        changed = {"align"} if own.fit == "letterbox" and align != own.align else set()
        for quirk in _LETTERBOXES:
            fields = frozenset(changed | ({"fit"} if own.fit != "letterbox" or quirk else set()))
            found.append(replace(own, fit="letterbox", align=align, quirk=quirk, fields=fields))
    for crop in dict.fromkeys((own.crop, *_CROPS)):
        changed = {"crop"} if own.fit == "crop" and crop != own.crop else set()
        for quirk in _CROPPED:
            fields = frozenset(changed | ({"fit"} if own.fit != "crop" or quirk else set()))
            found.append(replace(own, fit="crop", crop=crop, quirk=quirk, fields=fields))
    return [guess for guess in found if guess.fields]


def _rectangles(placement: Placement, size_wh: tuple[int, int]) -> tuple[Inside, Inside]:
    """The part of the source that is used, and where it goes."""
    whole = np.array([[0, 0, *placement.source_wh]], np.float32)
    net = np.array([[0, 0, *size_wh]], np.float32)
    return _slices(placement.to_source(net)), _slices(np.clip(placement.to_network(whole), 0, net[0, [2, 3, 2, 3]]))


def _slices(boxes_xyxy: npt.NDArray[np.float32]) -> Inside:
    x1, y1, x2, y2 = (int(value) for value in np.rint(boxes_xyxy[0]))
    return slice(y1, y2), slice(x1, x2)


def antialiased(image: Image, size_wh: tuple[int, int], name: str) -> Image:
    """Pillow's resize: columns, then rows, each rounded to bytes; kernels grow with the factor of a reduction."""
    support, kernel = _KERNELS[name]
    wide = _resampled(image.transpose(1, 0, 2), size_wh[0], support, kernel)
    return _resampled(wide.transpose(1, 0, 2), size_wh[1], support, kernel)


def _resampled(image: Image, size: int, support: float, kernel: Kernel) -> Image:
    """The first axis to `size`."""
    factor = len(image) / size
    grown = max(factor, 1.0)
    centre = (np.arange(size) + 0.5) * factor
    first = np.maximum((centre - support * grown + 0.5).astype(int), 0)
    taps = first[:, None] + np.arange(int(np.ceil(support * grown)) * 2 + 1)
    weights = kernel((taps + 0.5 - centre[:, None]) / grown)
    weights[taps >= len(image)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    taps = np.minimum(taps, len(image) - 1)
    total = np.full((size, *image.shape[1:]), 1 << (_BITS - 1), np.int32)
    for tap, weight in zip(taps.T, np.rint(weights.T * (1 << _BITS)).astype(np.int32)):
        total += image[tap] * weight[:, None, None]
    resampled: Image = np.clip(total >> _BITS, 0, 255).astype(np.uint8)
    return resampled


def _triangle(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.maximum(1 - np.abs(x), 0))


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' with a = -0.5; OpenCV's is -0.75."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


_KERNELS: dict[str, tuple[float, Kernel]] = {
    "antialiased-bilinear": (1.0, _triangle),
    "antialiased-bicubic": (2.0, _cubic),
    "antialiased-lanczos": (3.0, _lanczos),
}
