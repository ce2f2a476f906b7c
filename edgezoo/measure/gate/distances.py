"""How far the numbers of two graphs are apart, over all of their answers to some images."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.tasks import Outputs
from edgezoo.tasks.detect import SCORED


class Distances:
    """Takes answers image by image, and tells their differences per output tensor.

    Of a detector's `boxes` most are of nothing; `scored_boxes` are those that the reference gives a score.
    """

    def __init__(self) -> None:
        self._apart: defaultdict[str, list[npt.NDArray[Any]]] = defaultdict(list)
        self._signal: defaultdict[str, float] = defaultdict(float)
        self._noise: defaultdict[str, float] = defaultdict(float)

    def add(self, reference: Outputs, candidate: Outputs) -> None:
        """Answers of the same shapes."""
        for name, value in _parts(reference, reference).items():
            apart = np.abs(value - _parts(reference, candidate)[name]).ravel()
            self._apart[name].append(apart)
            self._signal[name] += _energy(value)
            self._noise[name] += _energy(apart)

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Per tensor the median, the 99th percentile and the largest of |difference|, and the signal over the noise.

        `sqnr_db` is infinite where nothing differs.
        """
        told = {}
        for name, arrays in self._apart.items():
            apart = np.concatenate(arrays)
            if apart.size:
                p50, p99 = np.percentile(apart, (50, 99))
                signal, noise = self._signal[name], self._noise[name]
                ratio = 10 * math.log10(signal / noise) if signal and noise else math.inf if not noise else -math.inf
                told[name] = {"p50": float(p50), "p99": float(p99), "max": float(apart.max()), "sqnr_db": ratio}
        return told


def _parts(reference: Outputs, outputs: Outputs) -> dict[str, npt.NDArray[np.float32]]:
    parts = {name: np.asarray(value, np.float32) for name, value in outputs.items()}
    if "boxes" in parts:
        parts["scored_boxes"] = parts["boxes"][reference["scores"].max(axis=-1) > SCORED]
    return parts


def _energy(values: npt.NDArray[np.float32]) -> float:
    return float(np.square(values, dtype=np.float64).sum())
