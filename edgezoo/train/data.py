"""A user's own data set: read in the layouts that people have, checked as a whole, split where it is not."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgezoo.errors import DataError, RequestError
from edgezoo.geometry import Boxes
from edgezoo.sources.images import SUFFIXES
from edgezoo.train import check, coco_json, folders, yolo_txt
from edgezoo.train.listing import Listing, Side
from edgezoo.train.split import split

TASKS = ("classify", "detect")
_MOST_SHOWN = 3
_NO_LINE = ("Cc", "Cs", "Zl", "Zp")  # kinds of characters: control, half of a pair (bytes that are not UTF-8), breaks


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Example:
    """A labelled image."""

    path: Path
    size_wh: tuple[int, int]
    """Pixels as `read_image` gives them: turned upright by EXIF data."""
    class_ids: npt.NDArray[np.int64]
    """(n,) indices into the set's names; classify: exactly one."""
    boxes_xyxy: Boxes
    """(n, 4) source pixels, within the image, none empty; classify: (0, 4)."""
    crowd: npt.NDArray[np.bool_]
    """(n,) groups, which training leaves out and scoring ignores."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class DataSet:
    """Images to train on and images to validate with, none of them on both sides."""

    task: str
    names: tuple[str, ...]
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    digest: str
    """SHA-256, hex, of task and names, and of every image's bytes, labels and side, in their order; not of paths."""

    def counts(self) -> dict[str, tuple[int, int]]:
        """Of every class, images (detect: boxes, crowds aside) to train on and to validate with."""
        train, val = _counted(self.train), _counted(self.val)
        return {name: (train[k], val[k]) for k, name in enumerate(self.names)}


