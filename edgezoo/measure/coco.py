"""Sets in COCO form (https://cocodataset.org/#format-data): read with suspicion, scored by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgezoo.errors import DataError
from edgezoo.frame import Image
from edgezoo.optional import require
from edgezoo.results import Detections

_PATTERNS = ("annotations.json", "instances*.json", "_annotations.coco.json", "annotations/instances*.json")
Rows = list[Mapping[str, Any]]
_NAMELESS = re.compile(r"(class|category|label|object)?[ _-]?\d*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """An image of a set."""

    id: int
    """Its place in the file, from 1."""
    path: Path
    size_wh: tuple[int, int] | None
    """As the annotations state it."""

    def check_size(self, image: Image) -> None:
        """DataError where the image is not the one that was annotated: its boxes would lie elsewhere."""
        if wrong := misfit(self.size_wh, (image.shape[1], image.shape[0])):
            raise DataError(f"{self.path}: {wrong}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What a set says is to be seen."""

    images: tuple[Picture, ...]
    boxes: tuple[dict[str, Any], ...]
    """As pycocotools wants them; `category_id` is the bundle's class id."""
    names: tuple[str, ...]
    """The bundle's labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    metrics: dict[str, float | None]
    by_class: dict[str, float]
    curves: dict[str, list[float]]
    """By class, the precision at IoU 0.5 for recalls of 0, 0.01, … 1."""


def read(data: Path, names: tuple[str, ...]) -> Truth:
    """The set at `data`, a `.json` or the folder that holds it, its categories as ids of `names`. Raises DataError."""
    path = annotations_at(data)
    images, boxes, categories = tables(path)
    ids = _class_ids(categories, {field(box, "category_id", path) for box in boxes}, names, path)
    pictures = pictures_of(images, path)
    return Truth(
        images=tuple(pictures.values()),
        boxes=tuple(_box(k, box, pictures, ids, path) for k, box in enumerate(boxes, 1)),
        names=names,
    )


def tables(path: Path) -> tuple[Rows, Rows, Rows]:
    """Images, annotations and categories of a `.json` with images and boxes. Raises DataError."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected annotations in COCO form: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected annotations in COCO form, an object with images, annotations, categories")
    images, boxes, categories = (_table(content, key, path) for key in ("images", "annotations", "categories"))
    if not images or not boxes:
        raise DataError(f"{path}: expected images with boxes, got {len(images)} images and {len(boxes)} boxes")
    return images, boxes, categories


def misfit(stated_wh: tuple[int, int] | None, size_wh: tuple[int, int]) -> str:
    """What is wrong with an image of `size_wh` that was annotated as `stated_wh`; empty where nothing is."""
    if stated_wh in (None, size_wh):
        return ""
    stated, got = ("x".join(map(str, size)) for size in (stated_wh or (), size_wh))
    turned = " (turned by its EXIF data?)" if size_wh[::-1] == stated_wh else ""
    return f"expected {stated} px as annotated, got {got}{turned}; annotate it as it is"


def check_files(pictures: Sequence[Picture]) -> None:
    """DataError where images are missing, before the first of them costs time."""
    missing = [picture.path for picture in pictures if not os.path.isfile(picture.path)]
    if missing:
        raise DataError(
            f"expected {len(pictures)} images, {len(missing)} are missing, the first is {missing[0]}; "
            "put them beside the annotations or in images/"
        )


def need_scorer() -> None:
    """Raises MissingDependency where `score` would: for whoever has an hour of work to do first."""
    require("pycocotools.cocoeval")


