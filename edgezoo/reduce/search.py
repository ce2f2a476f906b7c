"""Which layers stay in float, so that the rest may be integers: the worst first, until the budget holds.

How much harm an integer layer does alone is measured on a few images with all others in float; the harms are the
order in which layers are freed. That order, and what is tried, rest on calibration images alone; of the images that
the gate judges by, no more comes here than that it refused a candidate, whereupon the next one is made.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgezoo.backends import Arrays, Backend, open_backend
from edgezoo.convert.agreement import run_one
from edgezoo.frame import Image
from edgezoo.reduce.int8 import emitter, readable
from edgezoo.reduce.regions import Ranges

if TYPE_CHECKING:
    import onnx

SAMPLES = 8
"""Images that harm is measured on."""
MARGIN = 0.5
"""Of the budget, that must be held on the calibration images: those that a calibration saw flatter it."""
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_RANKING = 0.6  # of the time at most; the rest is for trying what the ranking says
_LOST = 0.05  # of its size: so far apart a box misses the strictest overlap that COCO asks for, 0.95
_LEAST = 1e-12  # of what answers say, that an error is a share of
_AFTER_NONE = 3  # layers to free where the gate refused a graph that looked well with none

Tell = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much; of 0: nobody knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A set of layers in float that was tried."""

    method: str
    """How ranges were taken from what calibration saw."""
    floats: tuple[str, ...]
    """The layers in float, the most harmful first."""
    harm: float
    drop: float = math.inf
    """At least so many points of agreement are lost on calibration images: the low end of the 95 % interval; infinite
    where answers are no numbers."""

    def to_dict(self) -> dict[str, Any]:
        told = {"harm": float(f"{self.harm:.4g}"), "drop": round(self.drop, 2)}
        finite = {name: value for name, value in told.items() if math.isfinite(value)}
        return {"method": self.method, "floats": len(self.floats), **finite}


@dataclass(kw_only=True, slots=True)
class Search:
    """What was found and what was tried on the way."""

    layers: int = 0
    """Those that may be integers."""
    trials: list[Trial] = field(default_factory=list)
    harms: dict[str, float] = field(default_factory=dict)
    """Of each layer alone; empty where nothing needed to be freed."""
    candidates: list[Trial] = field(default_factory=list)
    """Those that held the budget on the calibration images, or came nearest; the fewest layers in float first.
    As many as were asked for."""
    seconds: float = 0.0
    out_of_time: bool = False
    """It ended before all was tried."""


class Subject:
    """A float graph that is to become integers for one target, and the measure of what that does to it."""

    def __init__(
        self,
        model: onnx.ModelProto,
        target: str,
        ranges: Mapping[str, Ranges],
        samples: Sequence[Image],
        **options: Any,
    ) -> None:
        """`ranges` by method; `samples`: placed images uint8 (H, W, 3); `options` are the emitter's."""
        self.model, self.ranges, self._options = model, ranges, options
        self._emitter = emitter(target)
        names = readable(model)
        self._nodes = {names[node]: node for node in self._emitter.layers(model)}
        self._samples = samples[:SAMPLES]
        self._reference = self._answers(model.SerializeToString())

    @property
    def layers(self) -> list[str]:
        """The layers that may be integers, in the graph's order."""
        return [*self._nodes]

    def graph(self, method: str, floats: Sequence[str]) -> bytes:
        """The graph with these layers in float."""
        nodes = [self._nodes[name] for name in floats]
        emitted = self._emitter.emit(self.model, self.ranges[method], nodes, **self._options)
        return bytes(emitted.SerializeToString())

    def harm(self, method: str, floats: Sequence[str]) -> float:
        """How far the answers are from float's, as a share of what those say; 0 is not at all."""
        return harm(self._reference, self._answers(self.graph(method, floats)))

    def gentlest(self, floats: Sequence[str]) -> tuple[str, float]:
        """The method that does the least harm, and how much that is."""
        harms = {method: self.harm(method, floats) for method in self.ranges}
        best = min(harms, key=lambda method: harms[method])
        return best, harms[best]

    def _answers(self, graph: bytes) -> Arrays:
        with closing(open_backend("onnxruntime", graph)) as backend:
            return run_each(backend, self._samples)


