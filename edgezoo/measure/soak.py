"""A pipeline left to run under cameras that misbehave: whether every frame is accounted for, memory stays flat, frames
stay young, lost streams come back in time, and nothing is left behind.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgezoo.address import Address, told
from edgezoo.engine import Engine
from edgezoo.errors import RequestError
from edgezoo.frame import Event, Frame
from edgezoo.latency import Profile
from edgezoo.pipeline import Pipeline
from edgezoo.pipeline.streams import StreamState
from edgezoo.sources import is_live
from edgezoo.sources.chaos import faults_of, forget, gives_since_s

CHAOS = (
    "chaos:synthetic:#size=640x480&fps=15&seed={seed}&stall=0.002&stall_s=3&burst=0.01&burst_frames=8"
    "&die=0.002&die_s=1.5&drop=0.01&resize=0.002&corrupt=0.01"
)
CAMERAS = 4

_SAMPLE_S = 1.0
_WARM_UP_S = 60.0  # or a third of a short run: arenas and caches fill
_MOST_SAMPLES = 100_000  # more than a day of them
_STATM = Path("/proc/self/statm")
_FILES = Path("/proc/self/fd")
_TASKS = Path("/proc/self/task")


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a soak may not pass."""

    growth_mb: float = 10.0
    """Of memory after the warm-up: from its first quarter to its last, and by the slope over all of it."""
    age_p99_ms: float = 250.0
    back_s: float = 2.0
    """A stream that was lost is live again within so long; of a `chaos:` camera, from when it gives frames."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The process at a moment."""

    at_s: float
    memory_mb: float
    """Resident."""
    threads: int
    files: int
    """Descriptors that are open."""


