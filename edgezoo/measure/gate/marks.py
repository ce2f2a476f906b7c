"""What answers to a set of images are worth: by labels, or by how well they agree with the reference's own answers.

A marking takes the results of all images, and how often each image counts in each of B draws; it tells B values of each
of its metrics, 0..1, the one that decides first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgezoo.errors import DataError
from edgezoo.measure.gate.averages import THRESHOLDS, Objects, Weights, match
from edgezoo.results import Detections, Result

Marks: TypeAlias = Mapping[str, npt.NDArray[np.float64]]
"""(B,) by metric."""
Marking: TypeAlias = Callable[[Sequence[Result], Weights], Marks]

CONFIDENT = 0.5
"""From this score on, what the reference found counts as there."""


def by_labels(class_ids: Sequence[int]) -> Marking:
    """`top1` and `top5` of labelled images."""

    def mark(results: Sequence[Result], weights: Weights) -> Marks:
        hits = {
            f"top{top}": [class_id in result.class_ids[:top] for class_id, result in zip(class_ids, results)]
            for top in (1, 5)
        }
        return {name: _share(right, weights) for name, right in hits.items()}

    return mark


def like_labels(reference: Sequence[Result]) -> Marking:
    """`agreed_top1`: the share of images whose likeliest class is the reference's."""
    wanted = [result.class_ids[:1].tolist() for result in reference]

    def mark(results: Sequence[Result], weights: Weights) -> Marks:
        agreed = [result.class_ids[:1].tolist() == first for result, first in zip(results, wanted)]
        return {"agreed_top1": _share(agreed, weights)}

    return mark


def by_boxes(boxes: Iterable[Mapping[str, Any]], images: Sequence[int]) -> Marking:
    """`map`, `map50` and `map75` of images, by their ids, and boxes in COCO's form."""
    wanted = _objects(boxes, images)
    if all(objects.crowd.all() for objects in wanted):
        raise DataError(f"expected boxes in the {len(images)} images to judge by, there are none; give other images")

    def mark(results: Sequence[Result], weights: Weights) -> Marks:
        values = match(wanted, _detections(results), THRESHOLDS).average_precision(weights)
        return {"map": values.mean(axis=1), "map50": values[:, 0], "map75": values[:, 5]}

    return mark


def like_boxes(reference: Sequence[Result]) -> Marking:
    """`agreed_ap50`: of what the reference found with confidence. One curve over all classes, so that inventions count.

    Raises DataError where it found nothing.
    """
    wanted = [Objects.of(found[found.scores >= CONFIDENT]) for found in _detections(reference)]
    if not any(len(objects.class_ids) for objects in wanted):
        raise DataError(
            f"expected images in which fp32 finds something with a score of {CONFIDENT}, got {len(wanted)} in which it "
            "finds nothing; give images of what the model knows"
        )

    def mark(results: Sequence[Result], weights: Weights) -> Marks:
        matches = match(wanted, _detections(results), THRESHOLDS[:1], pooled=True)
        return {"agreed_ap50": matches.average_precision(weights)[:, 0]}

    return mark


def draws(images: int, count: int) -> Weights:
    """(1 + count, images): every image once, then bootstrap draws with replacement, the same on every machine."""
    chance = np.random.RandomState(0)  # the one generator of NumPy whose numbers are promised to stay
    drawn = chance.randint(0, images, (count, images), dtype=np.int64)
    rows = [np.ones(images, np.int64), *(np.bincount(row, minlength=images) for row in drawn)]
    return np.stack(rows)


def _share(hits: Sequence[bool], weights: Weights) -> npt.NDArray[np.float64]:
    return np.asarray(weights @ np.array(hits, np.int64) / weights.sum(axis=1), np.float64)


def _detections(results: Sequence[Result]) -> list[Detections]:
    return [result for result in results if isinstance(result, Detections)]


def _objects(boxes: Iterable[Mapping[str, Any]], images: Sequence[int]) -> list[Objects]:
    by_image: dict[int, list[Mapping[str, Any]]] = {image: [] for image in images}
    for box in boxes:
        if box["image_id"] in by_image:
            by_image[box["image_id"]].append(box)
    return [
        Objects(
            np.array([box["bbox"] for box in there], np.float64).reshape(-1, 4),
            np.array([box["category_id"] for box in there], np.int64),
            np.array([box["iscrowd"] for box in there], bool),
        )
        for there in by_image.values()
    ]
