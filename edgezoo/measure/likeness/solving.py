"""Which mean and std make these pixels those values? Solved by least squares, with as few fields changed as will do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_UNIT = 255.0
_NEAR = 0.01
"""A factor that is this near to 255 is meant to be 255."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Norm:
    """A mean and a std, (3,) each, in 0..255 units and in the order of the supposed colours."""

    mean: Floats
    std: Floats
    fields: frozenset[str] = frozenset()
    """What of the recipe is changed: `scale`, or `mean`, `std` or both."""
    factor: float = 1.0
    """Of `scale`: pixels are divided by it before the recipe's mean and std, or all is after them."""
    after: bool = False

    def levels(self, values: Floats) -> Floats:
        """(n, 3) values of a tensor as grey levels of its pixels."""
        return values * self.std + self.mean


def norms(pixels: Floats, values: Floats, mean: Floats, std: Floats) -> list[Norm]:
    """All that may explain (n, 3) `values` of (n, 3) `pixels`, from the recipe's own on; fewest changes first."""
    with np.errstate(all="ignore"):  # where nothing tells, as on a black image, what is not finite is left out
        tried = [
            Norm(mean=mean, std=std),
            *_scales(pixels, values, mean, std),
            Norm(mean=(pixels - values * std).mean(axis=0), std=std, fields=frozenset({"mean"})),
            Norm(mean=mean, std=_ratio(pixels - mean, values), fields=frozenset({"std"})),
            _both(pixels, values),
        ]
    return [norm for norm in tried if np.isfinite([norm.mean, norm.std]).all() and (norm.std > 0).all()]


def _scales(pixels: Floats, values: Floats, mean: Floats, std: Floats) -> list[Norm]:
    """One factor for all channels: pixels in another range than mean and std are meant for; or a tensor in another."""
    scaled = pixels / std
    factor = float(_ratio(scaled.ravel(), (values + mean / std).ravel()))
    found = [Norm(mean=mean * factor, std=std * factor, fields=frozenset({"scale"}), factor=factor)]
    if mean.any():  # else the same
        factor = float(_ratio(((pixels - mean) / std).ravel(), values.ravel()))
        if min(abs(factor / _UNIT - 1), abs(factor * _UNIT - 1)) < _NEAR:
            found.append(Norm(mean=mean, std=std * factor, fields=frozenset({"scale"}), factor=factor, after=True))
    return found


def _both(pixels: Floats, values: Floats) -> Norm:
    """A mean and a std for every channel."""
    apart = pixels - pixels.mean(axis=0)
    std = _ratio(apart, values)
    mean = pixels.mean(axis=0) - values.mean(axis=0) * std
    return Norm(mean=mean, std=std, fields=frozenset({"mean", "std"}))


def _ratio(pixels: Floats, values: Floats) -> Floats:
    """What `pixels` are to be divided by to come nearest to `values`; not finite where nothing tells."""
    return np.asarray((pixels * pixels).sum(axis=0) / (pixels * values).sum(axis=0))
