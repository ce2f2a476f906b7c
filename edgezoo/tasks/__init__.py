"""What the outputs of a graph mean: one file a task, the file's name is the task's.

A task file has `OUTPUTS` (the names a graph must answer), `read` (dense outputs to results in source pixels), `SCORE`
(what scores less is left out, where nothing else is asked for), `difference` (how far two answers to the same images
are apart) and `TOLERANCE` (how far an exact conversion may be).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy.typing as npt

from edgezoo.errors import RequestError, UnknownName
from edgezoo.geometry import Placement
from edgezoo.results import Result

TASKS = ("classify", "detect")

Outputs = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What of an answer is wanted; None leaves it to the task."""

    score: float | None = None
    """Only what scores above this, 0..1."""
    iou: float | None = None
    """Detections of one class that overlap by more than this are one object, 0..1."""
    classes: tuple[int, ...] | None = None
    """Only these class ids."""
    top: int = 5
    """At most so many labels for a whole image."""

    def __post_init__(self) -> None:
        for name, value in (("score", self.score), ("iou", self.iou)):
            if value is not None and not 0 <= value <= 1:
                raise RequestError(f"expected {name} within 0..1, got {value}")
        if self.top < 1:
            raise RequestError(f"expected top of 1 or more, got {self.top}")


class Task(Protocol):
    """The shape of a task's file."""

    OUTPUTS: tuple[str, ...]
    TOLERANCE: Mapping[str, float]
    SCORE: float

    def read(
        self, outputs: Outputs, placements: Sequence[Placement], names: tuple[str, ...], ask: Ask
    ) -> list[Result]: ...

    def difference(self, reference: Outputs, candidate: Outputs) -> dict[str, float]: ...


def task(name: str) -> Task:
    """The task of that name; UnknownName if there is none."""
    if name not in TASKS:
        raise UnknownName("task", name, TASKS)
    return cast(Task, importlib.import_module(f"edgezoo.tasks.{name}"))


def class_ids(names: tuple[str, ...], wanted: Sequence[str]) -> tuple[int, ...]:
    """Ids of classes given by name or number; UnknownName for others."""
    found = []
    for word in wanted:
        if word in names:
            found.append(names.index(word))
        elif word.isdecimal() and int(word) < len(names):
            found.append(int(word))
        else:
            raise UnknownName("class", word, names)
    return tuple(found)
