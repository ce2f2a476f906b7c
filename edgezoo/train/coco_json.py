"""Boxes in COCO form, of one `.json` or of one for each side; what the form is, `measure.coco` knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgezoo.errors import DataError
from edgezoo.measure import coco as form
from edgezoo.train.listing import VAL_FOLDERS, Box, Item, Listing, Side, boxed

FORMS = "annotations.json, train/annotations.json, train/_annotations.coco.json, annotations/instances_train*.json"
_PAIRS = [(f"{folder}instances_train*.json", f"{folder}instances_val*.json") for folder in ("annotations/", "")]


@dataclass(frozen=True, slots=True)
class _Table:
    """A `.json`."""

    path: Path
    side: Side | None
    images: form.Rows
    boxes: form.Rows
    categories: form.Rows

    @classmethod
    def read(cls, path: Path, side: Side | None) -> _Table:
        return cls(path, side, *form.tables(path))

    def names(self) -> dict[Any, str]:
        """Of categories by id, in order of ids. Raises DataError."""
        stated = {form.field(row, "id", self.path): str(row.get("name", "")).strip() for row in self.categories}
        if len(set(stated.values()) - {""}) < len(self.categories):
            raise DataError(f"{self.path}: expected every category under an id and a name of its own")
        return {key: stated[key] for key in sorted(stated, key=lambda key: (isinstance(key, str), key))}

    def used(self) -> set[str]:
        """The names that boxes bear."""
        names = self.names()
        ids = (row.get("category_id") for row in self.boxes)
        return {names[key] for key in ids if isinstance(key, (str, int)) and key in names}


def fits(data: Path) -> bool:
    return _files(data) is not None


def read(data: Path, val: Path | None) -> Listing:
    """The set at `data`, which `fits`; `val` is a `.json` or its folder. Raises DataError."""
    files = _files(data)
    assert files is not None
    train, other = files[0], form.annotations_at(val) if val else files[1]
    tables = [_Table.read(train, "train" if other else None)]
    if other:
        tables.append(_Table.read(other, "val"))
    parents = _parents(tables)
    names = tuple(name for name in tables[0].names().values() if name not in parents)
    if other and (strange := set(names) ^ (set(tables[1].names().values()) - parents)):
        raise DataError(f"{other}: expected the categories of {train}, one of them alone has {sorted(strange)[0]!r}")
    items, problems = [], []
    for table in tables:
        more_items, more_problems = _items(table, names)
        items += more_items
        problems += more_problems
    notes = tuple(f"category {name!r} of {train}: a heading over the others, without boxes" for name in sorted(parents))
    return Listing(names=names, items=tuple(items), problems=tuple(problems), notes=notes)


def _files(data: Path) -> tuple[Path, Path | None] | None:
    """The `.json` to train on and the one to validate with."""
    if data.is_file():
        return (data, None) if data.suffix.lower() == ".json" else None
    if train := form.find(data / "train"):
        return train, next((path for name in VAL_FOLDERS if (path := form.find(data / name))), None)
    for train_pattern, val_pattern in _PAIRS:
        if train := form.find(data, (train_pattern,)):
            return train, form.find(data, (val_pattern,))
    alone = form.find(data)
    return (alone, None) if alone else None


def _parents(tables: list[_Table]) -> set[str]:
    """Roboflow writes the set's own name as the first category, over all the others: no class, if it has no boxes."""
    rows = [row for table in tables for row in table.categories]
    over = {str(row["supercategory"]) for row in rows if row.get("supercategory") not in (None, row.get("name"))}
    used = {name for table in tables for name in table.used()}
    return {
        name
        for row in rows
        if (name := str(row.get("name", "")).strip()) in over - used and row.get("supercategory") == "none"
    }


def _items(table: _Table, names: tuple[str, ...]) -> tuple[list[Item], list[str]]:
    pictures = form.pictures_of(table.images, table.path)
    ids = {key: names.index(name) for key, name in table.names().items() if name in names}
    boxes: dict[Any, list[Box]] = {key: [] for key in pictures}
    faults: dict[Any, list[str]] = {key: [] for key in pictures}
    homeless = []
    for row in table.boxes:
        image = form.field(row, "image_id", table.path)
        if image not in pictures:
            homeless.append(image)
            continue
        box = _box(row, ids, table.path)
        (faults if isinstance(box, str) else boxes)[image].append(box)  # type: ignore[arg-type]
    problems = []
    if homeless:
        shown = f"{len(homeless)} boxes in images" if len(homeless) > 1 else "a box in an image"
        problems.append(f"{table.path}: expected boxes in its images, got {shown} it does not list, as {homeless[0]!r}")
    items = [
        boxed(picture.path, table.side, boxes[key], size_wh=picture.size_wh, faults=faults[key])
        for key, picture in pictures.items()
    ]
    return items, problems


def _box(row: Mapping[str, Any], ids: Mapping[Any, int], path: Path) -> Box | str:
    """The box, or what is wrong with it."""
    category, sides, crowd = row.get("category_id"), form.sides_of(row), form.crowd_of(row)
    if not isinstance(category, (str, int)) or category not in ids:
        return f"expected one of the {len(ids)} categories of {path.name}, got {category!r}"
    if sides is None:
        return f"expected bbox as [x, y, width, height], got {form.shown(row.get('bbox'))}"
    if crowd is None:
        return f"expected iscrowd as 0 or 1, got {form.shown(row['iscrowd'])}"
    x, y, width, height = sides
    return ids[category], (x, y, x + width, y + height), crowd
