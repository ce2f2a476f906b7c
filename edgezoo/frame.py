"""A frame: pixels, and when they were taken; and an event: what happened to a stream."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgezoo.errors import ShapeError

Image = npt.NDArray[np.uint8]  # (H, W, 3), BGR: what OpenCV reads and draws


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One picture from a source."""

    image: Image
    """uint8 (H, W, 3), BGR. The frame owns it: whoever draws on it draws on a copy."""
    index: int
    """Counts the frames of its source from 0; a gap tells of dropped ones."""
    pts_s: float
    """Media time in seconds: the file's own clock, or seconds since a live source opened."""
    grabbed_ns: int
    """`time.monotonic_ns()` when the frame came out of its source."""
    source: str
    """The address it came from, without user and password."""

    def __post_init__(self) -> None:
        check_image(self.image)

    @property
    def age_ms(self) -> float:
        """Milliseconds since it was grabbed."""
        return (time.monotonic_ns() - self.grabbed_ns) / 1e6

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Frame({self.source} #{self.index}, {width}x{height}, pts_s={self.pts_s:.3f})"


State = Literal["connecting", "live", "stalled", "lost", "ended"]
"""Of a stream: opened for the first time; frames come; they have stopped coming; it is opened again; over."""


@dataclass(frozen=True, slots=True)
class Event:
    """A stream has another state, or the same one for another reason; for `on_event` and for sinks."""

    source: str
    """The address, without user and password."""
    kind: State
    message: str
    """Why, in plain words."""
    error: bool = field(default=False, kw_only=True)
    """Of `ended`: it failed for good, and is not opened again."""
    at_ns: int = field(default_factory=time.monotonic_ns, kw_only=True)

    @property
    def at(self) -> datetime:
        """The moment by the wall clock as it goes now, UTC."""
        ago_s = (time.monotonic_ns() - self.at_ns) / 1e9
        return datetime.fromtimestamp(time.time() - ago_s, timezone.utc)

    def to_dict(self) -> dict[str, Any]:
        at = self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told = {"time": at, "source": self.source, "event": self.kind, "message": self.message}
        return {**told, "error": True} if self.error else told


def check_image(image: object) -> Image:
    """`image` if it is uint8 (H, W, 3) with at least one pixel; ShapeError, with the cure, if not."""
    if not isinstance(image, np.ndarray):
        cure = "; cv2.imread answers None for a file it cannot read" if image is None else ""
        raise ShapeError(f"expected an image as a NumPy array, got {type(image).__name__}{cure}")
    if image.dtype != np.uint8:
        cure = "; try (image * 255).astype('uint8')" if image.dtype.kind == "f" else ""
        raise ShapeError(f"expected a uint8 image, got {image.dtype}{cure}")
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise ShapeError(
            f"expected a BGR image (H, W, 3), got grey {image.shape}; try cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)"
        )
    if image.ndim == 3 and image.shape[2] == 4:
        raise ShapeError(f"expected a BGR image (H, W, 3), got {image.shape}; try image[..., :3]")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ShapeError(f"expected a BGR image (H, W, 3), got {image.shape}")
    return image
