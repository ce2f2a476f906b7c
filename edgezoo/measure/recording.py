"""What happened while a pipeline ran, moment by moment: what a trace and a report are made of."""

from __future__ import annotations

import threading
import time
from array import array
from dataclasses import dataclass, field

from edgezoo.frame import Event, Frame
from edgezoo.latency import Profile, Span

MOST_SPANS = 400_000  # some 150 MB; a camera at 30 frames a second makes that in half an hour
_SAMPLE_S = 0.1


@dataclass(eq=False, slots=True)
class Ages:
    """Of one source's delivered frames."""

    at_s: array[float] = field(default_factory=lambda: array("d"))
    age_ms: array[float] = field(default_factory=lambda: array("d"))


class Recording:
    """Made before the pipeline runs, whose `profile` it listens to; all times are seconds since then.

    Tell it every `event`, and every frame that was `delivered`.
    """

    def __init__(self, profile: Profile, *, spans: bool = False) -> None:
        """`spans`: keep them, for a trace."""
        self.profile = profile
        self.began_ns = time.perf_counter_ns()
        self.spans: list[Span] = []
        self.left_out = 0
        """Spans after the first MOST_SPANS."""
        self.ages: dict[str, Ages] = {}
        """By source, in the order in which they were first heard of; empty for one that gave nothing."""
        self.drops: list[tuple[float, dict[str, int]]] = [(0.0, dict(profile.dropped))]
        """How many there were by then, by reason."""
        self.events: list[tuple[float, Event]] = []
        self.ended_s = 0.0
        self._monotonic_ns = time.monotonic_ns()
        self._lock = threading.Lock()
        if spans:
            profile.recorder = self._keep

    @property
    def now_s(self) -> float:
        return (time.perf_counter_ns() - self.began_ns) / 1e9

    def delivered(self, frame: Frame) -> None:
        of_source, now_s = self._of(frame.source), self.now_s
        of_source.at_s.append(now_s)
        of_source.age_ms.append(frame.age_ms)
        if now_s - self.drops[-1][0] >= _SAMPLE_S:
            self.sample()

    def event(self, event: Event) -> None:
        self._of(event.source)
        self.events.append(((event.at_ns - self._monotonic_ns) / 1e9, event))
        self.sample()

    def end(self) -> None:
        """What comes from now on is only the pipeline's closing, and counts for the drops alone. Again does no harm."""
        self.ended_s = self.ended_s or self.now_s
        self.sample()

    def _of(self, source: str) -> Ages:
        if source not in self.ages:
            self.ages[source] = Ages()
        return self.ages[source]

    def sample(self) -> None:
        """Note how many frames were dropped by now."""
        if self.profile.dropped != self.drops[-1][1]:
            self.drops.append((self.now_s, dict(self.profile.dropped)))

    def _keep(self, span: Span) -> None:
        with self._lock:
            if len(self.spans) < MOST_SPANS:
                self.spans.append(span)
            else:
                self.left_out += 1
