"""Does a bundle answer on this device as it did where it was made? Its golden images, replayed; nothing else needed.

Two questions, apart from each other. Geometry: does this OpenCV make of the images what the maker's did? Answers: does
the artifact, fed with what the maker's OpenCV made, answer what the reference did?
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.backends import Arrays
from edgezoo.bundle import Bundle
from edgezoo.engine import Engine
from edgezoo.errors import BundleError, ShapeError
from edgezoo.frame import Image
from edgezoo.optional import require
from edgezoo.tasks import task

GEOMETRY_LEVELS = 1
"""Builds of OpenCV round an interpolated value up or down; more than one grey level apart is another interpolation."""

SLACK = 2.0
"""Of a rounded precision's recorded agreement: another device's kernels round in another order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """What this machine makes of the golden images, against what is stored."""

    largest_levels: int
    """The largest difference of a pixel's channel, 0..255."""
    differing: float
    """The share of values that differ at all, 0..1."""
    tolerance_levels: int
    opencv: str

    @property
    def ok(self) -> bool:
        return self.largest_levels <= self.tolerance_levels


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """How far an output is from the stored one."""

    largest: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.largest <= self.tolerance  # not a number is not ok


@dataclass(frozen=True, slots=True)
class Golden:
    """Images, and what the maker's machine made of them."""

    images: list[Image]
    placed: npt.NDArray[np.uint8]
    answers: Arrays


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What `verify` found."""

    geometry: Geometry
    answers: dict[str, Answer]
    """By what the task compares: `scores`, `boxes_px`, …"""
    images: int
    runs: dict[str, Any]
    """What really ran."""

    @property
    def ok(self) -> bool:
        return self.geometry.ok and all(answer.ok for answer in self.answers.values())

    def to_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "images": self.images,
            "geometry": {"ok": self.geometry.ok, **asdict(self.geometry)},
            "answers": {name: {"ok": answer.ok, **asdict(answer)} for name, answer in self.answers.items()},
            "runs": self.runs,
        }


def verify(
    bundle: Bundle | str | Path,
    *,
    backend: str = "onnxruntime",
    device: str | None = None,
    precision: str = "fp32",
    threads: int | None = None,
) -> Verification:
    """Replay the golden images, one by one and, where the graph takes any batch size, together.

    fp32 is held to the task's tolerance; another precision to the agreement that was recorded when it was made.
    Raises BundleError, BackendError, RequestError, MissingDependency.
    """
    with Engine(bundle, backend=backend, device=device, precision=precision, threads=threads) as engine:
        golden = _golden(engine)
        geometry = _geometry(engine, golden)
        least, most = engine.batches
        sizes = {least, max(least, min(len(golden.images), most or len(golden.images)))}
        found = [_differences(engine, golden, size) for size in sorted(sizes)]
        tolerance = _tolerance(engine)
        return Verification(
            geometry=geometry,
            answers={
                name: Answer(largest=float(np.max([each[name] for each in found])), tolerance=tolerance[name])
                for name in found[0]
            },
            images=len(golden.images),
            runs=engine.describe(),
        )


def _golden(engine: Engine) -> Golden:
    arrays = engine.bundle.read_golden()
    width, height = engine.recipe.size_wh
    images = [arrays[f"image_{k}"] for k in range(len(arrays)) if f"image_{k}" in arrays]
    wanted = ("placed", *(f"out_{name}" for name in task(engine.bundle.manifest.task).OUTPUTS))
    missing = [name for name in wanted if name not in arrays or len(arrays[name]) != len(images)]
    if not images or missing or arrays["placed"].shape[1:] != (height, width, 3) or arrays["placed"].dtype != np.uint8:
        raise BundleError(
            f"{engine.bundle.folder}: expected golden images, what geometry makes of them and answers to each; "
            f"got {len(images)} images and {', '.join(sorted(arrays))[:80]}; convert again"
        )
    return Golden(images, arrays["placed"], {name.removeprefix("out_"): arrays[name] for name in wanted[1:]})


def _geometry(engine: Engine, golden: Golden) -> Geometry:
    try:
        here = np.stack([engine.recipe.place(image)[0] for image in golden.images])
    except ShapeError as error:
        raise BundleError(f"{engine.bundle.folder}: a golden image is none: {error}; convert again") from None
    apart = np.abs(here.astype(np.int16) - golden.placed)
    return Geometry(
        largest_levels=int(apart.max()),
        differing=float(np.count_nonzero(apart) / apart.size),
        tolerance_levels=GEOMETRY_LEVELS,
        opencv=str(require("cv2").__version__),
    )


def _differences(engine: Engine, golden: Golden, size: int) -> dict[str, float]:
    """How far this device's answers are from the stored ones, with `size` images in a run."""
    count = len(golden.placed)
    rows: list[Arrays] = []
    for start in range(0, count, size):
        chosen = np.minimum(np.arange(start, start + size), count - 1)  # the last image fills a fixed batch
        rows.append(engine.infer(np.ascontiguousarray(golden.placed[chosen])))
    answers = {name: np.concatenate([row[name] for row in rows])[:count] for name in golden.answers}
    for name, stored in golden.answers.items():
        if answers[name].shape != stored.shape:
            shapes = f"expected golden {name} of shape {answers[name].shape}, got {stored.shape}"
            raise BundleError(f"{engine.bundle.folder}: {shapes}; convert again")
    with np.errstate(invalid="ignore"):
        return task(engine.bundle.manifest.task).difference(golden.answers, answers)


def _tolerance(engine: Engine) -> dict[str, float]:
    """What each difference may be at most."""
    exact = task(engine.bundle.manifest.task).TOLERANCE
    if engine.artifact.precision == "fp32":
        return dict(exact)
    agreement = engine.artifact.agreement
    missing = [name for name in exact if not isinstance(agreement.get(name), (int, float))]
    if missing:
        place = engine.bundle.folder / engine.artifact.file
        raise BundleError(f"{place}: expected a recorded agreement for {', '.join(missing)}, got none; convert again")
    return {name: max(value, SLACK * agreement[name]) for name, value in exact.items()}
