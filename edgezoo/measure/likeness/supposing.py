"""One supposition about how a tensor was made, and what the tensor says of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgezoo.errors import ShapeError
from edgezoo.frame import Image
from edgezoo.measure.likeness.guesses import Guess, guesses
from edgezoo.measure.likeness.solving import Floats, Norm, norms
from edgezoo.preprocess import Preprocess

Layout = Literal["channels-first", "channels-last", "reshaped", "swapped"]
Color = Literal["BGR", "RGB"]

EXACT_LEVELS = 0.05
"""Floats round, and a mean is written with two decimals or with three; no other resize comes so near."""

CLOSE_LEVELS = 1.0
"""Another build of OpenCV, or a resize of floats, rounds up where this one rounds down. Borders are not resized."""

_SAMPLE = 4096  # pixels, which turn down what is wrong before all are asked
_LEAST = 1024  # of one image
_COARSEST = 0.5  # grey levels that a float16 may blur


@dataclass(frozen=True, kw_only=True, slots=True)
class Supposed:
    """Layout, colour order and geometry of a tensor; its mean, std and pad are read off it."""

    layout: Layout
    color: Color
    guess: Guess
    fields: frozenset[str]
    """What of the recipe is changed."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Found:
    """A supposition with the mean, std and pad that suit it best, and what they leave unexplained."""

    supposed: Supposed
    norm: Norm
    turned: bool
    """Whether the recipe's mean and std are supposed to go with the colours, which are the other way round."""
    pad: Floats | None
    """(3,) grey levels of the border; None: there is none, or it is not of one colour."""
    fields: frozenset[str]
    """All that is changed."""
    left_levels: float
    """The largest difference that is left, in grey levels."""
    rms_levels: float
    exact: bool

    def tensor(self, image: Image) -> Floats:
        """(H, W, 3) what it makes of an image, whatever the layout."""
        placed, inside = self.supposed.guess.place(image)
        levels = np.empty(placed.shape, np.float64)
        levels[:] = 0 if self.pad is None else self.pad
        levels[inside] = placed[inside][..., ::-1] if self.supposed.color == "RGB" else placed[inside]
        return np.asarray((levels - self.norm.mean) / self.norm.std)


def suppositions(recipe: Preprocess, layouts: Sequence[Layout]) -> Iterator[Supposed]:
    """The recipe's own and all its neighbours, in no order."""
    colors: tuple[Color, ...] = ("BGR", "RGB")
    for guess in guesses(recipe):
        for color in colors:
            for layout in layouts:
                fields = set(guess.fields)
                fields |= {"color"} if color != recipe.color else set()
                fields |= {"layout"} if layout != "channels-first" else set()
                yield Supposed(layout=layout, color=color, guess=guess, fields=frozenset(fields))


def arranged(reference: npt.NDArray[Any], size_wh: tuple[int, int]) -> dict[Layout, npt.NDArray[Any]]:
    """The ways to read a tensor as (H, W, 3), the likeliest first. Raises ShapeError."""
    (width, height), shape = size_wh, reference.shape
    tensor = reference[0] if reference.ndim == 4 and shape[0] == 1 else reference
    found: dict[Layout, npt.NDArray[Any]] = {}
    if tensor.shape == (3, height, width):
        found = {"channels-first": tensor.transpose(1, 2, 0), "reshaped": tensor.reshape(height, width, 3)}
    elif tensor.shape == (height, width, 3):
        found = {"channels-last": tensor}
    if tensor.shape == (3, width, height):
        found["swapped"] = tensor.transpose(2, 1, 0)
    if not found:
        wanted = f"expected a tensor of shape {(3, height, width)} or {(height, width, 3)}, got {shape}"
        other = tensor.ndim == 3 and 3 in (tensor.shape[0], tensor.shape[2])
        cure = f"the bundle takes {width}x{height} px" if other else "try the tensor of one image"
        raise ShapeError(f"{wanted}; {cure}")
    return found