@dataclass(kw_only=True)
class Soak:
    """What was seen, and what of it is out of bounds."""

    bounds: Bounds
    asked_s: float = 0.0
    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    losses_s: dict[str, list[float]] = field(default_factory=dict)
    """How long each stream was lost, each time; by source."""
    backs_s: list[float] = field(default_factory=list)
    """The same of all, of a `chaos:` camera from when it gave frames again."""
    events: dict[str, int] = field(default_factory=dict)
    """How many of each kind."""
    profile: Profile = field(default_factory=Profile)
    states: tuple[StreamState, ...] = ()
    out_of_order: int = 0
    """Frames that came after a later one of their source."""
    unexplained: int = 0
    """Frames that came out of a source and were neither delivered, dropped for a reason, nor failed."""
    faults: dict[str, dict[str, int]] = field(default_factory=dict)
    """What cameras that misbehave on purpose did, by source."""
    stuck: tuple[str, ...] = ()

    @property
    def warm(self) -> list[Sample]:
        """The samples after the warm-up."""
        began_s = min(_WARM_UP_S, self.seconds / 3)
        return [sample for sample in self.samples if sample.at_s >= began_s]

    @property
    def growth_mb(self) -> float:
        """The larger of two measures: the last quarter's median over the first's, and the slope times its time."""
        warm = self.warm
        if len(warm) < 4:
            return 0.0
        memory, quarter = [sample.memory_mb for sample in warm], len(warm) // 4
        steps = statistics.median(memory[-quarter:]) - statistics.median(memory[:quarter])
        times = [sample.at_s for sample in warm]
        slope = statistics.linear_regression(times, memory).slope
        return max(steps, slope * (times[-1] - times[0]))

    def more(self, what: Literal["threads", "files"]) -> float:
        """How many more `threads` or `files` there are at the end than after the warm-up, by the medians."""
        warm = self.warm
        quarter = max(1, len(warm) // 4)
        counts = [sample.threads if what == "threads" else sample.files for sample in warm] or [0]
        return float(statistics.median(counts[-quarter:]) - statistics.median(counts[:quarter]))

    def checks(self) -> list[tuple[str, str, str, bool]]:
        """What was held against which bound: its name, what was measured, the bound, and whether it held."""
        bounds, age = self.bounds, self.profile.age.percentile(99)
        back_s = max(self.backs_s, default=0.0)
        gone = [state.source for state in self.states if state.error]
        silent = [state.source for state in self.states if not state.delivered]
        return [
            ("time", f"{self.seconds:.0f} s", f"{self.asked_s:.0f} s or more", self.seconds >= self.asked_s),
            ("streams without a frame", ", ".join(silent) or "none", "none", not silent),
            ("streams given up", ", ".join(gone) or "none", "none", not gone),
            ("frames unexplained", f"{self.unexplained}", "0", not self.unexplained),
            ("frames out of order", f"{self.out_of_order}", "0", not self.out_of_order),
            _at_most("memory growth", self.growth_mb, bounds.growth_mb, "MB", digits=1),
            _at_most("frame age, p99", age, bounds.age_p99_ms, "ms"),
            _at_most("a lost stream back", back_s, bounds.back_s, "s", digits=1),
            _at_most("threads more", self.more("threads"), 0),
            _at_most("files more", self.more("files"), 0),
            ("threads left behind", ", ".join(self.stuck) or "none", "none", not self.stuck),
        ]

    @property
    def missed(self) -> list[str]:
        return [f"{name}: expected {bound}, got {got}" for name, got, bound, held in self.checks() if not held]

    def to_dict(self) -> dict[str, Any]:
        first, last = (self.warm or self.samples or [Sample(0, 0, 0, 0)])[0], (self.samples or [Sample(0, 0, 0, 0)])[-1]
        return {
            "seconds": round(self.seconds, 1),
            "checks": {name: {"got": got, "bound": bound, "held": held} for name, got, bound, held in self.checks()},
            "missed": self.missed,
            "memory_mb": {
                "warm": first.memory_mb,
                "end": last.memory_mb,
                "growth": round(self.growth_mb, 2),
                "at_s": [[sample.at_s, sample.memory_mb] for sample in self.samples[:: len(self.samples) // 200 + 1]],
            },
            "threads": {"warm": first.threads, "end": last.threads},
            "files": {"warm": first.files, "end": last.files},
            "events": self.events,
            "losses_s": {name: [round(loss, 2) for loss in losses] for name, losses in self.losses_s.items()},
            "backs_s": [round(back, 2) for back in self.backs_s],
            "faults": self.faults,
            "states": [state.to_dict() for state in self.states],
            "profile": self.profile.to_dict(),
        }


def _at_most(name: str, got: float, bound: float, unit: str = "", *, digits: int = 0) -> tuple[str, str, str, bool]:
    return name, f"{got:.{digits}f} {unit}".rstrip(), f"at most {bound:g} {unit}".rstrip(), got <= bound


def chaos_sources(count: int = CAMERAS) -> list[str]:
    """Cameras that misbehave, each in its own way."""
    return [CHAOS.format(seed=seed) for seed in range(1, count + 1)]


def soak(
    engine: Engine,
    sources: Sequence[str],
    *,
    seconds: float,
    bounds: Bounds | None = None,
    batch: int = 1,
    wait_ms: float | None = None,
    progress: Callable[[Soak, Pipeline], None] | None = None,
) -> Soak:
    """Run a pipeline over the sources for so long, or until Ctrl-C. `progress` is told after every sample, in the
    caller's thread.

    Raises RequestError: no such time, a source that is not live, or a system that does not tell what a process takes.
    SourceError: a single source that cannot be opened.
    """
    if not 0 < seconds <= _MOST_SAMPLES * _SAMPLE_S:
        raise RequestError(f"expected a time above 0 and up to {_MOST_SAMPLES * _SAMPLE_S / 3600:.0f} h")
    if not _STATM.exists():
        raise RequestError(f"expected a system that tells what a process takes, found no {_STATM}; try it on Linux")
    for source in sources:
        if not is_live(source):
            raise RequestError(
                f"expected live sources, got {told(source)}; try chaos:SOURCE, which plays it as a camera"
            )
        forget(source)  # a camera of before would go on where it was
    watch = _Watch(Soak(bounds=bounds or Bounds(), asked_s=seconds))
    pipeline = Pipeline(
        [*sources],
        engine,
        batch=batch,
        wait_ms=wait_ms,
        on_event=watch.heard,
        on_idle=lambda: watch.tick(pipeline, seconds, progress),
    )
    with pipeline, suppress(KeyboardInterrupt):  # after hours, what was found so far is worth telling
        watch.begin(pipeline, sources)
        for frame, _ in pipeline:
            watch.saw(frame)
            watch.tick(pipeline, seconds, progress)
    return watch.end(pipeline)


class _Watch:
    """Writes down what happens."""

    def __init__(self, found: Soak) -> None:
        self._found = found
        self._began_s = self._sampled_s = time.monotonic()
        self._lost: dict[str, float] = {}
        """Streams that are lost, since when."""
        self._last: dict[str, int] = {}
        """Of each source: the index of its last frame."""
        self._addresses: dict[str, str] = {}
        """Of cameras that tell what they do, by the names of their streams."""

    def begin(self, pipeline: Pipeline, sources: Sequence[str]) -> None:
        self._found.profile = pipeline.profile
        self._began_s = time.monotonic()
        named = zip(pipeline.states, sources, strict=True)
        self._addresses = {state.source: text for state, text in named if Address.parse(text).scheme == "chaos"}

    def saw(self, frame: Frame) -> None:
        self._found.out_of_order += frame.index <= self._last.get(frame.source, -1)
        self._last[frame.source] = frame.index

    def heard(self, event: Event) -> None:
        found = self._found
        found.events[event.kind] = found.events.get(event.kind, 0) + 1
        if event.kind == "lost":
            self._lost.setdefault(event.source, event.at_ns / 1e9)
        elif event.kind == "live" and event.source in self._lost:
            self._is_back(event.source, event.at_ns / 1e9)

    def tick(self, pipeline: Pipeline, seconds: float, progress: Callable[[Soak, Pipeline], None] | None) -> None:
        now_s = time.monotonic()
        if now_s - self._sampled_s >= _SAMPLE_S:
            self._sampled_s = now_s
            self._found.seconds = now_s - self._began_s
            self._found.samples.append(sample(now_s - self._began_s))
            if progress is not None:
                progress(self._found, pipeline)
        if now_s - self._began_s >= seconds:
            pipeline.close()

    def end(self, pipeline: Pipeline) -> Soak:
        found = self._found
        found.seconds = time.monotonic() - self._began_s
        found.states, found.stuck = pipeline.states, pipeline.stuck
        now_s = time.monotonic()
        for source, lost_s in [*self._lost.items()]:
            if source not in self._addresses or self._gives_since_s(source, now_s) > lost_s:  # else the camera is away
                self._is_back(source, now_s)
        tallies = [pipeline.profile, *pipeline.profile.sources.values()]
        found.unexplained = sum(abs(tally.under_way) for tally in tallies)
        for state in found.states:
            if state.source in self._addresses:  # the camera's own account has to agree
                faults = faults_of(self._addresses[state.source])
                found.faults[state.source] = faults.to_dict()
                found.unexplained += abs(faults.given - state.frames)
        return found

    def _is_back(self, source: str, now_s: float) -> None:
        lost_s = self._lost.pop(source)
        self._found.losses_s.setdefault(source, []).append(now_s - lost_s)
        self._found.backs_s.append(now_s - max(lost_s, self._gives_since_s(source, now_s)))

    def _gives_since_s(self, source: str, until_s: float) -> float:
        """The last time that its camera gave frames again; 0 where nobody tells."""
        return gives_since_s(self._addresses[source], until_s) if source in self._addresses else 0.0


def sample(at_s: float) -> Sample:
    """This process, now."""
    resident = int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return Sample(round(at_s, 1), round(resident / 1e6, 2), len(os.listdir(_TASKS)), len(os.listdir(_FILES)))
