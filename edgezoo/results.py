"""What a task answers: parallel arrays in source pixels, checked at birth, filtered like arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgezoo.errors import ShapeError
from edgezoo.geometry import Boxes

if TYPE_CHECKING:
    from edgezoo.frame import Image


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

    def __post_init__(self) -> None:
        if self.boxes_xyxy.ndim != 2 or self.boxes_xyxy.shape[1] != 4:
            raise ShapeError(f"expected boxes_xyxy of shape (n, 4), got {self.boxes_xyxy.shape}")
        _check_parallel(self.boxes_xyxy[:, 0], self.scores, self.class_ids)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Detections:
        """The detections that a mask, a slice or indices choose: `found[found.scores > 0.5]`."""
        index = _as_index(index)
        return Detections(self.boxes_xyxy[index], self.scores[index], self.class_ids[index], self.names)

    def __iter__(self) -> Iterator[tuple[str, float, tuple[float, float, float, float]]]:
        """Triples of name, score and box (x1, y1, x2, y2)."""
        for box, score, class_id in zip(
            self.boxes_xyxy.tolist(), self.scores.tolist(), self.class_ids.tolist(), strict=True
        ):
            yield name_of(self.names, class_id), score, (box[0], box[1], box[2], box[3])

    def to_dict(self) -> dict[str, Any]:
        return {
            "detections": [
                {"label": name, "score": round(score, 5), "box_xyxy": [round(side, 2) for side in box]}
                for name, score, box in self
            ]
        }

    def draw(self, image: Image) -> Image:
        """A copy of the BGR `image` with boxes and labels on it."""
        from edgezoo.drawing import draw

        return draw(image, self)

    def __repr__(self) -> str:
        counts = {name: 0 for name, _, _ in self}
        for name, _, _ in self:
            counts[name] += 1
        return f"Detections({', '.join(f'{n} {name}' for name, n in counts.items()) or 'none'})"


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