def score(truth: Truth, pictures: Sequence[Picture], found: Sequence[Detections]) -> Score:
    """COCO's figures for what was `found` in `pictures`, by pycocotools. Raises DataError, MissingDependency."""
    chosen = {picture.id for picture in pictures}
    boxes = [box for box in truth.boxes if box["image_id"] in chosen]
    if not boxes:
        raise DataError(f"expected boxes in the {len(pictures)} images chosen, there are none; try a higher limit")
    class_ids = sorted({box["category_id"] for box in boxes})
    answers = [answer for picture, result in zip(pictures, found, strict=True) for answer in _answers(picture, result)]
    for k, answer in enumerate(answers, 1):
        answer["id"] = k
    module = require("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):  # its progress, print by print
        evaluation = module.COCOeval(_index(chosen, class_ids, boxes), _index(chosen, class_ids, answers), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("map", "map50", "map75", "map_small", "map_medium", "map_large")
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, class) of all sizes, all detections
    averages = zip(class_ids, precision.mean(axis=(0, 1)).tolist(), strict=True)
    curves = zip(class_ids, precision[0].T.tolist(), strict=True)
    return Score(
        metrics={name: float(value) if value >= 0 else None for name, value in zip(names, evaluation.stats)},
        by_class={truth.names[class_id]: value for class_id, value in averages if value >= 0},  # below 0: crowds only
        curves={truth.names[class_id]: curve for class_id, curve in curves if curve[0] >= 0},
    )


def annotations_at(data: Path) -> Path:
    """`data` if it is a file, else the `.json` in that folder. Raises DataError."""
    if data.is_file():
        return data
    if not data.is_dir():
        raise DataError(f"{data}: expected a .json in COCO form or its folder, there is no such path")
    if path := find(data):
        return path
    raise DataError(f"{data}: expected annotations in COCO form, one of {', '.join(_PATTERNS)}; got none of them")


def find(folder: Path, patterns: Sequence[str] = _PATTERNS) -> Path | None:
    """The one file of the first pattern that has any. DataError where it has several."""
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            shown = ", ".join(path.name for path in found)
            raise DataError(f"{folder}: expected one {pattern}, got {len(found)} ({shown}); name the file itself")
        if found:
            return found[0]
    return None


def _table(content: Mapping[str, Any], key: str, path: Path) -> Rows:
    rows = content.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise DataError(f"{path}: expected {key} as a list of objects")
    return rows


def field(row: Mapping[str, Any], key: str, path: Path) -> Any:
    """A number or a text. Raises DataError."""
    value = row.get(key)
    if isinstance(value, (str, int)):
        return value
    raise DataError(f"{path}: expected {key} as a number or a text, got {value!r} in {str(dict(row))[:80]}")


def sides_of(row: Mapping[str, Any]) -> list[float] | None:
    """x, y, width and height of a box, finite or not; None where it does not say them."""
    stated = row.get("bbox")
    if not isinstance(stated, list) or len(stated) != 4:
        return None
    sides = [number for each in stated if (number := _number(each)) is not None]
    return sides if len(sides) == 4 else None


def crowd_of(row: Mapping[str, Any]) -> bool | None:
    """Whether a box is around a crowd; None where it says neither."""
    value = row.get("iscrowd", 0)
    return bool(value) if value in (0, 1) else None


def shown(value: object) -> str:
    return repr(value)[:80]


def pictures_of(images: Sequence[Mapping[str, Any]], path: Path) -> dict[Any, Picture]:
    """By the id that annotations name them by; their files may be missing. Raises DataError."""
    places = _places(path)
    pictures: dict[Any, Picture] = {}
    for k, row in enumerate(images, 1):
        name, key = str(field(row, "file_name", path)), field(row, "id", path)
        if key in pictures:
            raise DataError(f"{path}: expected every image once, got id {key!r} twice")
        candidates = [place / name for place in places]
        # Not Path.is_file, which raises where a name is too long.
        file = next((candidate for candidate in candidates if os.path.isfile(candidate)), candidates[0])
        width, height = row.get("width"), row.get("height")
        size_wh = (width, height) if isinstance(width, int) and isinstance(height, int) else None
        pictures[key] = Picture(id=k, path=file, size_wh=size_wh)
    return pictures


def _places(path: Path) -> list[Path]:
    """Where the images may lie: beside the annotations, in `images/`, and in COCO's own layout in `val2017/`."""
    split = path.stem.removeprefix("instances_")
    roots = [path.parent, *([path.parent.parent] if path.parent.name == "annotations" else [])]
    return [place for root in roots for place in (root / "images", root, root / "images" / split, root / split)]


def _box(
    k: int, row: Mapping[str, Any], pictures: Mapping[Any, Picture], ids: Mapping[Any, int], path: Path
) -> dict[str, Any]:
    image, sides, crowd = field(row, "image_id", path), sides_of(row), crowd_of(row)
    if image not in pictures:
        raise DataError(f"{path}: a box is in image {image!r}, which is not among the images")
    if sides is None or not all(map(math.isfinite, sides)) or min(sides[2:]) < 0:
        got = shown(row.get("bbox"))
        raise DataError(f"{path}: expected bbox as [x, y, width, height], got {got} in image {image!r}")
    if crowd is None:
        raise DataError(f"{path}: expected iscrowd as 0 or 1, got {shown(row['iscrowd'])} in image {image!r}")
    area = _number(row.get("area"))
    area = sides[2] * sides[3] if area is None else area
    if not math.isfinite(area):
        raise DataError(f"{path}: expected a finite area, got {shown(row.get('area'))} in image {image!r}")
    return {
        "id": k,  # from 1: pycocotools takes 0 for "no box"
        "image_id": pictures[image].id,
        "category_id": ids[row["category_id"]],
        "bbox": sides,
        "area": area,
        "iscrowd": int(crowd),
    }


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, (int, float)) else None
    except OverflowError:  # hundreds of digits
        return math.inf


