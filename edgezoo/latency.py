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
DROPS = ("overwritten", "too_old", "closed")


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


class Profile:
    """What a pipeline measured: time per stage, frame age at hand-over, and what became of every frame.

    `capture`, `wait` (until a batch takes it) and `sink` (until the caller wants the next one) are timed per frame, and
    `capture` of a live source is the wait for it; `prepare`, `infer` and `read` are timed per batch.
    `grabbed == delivered + dropped + failed` once a pipeline has closed.
    """

    def __init__(self) -> None:
        self.stages = {name: Distribution() for name in STAGES}
        self.age = Distribution()
        """Hand-over minus grab, per delivered frame."""
        self.runs: dict[str, Any] = {}
        """What really ran."""
        self.grabbed = 0
        self.delivered = 0
        self.failed = 0
        self.dropped = dict.fromkeys(DROPS, 0)
        """Frames that reached no one, by reason."""
        self.recorder: Callable[[Span], None] | None = None
        """Told of every span that is counted, in the thread that it ended in: set it before the pipeline runs."""
        self._lock = threading.Lock()
        self._began_ns = self._ended_ns = time.monotonic_ns()

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

    def count_grabbed(self) -> None:
        with self._lock:
            if not self.grabbed:
                self._began_ns = time.monotonic_ns()
            self.grabbed += 1

    def count_dropped(self, reason: str, frames: int = 1) -> None:
        with self._lock:
            self.dropped[reason] += frames

    def count_failed(self, frames: int) -> None:
        with self._lock:
            self.failed += frames

    def count_delivered(self, age_ms: float) -> None:
        with self._lock:
            self.delivered += 1
            self.age.add(age_ms)
            self._ended_ns = time.monotonic_ns()

    @property
    def dropped_in_all(self) -> int:
        return sum(self.dropped.values())

    @property
    def fps(self) -> float:
        """Delivered frames per second, from the first grab to the last hand-over."""
        seconds = (self._ended_ns - self._began_ns) / 1e9
        return self.delivered / seconds if seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "runs": self.runs,
            "fps": round(self.fps, 3),
            "grabbed": self.grabbed,
            "delivered": self.delivered,
            "dropped": {**self.dropped, "all": self.dropped_in_all},
            "failed": self.failed,
            "age": self.age.to_dict(),
            "stages": {name: stage.to_dict() for name, stage in self.stages.items()},
        }

    def __repr__(self) -> str:
        counts: Mapping[str, int] = {"delivered": self.delivered, "dropped": self.dropped_in_all, "failed": self.failed}
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        return f"Profile({told}, {self.fps:.1f} fps, age p50 {self.age.percentile(50):.1f} ms)"