@dataclass(eq=False)
class Evidence:
    """Images, and the tensors that somebody makes of them."""

    recipe: Preprocess
    images: Sequence[Image]
    references: Sequence[npt.NDArray[Any]]
    layouts: list[Layout] = field(init=False)

    def __post_init__(self) -> None:
        self._read = [arranged(reference, self.recipe.size_wh) for reference in self.references]
        self.layouts = [layout for layout in self._read[0] if all(layout in read for read in self._read)]
        if not self.layouts:
            raise ShapeError("expected tensors of one layout, got channels first and last; try one at a time")
        count = self.recipe.size_wh[0] * self.recipe.size_wh[1]
        chosen = np.random.default_rng(0).permutation(count)[: max(_LEAST, _SAMPLE // len(self.images))]
        self._few, self._all = np.sort(chosen), np.arange(count)
        self._sampled: dict[Guess, list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]]] = {}
        coarse = [np.finfo(each.dtype).eps for each in self.references if each.dtype.kind == "f"]
        self._grain = max([*coarse, 2.0**-22]) / 2

    def natural(self, index: int) -> npt.NDArray[Any]:
        """(H, W, 3) a tensor as its shape says."""
        return next(iter(self._read[index].values()))

    def judge(self, supposed: Supposed, *, whole: bool) -> list[Found]:
        """The supposition with every mean and std that may suit it."""
        pixels, values, border = self._look(supposed, whole=whole)
        mean, std = np.array(self.recipe.mean), np.array(self.recipe.std)
        found = [
            self._found(supposed, norm, False, pixels, values, border) for norm in norms(pixels, values, mean, std)
        ]
        uneven = (mean != mean[::-1]).any() or (std != std[::-1]).any()
        if supposed.color != self.recipe.color and uneven:
            turned = norms(pixels, values, mean[::-1], std[::-1])
            found += [self._found(supposed, norm, True, pixels, values, border) for norm in turned]
        return found

    def _found(
        self, supposed: Supposed, norm: Norm, turned: bool, pixels: Floats, values: Floats, border: Floats
    ) -> Found:
        apart = norm.levels(values) - pixels
        largest = float(np.abs(apart).max(initial=0))
        grain = min(_COARSEST, float((self._grain * np.abs(values).max(axis=0, initial=0) * norm.std).max()))
        tolerance = EXACT_LEVELS + grain
        pad, fields = None, supposed.fields | norm.fields
        if len(border):
            levels = norm.levels(border)
            even = float(np.ptp(levels, axis=0).max()) <= 2 * tolerance
            pad = levels.mean(axis=0) if even else None
            used = self.recipe.fit == "letterbox"
            if pad is None or (used and np.abs(pad - self.recipe.pad).max() > tolerance):
                fields |= {"pad"}
        return Found(
            supposed=supposed,
            norm=norm,
            turned=turned,
            pad=pad,
            fields=fields,
            left_levels=max(0.0, largest - grain),
            rms_levels=float(np.sqrt(np.mean(apart * apart))),
            exact=largest <= tolerance,
        )

    def _look(self, supposed: Supposed, *, whole: bool) -> tuple[Floats, Floats, Floats]:
        """(n, 3) pixels where the image is supposed to be, (n, 3) values there, (m, 3) values outside."""
        chosen = self._all if whole else self._few
        pixels, values, border = [], [], []
        for read, (placed, inside) in zip(self._read, self._placed(supposed.guess, whole=whole)):
            tensor = read[supposed.layout].reshape(-1, 3)[chosen].astype(np.float64)
            pixels.append(placed[inside][:, ::-1] if supposed.color == "RGB" else placed[inside])
            values.append(tensor[inside])
            border.append(tensor[~inside])
        return np.concatenate(pixels).astype(np.float64), np.concatenate(values), np.concatenate(border)

    def _placed(self, guess: Guess, *, whole: bool) -> list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]]:
        if not whole and guess in self._sampled:
            return self._sampled[guess]
        chosen = self._all if whole else self._few
        found = []
        for image in self.images:
            placed, where = guess.place(image)
            inside = np.zeros(placed.shape[:2], bool)
            inside[where] = True
            found.append((placed.reshape(-1, 3)[chosen], inside.ravel()[chosen]))
        if not whole:
            self._sampled[guess] = found
        return found
