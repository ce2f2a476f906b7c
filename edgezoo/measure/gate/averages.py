"""Average precision as COCO defines it (https://cocodataset.org/#detection-eval), of a set and of many draws from it.

Detections are matched once, image by image; a draw then only says how often each image counts. The figures are those of
pycocotools, to which a test holds them; with it, a thousand draws would take hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgezoo.results import Detections

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""The IoU from which on an object is found."""
_RECALLS = np.linspace(0.0, 1.0, 101)
_CELLS = 1 << 21  # of a table at a time

Weights = npt.NDArray[np.int64]
"""(B, n): how often each of n images counts in each of B draws."""
Bools = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Objects:
    """What is to be found in an image."""

    xywh: npt.NDArray[np.float64]
    """(g, 4), source pixels."""
    class_ids: Ids
    crowd: Bools
    """Regions of many: finding something in them neither helps nor harms."""

    @classmethod
    def of(cls, found: Detections) -> Objects:
        return cls(_xywh(found), found.class_ids, np.zeros(len(found), bool))


@dataclass(frozen=True, eq=False, slots=True)
class Matches:
    """Detections of n images held against their objects, sorted by class, the best score first."""

    class_ids: Ids
    """(d,)"""
    image: Ids
    """(d,) the index of each detection's image."""
    hit: Bools
    """(T, d) whether it found an object, at each threshold."""
    crowded: Bools
    """(T, d) whether it lies in a crowd, and does not count."""
    wanted_ids: Ids
    """(g,) the class of each object that is no crowd."""
    wanted_image: Ids

    def average_precision(self, weights: Weights) -> npt.NDArray[np.float64]:
        """(B, T): the mean over the classes that a draw has objects of; NaN where it has none."""
        total = np.zeros((len(weights), len(self.hit)))
        classes = np.zeros((len(weights), 1))
        for class_id in np.unique(self.wanted_ids):
            wanted = weights[:, self.wanted_image[self.wanted_ids == class_id]].sum(axis=1)
            mine = slice(*np.searchsorted(self.class_ids, (class_id, class_id + 1)))
            total += self._of_class(mine, weights, wanted)
            classes += wanted[:, None] > 0
        with np.errstate(invalid="ignore"):
            return total / classes

    def _of_class(self, mine: slice, weights: Weights, wanted: Ids) -> npt.NDArray[np.float64]:
        """(B, T): the mean precision at all recalls."""
        hit, crowded = self.hit[:, mine], self.crowded[:, mine]
        steps = np.flatnonzero(hit.any(axis=0))  # only a hit raises recall, and only there is precision at a peak
        areas = np.zeros((len(weights), len(hit)))
        size = max(1, _CELLS // max(1, hit.size if crowded.any() else hit[:, steps].size))
        for start in range(0, len(weights) if steps.size else 0, size):
            rows = slice(start, start + size)
            times = weights[rows, self.image[mine]]
            hits = np.cumsum(times[:, None, steps] * hit[:, steps], axis=-1)
            told = np.cumsum(times, axis=-1)[:, None, steps]
            if crowded.any():
                told = told - np.cumsum(times[:, None] * crowded, axis=-1)[..., steps]
            precision = hits / np.maximum(told, 1)
            best = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
            areas[rows] = (best * np.diff(_reached(hits, wanted[rows]), axis=-1, prepend=0)).sum(axis=-1)
        return areas / len(_RECALLS)


def match(
    wanted: Sequence[Objects], found: Sequence[Detections], thresholds: npt.NDArray[np.float64], *, pooled: bool = False
) -> Matches:
    """Hold what was found in each image against what is wanted there, class by class, the best score first.

    `pooled`: then all classes are one, so that also counts what is found of a class that is wanted nowhere.
    """
    found_ids, scores, image = [], [], []
    hit: list[Bools] = []
    crowded: list[Bools] = []
    for index, (objects, answer) in enumerate(zip(wanted, found, strict=True)):
        overlaps = _overlaps(_xywh(answer), objects)
        for class_id in np.unique(answer.class_ids):
            mine, theirs = np.flatnonzero(answer.class_ids == class_id), objects.class_ids == class_id
            mine = mine[np.argsort(-answer.scores[mine], kind="stable")]
            pair = _match(overlaps[np.ix_(mine, theirs)], objects.crowd[theirs], thresholds)
            hit.append(pair[0])
            crowded.append(pair[1])
            found_ids.append(answer.class_ids[mine])
            scores.append(answer.scores[mine])
            image.append(np.full(mine.size, index))
    none = np.zeros((len(thresholds), 0), bool)
    ids = _joined(found_ids)
    ids = ids * 0 if pooled else ids
    order = np.lexsort((-np.concatenate([*scores, np.zeros(0, np.float32)]), ids))
    real = [objects.class_ids[~objects.crowd] for objects in wanted]
    real_ids = _joined(real)
    return Matches(
        class_ids=ids[order],
        image=_joined(image)[order],
        hit=np.concatenate([*hit, none], axis=1)[:, order],
        crowded=np.concatenate([*crowded, none], axis=1)[:, order],
        wanted_ids=real_ids * 0 if pooled else real_ids,
        wanted_image=np.repeat(np.arange(len(wanted)), [ids.size for ids in real]),
    )


def _match(overlaps: npt.NDArray[np.float64], crowd: Bools, thresholds: npt.NDArray[np.float64]) -> tuple[Bools, Bools]:
    """(T, d) hit and crowded: each takes the free object that it overlaps most, and only else a crowd."""
    overlaps, crowd = overlaps[:, ::-1], crowd[::-1]  # of equal ones pycocotools takes the last
    hit = np.zeros((len(thresholds), len(overlaps)), bool)
    crowded = hit.copy()
    free = np.repeat(~crowd[None], len(thresholds), axis=0)
    for k in np.flatnonzero((overlaps >= thresholds[0]).any(axis=1)):
        fits = overlaps[k] >= thresholds[:, None]
        best = np.where(fits & free, overlaps[k], -1.0).argmax(axis=1)
        hit[:, k] = (fits & free).any(axis=1)
        free[hit[:, k], best[hit[:, k]]] = False
        crowded[:, k] = ~hit[:, k] & (fits & crowd).any(axis=1)
    return hit, crowded


def _overlaps(xywh: npt.NDArray[np.float64], objects: Objects) -> npt.NDArray[np.float64]:
    """(d, g) IoU; with a crowd, the share of the detection that lies in it."""
    a, b = xywh[:, None], objects.xywh[None]
    sides = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    area = a[..., 2:].prod(axis=-1)
    union = np.where(objects.crowd, area, area + b[..., 2:].prod(axis=-1) - shared)
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0), np.float64)


def _reached(hits: Ids, wanted: Ids) -> Ids:
    """How many of the recalls so many hits reach."""
    counts = np.arange(int(wanted.max(initial=0)) + 1)
    table = np.searchsorted(_RECALLS, counts / np.maximum(wanted, 1)[:, None], side="right")
    return np.take_along_axis(table[:, None], hits, axis=-1)


def _xywh(found: Detections) -> npt.NDArray[np.float64]:
    corners = found.boxes_xyxy.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _joined(arrays: Sequence[Ids]) -> Ids:
    return np.concatenate([*arrays, np.zeros(0, np.int64)])
