"""What a network is shown in training: images varied in geometry and colour, with boxes that stay right.

All geometry is a resize of a window of the source into a tile of the network's input, by the recipe's own function, so
that pixels look as they will on the device. Turning and slanting come before, in the source.

Written here on OpenCV: kornia's modules (0.9, Apache-2.0) took 7.5 ms an image of 320 px for an affine map and colours
alone, this 1.0 ms with boxes (medians on two cores), and a network for small devices is often trained without a GPU.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.frame import Image
from edgezoo.geometry import Boxes, area
from edgezoo.optional import require
from edgezoo.preprocess import Preprocess
from edgezoo.sources.images import read_image
from edgezoo.train.data import Example
from edgezoo.train.plan import Augment

Rng = np.random.Generator
Tile = tuple[int, int, int, int]  # left, top, right, bottom in network pixels

LEAST_VISIBLE = 0.3  # of a box: less of an object is no object any more
LEAST_SIDE_PX = 2.0
LONGEST_CROP = 4 / 3  # width over height of a classifier's crop, and the inverse


@dataclass(frozen=True, eq=False, slots=True)
class Shown:
    """One training image in the network's frame."""

    pixels: Image
    """uint8 (H, W, 3) BGR, as `Preprocess.place` makes them."""
    class_ids: npt.NDArray[np.int64]
    """(n,)"""
    boxes_xyxy: Boxes
    """(n, 4) network pixels; classify: (0, 4)."""
    shares: npt.NDArray[np.float32]
    """(n,) how much of the picture is of this class; below 1 after a mixup."""


@dataclass(frozen=True, eq=False)
class Augmenter:
    """Varies examples; the same `rng` makes the same picture."""

    examples: Sequence[Example]
    recipe: Preprocess
    augment: Augment
    task: str

    def __call__(self, index: int, rng: Rng, *, plain: bool = False) -> Shown:
        """Example `index`, varied; `plain`: as the device would see it, or its mirror image. Raises SourceError."""
        if plain:
            return self._plain(self.examples[index], rng)
        shown = self._one(index, rng)
        if rng.random() < self.augment.mixup:
            shown = _mix(shown, self._one(self._other(rng), rng), self.task, rng)
        return shown

    def _plain(self, example: Example, rng: Rng) -> Shown:
        placed, placement = self.recipe.place(read_image(example.path))
        moved = placement.to_network(example.boxes_xyxy[~example.crowd])
        boxes, real = _visible(moved, np.zeros(2), np.array(self.recipe.size_wh))
        ids = example.class_ids if self.task == "classify" else example.class_ids[~example.crowd][real]
        return self._mirrored(placed, ids, boxes[real], rng)

    def _one(self, index: int, rng: Rng) -> Shown:
        if self.task == "classify":
            return self._classified(self.examples[index], rng)
        width, height = self.recipe.size_wh
        canvas = np.full((height, width, 3), self.recipe.pad, np.uint8)
        tiles: list[Tile] = [(0, 0, width, height)]
        indices = [index]
        if rng.random() < self.augment.mosaic:
            x, y = (int(side * rng.uniform(0.3, 0.7)) for side in (width, height))
            tiles = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
            indices += [self._other(rng) for _ in range(3)]
        parts = [self._tile(self.examples[each], rng, canvas, tile) for each, tile in zip(indices, tiles)]
        boxes, ids = (np.concatenate(part) for part in zip(*parts))
        return self._colored(self._mirrored(canvas, ids, boxes, rng), rng)

    def _other(self, rng: Rng) -> int:
        return int(rng.integers(len(self.examples)))

    def _classified(self, example: Example, rng: Rng) -> Shown:
        """A random crop, stretched over the whole input (Szegedy et al., https://arxiv.org/abs/1409.4842)."""
        image, _ = self._turned(read_image(example.path), np.zeros((0, 4), np.float32), rng)
        height, width = image.shape[:2]
        kept = width * height * rng.uniform(*self.augment.scale)
        aspect = math.exp(rng.uniform(-1, 1) * math.log(LONGEST_CROP))
        wide, high = min(width, round(math.sqrt(kept * aspect))), min(height, round(math.sqrt(kept / aspect)))
        x, y = rng.integers(width - max(1, wide) + 1), rng.integers(height - max(1, high) + 1)
        canvas = np.empty((self.recipe.size_wh[1], self.recipe.size_wh[0], 3), np.uint8)
        self.recipe.resize(image[y : y + max(1, high), x : x + max(1, wide)], canvas)
        return self._colored(self._mirrored(canvas, example.class_ids, np.zeros((0, 4), np.float32), rng), rng)

    def _tile(self, example: Example, rng: Rng, canvas: Image, tile: Tile) -> tuple[Boxes, npt.NDArray[np.int64]]:
        """Draw an example into a tile of the canvas; what is to be seen of its objects there."""
        image, boxes = self._turned(read_image(example.path), example.boxes_xyxy[~example.crowd], rng)
        height, width = image.shape[:2]
        net_width, net_height = self.recipe.size_wh
        fit = np.array([net_width / width, net_height / height])
        if self.recipe.fit == "letterbox":
            fit[:] = fit.min()
        elif self.recipe.fit == "crop":
            fit[:] = fit.max() / self.recipe.crop
        scale = fit * rng.uniform(*self.augment.scale)
        left, top, right, bottom = tile
        low = np.array([left, top]) + (np.array([right - left, bottom - top]) - scale * (width, height)) * rng.random(2)
        # Whole pixels on both sides: the window that is seen, and the part of the tile that it fills.
        first = np.clip(np.floor((np.array([left, top]) - low) / scale), 0, (width - 1, height - 1)).astype(int)
        last = np.clip(np.ceil((np.array([right, bottom]) - low) / scale), first + 1, (width, height)).astype(int)
        start = np.clip(np.round(low + first * scale), (left, top), (right - 1, bottom - 1)).astype(int)
        end = np.clip(np.round(low + last * scale), start + 1, (right, bottom)).astype(int)
        inside = canvas[start[1] : end[1], start[0] : end[0]]
        self.recipe.resize(image[first[1] : last[1], first[0] : last[0]], inside)
        exact = (end - start) / (last - first)
        moved = (boxes - np.tile(first, 2)) * np.tile(exact, 2) + np.tile(start, 2)
        seen, real = _visible(moved, start, end)
        return seen[real], example.class_ids[~example.crowd][real]

    def _turned(self, image: Image, boxes: Boxes, rng: Rng) -> tuple[Image, Boxes]:
        """Turned and slanted about the middle, within the image's own frame."""
        angle, slant = (
            math.radians(limit * rng.uniform(-1, 1)) for limit in (self.augment.degrees, self.augment.shear)
        )
        if not angle and not slant:
            return image, boxes
        cv2 = require("cv2")
        height, width = image.shape[:2]
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        linear = turn @ np.array([[1, math.tan(slant)], [0, 1]])
        middle = np.array([width, height]) / 2
        shift = middle - linear @ middle
        # Pixel i spans [i, i + 1) here and stands at i for OpenCV: half a pixel between the two.
        half = np.array([0.5, 0.5])
        matrix = np.column_stack([linear, linear @ half + shift - half])
        pad = (self.recipe.pad,) * 3
        turned = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=pad)
        corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] @ linear.T + shift
        return turned, np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float32)

    def _mirrored(self, pixels: Image, ids: npt.NDArray[np.int64], boxes: Boxes, rng: Rng) -> Shown:
        if rng.random() < self.augment.flip:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
            boxes = boxes.copy()
            boxes[:, [0, 2]] = pixels.shape[1] - boxes[:, [2, 0]]
        return Shown(pixels, ids, boxes, np.ones(len(ids), np.float32))

    def _colored(self, shown: Shown, rng: Rng) -> Shown:
        return dataclasses.replace(shown, pixels=_recolored(shown.pixels, self.augment, rng))


