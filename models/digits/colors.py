"""Colours, and pairs of them that a person can tell apart."""

from __future__ import annotations

import numpy as np

Color = tuple[float, float, float]  # BGR, 0..255
LUMA = np.array([0.114, 0.587, 0.299])


def luma(color: Color) -> float:
    return float(np.dot(color, LUMA))


def any_color(rng: np.random.Generator, vivid: float = 0.5) -> Color:
    """A grey of any tone, tinted by up to `vivid`."""
    grey, tint = rng.uniform(0, 255), rng.uniform(0, 255, 3)
    share = rng.uniform(0, vivid) if rng.random() < 0.7 else rng.uniform(0, 1) * min(2 * vivid, 1)
    b, g, r = grey * (1 - share) + tint * share
    return float(b), float(g), float(r)


def contrast(rng: np.random.Generator) -> float:
    """How far ink and ground should be apart: mostly far."""
    kind = rng.random()
    return float(rng.uniform(110, 220) if kind < 0.7 else rng.uniform(65, 110) if kind < 0.94 else rng.uniform(45, 65))


def against(rng: np.random.Generator, ground: Color, difference: float) -> Color:
    """A colour whose brightness differs from the ground's by about `difference`, darker or brighter."""
    tone = luma(ground)
    signs = [s for s in (-1, 1) if 0 <= tone + s * difference <= 255] or [-1 if tone > 127 else 1]
    want = float(np.clip(tone + signs[rng.integers(len(signs))] * difference, 0, 255))
    color = np.array(any_color(rng))
    color += want - luma((color[0], color[1], color[2]))
    color = np.clip(color, 0, 255)
    color += want - float(color @ LUMA)  # what clipping took away
    b, g, r = np.clip(color, 0, 255)
    return float(b), float(g), float(r)


def dark(rng: np.random.Generator) -> Color:
    b, g, r = rng.uniform(0, 45) + rng.uniform(0, 25, 3)
    return float(b), float(g), float(r)


def light(rng: np.random.Generator) -> Color:
    b, g, r = rng.uniform(185, 230) + rng.uniform(0, 25, 3)
    return float(b), float(g), float(r)
