"""What befalls each frame of a camera that misbehaves: a function of a seed and the frame's number alone."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edgezoo.address import Address
from edgezoo.errors import RequestError
from edgezoo.frame import Image
from edgezoo.optional import require

KINDS = ("stall", "burst", "resize", "drop", "die", "corrupt")
LONGEST_S = 3600.0
SCALES = (1.0, 0.5, 0.75)
Loss = Literal["dropped", "stalled", "unplugged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """How likely each fault is, by frame, and how long those last that last."""

    seed: int = 0
    chances: dict[str, float] = field(default_factory=dict)
    """By kind, 0..1; a kind that is not named never happens."""
    stall_frames: int = 1
    burst_frames: int = 1
    die_frames: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What befalls one frame."""

    lost: Loss | None = None
    """Why nobody gets it."""
    dies: bool = False
    """The first one of those that are lost because the camera is unplugged."""
    held: bool = False
    """It comes together with the next one."""
    scale: float = 1.0
    corrupt: bool = False
    begins: str = ""
    """The kind of fault that begins with this frame, of those that last."""


def odds(address: Address, fps: float) -> Odds:
    """Of a camera of so many frames a second. Raises RequestError."""
    chances = {kind: address.number(kind, 0.0) or 0.0 for kind in KINDS}
    for kind, chance in chances.items():
        if chance > 1:
            text = address.options[kind]
            raise RequestError(f"{address}: expected {kind}=0..1, the chance at each frame, got {text!r}")
    return Odds(
        seed=whole(address, "seed", 0, least=0, most=2**32),
        chances=chances,
        stall_frames=max(1, round(_seconds(address, "stall_s") * fps)),
        burst_frames=whole(address, "burst_frames", 8, least=2, most=1000),
        die_frames=max(1, round(_seconds(address, "die_s") * fps)),
    )


def _seconds(address: Address, name: str) -> float:
    value = address.number(name, 1.0)
    if value is None or not 0 < value <= LONGEST_S:
        raise RequestError(
            f"{address}: expected {name} above 0 and up to {LONGEST_S:g} s, got {address.options[name]!r}"
        )
    return value


def whole(address: Address, name: str, default: int, *, least: int, most: int) -> int:
    value = address.number(name, default)
    if value is None or value != int(value) or not least <= value <= most:
        raise RequestError(
            f"{address}: expected {name} as a whole number of {least} to {most}, got {address.options[name]!r}"
        )
    return int(value)


class Plan:
    """The fates of all frames, in their order.

    Each kind has dice of its own, thrown once for every frame: making one likelier does not move the others. While one
    that lasts goes on, no other of those begins.
    """

    def __init__(self, odds: Odds) -> None:
        self._odds = odds
        self._dice = {kind: random.Random(f"{odds.seed} {kind}") for kind in KINDS}
        self.next = 0
        """The number of the frame whose fate `draw` tells next."""
        self.until = 0
        """The number of the first frame behind what lasts, or lasted, at the last one drawn."""
        self._lasting = ""
        self._scale = 1.0

    def draw(self) -> Fate:
        n = self.next
        self.next += 1
        thrown = {kind: dice.random() < self._odds.chances.get(kind, 0.0) for kind, dice in self._dice.items()}
        begins = ""
        if n >= self.until:
            self._lasting = begins = next((kind for kind in ("die", "stall", "burst") if thrown[kind]), "")
            self.until = n + self._frames(begins)
        if thrown["resize"]:
            others = [scale for scale in SCALES if scale != self._scale]
            self._scale = others[n % len(others)]
        if self._lasting in ("die", "stall"):
            return Fate(
                lost="unplugged" if self._lasting == "die" else "stalled",
                dies=begins == "die",
                scale=self._scale,
                begins=begins,
            )
        return Fate(
            lost="dropped" if thrown["drop"] else None,
            held=self._lasting == "burst" and n < self.until - 1,
            scale=self._scale,
            corrupt=thrown["corrupt"],
            begins=begins,
        )

    def _frames(self, kind: str) -> int:
        lengths = {"die": self._odds.die_frames, "stall": self._odds.stall_frames, "burst": self._odds.burst_frames}
        return lengths.get(kind, 0)


def damage(image: Image, *, seed: int, number: int) -> None:
    """Spoil a picture as a lost packet does, in place: rows of noise, or grey from some row down."""
    dice = np.random.default_rng((seed, number))
    height = image.shape[0]
    top = int(dice.integers(0, max(1, height - height // 4)))
    if dice.random() < 0.5:
        image[top:] = 128
    else:
        band = image[top : top + max(1, height // 4)]
        band[:] = dice.integers(0, 256, band.shape, np.uint8)


def rescaled(image: Image, scale: float) -> Image:
    """The picture at another size; even numbers of pixels, as encoders want them."""
    if scale == 1.0:
        return image
    height, width = (max(2, int(side * scale) // 2 * 2) for side in image.shape[:2])
    smaller: Image = require("cv2").resize(image, (width, height), interpolation=require("cv2").INTER_AREA)
    return smaller
