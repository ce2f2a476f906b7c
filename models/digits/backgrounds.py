"""What lies behind everything: textures made of noise, and crops of the photographs that ship in wheels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import colors
import cv2
import numpy as np
import numpy.typing as npt
import skimage
import sklearn.datasets
from fonts import Split
from matplotlib import get_data_path
from patches import Image

Field = npt.NDArray[np.float32]  # (H, W)

FOLDERS = {
    "skimage": Path(skimage.__path__[0]) / "data",
    "sklearn": Path(sklearn.datasets.__path__[0]) / "images",
    "matplotlib": Path(get_data_path()) / "sample_data",
    "lomiri-wallpapers-16.04": Path("/usr/share/backgrounds"),
    "mate-backgrounds": Path("/usr/share/backgrounds/mate/nature"),
}
"""Wheels and Debian packages with photographs; no digit is to be seen in any that is named below."""
PHOTOS = {
    # CC0: brick, camera (Lav Varshney), cell, chelsea (Stefan van der Walt), coffee (Rachel Michetti), grass, gravel,
    # retina. Public domain: astronaut and hubble_deep_field (NASA), rocket (SpaceX). color, ihc and moon: no word but
    # the BSD-3-Clause of the wheel. motorcycle_left: Middlebury 2014 stereo benchmark, which names no licence.
    "skimage": "astronaut.png brick.png camera.png cell.png chelsea.png coffee.png color.png grass.png gravel.png"
    " hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png retina.jpg rocket.jpg",
    # CC BY 2.0: danielbuechele (china), vultilion (flower).
    "sklearn": "china.jpg flower.jpg",
    # A portrait by the U.S. Navy, public domain.
    "matplotlib": "grace_hopper.jpg",
    # CC BY 4.0: Trevor "Freespace", Jakub Mede, Aitzol Berasategi. CC0: Clemens Engelhardt's seeding.
    "lomiri-wallpapers-16.04": "Picture_0B_by_freespace.jpg Picture_1A_by_freespace.jpg Wine_by_Jakkub_Mede.jpg"
    " aitzgorri_by_Aitzol_Berasategi.jpg friends_by_Aitzol_Berasategi.jpg life_by_Aitzol_Berasategi.jpg"
    " picosdeeuropa_by_Aitzol_Berasategi.jpg seeding_by_Clements_Engelhardt.jpg sunset_by_Aitzol_Berasategi.jpg",
    # GPL-2+.
    "mate-backgrounds": "Blinds.jpg Dune.jpg Garden.jpg GreenMeadow.jpg LadyBird.jpg RainDrops.jpg Storm.jpg"
    " TwoWings.jpg YellowFlower.jpg",
}
"""Their licences are as the packages state them."""
HELD_OUT_PHOTOS = {
    "rocket.jpg", "gravel.png", "flower.jpg", "friends_by_Aitzol_Berasategi.jpg", "Picture_1A_by_freespace.jpg",
    "Garden.jpg",
}  # fmt: skip
"""The test sees these, training the others."""
LONGEST = 1100
"""Pixels of a photograph's long side that are kept."""


class MissingPhotos(RuntimeError):
    """Says what to install."""


@cache
def photos(split: Split) -> tuple[Image, ...]:
    """Those that scenes of `split` may use; raises `MissingPhotos`."""
    images = []
    for package, names in PHOTOS.items():
        for name in names.split():
            if (name in HELD_OUT_PHOTOS) != (split == "test"):
                continue
            image = cv2.imread(str(FOLDERS[package] / name))
            if image is None:
                way = "pip install scikit-image scikit-learn matplotlib"
                if "-" in package:
                    way = f"apt-get install --no-install-recommends {package}"
                raise MissingPhotos(f"{FOLDERS[package] / name} is missing; try: {way}")
            shrink = min(LONGEST / max(image.shape[:2]), 1)
            small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
            images.append(np.asarray(small, np.uint8))
    return tuple(images)


