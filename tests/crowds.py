"""Crowds whose every face is known: walkers in a picture, and what a detector that is not perfect would say of them.

All dice are `random.Random`'s own `random()`, whose numbers are the same in every version of Python.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgezoo.results import Detections

SIZE_WH = (1280, 720)
NAMES = ("person", "bicycle")


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """How many walk how, and how badly they are seen."""

    people: int
    seed: int = 0
    frames: int = 150
    fps: float = 30.0
    speed_px: float = 120.0
    """The fastest, a second."""
    noise: float = 0.02
    """Of a box's sides, the deviation of each edge."""
    missed: float = 0.05
    """Share of the boxes that are not found at all."""
    weak: float = 0.1
    """Share of the boxes that score below a detector's threshold."""
    false: float = 0.2
    """Boxes of nothing in a frame."""

    def scenes(self) -> list[tuple[Detections, npt.NDArray[np.int64]]]:
        """For each frame what is found, and who it is; -1 is nobody."""
        dice = random.Random(self.seed)
        walkers = [_walker(dice, self.speed_px) for _ in range(self.people)]
        return [self._scene(dice, walkers, index / self.fps) for index in range(self.frames)]

    def _scene(
        self, dice: random.Random, walkers: Sequence[_Walker], at_s: float
    ) -> tuple[Detections, npt.NDArray[np.int64]]:
        rows: list[tuple[list[float], float, int]] = []
        for number, walker in enumerate(walkers):
            x1, y1, x2, y2 = walker.box(at_s)
            wide, high = (x2 - x1) * self.noise, (y2 - y1) * self.noise
            sides = [side + by * _bell(dice) for side, by in ((x1, wide), (y1, high), (x2, wide), (y2, high))]
            weak, missed = dice.random() < self.weak, dice.random() < self.missed
            score = 0.12 + 0.12 * dice.random() if weak else 0.5 + 0.45 * dice.random()
            if not missed:
                rows.append((sides, score, number))
        if dice.random() < self.false:
            x, y, side = 1100 * dice.random(), 600 * dice.random(), 30 + 60 * dice.random()
            rows.append(([x, y, x + side, y + side], 0.3 + 0.2 * dice.random(), -1))
        rows.sort(key=lambda row: -row[1])
        boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
        scores = np.array([row[1] for row in rows], np.float32)
        found = Detections(boxes, scores, np.zeros(len(rows), np.int64), NAMES)
        return found, np.array([row[2] for row in rows], np.int64)


@dataclass(frozen=True)
class _Walker:
    start_xy: tuple[float, float]
    speed_xy: tuple[float, float]
    size_wh: tuple[float, float]

    def box(self, at_s: float) -> tuple[float, float, float, float]:
        """Between the walls of the picture it goes to and fro."""
        (wide, high), spans = self.size_wh, [full - side for full, side in zip(SIZE_WH, self.size_wh)]
        x, y = (_bounce(start + speed * at_s, span) for start, speed, span in zip(self.start_xy, self.speed_xy, spans))
        return x, y, x + wide, y + high


def changes(answers: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]) -> tuple[int, float]:
    """Of pairs (who it is, the id it was given), frame by frame: how often somebody got another id than the last one,
    and the share of what is somebody that has an id.
    """
    last: dict[int, int] = {}
    switched = tracked = there = 0
    for people, ids in answers:
        for person, track_id in zip(people.tolist(), ids.tolist()):
            there += person >= 0
            if person >= 0 and track_id >= 0:
                tracked += 1
                switched += last.get(person, track_id) != track_id
                last[person] = track_id
    return switched, tracked / max(there, 1)


def _walker(dice: random.Random, speed_px: float) -> _Walker:
    high = 90 + 90 * dice.random()
    wide = high * (0.35 + 0.15 * dice.random())
    start = ((SIZE_WH[0] - wide) * dice.random(), (SIZE_WH[1] - high) * dice.random())
    return _Walker(start, (speed_px * (2 * dice.random() - 1), speed_px * (dice.random() - 0.5)), (wide, high))


def _bell(dice: random.Random) -> float:
    """Nearly normal, deviation 1."""
    return sum(dice.random() for _ in range(12)) - 6


def _bounce(way: float, span: float) -> float:
    way %= 2 * span
    return way if way <= span else 2 * span - way


REFERENCE = (
    *(Crowd(people=20, seed=seed) for seed in range(3)),
    *(Crowd(people=20, seed=seed, fps=10) for seed in range(3)),
    *(Crowd(people=20, seed=seed, fps=5) for seed in range(2)),
    *(Crowd(people=40, seed=seed, missed=0.2, weak=0.3) for seed in range(2)),
    *(Crowd(people=20, seed=seed, noise=0.05) for seed in range(2)),
)
"""What libraries were asked, too: their answers are in tracking_reference.json."""
