"""How often a tensor takes which values, counted while they come, and where such counts say that a grid should end."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

SIDE = 4096  # bins on each side of zero: at least 8 for each of the 256 steps of a grid
_LEAST = -60  # the exponent of a histogram that has seen nothing but zeros
_BLOCK = 65536  # values at a time: they stay in the cache
_TRIED = 128  # places where a grid may end


class Histogram:
    """Counts in `2 * SIDE` bins of equal width around zero.

    The width is a power of two. It doubles when a larger value comes, and pairs of bins become one, which is exact:
    neither the order of values nor their number shows in what is kept.
    """

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(2 * SIDE, np.int64)
        self._exponent = _LEAST

    @property
    def width(self) -> float:
        """Of a bin."""
        return math.ldexp(1.0, self._exponent) / SIDE

    def add(self, values: npt.NDArray[np.float32], largest: float) -> None:
        """Count finite values, of which none is further from zero than `largest`."""
        self._reach(math.frexp(largest)[1])
        scale, flat = np.float32(1 / self.width), values.reshape(-1)
        for start in range(0, flat.size, _BLOCK):
            places = flat[start : start + _BLOCK] * scale
            np.floor(places, out=places)
            places += np.float32(SIDE)
            self.counts += np.bincount(places.astype(np.intp), minlength=2 * SIDE)

    def _reach(self, exponent: int) -> None:
        """Let the bins reach to two to the power of `exponent`."""
        if exponent <= self._exponent:
            return
        joined = min(exponent - self._exponent, SIDE.bit_length() - 1)  # then only two bins are left, about zero
        sums = self.counts.reshape(-1, 1 << joined).sum(axis=1)
        self.counts = np.zeros_like(self.counts)
        self.counts[SIDE - sums.size // 2 : SIDE + sums.size // 2] = sums
        self._exponent = exponent

    def percentile(self, kept: float) -> tuple[float, float]:
        """A range that holds `kept` percent of the values; what is left is halved between its ends."""
        total, cut = np.cumsum(self.counts), (100 - kept) / 200
        if not total[-1]:
            return 0.0, 0.0
        first = int(np.searchsorted(total, cut * total[-1], side="right"))
        last = int(np.searchsorted(total, (1 - cut) * total[-1]))
        return (first - SIDE) * self.width, (last + 1 - SIDE) * self.width

    def entropy(self, levels: int = 256) -> tuple[float, float]:
        """The range whose steps tell least different values from those that came, by Kullback and Leibler.

        The search of TensorRT (https://on-demand.gputechconf.com/gtc/2017/presentation/s7310-8-bit-inference-with-tensorrt.pdf)
        with a grid for what is there: one of values that are never negative has all its steps above zero. Zero itself
        is on every grid, so how often it comes says nothing about where to end.
        """
        cuts = _cuts(self.counts, levels)
        if not cuts:
            return 0.0, 0.0
        counts = self.counts.copy()
        counts[SIDE] = min(counts[SIDE], (counts[SIDE - 1] + counts[SIDE + 1]) // 2)
        first, last = min(reversed(cuts), key=lambda cut: divergence(counts, cut[0], cut[1], levels))
        return (first - SIDE) * self.width, (last - SIDE) * self.width

    def least_error(self, levels: int = 256) -> tuple[float, float]:
        """The range whose grid is nearest to the values that came, by the mean of the squares."""
        cuts = _cuts(self.counts, levels)
        if not cuts:
            return 0.0, 0.0
        middles = (np.arange(2 * SIDE) - SIDE + 0.5) * self.width

        def error(cut: tuple[int, int]) -> float:
            low, high = ((bin_ - SIDE) * self.width for bin_ in cut)
            beyond = middles - np.clip(middles, low, high)
            inside = int(self.counts[cut[0] : cut[1]].sum())
            step = (max(high, 0.0) - min(low, 0.0)) / (levels - 1)
            return float((self.counts * beyond**2).sum()) + inside * step**2 / 12

        first, last = min(cuts, key=error)
        return (first - SIDE) * self.width, (last - SIDE) * self.width


def _cuts(counts: Counts, levels: int) -> list[tuple[int, int]]:
    """First bin, and the one behind the last, of all ranges that are tried, from the narrowest on."""
    there = np.flatnonzero(counts)
    if not there.size:
        return []
    first, last = min(int(there[0]), SIDE), max(int(there[-1]) + 1, SIDE)
    reach = max(SIDE - first, last - SIDE)
    ends = sorted({-(-reach * part // _TRIED) for part in range(1, _TRIED + 1)})
    cuts = [(max(first, SIDE - end), min(last, SIDE + end)) for end in ends]
    return [cut for cut in cuts[:-1] if cut[1] - cut[0] >= levels] + cuts[-1:]


def divergence(counts: Counts, first: int, last: int, levels: int) -> float:
    """The divergence of bins `first` to `last` in so many steps from the same bins as they are.

    What lies outside of them is counted at their ends, and missing in the steps.
    """
    kept = counts[first:last]
    real = kept.astype(np.float64)
    real[0] += counts[:first].sum()
    real[-1] += counts[last:].sum()
    if not real.any():
        return math.inf
    starts = np.arange(min(levels, real.size)) * real.size // min(levels, real.size)
    filled = real != 0
    shares = np.add.reduceat(kept, starts) / np.maximum(np.add.reduceat(filled, starts, dtype=np.int64), 1)
    steps = np.repeat(shares, np.diff(starts, append=real.size))[filled]
    real = real[filled]
    if not steps.any():
        return math.inf
    least = 1e-4 / real.size
    real, steps = real / real.sum(), np.maximum(steps / steps.sum(), least)
    return float((real * np.log(real / steps)).sum())