def background(rng: np.random.Generator, split: Split, width: int, height: int, photo: float) -> Image:
    """Any background; `photo` is how often it comes from a photograph."""
    if rng.random() < photo:
        return photograph(rng, split, width, height, rng.uniform(0.25, 1.0))
    makers: tuple[Callable[[np.random.Generator, int, int], Image], ...] = (
        _flat,
        _fractal,
        _fractal,
        _wood,
        _bricks,
        _cloth,
        _shapes,
        _shapes,
        _blobs,
        _hairs,
    )
    return makers[rng.integers(len(makers))](rng, width, height)


def photograph(rng: np.random.Generator, split: Split, width: int, height: int, share: float) -> Image:
    """A piece of a photograph, `share` of the largest that can be cut, recoloured and perhaps turned over."""
    pool = photos(split)
    photo = pool[rng.integers(len(pool))]
    rows, columns = photo.shape[:2]
    zoom = share * min(rows / height, columns / width)
    h, w = int(height * zoom), int(width * zoom)
    y, x = int(rng.integers(0, rows - h + 1)), int(rng.integers(0, columns - w + 1))
    image = cv2.resize(photo[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        image = image[:, ::-1]
    if rng.random() < 0.15:
        image = image[::-1]
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2HSV)
    if rng.random() < 0.3:
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + int(rng.integers(180))) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.0, 1.4), 0, 255)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.uint8)


def noise(rng: np.random.Generator, width: int, height: int, cells: tuple[float, ...]) -> Field:
    """Smooth noise, the sum of layers with `cells` bumps along the long side; finer layers are weaker. About -1..1."""
    total = np.zeros((height, width), np.float32)
    for count in cells:
        size = (
            max(int(count * height / max(width, height)), 1) + 1,
            max(int(count * width / max(width, height)), 1) + 1,
        )
        coarse = rng.normal(0, 0.5, size).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR) * (cells[0] / count) ** 0.7
    return total


def _between(field: Field, first: colors.Color, second: colors.Color) -> Image:
    """A field of 0..1 as tones between two colours."""
    share = np.clip(field, 0, 1)[..., np.newaxis]
    return (np.array(first, np.float32) * (1 - share) + np.array(second, np.float32) * share).astype(np.uint8)


def _two(rng: np.random.Generator) -> tuple[colors.Color, colors.Color]:
    first = colors.any_color(rng)
    return first, colors.against(rng, first, rng.uniform(5, 90))


def _flat(rng: np.random.Generator, width: int, height: int) -> Image:
    slope = (
        np.linspace(0, rng.uniform(-1, 1), width)[np.newaxis]
        + np.linspace(0, rng.uniform(-1, 1), height)[:, np.newaxis]
    )
    return _between((slope + 0.5).astype(np.float32), *_two(rng))


def _fractal(rng: np.random.Generator, width: int, height: int) -> Image:
    base = float(rng.choice([2, 4, 8, 24]))
    field = noise(rng, width, height, tuple(base * 2**i for i in range(5)))
    if rng.random() < 0.25:
        field = np.asarray(np.abs(field) * 2 - 0.5, np.float32)
    return _between(field * rng.uniform(0.4, 1.2) + 0.5, *_two(rng))


