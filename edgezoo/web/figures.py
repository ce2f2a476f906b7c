"""What is told beside the pictures: rates, ages, states, events; of the last minute, where it is drawn."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, deque
from typing import Any

from edgezoo.frame import Event, Frame, State
from edgezoo.latency import STAGES, Profile

POINTS = 121  # a minute of half seconds
EVENTS = 40
SOURCES = 64  # that are told of; of more, those that ended first are left out
RATE_TICKS = 4  # a rate is the mean of so many ticks


class Seen:
    """One source."""

    def __init__(self, number: int, name: str, now_s: float) -> None:
        self.number, self.name = number, name
        self.state: State = "connecting"
        self.reason, self.error, self.since_s = "", False, now_s
        self.points: deque[tuple[float, float | None, float | None]] = deque(maxlen=POINTS)
        """By tick: frames a second, the median of their ages, and the highest, in ms."""
        self._ages_ms: list[float] = []
        self._counts: deque[tuple[float, int]] = deque(maxlen=RATE_TICKS + 1)
        self._count = 0

    def saw(self, frame: Frame) -> None:
        self._ages_ms.append(frame.age_ms)
        self._count += 1

    def tick(self, now_s: float) -> None:
        ages, self._ages_ms = sorted(self._ages_ms), []
        self._counts.append((now_s, self._count))
        before_s, before = self._counts[0]
        passed_s = now_s - before_s
        fps = (self._count - before) / passed_s if passed_s > 0 else 0.0
        middle, highest = (ages[len(ages) // 2], ages[-1]) if ages else (None, None)
        self.points.append((round(fps, 2), _rounded(middle), _rounded(highest)))

    def turn(self, event: Event) -> None:
        if event.kind != self.state:
            self.since_s = event.at_ns / 1e9
        self.state, self.reason, self.error = event.kind, event.message, event.error


class Figures:
    """Written by the pipeline's thread, read by the server's."""

    def __init__(self) -> None:
        self.ticks = 0
        self._profile: Profile | None = None
        self._sources: dict[str, Seen] = {}
        self._numbers: dict[str, int] = {}
        """Of all sources there were: one that comes again has the number that it had."""
        self._next = itertools.count(1)
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS)
        self._heard = 0
        self._spent: deque[dict[str, tuple[int, float]]] = deque(maxlen=RATE_TICKS + 1)
        self._lock = threading.Lock()

    def watch(self, profile: Profile) -> None:
        with self._lock:
            self._profile = profile
            self._spent.clear()

    def begin(self) -> None:
        with self._lock:
            self._profile = None
            self._sources.clear()
            self._spent.clear()

    def saw(self, name: str, frame: Frame) -> None:
        with self._lock:
            source = self._source(name)
            source.saw(frame)
            if source.state == "connecting":  # of a source that tells no events, as photos
                source.state = "live"

    def heard(self, event: Event) -> None:
        with self._lock:
            self._source(event.source).turn(event)
            self._heard += 1
            told = {"number": self._heard, "at_s": round(event.at.timestamp(), 2), "source": event.source}
            self._events.append({**told, "event": event.kind, "message": event.message, "error": event.error})

    def tick(self) -> None:
        now_s = time.monotonic()
        with self._lock:
            self.ticks += 1
            for source in self._sources.values():
                source.tick(now_s)
            if self._profile is not None:
                self._spent.append({name: (stage.n, stage.sum_ms) for name, stage in self._profile.stages.items()})

    def states(self) -> list[tuple[Seen, dict[str, Any]]]:
        """Every source, with what its pipeline counted."""
        with self._lock:
            return [(source, self._counted(source)) for source in self._sources.values()]

    def number_of(self, name: str) -> int | None:
        with self._lock:
            source = self._sources.get(name)
            return None if source is None else source.number

    def named(self, number: int) -> str | None:
        """The source of that number."""
        with self._lock:
            return next((name for name, source in self._sources.items() if source.number == number), None)

    def to_dict(self, *, since: int) -> dict[str, Any]:
        """All of it; of the points only those after tick `since`."""
        now_s = time.monotonic()
        with self._lock:
            missing = self.ticks - since if 0 <= since <= self.ticks else POINTS
            profile = self._profile
            return {
                "tick": self.ticks,
                "runs": {} if profile is None else profile.runs,
                "stages": self._stages(),
                "counts": {} if profile is None else _counts(profile),
                "sources": [self._told(source, missing, now_s) for source in self._sources.values()],
                "events": [*self._events],
            }

    def _source(self, name: str) -> Seen:
        if name not in self._sources:
            if len(self._sources) >= SOURCES:
                ended = [each.name for each in self._sources.values() if each.state == "ended"]
                del self._sources[ended[0] if ended else next(iter(self._sources))]
            if name not in self._numbers:
                self._numbers[name] = next(self._next)
            self._sources[name] = Seen(self._numbers[name], name, time.monotonic())
            while len(self._numbers) > 4 * SOURCES:
                del self._numbers[next(iter(self._numbers))]
        return self._sources[name]

    def _told(self, source: Seen, missing: int, now_s: float) -> dict[str, Any]:
        return {
            "number": source.number,
            "name": source.name,
            "state": source.state,
            "reason": source.reason,
            "error": source.error,
            "for_s": round(now_s - source.since_s, 1),
            "points": [*source.points][-missing:] if missing > 0 else [],
        }

    def _counted(self, source: Seen) -> dict[str, Any]:
        tally = None if self._profile is None else self._profile.sources.get(source.name)
        return {} if tally is None else {**_counts(tally), "reconnects": tally.reconnects}

    def _stages(self) -> dict[str, dict[str, float | None]]:
        """The mean of each over the last ticks, and its p99 since the beginning; nothing of what did not run."""
        if self._profile is None or not self._spent:
            return {}
        told = {}
        for name in STAGES:
            stage, (n, sum_ms) = self._profile.stages[name], self._spent[0][name]
            runs = stage.n - n
            if stage.n:
                mean = (stage.sum_ms - sum_ms) / runs if runs else None
                told[name] = {"mean_ms": _rounded(mean), "p99_ms": round(stage.percentile(99), 2)}
        return told


def _counts(tally: Any) -> dict[str, Any]:
    """Of a whole profile, or of one source."""
    dropped = Counter(tally.dropped)
    return {
        "grabbed": tally.grabbed,
        "delivered": tally.delivered,
        "failed": tally.failed,
        "dropped": {reason: count for reason, count in dropped.items() if count},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
