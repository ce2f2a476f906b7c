"""A calibration: images through the engine's own geometry and the fp32 graph, and the range of every tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgezoo import imagesets
from edgezoo.bundle import Bundle, Manifest
from edgezoo.cards import read_labels, zoo_folder
from edgezoo.errors import ConvertError, DataError, RequestError
from edgezoo.imagesets import Drawn
from edgezoo.measure import coco, labelled
from edgezoo.measure.gate import LEAST
from edgezoo.reduce import reuse
from edgezoo.reduce.int8 import tensors
from edgezoo.reduce.int8.calibrate import calibrate
from edgezoo.reduce.recipe import QuantisationRecipe
from edgezoo.reduce.regions import Ranges
from edgezoo.weights import Progress

if TYPE_CHECKING:
    import onnx

COCO_SET, COCO_LABELS = "coco", "coco80"
EXTREMES = "minmax"
TO_SEE, TO_JUDGE = (0.0, 2 / 3), (2 / 3, 1.0)
"""Stretches of a video: the neighbour of a frame that was seen is nearly the same image, and no judge."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Calibration:
    """Ranges by method, and all that they depend on."""

    bundle: Bundle
    drawn: Drawn
    ranges: Mapping[str, Ranges]
    extremes: Ranges
    """The ends of all that was seen, which is `minmax`: what clips says nothing of what float16 has to hold."""

    def record(self, method: str) -> reuse.CalibrationRecord:
        """What is kept of it, by one of the methods or `minmax`."""
        return reuse.CalibrationRecord(
            method=method,
            images=self.drawn.hashes,
            recipe=self.bundle.manifest.input,
            weights=self.bundle.artifact().sha256,
            ranges=self.extremes if method == EXTREMES else self.ranges[method],
            extremes={} if method == EXTREMES else self.extremes,
            source=str(self.drawn),
        )


def draw(
    source: str | None,
    data: Path | None,
    manifest: Manifest,
    *,
    count: int,
    seed: int,
    recipe: QuantisationRecipe | None = None,
    stretch: tuple[float, float] = TO_SEE,
    progress: Progress | None = None,
) -> Drawn:
    """Images to calibrate with: of `source`; else of the set that bears the model's name; else half of `data` at most;
    else, for COCO's own labels, of COCO's set. Of a video, from its first two thirds.

    With a recipe: of `source`; else of the set that it names, or of what lies here under that name; else of `data`, as
    many as are asked for. `progress` hears of downloads. Raises RequestError where there is none of these, and what
    `imagesets.draw` raises.
    """
    sets = imagesets.names()
    if source is None:
        named = manifest.name if recipe is None else recipe.calibration
        source = named if named in sets or (recipe is not None and Path(named).exists()) else None
    if source is not None:
        return imagesets.draw(source, count=count, seed=seed, progress=progress, stretch=stretch)
    if data is not None:
        files = _files(data, manifest)
        most = len(files) if recipe else max(1, len(files) // 2)
        return imagesets.draw_files(files, str(data), count=min(count, most), seed=seed)
    if recipe is not None:
        raise RequestError(
            f"the recipe's calibration: expected {recipe.images} images of {recipe.calibration!r}, which is no set of "
            "edgezoo's and not here; give --calibration with them, or --data if they were drawn from labelled images"
        )
    if manifest.labels == read_labels(zoo_folder() / "labels" / f"{COCO_LABELS}.txt"):
        return imagesets.draw(COCO_SET, count=count, seed=seed, progress=progress, stretch=stretch)
    raise RequestError(
        f"{manifest.name}: expected images to calibrate with and to judge by, got none; give --calibration with a "
        f"folder, a video, a pattern or a set ({', '.join(sets)}), a hundred like those that the model will see"
    )


def check_enough(drawn: Drawn) -> None:
    """DataError where a calibration with these would be one of a few images' own ends."""
    if len(drawn) < LEAST:
        told = "two thirds of its frames" if drawn.video else "half of those there are"
        half = f", {told}, for the others are to judge by" if len(drawn) < drawn.total else ""
        raise DataError(
            f"{drawn.title}: expected at least {LEAST} images to calibrate with, got {len(drawn)}{half}; "
            "give more with --calibration"
        )


def check_left(drawn: Drawn, others: Drawn) -> None:
    """DataError where calibration took so many of the images that too few are left to judge by."""
    left = len(set(others.hashes.values()) - set(drawn.hashes.values()))
    if left < LEAST:
        raise DataError(
            f"{drawn.title}: expected at least {LEAST} images beside the {len(drawn)} to calibrate with, got {left}; "
            "give --data with labelled images to judge by"
        )


def _files(data: Path, manifest: Manifest) -> list[str]:
    """The images of a labelled set."""
    if manifest.task == "detect":
        pictures = coco.read(data, manifest.labels).images
        coco.check_files(pictures)
        return [str(picture.path) for picture in pictures]
    return [str(picture.path) for picture in labelled.read(data, manifest.labels)]


def measured(
    bundle: Bundle,
    model: onnx.ModelProto,
    drawn: Drawn,
    *,
    methods: Sequence[str],
    file: Path | None,
    progress: Callable[[int, int], None],
) -> Calibration:
    """The ranges by each of the methods, or those that `file` keeps; without such a file they are kept there.

    Raises ConvertError: the file's were made with something else, which the message names.
    """
    manifest = bundle.manifest
    if file is not None and len(methods) > 1:
        raise RequestError(f"expected one --method for the ranges in {file}, got {', '.join(methods)}")
    wanted = tensors(model)
    if not wanted:
        raise ConvertError(f"{manifest.name}: has no layer with weights, so none that a lower precision makes faster")
    if file is not None and file.exists():
        record = reuse.load(file)
        weights = bundle.artifact().sha256
        reuse.check_reuse(record, method=methods[0], images=drawn.hashes, recipe=manifest.input, weights=weights)
        extremes = record.ranges if record.method == EXTREMES else record.extremes
        if missing := [name for name in wanted if name not in record.ranges or name not in extremes]:
            raise ConvertError(f"{file}: has no range of the tensor {missing[0]!r}; calibrate again, to another file")
        return Calibration(bundle=bundle, drawn=drawn, ranges={methods[0]: record.ranges}, extremes=extremes)
    placed, both = drawn.placed(manifest.input), [*dict.fromkeys([*methods, EXTREMES])]
    ranges = calibrate(model, placed, wanted, method=both, count=len(drawn), progress=progress)
    asked = {method: ranges[method] for method in methods}
    found = Calibration(bundle=bundle, drawn=drawn, ranges=asked, extremes=ranges[EXTREMES])
    if file is not None:
        reuse.save(file, found.record(methods[0]))
    return found
