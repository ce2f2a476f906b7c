"""What light, lens, sensor and compression do to a scene. Nothing here moves a pixel, so boxes stay true."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from patches import Image

Field = npt.NDArray[np.float32]


def photographed(rng: np.random.Generator, scene: Image, smallest_px: float) -> Image:
    """The scene as a camera would give it; blur and noise stay below what a digit of `smallest_px` can bear."""
    image = scene.astype(np.float32) * _light(rng, scene.shape[1], scene.shape[0])[..., np.newaxis]
    if rng.random() < 0.2:
        image += _specular(rng, scene.shape[1], scene.shape[0])[..., np.newaxis]
    image = _blurred(rng, image, smallest_px)
    image = _tones(rng, image)
    calm = min(smallest_px / 40, 1)
    image += _grain(rng, image.shape) * (rng.uniform(0, 14) if rng.random() < 0.6 else 2) * calm
    return _compressed(rng, np.clip(image, 0, 255).astype(np.uint8))


def _light(rng: np.random.Generator, width: int, height: int) -> Field:
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, np.newaxis]
    light = 1 + rng.normal(0, 0.12) * x + rng.normal(0, 0.12) * y
    if rng.random() < 0.4:
        light = light * (1 - rng.uniform(0.05, 0.3) * (x**2 + y**2) / 2)
    if rng.random() < 0.25:
        # The edge of a shadow, sharp or soft.
        turn, at = rng.uniform(0, 2 * np.pi), rng.uniform(-0.6, 0.6)
        side = (x * np.cos(turn) + y * np.sin(turn) - at) / np.exp(rng.uniform(np.log(0.01), np.log(0.6)))
        light = light * (1 - rng.uniform(0.15, 0.55) / (1 + np.exp(-np.clip(side, -30, 30))))
    return np.asarray(np.clip(light, 0.3, 1.5), np.float32)


def _specular(rng: np.random.Generator, width: int, height: int) -> Field:
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, np.newaxis]
    cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.05, 0.25) * max(width, height)
    spot = np.exp(-(((x - cx) / radius) ** 2 + ((y - cy) / (radius * rng.uniform(0.3, 1))) ** 2))
    return np.asarray(spot * rng.uniform(20, 90), np.float32)


def _blurred(rng: np.random.Generator, image: npt.NDArray[np.float32], smallest_px: float) -> npt.NDArray[np.float32]:
    kind, most = rng.random(), min(smallest_px, 90)
    if kind < 0.45:
        sigma = rng.uniform(0.2, 0.055 * most)
        return np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3)), np.float32)
    if kind < 0.6 and (length := int(rng.uniform(0.03, 0.14) * most)) >= 2:
        kernel = np.zeros((length, length), np.float32)
        turn = rng.uniform(0, np.pi)
        step = np.array([np.cos(turn), np.sin(turn)]) * (length - 1) / 2
        middle = (length - 1) / 2
        cv2.line(
            kernel, (middle - step).round().astype(int).tolist(), (middle + step).round().astype(int).tolist(), 1.0
        )
        return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.float32)
    return image


def _tones(rng: np.random.Generator, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Colour cast, exposure and gamma."""
    cast = 1 + rng.normal(0, 0.06, 3).astype(np.float32)
    gamma = float(np.exp(rng.normal(0, 0.18)))
    gain = rng.uniform(0.75, 1.15)
    table = (255 * (np.arange(256) / 255) ** gamma).astype(np.float32)
    tones = np.clip(image * (cast * gain), 0, 255).astype(np.uint8)
    return np.asarray(table[tones], np.float32)


@cache
def _grain_stock() -> npt.NDArray[np.float32]:
    """One large piece of grain, cut anew for each picture: drawing it each time would take longest of all."""
    return np.random.default_rng(5).standard_normal((700, 700, 3), np.float32)


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    y, x = rng.integers(0, 700 - shape[0] + 1), rng.integers(0, 700 - shape[1] + 1)
    grain = _grain_stock()[y : y + shape[0], x : x + shape[1]]
    return grain if rng.random() < 0.5 else grain[..., :1]


def _compressed(rng: np.random.Generator, image: Image) -> Image:
    quality = int(rng.uniform(40, 96))
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