def read(
    data: Path,
    task: str,
    *,
    val: Path | None = None,
    val_share: float = 0.2,
    seed: int = 0,
    leave_out: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DataSet:
    """The set at `data`, every image of it read and every label checked. Raises DataError.

    classify: `train/<class>/*` and `val/<class>/*`, or `<class>/*`.
    detect, COCO form: a `.json`, or a folder with `annotations.json`; `train/annotations.json` and
    `val/annotations.json`; the same as `_annotations.coco.json`; `annotations/instances_train*.json` and
    `annotations/instances_val*.json`. Images lie beside, in `images/`, or as COCO's own do.
    detect, YOLO form: `data.yaml`; or `images/train`, `images/val`, `labels/train`, `labels/val` and `classes.txt`;
    or `images`, `labels` and `classes.txt`. A polygon becomes the box around it.

    `val/` may be called `valid`, `validation` or `test`. Without it, `val_share` of the images is drawn by `seed`, see
    `split`; `val`, a path, takes its place: a folder of classes, a `.json`, a folder or list of images for YOLO form.

    Problems end it with one line; where that cannot show all of them, `tell` hears a line for each before. With
    `leave_out` every image with a problem is left out, and `tell` hears of each: with one bad box the whole image, for
    an object without its box teaches wrongly; of copies, see `sort_out`. A class without an image, or a box, to train
    on is told too and keeps its place among the names.
    """
    _check_request(task, val_share)
    listing = _list(data, task, val)
    _check_names(data, listing.names)
    for note in listing.notes:
        tell(note)
    if not listing.items:
        kinds = " ".join(SUFFIXES)
        raise DataError(f"{data}: expected images, got none{listing.hints.get('', '')}; known are {kinds}")
    seen, problems = check.sort_out(check.see(listing.items, progress))
    problems = [_printable(line) for line in (*listing.problems, *problems)]
    drawn = [one.item.side for one in seen if one.item.side]
    sides = drawn if len(drawn) == len(seen) else split(seen, task=task, share=val_share, seed=seed)
    found = _made(task, listing.names, seen, sides)
    empty, lack = _empty_classes(found, listing), _lack(found, listing)
    lines = [*problems, *empty]
    if leave_out or len(lines) > _MOST_SHOWN:
        for line in lines:
            tell(line)
    if lines and not leave_out:
        raise DataError(f"{data}: {_summary(lines, lack)}")
    if lack:
        raise DataError(f"{data}: {lack}")
    return found


def _check_request(task: str, val_share: float) -> None:
    if task not in TASKS:
        raise RequestError(f"expected a task that can be trained, {' or '.join(TASKS)}, got {task!r}")
    if not 0 < val_share < 1:
        raise RequestError(f"expected a share for validation between 0 and 1, got {val_share:g}")


def _list(data: Path, task: str, val: Path | None) -> Listing:
    for path in (data, *([val] if val else [])):
        if not os.path.exists(path):
            raise DataError(f"{path}: expected a data set, there is no such path")
    if task == "classify":
        return folders.read(data, val)
    as_coco, as_yolo = coco_json.fits(data), yolo_txt.fits(data)
    if as_coco and as_yolo:
        raise DataError(f"{data}: expected labels in one form, got COCO's and YOLO's; name the .json or .yaml itself")
    if not as_coco and not as_yolo:
        raise DataError(f"{data}: expected COCO form ({coco_json.FORMS}) or YOLO form ({yolo_txt.FORMS}), got neither")
    return coco_json.read(data, val) if as_coco else yolo_txt.read(data, val)


def _check_names(data: Path, names: Sequence[str]) -> None:
    """DataError where one cannot be a line of a list of labels."""
    for name in names:
        if not name or name != name.strip() or any(unicodedata.category(c) in _NO_LINE for c in name):
            raise DataError(f"{data}: expected names of classes that fit on a line, got {name!r}; rename the class")


def _printable(line: str) -> str:
    """Names of files may hold anything, line breaks too."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def _made(task: str, names: tuple[str, ...], seen: Sequence[check.Seen], sides: Sequence[Side]) -> DataSet:
    return DataSet(
        task=task,
        names=names,
        train=_of("train", seen, sides),
        val=_of("val", seen, sides),
        digest=_digest(task, names, seen, sides),
    )


def _of(side: Side, seen: Sequence[check.Seen], sides: Sequence[Side]) -> tuple[Example, ...]:
    return tuple(
        Example(
            path=one.item.path,
            size_wh=one.size_wh,
            class_ids=one.item.class_ids,
            boxes_xyxy=one.boxes_xyxy,
            crowd=one.item.crowd,
        )
        for one, its in zip(seen, sides, strict=True)
        if its == side
    )


def _digest(task: str, names: Sequence[str], seen: Sequence[check.Seen], sides: Sequence[Side]) -> str:
    whole = hashlib.sha256(repr((task, tuple(names))).encode())
    for one, side in zip(seen, sides, strict=True):
        whole.update(f"{side} {len(one.item.class_ids)} ".encode() + one.content)
        whole.update(one.item.class_ids.astype("<i8").tobytes())
        whole.update(one.boxes_xyxy.astype("<f4").tobytes())
        whole.update(one.item.crowd.tobytes())
    return whole.hexdigest()


def _counted(examples: Sequence[Example]) -> Counter[int]:
    return Counter(class_id for one in examples for class_id in one.class_ids[~one.crowd].tolist())


def _empty_classes(found: DataSet, listing: Listing) -> list[str]:
    what = "an image" if found.task == "classify" else "a box"
    return [
        f"class {name!r}: expected {what} to train on, got none{listing.hints.get(name, '')}"
        for name, (train, _) in found.counts().items()
        if not train
    ]


def _lack(found: DataSet, listing: Listing) -> str:
    """What is missing without which nothing can be learnt, or told apart; empty where nothing is."""
    taught = [name for name, (train, _) in found.counts().items() if train]
    cure = "add images, or give --val"
    if found.task == "classify":
        if len(taught) < 2:
            named = f" ({taught[0]})" if taught else ""
            return f"expected two classes or more, each a folder of images to train on, got {len(taught)}{named}"
        return "" if found.val else f"expected images to validate with, got none; {cure}"
    if not taught:
        return f"expected boxes to train on, got none in {len(found.train)} images{listing.hints.get('', '')}"
    validated = any(val for _, val in found.counts().values())
    return "" if validated else f"expected boxes to validate with, got none in {len(found.val)} images; {cure}"


def _summary(lines: Sequence[str], lack: str) -> str:
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    more = f"; and {len(lines) - _MOST_SHOWN} more" if len(lines) > _MOST_SHOWN else ""
    shown = "; ".join(lines[:_MOST_SHOWN]) + more
    cure = (
        f"mend them, for what is left is not enough: {lack}"
        if lack
        else "mend them, or --leave-out to go on without them"
    )
    return f"expected data without faults, got {count}: {shown}; {cure}"