def _wood(rng: np.random.Generator, width: int, height: int) -> Image:
    long = noise(rng, max(width // 16, 2), height, (3.0, 12.0))
    rings = np.sin(
        cv2.resize(long, (width, height)) * rng.uniform(4, 14)
        + np.linspace(0, rng.uniform(5, 60), height)[:, np.newaxis]
    )
    field = rings * 0.4 + 0.5 + noise(rng, width, height, (120.0,)) * 0.2
    brown = (rng.uniform(30, 120), rng.uniform(70, 160), rng.uniform(110, 210))
    image = _between(field.astype(np.float32), brown, (brown[0] * 0.6, brown[1] * 0.65, brown[2] * 0.7))
    planks = int(rng.integers(0, 5))
    for y in np.linspace(0, height, planks + 2)[1:-1]:
        cv2.line(image, (0, int(y)), (width, int(y)), (20, 30, 40), int(rng.integers(1, 4)))
    return image if rng.random() < 0.5 else np.ascontiguousarray(cv2.resize(image.transpose(1, 0, 2), (width, height)))


def _bricks(rng: np.random.Generator, width: int, height: int) -> Image:
    first, joint = _two(rng)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = joint
    tall = int(rng.integers(14, 70))
    wide, gap = int(tall * rng.uniform(1, 3)), int(rng.integers(1, 6))
    shifted = rng.random() < 0.7
    for row, y in enumerate(range(0, height, tall)):
        for x in range(-wide // 2 * (row % 2) * shifted, width, wide):
            tone = np.clip(np.array(first) + rng.normal(0, 10), 0, 255)
            cv2.rectangle(image, (x, y), (x + wide - gap - 1, y + tall - gap - 1), tone.tolist(), -1)
    rough = image + noise(rng, width, height, (60.0, 160.0))[..., np.newaxis] * 20
    return np.asarray(np.clip(rough, 0, 255), np.uint8)


def _cloth(rng: np.random.Generator, width: int, height: int) -> Image:
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, np.newaxis]
    angle, step = rng.uniform(0, np.pi), rng.uniform(3, 40)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    field = np.sin(along / step * 2 * np.pi) * rng.uniform(0.1, 0.5)
    if rng.random() < 0.6:
        field = field + np.sin(across / step * 2 * np.pi / rng.uniform(0.5, 2)) * rng.uniform(0.1, 0.5)
    if rng.random() < 0.3:
        field = np.sign(field) * 0.4
    return _between((field + 0.5 + noise(rng, width, height, (3.0, 40.0)) * 0.3).astype(np.float32), *_two(rng))


def _shapes(rng: np.random.Generator, width: int, height: int) -> Image:
    """Overlapping polygons with soft shading: edges and areas as a photograph has them, without meaning."""
    image = _flat(rng, width, height)
    for _ in range(int(rng.integers(6, 40))):
        center, radius = rng.uniform((0, 0), (width, height)), rng.uniform(20, 220)
        turns = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        points = center + np.stack([np.cos(turns), np.sin(turns)], axis=1) * radius * rng.uniform(
            0.4, 1, (turns.size, 1)
        )
        cv2.fillPoly(image, [points.astype(np.int32)], colors.any_color(rng), cv2.LINE_AA)
    image = np.clip(image + noise(rng, width, height, (3.0, 9.0))[..., np.newaxis] * rng.uniform(5, 60), 0, 255).astype(
        np.uint8
    )
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 4)), np.uint8)


def _blobs(rng: np.random.Generator, width: int, height: int) -> Image:
    """Shaded balls: fruit, pebbles, faces."""
    image = _flat(rng, width, height)
    for _ in range(int(rng.integers(3, 25))):
        radius = int(np.exp(rng.uniform(np.log(12), np.log(140))))
        x, y = int(rng.integers(width)), int(rng.integers(height))
        color, rim = np.array(colors.any_color(rng, 0.8)), rng.uniform(0.35, 0.8)
        for share in np.linspace(1, 0.15, 6):
            shift = int(radius * (1 - share) * 0.35)
            tone = color * (rim + (1.15 - rim) * (1 - share))
            axes = (max(int(radius * share), 1), max(int(radius * share * 0.9), 1))
            cv2.ellipse(image, (x - shift, y - shift), axes, 0, 0, 360, np.clip(tone, 0, 255).tolist(), -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(1, 5)), np.uint8)


def _hairs(rng: np.random.Generator, width: int, height: int) -> Image:
    """Grass, fur, straw."""
    image = _fractal(rng, width, height)
    lean, long = rng.uniform(-1, 1), rng.uniform(15, 90)
    first, second = _two(rng)
    for x, y, share, way in rng.uniform((0, 0, 0, -0.4), (width, height, 1, 0.4), (int(rng.integers(150, 700)), 4)):
        tone = np.array(first) * share + np.array(second) * (1 - share)
        tip = (int(x + long * (lean + way)), int(y - long))
        cv2.line(image, (int(x), int(y)), tip, tone.tolist(), 1 + (share > 0.8), cv2.LINE_AA)
    return image
