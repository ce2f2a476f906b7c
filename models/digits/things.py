"""The choice among all things that carry digits."""

from __future__ import annotations

from collections.abc import Callable

import devices
import numpy as np
import signs
from fonts import Split
from patches import Patch

MAKERS: tuple[tuple[Callable[[np.random.Generator, Split, float, int], Patch], float, int], ...] = (
    (signs.label, 3, 3),
    (devices.meter, 2, 3),
    (devices.display, 3.5, 2),
    (signs.plate, 1.5, 1),
    (signs.note, 3, 1),
    (signs.tag, 1.5, 2),
    (signs.bare, 3, 1),
    (signs.single, 1, 1),
    (devices.keypad, 1, 4),
    (devices.dial, 0.7, 7),
    (devices.scale, 0.8, 7),
    (signs.table, 1, 7),
)
"""Each with how often it is chosen, and for how many digits there must be room in a line."""


def random_patch(rng: np.random.Generator, split: Split, digit_px: float, room_px: float) -> Patch:
    """Any of the things, its main digits `digit_px` high and its width about `room_px` at most."""
    most = int(np.clip(room_px / (0.8 * digit_px), 1, 10))
    fitting = [(maker, weight) for maker, weight, least in MAKERS if least <= most]
    weights = np.array([weight for _, weight in fitting])
    maker = fitting[rng.choice(len(fitting), p=weights / weights.sum())][0]
    return maker(rng, split, digit_px, most)
