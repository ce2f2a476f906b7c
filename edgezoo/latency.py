"""Where the time goes: distributions of bounded memory, and the profile of a pipeline made of them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edgezoo.frame import Frame

_PER_DECADE = 230  # buckets; each is 1 % wide, so a percentile is right to half of that
_SMALLEST_MS = 1e-4
_BUCKETS = 11 * _PER_DECADE  # 0.1 us to 10 000 s
_SCALE = _PER_DECADE / math.log(10)


class Distribution:
    """Durations in milliseconds, counted in logarithmic buckets: a day of them takes no more room than a minute."""

    __slots__ = ("_counts", "max_ms", "n", "sum_ms")

    def __init__(self) -> None:
        self._counts = [0] * (_BUCKETS + 1)
        self.n = 0
        self.sum_ms = 0.0
        self.max_ms = 0.0

    def add(self, value_ms: float) -> None:
        bucket = int(math.log(value_ms / _SMALLEST_MS) * _SCALE) if value_ms > _SMALLEST_MS else 0
        self._counts[min(bucket, _BUCKETS)] += 1
        self.n += 1
        self.sum_ms += value_ms
        if value_ms > self.max_ms:
            self.max_ms = value_ms

    def percentile(self, percent: float) -> float:
        """Milliseconds that `percent` of all durations do not pass, within 1 %; 0 of nothing."""
        rank = math.ceil(self.n * percent / 100)
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= rank:
                return min(_SMALLEST_MS * math.exp((bucket + 0.5) / _SCALE), self.max_ms)
        return 0.0

    def to_dict(self) -> dict[str, float]:
        """n, p50, p90, p99, max and mean in ms."""
        figures = {f"p{percent}_ms": self.percentile(percent) for percent in (50, 90, 99)}
        mean = self.sum_ms / self.n if self.n else 0.0
        rounded = {
            name: round(value, 4) for name, value in (figures | {"max_ms": self.max_ms, "mean_ms": mean}).items()
        }
        return {"n": self.n, **rounded}


STAGES = ("capture", "wait", "prepare", "infer", "read", "sink")
DROPS = ("overwritten", "too_old", "rate", "damaged", "closed")
"""Why a frame reached no one: a newer one came before its turn, it was older than allowed, above the rate that its
source is limited to, not to be decoded, or under way when its source or the pipeline was closed."""


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of time that a profile counted."""

    stage: str
    began_ns: int
    """By `time.perf_counter_ns()`."""
    ended_ns: int
    frames: tuple[tuple[str, int], ...]
    """Source and index of every frame that it was spent on."""
    thread: str
    """The name of the thread that it ended in."""


class Tally:
    """What became of every frame: `grabbed == delivered + dropped + failed` once a pipeline has closed."""

    def __init__(self) -> None:
        self.age = Distribution()
        """Hand-over minus grab, per delivered frame."""
        self.grabbed = 0
        self.delivered = 0
        self.failed = 0
        self.dropped = dict.fromkeys(DROPS, 0)
        """Frames that reached no one, by reason."""
        self.reconnects = 0
        """How often a lost stream came back."""
        self._began_ns = self._ended_ns = time.monotonic_ns()

    @property
    def dropped_in_all(self) -> int:
        return sum(self.dropped.values())

    @property
    def under_way(self) -> int:
        """Frames that wait or are being worked on; none once a pipeline has closed."""
        return self.grabbed - self.delivered - self.dropped_in_all - self.failed

    @property
    def fps(self) -> float:
        """Delivered frames per second, from the first grab to the last hand-over."""
        seconds = (self._ended_ns - self._began_ns) / 1e9
        return self.delivered / seconds if seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "fps": round(self.fps, 3),
            "grabbed": self.grabbed,
            "delivered": self.delivered,
            "dropped": {**self.dropped, "all": self.dropped_in_all},
            "failed": self.failed,
            "reconnects": self.reconnects,
            "age": self.age.to_dict(),
        }

    def _grab(self) -> None:
        if not self.grabbed:
            self._began_ns = time.monotonic_ns()
        self.grabbed += 1

    def _deliver(self, age_ms: float) -> None:
        self.delivered += 1
        self.age.add(age_ms)
        self._ended_ns = time.monotonic_ns()


class Profile(Tally):
    """What a pipeline measured: time per stage, frame age at hand-over, and what became of every frame.

    `capture`, `wait` (until a batch takes it) and `sink` (until the caller wants the next one) are timed per frame, and
    `capture` of a live source is the wait for it; `prepare`, `infer` and `read` are timed per batch.
    What is counted with the name of a source is counted for that source as well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages = {name: Distribution() for name in STAGES}
        self.runs: dict[str, Any] = {}
        """What really ran."""
        self.sources: dict[str, Tally] = {}
        """The same by source, in the order of their first frames; also of those that were removed since."""
        self.recorder: Callable[[Span], None] | None = None
        """Told of every span that is counted, in the thread that it ended in: set it before the pipeline runs."""
        self._lock = threading.Lock()

    @contextmanager
    def time(self, stage: str, frames: Sequence[Frame] = ()) -> Iterator[None]:
        """What happens inside is spent on `frames`; what raises is not counted."""
        began_ns = time.perf_counter_ns()
        yield
        self.took(stage, began_ns, frames)

    def took(self, stage: str, began_ns: int, frames: Sequence[Frame] = ()) -> None:
        """The stage was busy with `frames` from `began_ns`, by `time.perf_counter_ns()`, until now."""
        ended_ns = time.perf_counter_ns()
        with self._lock:
            self.stages[stage].add((ended_ns - began_ns) / 1e6)
        if self.recorder is not None:
            names = tuple((frame.source, frame.index) for frame in frames)
            self.recorder(Span(stage, began_ns, ended_ns, names, threading.current_thread().name))

    def count_grabbed(self, source: str | None = None) -> None:
        with self._lock:
            for tally in self._tallies(source):
                tally._grab()

    def count_dropped(self, reason: str, frames: int = 1, *, source: str | None = None) -> None:
        with self._lock:
            for tally in self._tallies(source):
                tally.dropped[reason] += frames

    def count_failed(self, frames: int, *, source: str | None = None) -> None:
        with self._lock:
            for tally in self._tallies(source):
                tally.failed += frames

    def count_delivered(self, age_ms: float, *, source: str | None = None) -> None:
        with self._lock:
            for tally in self._tallies(source):
                tally._deliver(age_ms)

    def count_reconnect(self, source: str) -> None:
        with self._lock:
            for tally in self._tallies(source):
                tally.reconnects += 1

    def to_dict(self) -> dict[str, Any]:
        with self._lock:
            return {
                "runs": self.runs,
                **super().to_dict(),
                "stages": {name: stage.to_dict() for name, stage in self.stages.items()},
                "sources": {name: tally.to_dict() for name, tally in self.sources.items()},
            }

    def _tallies(self, source: str | None) -> tuple[Tally, ...]:
        if source is None:
            return (self,)
        if source not in self.sources:
            self.sources[source] = Tally()
        return (self, self.sources[source])

    def __repr__(self) -> str:
        counts: Mapping[str, int] = {"delivered": self.delivered, "dropped": self.dropped_in_all, "failed": self.failed}
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        return f"Profile({told}, {self.fps:.1f} fps, age p50 {self.age.percentile(50):.1f} ms)"
