"""Images in folders named by class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgezoo.errors import DataError
from edgezoo.sources.images import natural
from edgezoo.train.listing import VAL_FOLDERS, Files, Item, Listing, Side


def read(data: Path, val: Path | None) -> Listing:
    """`data/train/<class>/*` and `data/val/<class>/*`, or `data/<class>/*` to be split. Raises DataError."""
    roots = _roots(data, val)
    classes = {root: _folders(root, besides=val) for root in roots}
    names = sorted({folder.name for folders in classes.values() for folder in folders}, key=lambda n: (natural(n), n))
    ids = {name: k for k, name in enumerate(names)}
    items: list[Item] = []
    problems: list[str] = []
    hints: dict[str, str] = {}
    for root, side in roots.items():
        beside = Files.of(root, deep=False)
        problems += [
            f"{path}: expected images in folders named by class, got one beside them" for path in beside.images
        ]
        for folder in classes[root]:
            files = Files.of(folder)
            problems += files.problems
            items += [_item(path, side, ids[folder.name]) for path in files.images]
            if not files.images and files.others:
                more = f" and {len(files.others) - 1} more files" if len(files.others) > 1 else ""
                hints[folder.name] = f" ({files.others[0].name}{more} there)"
    everything = "".join(list(hints.values())[:1])
    return Listing(names=tuple(names), items=tuple(items), problems=tuple(problems), hints={"": everything, **hints})


def _roots(data: Path, val: Path | None) -> dict[Path, Side | None]:
    """The folders of folders, and which side each is on."""
    if not data.is_dir():
        raise DataError(f"{data}: expected a folder that holds a folder of images for every class, got a file")
    train = data / "train"
    if not _folders(train):  # nothing in it, or photos: then `train` is a class, beside `car` and `bus`
        if {folder.name for folder in _folders(data, besides=val)} <= {"train", *VAL_FOLDERS} and train.is_dir():
            raise DataError(f"{train}: expected a folder of images for every class, got none")
        return {data: "train", val: "val"} if val else {data: None}
    others = [val] if val else [data / name for name in VAL_FOLDERS if (data / name).is_dir()]
    return {train: "train", others[0]: "val"} if others else {train: None}


def _folders(root: Path, *, besides: Path | None = None) -> list[Path]:
    if not root.is_dir():
        return []
    left_out = besides.resolve() if besides else None
    found = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted((path for path in found if path.resolve() != left_out), key=lambda path: natural(path.name))


def _item(path: Path, side: Side | None, class_id: int) -> Item:
    return Item(
        path=path,
        side=side,
        class_ids=np.array([class_id], np.int64),
        boxes_xyxy=np.zeros((0, 4)),
        crowd=np.zeros(1, np.bool_),
    )
