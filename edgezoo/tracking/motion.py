"""Where boxes will be: a Kalman filter of constant speed for many boxes at once.

What is estimated, and how sure, is as in ByteTrack: centre x, centre y, aspect (width / height) and height, and the
speed of each. None of the four depends on another, neither at birth nor in motion, noise or measurement, so the 8x8
covariance only ever consists of four 2x2 blocks, and the whole filter is arithmetic on columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STEP_S = 1 / 30  # the deviations below are for a frame of a video of 30 a second
_OF_HEIGHT = np.array([True, True, False, True])  # these deviations are shares of the height; the aspect has none
_POSITION, _SPEED = np.array([1 / 20, 1 / 20, 1e-2, 1 / 20]), np.array([1 / 160, 1 / 160, 1e-5, 1 / 160])
_MEASURED = np.array([1 / 20, 1 / 20, 1e-1, 1 / 20])
_AT_BIRTH, _SPEED_AT_BIRTH = _POSITION * (2, 2, 1, 2), _SPEED * (10, 10, 1, 10)
_SMALLEST_PX = 1e-3


class Motion:
    """Position and speed of n boxes. Speeds are per step of 1/30 s."""

    def __init__(self, columns: Floats) -> None:
        self._columns = columns  # (5, n, 4): position, speed, variance, covariance of the two, variance of the speed

    @classmethod
    def of(cls, boxes_xyxy: npt.NDArray[Any]) -> Motion:
        """Boxes seen for the first time."""
        at = _as_position(boxes_xyxy)
        still = np.zeros_like(at)
        return cls(np.stack([at, still, _variance(_AT_BIRTH, at), still, _variance(_SPEED_AT_BIRTH, at)]))

    def __len__(self) -> int:
        return int(self._columns.shape[1])

    def __getitem__(self, index: Any) -> Motion:
        """A copy of the boxes that a mask or indices choose."""
        return Motion(self._columns[:, index])

    def join(self, other: Motion) -> Motion:
        return Motion(np.concatenate([self._columns, other._columns], axis=1))

    def advance(self, seconds: float) -> None:
        """Every box moves on at its speed; noise grows with time, however many frames there were."""
        steps = seconds / STEP_S
        at, speed, variance, shared, speed_variance = self._columns
        variance += 2 * steps * shared + steps * steps * speed_variance + steps * _variance(_POSITION, at)
        shared += steps * speed_variance
        speed_variance += steps * _variance(_SPEED, at)
        at += steps * speed

    def correct(self, rows: npt.NDArray[np.intp], boxes_xyxy: npt.NDArray[Any]) -> None:
        """Boxes `rows` were seen at `boxes_xyxy`."""
        at, speed, variance, shared, speed_variance = self._columns[:, rows]
        total = variance + _variance(_MEASURED, at)
        trust, speed_trust = variance / total, shared / total
        surprise = _as_position(boxes_xyxy) - at
        self._columns[:, rows] = (
            at + trust * surprise,
            speed + speed_trust * surprise,
            (1 - trust) * variance,
            (1 - trust) * shared,
            speed_variance - speed_trust * shared,
        )

    def keep_height(self, rows: npt.NDArray[np.intp]) -> None:
        """What is not seen goes on moving, but must not go on growing."""
        self._columns[1, rows, 3] = 0

    def scale(self, x: float, y: float) -> None:
        """The picture changed its size by these factors."""
        by = np.array([x, y, x / y, y])
        self._columns *= np.stack([by, by, by * by, by * by, by * by])[:, None]

    def boxes_xyxy(self) -> Floats:
        """(n, 4), where the boxes are."""
        center_x, center_y, aspect, height = self._columns[0].T
        height = np.maximum(height, _SMALLEST_PX)
        half_w, half_h = np.maximum(aspect * height, _SMALLEST_PX) / 2, height / 2
        return np.stack([center_x - half_w, center_y - half_h, center_x + half_w, center_y + half_h], axis=1)


def _as_position(boxes_xyxy: npt.NDArray[Any]) -> Floats:
    x1, y1, x2, y2 = np.asarray(boxes_xyxy, np.float64).T
    width, height = x2 - x1, y2 - y1
    return np.stack([x1 + width / 2, y1 + height / 2, width / height, height], axis=1)


def _variance(deviation: Floats, at: Floats) -> Floats:
    return np.square(deviation * np.where(_OF_HEIGHT, at[:, 3:], 1.0))
