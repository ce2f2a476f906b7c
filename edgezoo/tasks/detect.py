"""Where things are. A graph answers `boxes` (N, A, 4) xyxy in network pixels and `scores` (N, A, C);
the threshold, the suppression of doubles and the way home to source pixels are here, once for all models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgezoo.geometry import Placement, area, nms
from edgezoo.results import Detections
from edgezoo.tasks import Ask, Outputs

OUTPUTS = ("boxes", "scores")
TOLERANCE = {"boxes_px": 2e-2, "scored_boxes_px": 5e-3, "scores": 1e-4}

SCORE, IOU = 0.25, 0.45
SCORED = 0.01  # below this a candidate's box decides nothing; `difference` tells it apart


def read(outputs: Outputs, placements: Sequence[Placement], names: tuple[str, ...], ask: Ask) -> list[Detections]:
    """The objects of each image, in source pixels, best score first."""
    return [
        _read_one(boxes, scores, placement, names, ask)
        for boxes, scores, placement in zip(outputs["boxes"], outputs["scores"], placements)
    ]


def _read_one(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    placement: Placement,
    names: tuple[str, ...],
    ask: Ask,
) -> Detections:
    # One flat search is nine times faster than a two-dimensional one.
    hits = np.flatnonzero(scores.ravel() > (SCORE if ask.score is None else ask.score))
    candidates, labels = np.divmod(hits, scores.shape[1])
    if ask.classes is not None:
        wanted = np.isin(labels, ask.classes)
        hits, candidates, labels = hits[wanted], candidates[wanted], labels[wanted]
    found, confidence = boxes[candidates], scores.ravel()[hits]
    kept = nms(found, confidence, labels, iou_above=IOU if ask.iou is None else ask.iou)
    home = placement.to_source(found[kept])
    real = area(home) > 0  # a box in the letterbox's border is in no image
    return Detections(home[real], confidence[kept][real], labels[kept][real], names)


def difference(reference: Outputs, candidate: Outputs) -> dict[str, float]:
    """The largest differences, candidate by candidate, in network pixels and in scores."""
    boxes = np.abs(reference["boxes"] - candidate["boxes"]).max(axis=-1)
    scored = reference["scores"].max(axis=-1) > SCORED
    return {
        "boxes_px": float(boxes.max(initial=0.0)),
        "scored_boxes_px": float(boxes[scored].max(initial=0.0)),
        "scores": float(np.abs(reference["scores"] - candidate["scores"]).max(initial=0.0)),
    }
