"""The gate: whether a graph of reduced precision may be written, judged against fp32 on images new to both.

New: calibration did not see them. By the task's metric where they are labelled, else by how well it agrees with fp32;
with a paired bootstrap interval, for such images are few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.backends import Arrays
from edgezoo.bundle import Manifest
from edgezoo.errors import ConvertError, DataError, RequestError
from edgezoo.frame import Image
from edgezoo.geometry import Placement
from edgezoo.imagesets import Drawn
from edgezoo.measure.evaluate import Progress, read
from edgezoo.measure.gate.distances import Distances
from edgezoo.measure.gate.marks import Marking, Marks, draws, like_boxes, like_labels
from edgezoo.measure.gate.questions import Questions, of_drawn, of_labelled
from edgezoo.results import Result
from edgezoo.tasks import task

Answers = Callable[[npt.NDArray[np.uint8]], Arrays]
"""A prepared batch (N, H, W, 3) to dense outputs: `Engine.infer`, or a backend's run."""

LEAST = 8
"""Fewer images tell nothing."""
DRAWS = 1000
_INTERVAL = (2.5, 97.5)
_MOST_PLACED = 256 << 20  # bytes of images that are kept ready; past that they are read again for each candidate
_MOST_DENSE = 64 << 20  # bytes of fp32's dense answers, for the errors of tensors
_MOST_DENSE_IMAGES = 32


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Exam:
    """Images that calibration did not see, and fp32's answers to them: made once, put to every candidate."""

    manifest: Manifest = field(repr=False)
    data: str
    """What the images are of, without the way there."""
    images: int
    seen: int
    """Images left out, since calibration saw them."""
    metric: str
    marks: Marks = field(repr=False)
    """fp32's own, of every draw."""
    placed: Placed = field(repr=False)
    marking: Marking = field(repr=False)
    weights: npt.NDArray[np.int64] = field(repr=False)
    dense: Mapping[int, Arrays] = field(repr=False)
    """fp32's dense answers to some of the images, by their index."""

    @property
    def fp32(self) -> float:
        return float(self.marks[self.metric][0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What a candidate is worth beside fp32."""

    ok: bool
    """Within the budget."""
    metric: str
    """`map`, `top1`; without labels `agreed_ap50`, `agreed_top1`."""
    fp32: float
    value: float
    drop: float
    """In points, 100 * (fp32 - value): what is held against the budget."""
    low: float
    """Of the drop's 95 % interval, in points: images drawn anew with replacement, the same for both."""
    high: float
    max_drop: float
    """The budget, in points."""
    images: int
    data: str
    seen: int
    """Images that were left out, since calibration saw them."""
    errors: Mapping[str, Mapping[str, float]]
    """By output tensor: p50, p99 and max of |difference|, and sqnr_db; over at most 32 of the images."""
    others: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Metrics that do not decide: `fp32` and `value` of each."""
    why: str = ""
    """What is wrong with its answers as such, `scores: not finite`; it has no value then."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; None for what is no number or infinite."""
        told: dict[str, Any] = asdict(self)
        for name, digits in (("fp32", 5), ("value", 5), ("drop", 3), ("low", 3), ("high", 3)):
            told[name] = _plain(told[name], digits)
        told["errors"] = {
            tensor: {name: _plain(value) for name, value in errors.items()} for tensor, errors in self.errors.items()
        }
        told["others"] = {
            metric: {name: _plain(value, 5) for name, value in pair.items()} for metric, pair in self.others.items()
        }
        return told


def examine(
    answers: Answers,
    manifest: Manifest,
    data: str | Path | None = None,
    *,
    drawn: Drawn | None = None,
    leave_out: Collection[str] = (),
    progress: Progress | None = None,
) -> Exam:
    """Put fp32 to the images of `data`, a labelled set as `evaluate` takes it, or else to those of `drawn`.

    `leave_out`: SHA-256 of the images that calibration saw, as a `Drawn` has them; these are not judged by.

    Raises DataError: fewer than LEAST images are left, or they tell nothing. ConvertError: fp32 answers no numbers.
    """
    if data is not None:
        asked = of_labelled(manifest, Path(data), leave_out)
    elif drawn is not None:
        asked = of_drawn(drawn, leave_out)
    else:
        raise RequestError("expected labelled images, or any images, to judge by, got neither")
    if asked.count < LEAST:
        without = f" and {asked.seen} that it saw" if asked.seen else ""
        raise DataError(
            f"{asked.name}: expected at least {LEAST} images that calibration did not see, got {asked.count}{without}; "
            "give more images, or calibrate with others"
        )
    placed = Placed(asked, manifest)
    results: list[Result] = []
    dense: dict[int, Arrays] = {}
    for index, (outputs, placement) in enumerate(_sit(answers, manifest, placed, progress)):
        if wrong := _wrong(outputs, outputs, manifest):
            raise ConvertError(f"expected numbers of the fp32 graph, got {wrong}; check its weights and its card")
        if index in _kept(asked.count, outputs):
            dense[index] = {name: value.copy() for name, value in outputs.items()}
        results += read(outputs, [placement], manifest)
    like = like_boxes if manifest.task == "detect" else like_labels
    marking = asked.marking or like(results)
    weights = draws(asked.count, DRAWS)
    marks = marking(results, weights)
    return Exam(
        manifest=manifest,
        data=asked.name,
        images=asked.count,
        seen=asked.seen,
        metric=next(iter(marks)),
        marks=marks,
        placed=placed,
        marking=marking,
        weights=weights,
        dense=dense,
    )


def judge(exam: Exam, answers: Answers, *, max_drop: float, progress: Progress | None = None) -> Judgement:
    """Put a candidate to the same images; it may lose at most `max_drop` points.

    Raises RequestError, and what reading the images or running the candidate raises.
    """
    if not 0 <= max_drop < math.inf:
        raise RequestError(f"expected a budget of 0 points or more, got {max_drop}")
    distances, why = Distances(), ""
    results: list[Result] = []
    for index, (outputs, placement) in enumerate(_sit(answers, exam.manifest, exam.placed, progress)):
        if why := _wrong(outputs, exam.dense[0], exam.manifest):
            break
        if index in exam.dense:
            distances.add(exam.dense[index], outputs)
        results += read(outputs, [placement], exam.manifest)
    marks = {name: np.full_like(value, np.nan) for name, value in exam.marks.items()}
    if not why:
        marks = dict(exam.marking(results, exam.weights))
    # Rounded: one image of a hundred is one point, not a little more.
    drops = np.round(100 * (exam.marks[exam.metric] - marks[exam.metric]), 6)
    drop = float(drops[0])
    low, high = _interval(drops, exam) if not why else (math.nan, math.nan)
    return Judgement(
        ok=drop <= max_drop,
        metric=exam.metric,
        fp32=exam.fp32,
        value=float(marks[exam.metric][0]),
        drop=drop,
        low=low,
        high=high,
        max_drop=max_drop,
        images=exam.images,
        data=exam.data,
        seen=exam.seen,
        errors=distances.to_dict() if not why else {},
        others={
            name: {"fp32": float(exam.marks[name][0]), "value": float(value[0])}
            for name, value in marks.items()
            if name != exam.metric
        },
        why=why,
    )


def _interval(drops: npt.NDArray[np.float64], exam: Exam) -> tuple[float, float]:
    """Of the drop, 95 %, in points: percentiles of the draws.

    Where all draws are equal, since no image differs from another, they would say that none ever does. What none of n
    images does, up to 3 / n of all may do at 95 %: the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983).
    """
    low, high = map(float, np.nanpercentile(drops[1:], _INTERVAL))
    if np.nanmin(drops) < np.nanmax(drops):
        return low, high
    least = 0.0 if exam.metric.startswith("agreed") else -100.0  # nothing agrees with fp32 better than fp32
    return max(low - 300 / exam.images, least), min(high + 300 / exam.images, 100.0)


class Placed:
    """Images as the door takes them, with their ways home; kept while they are few, else read again each time."""

    def __init__(self, asked: Questions, manifest: Manifest) -> None:
        self._asked, self._recipe = asked, manifest.input
        width, height = manifest.input.size_wh
        self._keeps = asked.count * width * height * 3 <= _MOST_PLACED
        self._kept: list[tuple[Image, Placement]] = []

    def __len__(self) -> int:
        return self._asked.count

    def __iter__(self) -> Iterator[tuple[Image, Placement]]:
        if self._kept:
            yield from self._kept
            return
        kept = []
        for image in self._asked.read():
            pair = self._recipe.place(image)
            if self._keeps:
                kept.append(pair)
            yield pair
        self._kept = kept


def _sit(
    answers: Answers, manifest: Manifest, placed: Placed, progress: Progress | None
) -> Iterator[tuple[Arrays, Placement]]:
    """Dense answers (1, …) to each image, and its way home; a graph of fixed batch size gets its last image again."""
    tell = progress or (lambda done, total: None)
    size, done = manifest.batch or 1, 0
    tell(0, len(placed))
    images = iter(placed)
    while batch := list(islice(images, size)):
        array = np.stack([image for image, _ in batch] + [batch[-1][0]] * (size - len(batch)))
        outputs = answers(array)
        for row, (_, placement) in enumerate(batch):
            yield {name: value[row : row + 1] for name, value in outputs.items()}, placement
        done += len(batch)
        tell(done, len(placed))


def _wrong(outputs: Arrays, reference: Arrays, manifest: Manifest) -> str:
    """What is wrong with the numbers as such; empty where nothing is."""
    for name in task(manifest.task).OUTPUTS:
        if name not in outputs:
            return f"{name}: not answered"
        if outputs[name].shape != reference[name].shape:
            return f"{name}: expected shape {reference[name].shape}, got {outputs[name].shape}"
        if not np.isfinite(outputs[name]).all():
            return f"{name}: not finite"
    return ""


def _kept(images: int, outputs: Arrays) -> range:
    """The indices of those, spread over all, whose dense answers are kept; the first is among them."""
    size = sum(value.nbytes for value in outputs.values())
    count = max(1, min(_MOST_DENSE_IMAGES, _MOST_DENSE // size))
    return range(0, images, -(-images // count))


def _plain(value: float, digits: int | None = None) -> float | None:
    if not math.isfinite(value):
        return None
    return float(f"{value:.4g}") if digits is None else round(value, digits)