def _class_ids(
    categories: Sequence[Mapping[str, Any]], used: set[Any], names: tuple[str, ...], path: Path
) -> dict[Any, int]:
    """The bundle's class id of every category: by name, and where there are no names, by order."""
    stated = {field(row, "id", path): str(row.get("name", "")).strip() for row in categories}
    if strange := sorted(used - stated.keys(), key=str):
        raise DataError(f"{path}: boxes have category {strange[0]!r}, which is not among its {len(stated)} categories")
    if _nameless(stated.values()) or _nameless(names):
        if len(stated) != len(names):
            raise DataError(
                f"{path}: expected names of categories, or as many as the bundle's {len(names)} classes, "
                f"got {len(stated)} without names"
            )
        ordered = sorted(stated, key=lambda key: (isinstance(key, str), key))
        return {key: index for index, key in enumerate(ordered)}
    known = {_plain(name): index for index, name in reversed(list(enumerate(names)))}
    ids = {key: known[_plain(name)] for key, name in stated.items() if _plain(name) in known}
    if strange := sorted(stated[key] for key in used - ids.keys()):
        others = f" and {len(strange) - 1} others" if len(strange) > 1 else ""
        raise DataError(
            f"{path}: boxes have category {strange[0]!r}{others}, expected the bundle's {len(names)} classes "
            f"({', '.join(names[:3])}, …); give another set, or convert with the set's --labels"
        )
    if len(set(ids.values())) < len(ids):
        raise DataError(f"{path}: expected every category under a name of its own, got one twice")
    return ids


def _nameless(names: Any) -> bool:
    """Whether names say nothing: empty, numbers, `class 7`."""
    return all(_NAMELESS.fullmatch(name) for name in names)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _answers(picture: Picture, found: Detections) -> list[dict[str, Any]]:
    return [
        {
            "image_id": picture.id,
            "category_id": class_id,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "score": score,
            "iscrowd": 0,
        }
        for (x1, y1, x2, y2), score, class_id in zip(
            found.boxes_xyxy.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True
        )
    ]


def _index(images: set[int], class_ids: Sequence[int], boxes: list[dict[str, Any]]) -> Any:
    coco = require("pycocotools.coco").COCO()
    coco.dataset = {
        "images": [{"id": image} for image in sorted(images)],
        "categories": [{"id": class_id} for class_id in class_ids],
        "annotations": boxes,
    }
    coco.createIndex()
    return coco
