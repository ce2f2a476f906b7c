"""How fast: the bare engine and the whole pipeline, and what of the one is left in the other.

A machine's speed drifts by more than the two are apart. So they take turns, block by block, AB BA AB …; the ratio is
the median of the pairs', and blocks go on until it stands still.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgezoo.address import told
from edgezoo.engine import Engine
from edgezoo.errors import RequestError
from edgezoo.latency import Distribution
from edgezoo.machine import OtherLoad, machine
from edgezoo.measure.player import BareEngine, Player
from edgezoo.optional import require

Progress = Callable[[int, int], None]
"""Told done and total."""

CLIP = "synthetic:#size=768x432&live=0&shapes=6"
STABLE = 0.02
"""The interquartile range of the pairs' ratios, as a share of their median, under which the ratio stands still."""

_BLOCK_S = 1.0
_PAUSE_S = 0.1  # a runtime's threads go on spinning for a while after a run


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSpeed:
    """The backend alone, over one prepared batch again and again."""

    fps: float
    """The median of the blocks."""
    run: Distribution
    """One run, of a whole batch."""

    def to_dict(self) -> dict[str, Any]:
        return {"fps": round(self.fps, 2), "run": self.run.to_dict()}


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineSpeed:
    """From the file to the result, in steady state."""

    fps: float
    """The median of the blocks."""
    interval: Distribution
    """From one delivered frame to the next."""
    age: Distribution
    """Of a frame at hand-over. A file's frames wait in queues, where a camera's would be replaced by newer ones."""
    stages: dict[str, dict[str, float]]
    """Where the time goes, from the pipeline's profile."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "fps": round(self.fps, 2),
            "interval": self.interval.to_dict(),
            "age": self.age.to_dict(),
            "stages": self.stages,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What `bench` measured, and on what."""

    engine: EngineSpeed
    pipeline: PipelineSpeed
    ratio: float
    """Pipeline over engine, the median of the pairs of blocks."""
    spread: float
    """The interquartile range of the pairs' ratios, as a share of their median; infinite for fewer than three."""
    blocks: int
    """Pairs measured."""
    others: float | None
    """What other processes took of all cores meanwhile, 0..1; None where the system does not tell."""
    source: str
    runs: dict[str, Any]
    """What really ran."""
    machine: dict[str, Any]
    seconds: float

    @property
    def stable(self) -> bool:
        return self.spread < STABLE

    def to_dict(self) -> dict[str, Any]:
        return {
            "engine": self.engine.to_dict(),
            "pipeline": self.pipeline.to_dict(),
            "ratio": round(self.ratio, 4),
            "spread": round(self.spread, 4) if math.isfinite(self.spread) else None,
            "stable": self.stable,
            "blocks": self.blocks,
            "others": None if self.others is None else round(self.others, 3),
            "source": self.source,
            "runs": self.runs,
            "machine": self.machine,
            "seconds": round(self.seconds, 1),
        }


def bench(
    engine: Engine,
    *,
    source: str | None = None,
    workers: int | None = None,
    batch: int = 1,
    blocks: int = 9,
    max_seconds: float = 120.0,
    progress: Progress | None = None,
) -> Bench:
    """Time the engine as it is, and a pipeline of `workers` and `batch` over `source`, a clip that is played in a loop.

    At least `blocks` pairs, more until their ratio stands still, but none begins after `max_seconds`. The engine runs
    the pipeline's batches on as many threads as it was opened with, whatever the `workers`.

    Raises SourceError, RequestError (a live source, which sets its own pace), BackendError.
    """
    if blocks < 1:
        raise RequestError(f"expected 1 block or more, got {blocks}")
    if not max_seconds >= 0:  # nor NaN
        raise RequestError(f"expected max_seconds of 0 or more, got {max_seconds}")
    began = time.monotonic()
    tell = progress or (lambda done, total: None)
    player = Player(engine, source or CLIP, workers=workers, batch=batch)
    pairs: list[tuple[float, float]] = []
    try:
        bare = BareEngine(engine, batch, source or CLIP)
        bare.block(_BLOCK_S / 4)
        player.block(_BLOCK_S / 4)
        bare.forget()
        player.forget()
        load = OtherLoad()
        tell(0, blocks)
        while len(pairs) < blocks or _spread(pairs) >= STABLE:
            pairs.append(_pair(bare, player, swapped=len(pairs) % 2 == 1))
            tell(len(pairs), max(blocks, len(pairs)))
            if time.monotonic() - began > max_seconds:
                break
        others = load.share()
    finally:
        player.close()
    return Bench(
        engine=EngineSpeed(fps=statistics.median(pair[0] for pair in pairs), run=bare.run),
        pipeline=PipelineSpeed(
            fps=statistics.median(pair[1] for pair in pairs),
            interval=player.interval,
            age=player.age,
            stages={name: stage.to_dict() for name, stage in player.pipeline.profile.stages.items()},
        ),
        ratio=statistics.median(_ratios(pairs)),
        spread=_spread(pairs),
        blocks=len(pairs),
        others=others,
        source=told(source or CLIP),
        runs={
            **engine.describe(),
            "workers": player.pipeline.profile.runs["workers"],
            "batch": batch,
            "opencv_threads": int(require("cv2").getNumThreads()),
        },
        machine=machine(),
        seconds=time.monotonic() - began,
    )


def _pair(bare: BareEngine, player: Player, *, swapped: bool) -> tuple[float, float]:
    """Frames per second of both, one after the other."""
    found = {}
    for name, block in sorted({"engine": bare.block, "pipeline": player.block}.items(), reverse=swapped):
        time.sleep(_PAUSE_S)
        found[name] = block(_BLOCK_S)
    return found["engine"], found["pipeline"]


def _ratios(pairs: Sequence[tuple[float, float]]) -> list[float]:
    return [pipeline / engine for engine, pipeline in pairs]


def _spread(pairs: Sequence[tuple[float, float]]) -> float:
    """The interquartile range of the ratios over their median."""
    ratios = _ratios(pairs)
    if len(ratios) < 3:
        return math.inf
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return (high - low) / middle