def _visible(
    boxes: npt.NDArray[Any], low: npt.NDArray[Any], high: npt.NDArray[Any]
) -> tuple[Boxes, npt.NDArray[np.bool_]]:
    """Boxes clipped to what lies between two corners, and which of them are still objects there."""
    seen = np.clip(boxes, np.tile(low, 2), np.tile(high, 2)).astype(np.float32)
    real = (area(seen) >= LEAST_VISIBLE * area(boxes)) & (seen[:, 2:] - seen[:, :2] >= LEAST_SIDE_PX).all(1)
    return seen, real


def _recolored(image: Image, augment: Augment, rng: Rng) -> Image:
    """Another light: hue, saturation and brightness by tables over HSV, then contrast about mid-grey."""
    cv2 = require("cv2")
    hue, saturation, value, contrast = rng.uniform(-1, 1, 4) * (
        augment.hue * 180, augment.saturation, augment.brightness, augment.contrast,
    )  # fmt: skip
    steps = np.arange(256, dtype=np.float64)
    table = np.stack([(steps + hue) % 180, steps * (1 + saturation), steps * (1 + value)], -1)
    if augment.hue or augment.saturation or augment.brightness:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        image = cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)[None])
        image = cv2.cvtColor(image, cv2.COLOR_HSV2BGR)
    if augment.contrast:
        image = cv2.LUT(image, np.clip(128 + (steps - 128) * (1 + contrast), 0, 255).astype(np.uint8))
    return image


def _mix(a: Shown, b: Shown, task: str, rng: Rng) -> Shown:
    """Two pictures in one (Zhang et al., https://arxiv.org/abs/1710.09412): objects of both, or classes that share."""
    part = 0.5 if task == "detect" else float(rng.beta(0.2, 0.2))
    pixels = require("cv2").addWeighted(a.pixels, part, b.pixels, 1 - part, 0)
    ids, boxes = np.concatenate([a.class_ids, b.class_ids]), np.concatenate([a.boxes_xyxy, b.boxes_xyxy])
    return Shown(pixels, ids, boxes, np.concatenate([a.shares * part, b.shares * (1 - part)]).astype(np.float32))
