"""What a data set says of its images, before one of them is read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgezoo.sources.images import SUFFIXES, natural

Side = Literal["train", "val"]
Box = tuple[int, Sequence[float], bool]
"""Class id, x1 y1 x2 y2, whether it is a crowd."""

VAL_FOLDERS = ("val", "valid", "validation", "test")
"""The first that is there holds the images to validate with."""
# Photos that would be missing without a word: OpenCV reads them nowhere, or not everywhere.
_FOREIGN_KINDS = "avif gif heic heif jxl arw cr2 cr3 dng nef orf raf"
_FOREIGN = frozenset(f".{kind}" for kind in _FOREIGN_KINDS.split())


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Item:
    """An image and its labels, as they are written."""

    path: Path
    side: Side | None
    """None: to be drawn."""
    class_ids: npt.NDArray[np.int64]
    boxes_xyxy: npt.NDArray[np.float64]
    """(n, 4), unchecked; classify: (0, 4)."""
    crowd: npt.NDArray[np.bool_]
    scaled: bool = False
    """Whether boxes are in parts of the image's sides, else in pixels."""
    size_wh: tuple[int, int] | None = None
    """As the labels state it."""
    faults: tuple[str, ...] = ()
    """What cannot be read of its labels."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Listing:
    names: tuple[str, ...]
    items: tuple[Item, ...]
    """Those to train on first."""
    problems: tuple[str, ...] = ()
    """What is wrong and belongs to none of the items."""
    notes: tuple[str, ...] = ()
    """What should be told and is not wrong."""
    hints: Mapping[str, str] = field(default_factory=dict)
    """Why a class, or "" for the set, may be empty: the end of a message."""


def boxed(
    path: Path,
    side: Side | None,
    boxes: Sequence[Box],
    *,
    scaled: bool = False,
    size_wh: tuple[int, int] | None = None,
    faults: Sequence[str] = (),
) -> Item:
    """An item of a detector."""
    return Item(
        path=path,
        side=side,
        class_ids=np.array([class_id for class_id, _, _ in boxes], np.int64),
        boxes_xyxy=np.array([corners for _, corners, _ in boxes], np.float64).reshape(-1, 4),
        crowd=np.array([crowd for _, _, crowd in boxes], np.bool_),
        scaled=scaled,
        size_wh=size_wh,
        faults=tuple(faults),
    )


@dataclass(frozen=True, slots=True)
class Files:
    """What lies in a folder and in its folders; hidden files aside."""

    images: tuple[Path, ...]
    """Naturally sorted."""
    problems: tuple[str, ...]
    """Photos of kinds that cannot be read, a line each."""
    others: tuple[Path, ...]

    @classmethod
    def of(cls, folder: Path, *, deep: bool = True) -> Files:
        found = [
            path
            for path in (folder.rglob("*") if deep else folder.glob("*"))
            if not any(part.startswith(".") for part in path.relative_to(folder).parts) and path.is_file()
        ]
        found.sort(key=lambda path: natural(os.fspath(path)))
        foreign = [path for path in found if path.suffix.lower() in _FOREIGN]
        return cls(
            images=tuple(path for path in found if path.suffix.lower() in SUFFIXES),
            problems=tuple(f"{path}: expected a photo that can be read, save it as .jpg or .png" for path in foreign),
            others=tuple(path for path in found if path.suffix.lower() not in SUFFIXES),
        )