def run_each(backend: Backend, placed: Sequence[Image]) -> Arrays:
    """The answers to placed images, one by one, also where the graph takes so many at a time."""
    rows = [run_one(backend, image) for image in placed]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def harm(reference: Arrays, answers: Arrays) -> float:
    """The squared error of scores, and of boxes by `_LOST` of their size where they score, over the scores' squares."""
    scores = reference["scores"].astype(np.float64)
    error = float(((answers["scores"] - scores) ** 2).sum())
    if "boxes" in reference:
        error += _harm_to_boxes(reference["boxes"], answers["boxes"], scores.max(axis=-1))
    return error / max(float((scores**2).sum()), _LEAST) if math.isfinite(error) else math.inf


def _harm_to_boxes(boxes: npt.NDArray[Any], answers: npt.NDArray[Any], weight: npt.NDArray[np.float64]) -> float:
    size = np.maximum((boxes[..., 2:] - boxes[..., :2]).max(axis=-1), 1.0)
    apart = np.minimum((((answers - boxes) / (_LOST * size[..., None])) ** 2).mean(axis=-1), 1.0)
    return float((weight**2 * apart).sum())


def search(
    subject: Subject,
    found: Search,
    *,
    drop_of: Callable[[bytes], float],
    max_drop: float,
    minutes: float,
    tell: Tell,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Trial]:
    """Candidates for the gate: layers are freed until `drop_of` the graph, in points, is well within `max_drop`.

    `drop_of` is what is lost at least on images that calibration saw, see `Trial.drop`. No layer is free where none
    needs to be; whoever asks for another candidate, since the gate saw more, gets one of twice as many; never are all
    free: that would be integers in name alone. Past `minutes` nothing new begins. Where nothing holds, what came
    nearest is the one candidate. What is tried is told to `found`.
    """
    since, found.layers = clock(), len(subject.layers)

    def spent() -> float:
        return found.seconds + clock() - since

    def attempt(floats: Sequence[str]) -> bool:
        method, hurt = subject.gentlest(floats)
        drop = drop_of(subject.graph(method, floats))
        drop = drop if math.isfinite(drop) else math.inf
        found.trials.append(Trial(method=method, floats=tuple(floats), harm=hurt, drop=drop))
        return drop <= MARGIN * max_drop

    def steps() -> Iterator[Sequence[str]]:
        yield ()
        order = _ranked(subject, found, lambda: spent() > _RANKING * 60 * minutes, tell) if minutes > 0 else []
        yield from (order[:step] for step in _STEPS if step < len(order))

    for floats in steps():
        if found.candidates and len(floats) < (2 * len(found.candidates[-1].floats) or _AFTER_NONE):
            continue
        if floats and spent() > 60 * minutes:
            found.out_of_time = True
            break
        tell(f"leaving {len(floats)} of {found.layers} layers in float" if floats else "all layers in INT8", 0, 0)
        if attempt(floats):
            found.candidates.append(found.trials[-1])
            found.seconds = spent()
            yield found.trials[-1]
            since = clock()
    found.seconds = spent()
    if not found.candidates:
        found.candidates.append(min(found.trials, key=lambda trial: trial.drop))
        yield found.candidates[0]


def _ranked(subject: Subject, found: Search, late: Callable[[], bool], tell: Tell) -> list[str]:
    """The layers by the harm that each does alone, the worst first; those that time did not suffice for come last."""
    method = next(iter(subject.ranges))
    layers = subject.layers
    for done, layer in enumerate(layers):
        if late():
            found.out_of_time = True
            break
        tell("measuring the harm of each layer", done, len(layers))
        found.harms[layer] = subject.harm(method, [other for other in layers if other != layer])
    return sorted(layers, key=lambda layer: -found.harms.get(layer, -1.0))
