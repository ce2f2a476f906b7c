"""Whether a person could still read a digit after all that light and camera did to it."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from ink import Mask
from patches import Image

LEAST = 32.0
"""Contrast times correlation: below this, people begin to guess."""


def all_legible(photo: Image, writing: Mask, boxes_xyxy: npt.NDArray[np.float32], scale: float) -> bool:
    """Whether each digit stands out at the network's size, which is `scale` of the photograph's."""
    return all(c * r >= LEAST and r >= 0.4 for c, r in contrasts(photo, writing, boxes_xyxy, scale))


def contrasts(
    photo: Image, writing: Mask, boxes_xyxy: npt.NDArray[np.float32], scale: float
) -> list[tuple[float, float]]:
    """For each digit how far ink and ground are apart, in the channel where they are farthest, and how much of what
    is to be seen in its box is owed to the ink: the slope and the correlation of tones over coverage."""
    image = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    coverage = cv2.resize(writing, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = []
    for x1, y1, x2, y2 in boxes_xyxy * scale:
        rim = 1 + 0.08 * (y2 - y1)
        window = np.s_[max(int(y1 - rim), 0) : int(y2 + rim) + 1, max(int(x1 - rim), 0) : int(x2 + rim) + 1]
        tones = image[window].reshape(-1, 3).astype(np.float32)
        ink = coverage[window].reshape(-1).astype(np.float32) / 255
        tones -= tones.mean(axis=0)
        ink -= ink.mean()
        power = float(ink @ ink) + 1e-6
        slope = np.abs(ink @ tones) / power
        share = slope * np.sqrt(power / ((tones**2).sum(axis=0) + 1e-6))
        best = int(np.argmax(slope * share))
        found.append((float(slope[best]), float(share[best])))
    return found
