"""How good: the metric that a task's papers quote, over a labelled set, by the path that serves live frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgezoo.bundle import Manifest
from edgezoo.engine import Engine
from edgezoo.errors import DataError, RequestError, SourceError
from edgezoo.frame import Image
from edgezoo.geometry import Placement
from edgezoo.measure import coco, labelled
from edgezoo.results import Detections, Result
from edgezoo.sources.images import read_image
from edgezoo.tasks import Ask, Outputs, task

Progress = Callable[[int, int], None]
"""Told done and total."""

ASKS = {
    "detect": Ask(score=0.01, iou=0.65),  # as the YOLOX authors evaluate
    "classify": Ask(top=5),
}
METRICS = {
    "map": "mAP50-95",
    "map50": "mAP50",
    "map75": "mAP75",
    "top1": "top-1",
    "top5": "top-5",
    "agreed_ap50": "AP50 of what fp32 found",
    "agreed_top1": "top-1 as fp32",
}
"""What papers call them, and what we call those of the gate."""
MAX_DETECTIONS = 100
"""Of an image, best first, over all classes."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """A metric, and all it depends on."""

    metrics: dict[str, float | None]
    """detect: map, map50, map75, map_small, map_medium, map_large; classify: top1, top5. None: no box to tell it by."""
    by_class: dict[str, float]
    """detect: the mAP of every class that has boxes; classify: empty."""
    images: int
    protocol: dict[str, Any]
    """The thresholds, whatever the engine was opened with."""
    runs: dict[str, Any]
    """What really ran."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        metrics = {name: None if value is None else round(value, 5) for name, value in self.metrics.items()}
        return {
            **metrics,
            "images": self.images,
            "by_class": {name: round(value, 5) for name, value in self.by_class.items()},
            "protocol": self.protocol,
            "runs": self.runs,
            "seconds": round(self.seconds, 2),
        }


def evaluate(
    engine: Engine, data: str | Path, *, limit: int | None = None, progress: Progress | None = None
) -> Evaluation:
    """mAP of a detector over a set in COCO form, top-1 and top-5 of a classifier over labelled images.

    `data`, detect: the `.json`, or its folder; classify: `labels.csv` (`file,class_index`), its folder, or a folder of
    folders named by class. `limit`: so many images, spread over the set. The engine's own thresholds do not count.

    Raises DataError: the set is empty, incomplete, or labelled with classes that the bundle does not know.
    """
    if limit is not None and limit < 1:
        raise RequestError(f"expected a limit of 1 image or more, got {limit}")
    began = time.perf_counter()
    manifest = engine.bundle.manifest
    tell = progress or (lambda done, total: None)
    measure = _detect if manifest.task == "detect" else _classify
    metrics, by_class, images, protocol = measure(engine, Path(data), limit, tell)
    return Evaluation(
        metrics=metrics,
        by_class=by_class,
        images=images,
        protocol=protocol,
        runs=engine.describe(),
        seconds=time.perf_counter() - began,
    )


def read(outputs: Outputs, placements: Sequence[Placement], manifest: Manifest) -> list[Result]:
    """Dense answers as they are scored: by the protocol's thresholds, and at most so many detections of an image."""
    results = task(manifest.task).read(outputs, placements, manifest.labels, ASKS[manifest.task])
    return [result[:MAX_DETECTIONS] if isinstance(result, Detections) else result for result in results]


def read_picture(path: Path) -> Image:
    """An image of a labelled set. Raises DataError."""
    try:
        return read_image(path)
    except SourceError as error:
        raise DataError(str(error)) from None


_Measured = tuple[dict[str, "float | None"], dict[str, float], int, dict[str, Any]]


def _detect(engine: Engine, data: Path, limit: int | None, progress: Progress) -> _Measured:
    truth = coco.read(data, engine.names)
    chosen = _spread(truth.images, limit)
    coco.check_files(chosen)
    found: list[Detections] = []

    def keep(index: int, image: Image, result: Result) -> None:
        chosen[index].check_size(image)
        assert isinstance(result, Detections)
        found.append(result)

    _run(engine, [picture.path for picture in chosen], keep, progress)
    score = coco.score(truth, chosen, found)
    ask = ASKS["detect"]
    protocol = {"score": ask.score, "iou": ask.iou, "max_detections": MAX_DETECTIONS}
    return score.metrics, score.by_class, len(chosen), protocol


def _classify(engine: Engine, data: Path, limit: int | None, progress: Progress) -> _Measured:
    chosen = _spread(labelled.read(data, engine.names), limit)
    hits = {1: 0, 5: 0}

    def keep(index: int, image: Image, result: Result) -> None:
        assert not isinstance(result, Detections)
        for top in hits:
            hits[top] += chosen[index].class_id in result.class_ids[:top]

    _run(engine, [picture.path for picture in chosen], keep, progress)
    return (
        {f"top{top}": count / len(chosen) for top, count in hits.items()},
        {},
        len(chosen),
        {"top": ASKS["classify"].top},
    )


def _run(engine: Engine, paths: Sequence[Path], keep: Callable[[int, Image, Result], None], progress: Progress) -> None:
    """Every image through the engine, as many at a time as its graph is fixed at."""
    manifest = engine.bundle.manifest
    step = engine.batches[0]
    progress(0, len(paths))
    for start in range(0, len(paths), step):
        images = [read_picture(path) for path in paths[start : start + step]]
        array, placements = engine.prepare(images)
        results = read(engine.infer(array), placements, manifest)
        for offset, (image, result) in enumerate(zip(images, results, strict=True)):
            keep(start + offset, image, result)
        progress(start + len(images), len(paths))


def _spread(items: Sequence[T], limit: int | None) -> list[T]:
    """At most `limit` of them, at equal distances: sets are often sorted by class."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[k * len(items) // limit] for k in range(limit)]
