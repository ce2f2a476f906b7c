"""Small data sets for training: drawn shapes whose class and box are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.frame import Image
from edgezoo.train.data import DataSet, Example

SHAPES = ("square", "disc")


def scene(seed: int, size: int = 64, *, count: int = 2) -> tuple[Image, list[tuple[int, list[int]]]]:
    """A dark picture with bright squares (0) and discs (1), none over another, and their boxes xyxy."""
    import cv2

    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (size, size, 3), np.uint8)
    found: list[tuple[int, list[int]]] = []
    free = [(x, y) for x in (0, size // 2) for y in (0, size // 2)]
    for index in rng.permutation(4)[:count]:
        x, y = free[int(index)]
        side = int(rng.integers(size // 4, size // 2 - 4))
        x, y = x + int(rng.integers(2, size // 2 - side)), y + int(rng.integers(2, size // 2 - side))
        kind = int(rng.integers(2))
        color = tuple(int(value) for value in rng.integers(120, 256, 3))
        if kind == 0:
            image[y : y + side, x : x + side] = color
        else:
            side |= 1
            cv2.circle(image, (x + side // 2, y + side // 2), side // 2, color, -1)
        found.append((kind, [x, y, x + side, y + side]))
    return image, found


def plain(kind: int, seed: int, size: int = 40) -> Image:
    """A picture of one class: upright (0) or level (1) stripes, in any colours."""
    rng = np.random.default_rng(seed)
    wave = (np.arange(size) // int(rng.integers(3, 6)) + int(rng.integers(2))) % 2
    stripes = np.broadcast_to(wave[:, None] if kind else wave[None], (size, size))[..., None]
    dark, bright = rng.integers(0, 90, 3), rng.integers(140, 256, 3)
    return np.where(stripes == 1, bright, dark).astype(np.uint8)


def detect_set(folder: Path, *, train: int = 8, val: int = 4, size: int = 64) -> Path:
    """Scenes in COCO form, `train/` and `val/`."""
    for side, first, count in (("train", 0, train), ("val", 1000, val)):
        images, boxes = [], []
        (folder / side / "images").mkdir(parents=True)
        for k in range(count):
            image, found = scene(first + k, size)
            write(folder / side / "images" / f"{k}.png", image)
            images.append({"id": k, "file_name": f"{k}.png", "width": size, "height": size})
            boxes += [
                {"image_id": k, "category_id": kind, "bbox": [x1, y1, x2 - x1, y2 - y1]}
                for kind, (x1, y1, x2, y2) in found
            ]
        content: dict[str, Any] = {
            "images": images,
            "annotations": [{"id": k, **box} for k, box in enumerate(boxes)],
            "categories": [{"id": k, "name": name} for k, name in enumerate(SHAPES)],
        }
        (folder / side / "annotations.json").write_text(json.dumps(content))
    return folder


def classify_set(folder: Path, *, train: int = 8, val: int = 4) -> Path:
    """Stripes in folders named by class, `train/` and `val/`."""
    for side, first, count in (("train", 0, train), ("val", 1000, val)):
        for kind, name in enumerate(("upright", "level")):
            (folder / side / name).mkdir(parents=True)
            for k in range(count // 2):
                write(folder / side / name / f"{k}.png", plain(kind, first + 2 * k + kind))
    return folder


def write(path: Path, image: Image) -> None:
    import cv2

    assert cv2.imwrite(str(path), image)


def example(path: Path, ids: list[int], boxes: list[list[float]], *, crowd: list[bool] | None = None) -> Example:
    import cv2

    height, width = cv2.imread(str(path)).shape[:2]
    array: npt.NDArray[np.float32] = np.array(boxes, np.float32).reshape(-1, 4)
    return Example(
        path=path,
        size_wh=(width, height),
        class_ids=np.array(ids, np.int64),
        boxes_xyxy=array,
        crowd=np.array(crowd or [False] * len(ids), bool),
    )


def both_sides(task: str, names: tuple[str, ...], examples: list[Example]) -> DataSet:
    """The same images to train on and to judge by, which `read` would refuse: to see that a network learns at all."""
    return DataSet(task=task, names=names, train=tuple(examples), val=tuple(examples), digest="")
