"""The record of a calibration: what it was made with, what it found, and whether it may be used again."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgezoo import records
from edgezoo.bundle import digest_of
from edgezoo.errors import ConvertError
from edgezoo.preprocess import Preprocess
from edgezoo.weights import partial_file

FORMAT = 1
"""Of the file, and of what the methods mean: who changes a method or a parameter of it, raises this."""
_LARGEST = 256 << 20
_AGAIN = "calibrate again"


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationRecord:
    """A calibration as data: the ranges found, with all that they depend on."""

    method: str
    """How a range comes of what was seen: `minmax`, `entropy`, …; a FORMAT knows one meaning of each."""
    images: Mapping[str, str]
    """SHA-256 by name, as `imagesets.Drawn.hashes`."""
    recipe: Preprocess
    weights: str
    """SHA-256 of the weights, or of the fp32 graph."""
    ranges: Mapping[str, tuple[float, float]]
    """The result: lowest and highest value by tensor."""
    extremes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The lowest and highest value seen, by tensor: what float16 has to hold. Empty: `ranges` are these."""
    source: str = ""
    """What the images were drawn from, for people; reuse does not ask."""

    def __post_init__(self) -> None:
        for what, sha256 in (("weights", self.weights), *self.images.items()):
            if not re.fullmatch(r"[0-9a-f]{64}", sha256):
                raise ValueError(f"{what}: expected a SHA-256 of 64 hexadecimal digits, got {sha256!r}")
        for tensor, (low, high) in (*self.ranges.items(), *self.extremes.items()):
            if not -math.inf < low <= high < math.inf:
                raise ValueError(f"ranges: {tensor}: expected two finite numbers that rise, got {low}, {high}")
        if not (self.method and self.images and self.ranges):
            raise ValueError("expected a method, images and ranges, got none")

    @property
    def recipe_sha256(self) -> str:
        """SHA-256 of the recipe as canonical JSON, in which a mean of 0 is one of 0.0."""
        return digest_of(dataclasses.asdict(records.read(Preprocess, dataclasses.asdict(self.recipe))))

    def to_artifact(self) -> dict[str, Any]:
        """What a bundle's artifact keeps of it: all but the ranges, which are in the graph."""
        return {
            "source": self.source,
            "method": self.method,
            "images": dict(self.images),
            "recipe_sha256": self.recipe_sha256,
            "weights_sha256": self.weights,
        }


def check_reuse(
    record: CalibrationRecord, *, method: str, images: Mapping[str, str], recipe: Preprocess, weights: str
) -> None:
    """ConvertError, naming all that changed, unless a calibration made now would be made with the very same things."""
    changed = [
        *_changes_of_recipe(record.recipe, recipe),
        *_changes_of_images(record.images, images),
        *([f"with weights {record.weights[:16]}…, they are now {weights[:16]}…"] if record.weights != weights else []),
        *([f"by the method {record.method}, asked for is now {method}"] if record.method != method else []),
    ]
    if changed:
        raise ConvertError(f"the calibration was made {'; and '.join(changed)}: {_AGAIN}")


def _changes_of_recipe(then: Preprocess, now: Preprocess) -> list[str]:
    old, new = dataclasses.asdict(then), dataclasses.asdict(now)
    return [f"with {key} {old[key]}, the recipe now says {new[key]}" for key in old if old[key] != new[key]]


def _changes_of_images(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The first image of which bytes changed, that is gone, or that was added, with how many more there are."""
    told = []
    for names, what in (
        ([name for name in then if name in now and then[name] != now[name]], "with other bytes of the image {}"),
        ([name for name in then if name not in now], "with the image {}, which is not there now"),
        ([name for name in now if name not in then], "without the image {}, which is there now"),
    ):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            told.append(what.format(names[0] + more))
    return told


def save(path: str | Path, record: CalibrationRecord) -> None:
    """Write the record as JSON, whole or not at all; in the place of another calibration, but of no other file.

    Raises ConvertError.
    """
    path = Path(path)
    if path.exists() and not _is_record(path):
        raise ConvertError(f"{path}: expected a new name for a calibration, got a file that is none; choose another")
    data = {"format": FORMAT, **dataclasses.asdict(record), "recipe_sha256": record.recipe_sha256}
    for key in ("ranges", "extremes"):
        data[key] = {name: [float(low), float(high)] for name, (low, high) in getattr(record, key).items()}
    text = json.dumps({**data, "digest": digest_of(data)}, indent=1, ensure_ascii=False) + "\n"
    try:
        with partial_file(path) as part:
            with part.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
    except OSError as error:
        raise ConvertError(f"{path}: could not write the calibration: {error.strerror or error}") from None


def load(path: str | Path) -> CalibrationRecord:
    """The record that `save` wrote. Raises ConvertError: there is none, or it is not as it was written."""
    path = Path(path)
    try:
        data = _parsed(path)
        digest, stamp = data.pop("digest", None), data.get("recipe_sha256")
        if data.get("format") != FORMAT:
            raise ValueError(f"expected calibration format {FORMAT}, got {data.get('format')!r}; {_AGAIN}")
        if digest != digest_of(data):
            raise ValueError(f"is not as it was written; {_AGAIN}")
        fields = {key: value for key, value in data.items() if key not in ("format", "recipe_sha256")}
        record = records.read(CalibrationRecord, fields)
        if stamp != record.recipe_sha256:
            raise ValueError(f"recipe_sha256: expected {record.recipe_sha256}, that of its recipe, got {stamp!r}")
    except (OSError, ValueError, RecursionError) as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConvertError(f"{path}: expected a calibration: {' '.join(str(told).split())}") from None
    return record


def _parsed(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():
        raise ValueError("got something that is no file")
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"got more than {_LARGEST >> 20} MiB")
    data = json.loads(path.read_text("utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"got JSON that is no table but a {type(data).__name__}")
    return data


def _is_record(path: Path) -> bool:
    """Whether it is a calibration of any version, whole or not: what may be written over."""
    try:
        return {"format", "method", "images", "ranges"} <= set(_parsed(path))
    except (OSError, ValueError, RecursionError):
        return False
