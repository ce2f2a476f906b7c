"""Labelled images for classifiers: a table of files, or folders named by class."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgezoo.errors import DataError
from edgezoo.sources.images import SUFFIXES

TABLE = "labels.csv"
_WORDNET = re.compile(r"n\d{8}")  # folders of ImageNet: sorted, they are the classes in order


@dataclass(frozen=True, slots=True)
class Picture:
    path: Path
    class_id: int


def read(data: Path, names: tuple[str, ...]) -> list[Picture]:
    """Images and their class ids: `labels.csv`, its folder, or folders named by class. Raises DataError."""
    if data.is_file() or (data / TABLE).is_file():
        pictures = _from_table(data if data.is_file() else data / TABLE, len(names))
    elif data.is_dir():
        pictures = _from_folders(data, names)
    else:
        raise DataError(f"{data}: expected {TABLE} or a folder of labelled images, there is no such path")
    if not pictures:
        raise DataError(f"{data}: expected labelled images, got none")
    return pictures


def _from_table(path: Path, classes: int) -> list[Picture]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a table with columns file,class_index: {error}") from None
    pictures = []
    for line, row in enumerate(rows, 2):
        name, index = row.get("file"), row.get("class_index")
        if not name or index is None or not index.strip().isdecimal():
            shown = ",".join(str(value) for value in row.values())
            raise DataError(f"{path}:{line}: expected columns file,class_index, got {shown[:80]}")
        if int(index) >= classes:
            raise DataError(f"{path}:{line}: expected class_index below {classes}, the bundle's classes, got {index}")
        places = [place for place in (path.parent / "images" / name, path.parent / name) if place.is_file()]
        if not places:
            raise DataError(f"{path}:{line}: expected the image {name} beside it or in images/, got none")
        pictures.append(Picture(places[0], int(index)))
    return pictures


def _from_folders(data: Path, names: tuple[str, ...]) -> list[Picture]:
    folders = sorted(path for path in data.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise DataError(f"{data}: expected {TABLE} or folders named by class, got neither")
    ids = _class_ids(data, [folder.name for folder in folders], names)
    return [
        Picture(path, class_id)
        for folder, class_id in zip(folders, ids, strict=True)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]


def _class_ids(data: Path, folders: Sequence[str], names: tuple[str, ...]) -> list[int]:
    """The class of every folder: by name, by number, and for ImageNet's own folders by order."""
    if len(folders) == len(names) and all(map(_WORDNET.fullmatch, folders)):
        return list(range(len(names)))
    plain = [_plain(name) for name in names]
    ids = []
    for folder in folders:
        count = plain.count(_plain(folder))
        if count > 1:
            raise DataError(f"{data}: {count} classes are called {folder!r}; name the folder by its class number")
        if count == 1:
            ids.append(plain.index(_plain(folder)))
        elif folder.isdecimal() and int(folder) < len(names):
            ids.append(int(folder))
        else:
            raise DataError(
                f"{data}: expected folders named by the bundle's {len(names)} classes ({', '.join(names[:3])}, …) "
                f"or their numbers, got {folder!r}"
            )
    return ids


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
