"""What the whole image shows. A graph answers `scores` (N, C), probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgezoo.geometry import Placement
from edgezoo.results import Labels
from edgezoo.tasks import Ask, Outputs

OUTPUTS = ("scores",)
TOLERANCE = {"scores": 1e-4}
SCORE = 0.0


def read(outputs: Outputs, placements: Sequence[Placement], names: tuple[str, ...], ask: Ask) -> list[Labels]:
    """The `ask.top` likeliest labels of each image, likeliest first."""
    return [_read_one(scores, names, ask) for scores in outputs["scores"][: len(placements)]]


def _read_one(scores: np.ndarray, names: tuple[str, ...], ask: Ask) -> Labels:
    ids = np.arange(scores.size) if ask.classes is None else np.unique(np.array(ask.classes, np.int64))
    ids = ids[scores[ids] > (SCORE if ask.score is None else ask.score)]
    best = ids[np.argsort(-scores[ids], kind="stable")[: ask.top]]
    return Labels(scores[best].astype(np.float32), best.astype(np.int64), names)


def difference(reference: Outputs, candidate: Outputs) -> dict[str, float]:
    """The largest difference of a probability."""
    return {"scores": float(np.abs(reference["scores"] - candidate["scores"]).max(initial=0.0))}
