"""Boxes in YOLO's text form (https://docs.ultralytics.com/datasets/detect): `class cx cy w h` in parts of the sides."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgezoo.errors import DataError
from edgezoo.optional import require
from edgezoo.sources.images import SUFFIXES
from edgezoo.train.listing import VAL_FOLDERS, Box, Files, Item, Listing, Side, boxed

FORMS = "data.yaml, images/ with labels/ and classes.txt"
_YAML = ("data.yaml", "data.yml", "dataset.yaml")
_NAMES = ("classes.txt", "labels/classes.txt", "labels/train/classes.txt")
_ROW = "class cx cy w h"
_FAR = 2.0  # parts of a side: beyond it stand pixels, not parts


@dataclass(frozen=True, slots=True)
class _Set:
    names: tuple[str, ...]
    train: tuple[Path, ...]
    """Folders of images, or `.txt` lists of them."""
    val: tuple[Path, ...]
    """Empty: to be drawn from `train`."""
    root: Path


def fits(data: Path) -> bool:
    if data.is_file():
        return data.suffix.lower() in (".yaml", ".yml")
    plain = (data / "images").is_dir() and ((data / "labels").is_dir() or (data / "classes.txt").is_file())
    return plain or _yaml_in(data) is not None


def read(data: Path, val: Path | None) -> Listing:
    """The set at `data`, which `fits`; `val` is a folder of images or a `.txt` list of them. Raises DataError."""
    path = data if data.is_file() else _yaml_in(data)
    found = _described(path) if path else _plain(data)
    others = (val,) if val else found.val
    sides: list[tuple[tuple[Path, ...], Side | None]] = [(found.train, "train" if others else None), (others, "val")]
    items: list[Item] = []
    problems: list[str] = []
    for places, side in sides:
        for place in places:
            images, more = _images(place, found.root)
            problems += more
            items += [_item(image, side, len(found.names)) for image in images]
    problems += _orphans([item.path for item in items])
    plain = [item.path for item in items if not item.faults and os.path.isfile(item.path)]
    bare = sum(not os.path.exists(_label_file(path)) for path in plain)
    note = f"{bare} of {len(items)} images have no label file: taken as images without objects"
    hint = f": labels were looked for as {_label_file(items[0].path)}" if items else ""
    return Listing(
        names=found.names,
        items=tuple(items),
        problems=tuple(problems),
        notes=(note,) if bare else (),
        hints={"": hint},
    )


def _yaml_in(data: Path) -> Path | None:
    return next((data / name for name in _YAML if (data / name).is_file()), None)


def _described(path: Path) -> _Set:
    """What a `data.yaml` says."""
    yaml = require("yaml")
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"{path}: expected a data.yaml of YOLO: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or "train" not in content:
        raise DataError(f"{path}: expected a data.yaml of YOLO, with names and train")
    if content.get("kpt_shape"):  # a row with points looks like a polygon
        raise DataError(f"{path}: expected boxes, got pose labels (kpt_shape); write every row as {_ROW!r}, without it")
    root = path.parent / str(content.get("path") or "")
    val: Any = next((content[name] for name in VAL_FOLDERS if content.get(name)), [])
    return _Set(
        names=_names(content.get("names"), path),
        train=_places(content["train"], root, path),
        val=_places(val, root, path),
        root=root,
    )


def _names(stated: Any, path: Path) -> tuple[str, ...]:
    if isinstance(stated, dict) and sorted(stated, key=str) == sorted(range(len(stated)), key=str):
        stated = [stated[k] for k in range(len(stated))]
    if not isinstance(stated, list) or not stated:
        raise DataError(f"{path}: expected names as a list, or as a mapping from 0, 1, …, got {str(stated)[:80]}")
    for name in stated:
        if isinstance(name, bool) or not isinstance(name, (str, int)):  # YAML takes `no` for a boolean
            raise DataError(f"{path}: expected names as texts, got {name!r}; try it in quotation marks")
    names = tuple(str(name).strip() for name in stated)
    if len(set(names)) < len(names) or "" in names:
        raise DataError(f"{path}: expected every class under a name of its own, got {', '.join(names)[:80]}")
    return names


def _places(stated: Any, root: Path, path: Path) -> tuple[Path, ...]:
    places = []
    for each in stated if isinstance(stated, list) else [stated]:
        if not isinstance(each, str):
            raise DataError(f"{path}: expected train and val as folders or lists of images, got {each!r}")
        # Roboflow writes `../train/images` and means `train/images`; the authors' own loader forgives it too.
        candidates = [root / each, root / each.removeprefix("../")]
        found = next((place for place in candidates if os.path.exists(place)), None)
        if found is None:
            raise DataError(
                f"{path}: expected images at {candidates[0]}, there is no such path; mend its path or train"
            )
        places.append(found)
    return tuple(places)


def _plain(data: Path) -> _Set:
    """`images/train`, `images/val`, or `images` alone, with `labels` beside and a list of names."""
    path = next((data / name for name in _NAMES if (data / name).is_file()), None)
    if path is None:
        raise DataError(f"{data}: expected data.yaml or classes.txt, which names a class a line; got neither")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected the name of a class a line: {error}") from None
    images = data / "images"
    vals = [images / name for name in VAL_FOLDERS if (images / name).is_dir()]
    split = (images / "train").is_dir()
    return _Set(
        names=_names([line for line in lines if line.strip()], path),
        train=(images / "train" if split else images,),
        val=tuple(vals[:1]) if split else (),
        root=data,
    )


def _images(place: Path, root: Path) -> tuple[Sequence[Path], Sequence[str]]:
    """The images of a folder or of a list, and what is wrong there."""
    if place.is_dir():
        files = Files.of(place)
        return files.images, files.problems
    if place.suffix.lower() != ".txt" or not place.is_file():
        raise DataError(f"{place}: expected a folder of images, or a .txt list of them")
    try:
        lines = [line.strip() for line in place.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: expected the path of an image a line: {error}") from None
    return [_listed(line, place.parent, root) for line in lines if line], ()


def _orphans(images: Sequence[Path]) -> list[str]:
    """Label files, where those of `images` lie, to which there is no image, listed or not."""
    homes: dict[Path, set[Path]] = {}
    for image in images:
        homes.setdefault(_label_file(image).parent, set()).add(image.parent)
    problems = []
    for folder, places in sorted((folder, homes[folder]) for folder in homes if os.path.isdir(folder)):
        here = [place for place in places if os.path.isdir(place)]
        stems = {path.stem for place in here for path in place.glob("*") if path.suffix.lower() in SUFFIXES}
        labels = [path for path in sorted(folder.glob("*.txt")) if folder not in places and path.name != "classes.txt"]
        problems += [f"{path}: expected an image of that name, found none" for path in labels if path.stem not in stems]
    return problems


def _listed(line: str, *bases: Path) -> Path:
    candidates = [base / line for base in bases]
    return next((path for path in candidates if os.path.isfile(path)), candidates[0])


def _item(image: Path, side: Side | None, classes: int) -> Item:
    boxes, faults = _labels(_label_file(image), classes)
    return boxed(image, side, boxes, scaled=True, faults=faults)


def _label_file(image: Path) -> Path:
    """`labels` for the last `images` of the path; else beside the image."""
    beside = image.parent / f"{image.stem}.txt"  # not with_suffix: a list may say `/`
    folders = list(beside.parent.parts)
    if "images" not in folders:
        return beside
    folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    swapped = Path(*folders, beside.name)
    return beside if os.path.isfile(beside) and not os.path.isfile(swapped) else swapped


def _labels(path: Path, classes: int) -> tuple[list[Box], list[str]]:
    """Boxes and faults; no file, no objects, by YOLO's rule."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe may never end
            return [], [f"expected rows of {_ROW!r} in {path}: it is no file"]
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        return [], []
    except (OSError, ValueError) as error:
        return [], [f"expected rows of {_ROW!r} in {path}: {error}"]
    boxes: list[Box] = []
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            box = _box(line, classes)
            if isinstance(box, str):
                faults.append(f"{box} ({os.path.join(path.parent.name, path.name)}:{number})")
            else:
                boxes.append(box)
    return boxes, faults


def _box(line: str, classes: int) -> Box | str:
    """The box of a row, which for a polygon is the one around it; or what is wrong."""
    try:
        class_id, *numbers = map(float, line.split())
    except ValueError:
        return f"expected {_ROW!r}, got {line.strip()[:60]!r}"
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        return f"expected {_ROW!r} or a polygon, got {len(numbers) + 1} numbers"
    if not class_id.is_integer() or not 0 <= class_id < classes:
        return f"expected a class from 0 to {classes - 1}, got {class_id:g}"
    if not all(map(math.isfinite, numbers)):
        return f"expected finite numbers, got {line.strip()[:60]!r}"
    if max(map(abs, numbers)) > _FAR:
        return f"expected parts of the image's sides, from 0 to 1, got {line.strip()[:60]!r}"
    if len(numbers) > 4:
        x, y = numbers[::2], numbers[1::2]
        return int(class_id), (min(x), min(y), max(x), max(y)), False
    cx, cy, width, height = numbers
    return int(class_id), (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2), False
