"""The images that the gate asks by: those of a labelled set, or any; without those that calibration saw."""

from __future__ import annotations

import glob
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgezoo import imagesets
from edgezoo.bundle import Manifest
from edgezoo.frame import Image
from edgezoo.imagesets import Drawn
from edgezoo.measure import coco, labelled
from edgezoo.measure.evaluate import read_picture
from edgezoo.measure.gate.marks import Marking, by_boxes, by_labels
from edgezoo.weights import sha256_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """Images in their order, and what marks the answers to them."""

    name: str
    """Of the set, the folder or the file: not the way there, which is nobody's business."""
    count: int
    seen: int
    """Images that were left out."""
    read: Callable[[], Iterator[Image]] = field(repr=False)
    """One image at a time, from the first each time that it is called."""
    marking: Marking | None = field(repr=False)
    """By labels; None where there are none."""


def of_labelled(manifest: Manifest, data: Path, leave_out: Collection[str]) -> Questions:
    """A set in COCO form, or labelled images, as `evaluate` takes them. Raises DataError."""
    folder = _name(data if data.is_dir() else data.parent)
    if manifest.task == "detect":
        truth = coco.read(data, manifest.labels)
        coco.check_files(truth.images)
        pictures = [picture for picture in truth.images if not _among(picture.path, leave_out)]
        return Questions(
            name=folder,
            count=len(pictures),
            seen=len(truth.images) - len(pictures),
            read=lambda: _annotated(pictures),
            marking=by_boxes(truth.boxes, [picture.id for picture in pictures]) if pictures else None,
        )
    every = labelled.read(data, manifest.labels)
    left = [picture for picture in every if not _among(picture.path, leave_out)]
    return Questions(
        name=folder,
        count=len(left),
        seen=len(every) - len(left),
        read=lambda: (read_picture(picture.path) for picture in left),
        marking=by_labels([picture.class_id for picture in left]),
    )


def of_drawn(drawn: Drawn, leave_out: Collection[str]) -> Questions:
    """Any images, without labels."""
    count = sum(sha256 not in leave_out for sha256 in drawn.hashes.values())
    return Questions(
        name=drawn.source if drawn.source in imagesets.names() else _name(Path(drawn.source)),
        count=count,
        seen=len(drawn) - count,
        read=lambda: (sample.image for sample in drawn if sample.sha256 not in leave_out),
        marking=None,
    )


def _annotated(pictures: Sequence[coco.Picture]) -> Iterator[Image]:
    for picture in pictures:
        image = read_picture(picture.path)
        picture.check_size(image)
        yield image


def _among(path: Path, leave_out: Collection[str]) -> bool:
    return bool(leave_out) and sha256_of(path) in leave_out


def _name(path: Path) -> str:
    """Of a folder, a file, or the folder that a pattern begins in."""
    while glob.has_magic(path.name) and not path.exists():
        path = path.parent
    return path.resolve().name
