"""What a task answers: parallel arrays in source pixels, checked at birth, filtered like arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edgezoo.errors import ShapeError
from edgezoo.geometry import Boxes

if TYPE_CHECKING:
    from edgezoo.frame import Image

UNTRACKED = -1
Point: TypeAlias = tuple[float, float]  # x, y
Direction: TypeAlias = Literal["in", "out"]


@dataclass(frozen=True, eq=False, slots=True)
class Labels:
    """What the whole image shows, most likely first."""

    scores: npt.NDArray[np.float32]
    """(k,) probabilities."""
    class_ids: npt.NDArray[np.int64]
    """(k,) indices into `names`."""
    names: tuple[str, ...]
    """All classes of the model."""

    def __post_init__(self) -> None:
        _check_parallel(self.scores, self.class_ids)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Labels:
        """The entries that a mask, a slice or indices choose."""
        index = _as_index(index)
        return Labels(self.scores[index], self.class_ids[index], self.names)

    def __iter__(self) -> Iterator[tuple[str, float]]:
        """Pairs of name and score."""
        for class_id, score in zip(self.class_ids, self.scores, strict=True):
            yield name_of(self.names, int(class_id)), float(score)

    def to_dict(self) -> dict[str, Any]:
        return {"labels": [{"label": name, "score": round(score, 5)} for name, score in self]}

    def draw(self, image: Image) -> Image:
        """A copy of the BGR `image` with the labels on it."""
        from edgezoo.drawing import draw

        return draw(image, self)

    def __repr__(self) -> str:
        return f"Labels({', '.join(f'{name} {score:.2f}' for name, score in self)})"


@dataclass(frozen=True, slots=True)
class Crossing:
    """A track that passed a line."""

    track_id: int
    direction: Direction


@dataclass(frozen=True, slots=True)
class LineCount:
    """What has passed a line so far."""

    name: str
    a_xy: Point
    b_xy: Point
    """Its ends, source pixels. Seen from `a` to `b`, in is from the left to the right."""
    count_in: int
    count_out: int
    """Whoever passes again is counted again."""
    crossings: tuple[Crossing, ...] = ()
    """Those of this very frame."""

    def to_dict(self) -> dict[str, Any]:
        crossed = [{"track": crossing.track_id, "direction": crossing.direction} for crossing in self.crossings]
        return {"in": self.count_in, "out": self.count_out, "crossed": crossed}

    def __str__(self) -> str:
        return f"{self.name} {self.count_in} in, {self.count_out} out"


@dataclass(frozen=True, slots=True)
class ZoneCount:
    """What is in a zone, and was."""

    name: str
    corners_xy: tuple[Point, ...]
    """Source pixels."""
    inside: int
    """Tracks that are in it now; what is hidden for a short time is where it was."""
    entered: int
    """Tracks that have been in it so far."""

    def to_dict(self) -> dict[str, Any]:
        return {"inside": self.inside, "entered": self.entered}

    def __str__(self) -> str:
        return f"{self.name} {self.inside} inside, {self.entered} entered"


Count: TypeAlias = LineCount | ZoneCount


@dataclass(frozen=True, eq=False, slots=True)
class Detections:
    """Objects found in an image, best score first."""

    boxes_xyxy: Boxes
    """(n, 4) float32, source pixels."""
    scores: npt.NDArray[np.float32]
    """(n,) in 0..1."""
    class_ids: npt.NDArray[np.int64]
    """(n,) indices into `names`."""
    names: tuple[str, ...]
    """All classes of the model."""
    track_ids: npt.NDArray[np.int64] | None = None
    """(n,) which object over time this is, UNTRACKED where that is not known; None: nobody follows them."""
    counts: tuple[Count, ...] = ()
    """Of the lines and zones in this picture, whatever part of the detections this is."""

    def __post_init__(self) -> None:
        if self.boxes_xyxy.ndim != 2 or self.boxes_xyxy.shape[1] != 4:
            raise ShapeError(f"expected boxes_xyxy of shape (n, 4), got {self.boxes_xyxy.shape}")
        tracked = () if self.track_ids is None else (self.track_ids,)
        _check_parallel(self.boxes_xyxy[:, 0], self.scores, self.class_ids, *tracked)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Detections:
        """The detections that a mask, a slice or indices choose: `found[found.scores > 0.5]`."""
        index = _as_index(index)
        arrays = self.boxes_xyxy[index], self.scores[index], self.class_ids[index]
        ids = None if self.track_ids is None else self.track_ids[index]
        return Detections(*arrays, self.names, ids, self.counts)

    def __iter__(self) -> Iterator[tuple[str, float, tuple[float, float, float, float]]]:
        """Triples of name, score and box (x1, y1, x2, y2)."""
        for box, score, class_id in zip(
            self.boxes_xyxy.tolist(), self.scores.tolist(), self.class_ids.tolist(), strict=True
        ):
            yield name_of(self.names, class_id), score, (box[0], box[1], box[2], box[3])

    def to_dict(self) -> dict[str, Any]:
        """Followed ones bear `track`, their id or None; lines and zones stand beside them by their names."""
        rows: list[dict[str, Any]] = [
            {"label": name, "score": round(score, 5), "box_xyxy": [round(side, 2) for side in box]}
            for name, score, box in self
        ]
        if self.track_ids is not None:
            for row, track_id in zip(rows, self.track_ids.tolist(), strict=True):
                row["track"] = None if track_id == UNTRACKED else track_id
        lines = {count.name: count.to_dict() for count in self.counts if isinstance(count, LineCount)}
        zones = {count.name: count.to_dict() for count in self.counts if isinstance(count, ZoneCount)}
        return {"detections": rows} | ({"lines": lines} if lines else {}) | ({"zones": zones} if zones else {})

    def draw(self, image: Image) -> Image:
        """A copy of the BGR `image` with boxes and labels on it, lines and zones with their counts."""
        from edgezoo.drawing import draw

        return draw(image, self)

    def __repr__(self) -> str:
        counts = {name: 0 for name, _, _ in self}
        for name, _, _ in self:
            counts[name] += 1
        found = ", ".join(f"{n} {name}" for name, n in counts.items()) or "none"
        return f"Detections({'; '.join([found, *map(str, self.counts)])})"


Result: TypeAlias = Labels | Detections


def name_of(names: tuple[str, ...], class_id: int) -> str:
    """The name of a class; a model may know more classes than it has names."""
    return names[class_id] if class_id < len(names) else f"class {class_id}"


def _as_index(index: Any) -> Any:
    """A single integer keeps its axis, so that one detection is still `Detections`."""
    return [index] if isinstance(index, (int, np.integer)) and not isinstance(index, bool) else index


def _check_parallel(*arrays: npt.NDArray[Any]) -> None:
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1:
        raise ShapeError(f"expected parallel arrays of one length, got shapes {[array.shape for array in arrays]}")
