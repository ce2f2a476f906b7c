"""Which engine is faster, and by how much, on a machine whose speed drifts by more than that: they take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgezoo.engine import Engine
from edgezoo.errors import RequestError
from edgezoo.measure.bench import CLIP
from edgezoo.measure.player import BLOCK_RUNS, BareEngine

MARGIN = 0.03
"""Closer than that is as fast."""

_BLOCK_S = 0.25
_PAUSE_S = 0.1  # a runtime's threads go on spinning for a while after a run


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """A rival's speed, and how many times as fast as it an engine is."""

    name: str
    """The rival's artifact."""
    ms: float
    """The rival's run, the median of its blocks."""
    ratio: float
    """Below 1 the rival is faster; the median of the rounds."""
    low: float
    """The rounds' lower quartile."""
    high: float
    """The rounds' upper quartile."""

    @property
    def lost(self) -> bool:
        """The rival was faster in three rounds of four, and by more than noise."""
        return self.high < 1 and self.ratio < 1 - MARGIN

    @property
    def won(self) -> bool:
        return self.low > 1 and self.ratio > 1 + MARGIN

    def to_dict(self) -> dict[str, Any]:
        return {name: value if name == "name" else round(value, 4) for name, value in asdict(self).items()}


def takes(engine: Engine, batch: int) -> bool:
    """Whether one run takes a batch of that size."""
    least, most = engine.batches
    return least <= batch <= (most or batch)


def shared_batch(engine: Engine, rivals: Sequence[Engine]) -> int:
    """The batch size at which most rivals can be held against `engine`, the smallest of these."""
    sizes = sorted({each.batches[0] for each in (engine, *rivals) if takes(engine, each.batches[0])})
    return max(sizes, key=lambda size: sum(takes(rival, size) for rival in rivals))


def unlike(rival: Engine, batch: int) -> str:
    """Why it is not held against the others at that batch size, and what helps."""
    least, most = rival.batches
    size = str(least) if least == most else f"{least} to {most}"
    how = f"edgezoo compile {rival.bundle.called} --precision {rival.artifact.name} --batch {batch}"
    return f"{rival.artifact.name} takes batches of {size}, the others were timed at {batch}: {how}"


def race(
    engine: Engine,
    rivals: Sequence[Engine],
    *,
    batch: int | None = None,
    rounds: int = 9,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[float, list[Against]]:
    """What a run of `engine` takes in ms, and how it does against each: block by block, AB BA AB ….

    All must take a batch of that size (None: of the one that they share). Raises RequestError, BackendError.
    """
    if rounds < 1:
        raise RequestError(f"expected 1 round or more, got {rounds}")
    batch = shared_batch(engine, rivals) if batch is None else batch
    runners = [BareEngine(each, batch, CLIP) for each in (engine, *rivals)]
    for runner in runners:
        runner.block(_BLOCK_S / 4)
    rates: list[list[float]] = [[] for _ in runners]
    progress(0, rounds)
    for done in range(rounds):
        for k in range(len(runners))[:: -1 if done % 2 else 1]:
            time.sleep(_PAUSE_S)
            rates[k].append(runners[k].block(_BLOCK_S))
        progress(done + 1, rounds)
    took_ms = [1000 * batch / statistics.median(each) for each in rates]
    found = [
        _against(rival.artifact.name, ms, [mine / its for mine, its in zip(rates[0], theirs)])
        for rival, ms, theirs in zip(rivals, took_ms[1:], rates[1:])
    ]
    return took_ms[0], found


def block_s(run_s: float) -> float:
    """About how long a round takes for each engine, of one whose run takes that long."""
    return max(_BLOCK_S, BLOCK_RUNS * run_s) + _PAUSE_S


def _against(name: str, ms: float, ratios: Sequence[float]) -> Against:
    low, middle, high = statistics.quantiles([*ratios] * (1 + (len(ratios) < 2)), n=4, method="inclusive")
    return Against(name=name, ms=ms, ratio=middle, low=low, high=high)
