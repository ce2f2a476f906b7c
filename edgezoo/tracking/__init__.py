"""The same object over time, and how many of them pass a line or are in a zone. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgezoo.errors import RequestError
from edgezoo.frame import Frame
from edgezoo.results import UNTRACKED, Count, Detections, Labels, Result
from edgezoo.tracking.bytetrack import KEEP_S, LOWEST_SCORE, SCORE, Tracker
from edgezoo.tracking.counting import Counter, LineCounter, ZoneCounter
from edgezoo.tracking.places import Line, Place, Size, Zone, on_picture

__all__ = ["KEEP_S", "LOWEST_SCORE", "SCORE", "Follower", "Line", "Tracker", "Zone"]


class Follower:
    """`result = follower(frame, result)` for the frames of any number of sources, in the order of each: the detections
    with their `track_ids`, and the `counts` of all `places` in that source.

    `score`: what scores less is left out, unless it goes on a track. Ask the engine for more, down to `LOWEST_SCORE`:
    objects that are half hidden score badly. `keep_s`: how long an object that is not seen keeps its id.

    Call it from one thread. Frames may be missing, and a stream may come back with another size: that is taken for the
    same view in other pixels. Another process, or another follower, counts from 1 again.

    Raises RequestError: two places of one name, or numbers out of range.
    """

    def __init__(self, places: Sequence[Place] = (), *, score: float = SCORE, keep_s: float = KEEP_S) -> None:
        self._named = _named(places)
        self._score, self._keep_s = score, keep_s
        self._streams: dict[str, _Stream] = {}
        Tracker(score=score, keep_s=keep_s)  # so that wrong numbers are told now

    def __call__(self, frame: Frame, result: Result) -> Detections:
        """Raises RequestError: labels of a classifier, or a place that is outside the very first picture."""
        if isinstance(result, Labels):
            raise RequestError("expected detections to track, got labels of the whole picture; try yolox_nano")
        stream = self._streams.get(frame.source)
        if stream is None:
            height, width = frame.image.shape[:2]
            if not self._streams:
                _check_seen(self._named, (width, height))
            counters = [_counter(name, place) for name, place in self._named.items()]
            tracker = Tracker(score=self._score, keep_s=self._keep_s)
            stream = self._streams[frame.source] = _Stream(tracker, counters, frame)
        followed = stream.follow(frame, result)
        assert followed.track_ids is not None
        kept = (followed.track_ids != UNTRACKED) | (followed.scores >= self._score)
        return followed if kept.all() else followed[kept]

    @property
    def counts(self) -> dict[str, tuple[Count, ...]]:
        """The latest of every source."""
        return {source: stream.counts for source, stream in self._streams.items()}

    def forget(self, source: str) -> None:
        """A source that was taken away; nothing is left of it."""
        self._streams.pop(source, None)


class _Stream:
    """One source: its clock, its tracker, its counters."""

    def __init__(self, tracker: Tracker, counters: list[Counter], first: Frame) -> None:
        self._tracker, self._counters = tracker, counters
        self._pts_s, self._grabbed_ns = first.pts_s, first.grabbed_ns
        self._first_wh = self._size_wh = _size_wh(first)
        self._now_s = 0.0
        self._alive: set[int] = set()
        self.counts: tuple[Count, ...] = ()
        self._resize(self._size_wh)

    def follow(self, frame: Frame, found: Detections) -> Detections:
        self._tell_time(frame)
        if (size_wh := _size_wh(frame)) != self._size_wh:
            self._resize(size_wh)
        ids = self._tracker.update(found, at_s=self._now_s, size_wh=size_wh)
        self._forget_gone()
        for counter in self._counters:
            counter.update(*self._tracker.named)  # it may have passed a line since its first look, before it had an id
        seen = ids != UNTRACKED
        track_ids, boxes = ids[seen], found.boxes_xyxy[seen]
        self.counts = tuple(counter.update(track_ids, boxes) for counter in self._counters)
        return replace(found, track_ids=ids, counts=self.counts)

    def _resize(self, size_wh: Size) -> None:
        for counter in self._counters:
            counter.resize(size_wh, before_wh=self._size_wh, first_wh=self._first_wh)
        self._size_wh = size_wh

    def _tell_time(self, frame: Frame) -> None:
        """Media time; where that starts again, as a source does that was opened again, the time of grabbing."""
        step_s = frame.pts_s - self._pts_s
        if step_s < 0:
            step_s = max(frame.grabbed_ns - self._grabbed_ns, 0) / 1e9
        self._now_s += step_s
        self._pts_s, self._grabbed_ns = frame.pts_s, frame.grabbed_ns

    def _forget_gone(self) -> None:
        alive = set(self._tracker.alive.tolist())
        if gone := self._alive - alive:
            for counter in self._counters:
                counter.forget(gone)
        self._alive = alive


def _named(places: Sequence[Place]) -> dict[str, Place]:
    named: dict[str, Place] = {}
    for place in places:
        name = place.name or _free_name("line" if isinstance(place, Line) else "zone", named)
        if name in named:
            raise RequestError(f"expected lines and zones of different names, got {name!r} twice")
        named[name] = place
    return named


def _free_name(kind: str, taken: dict[str, Place]) -> str:
    number = 1
    while (name := kind if number == 1 else f"{kind} {number}") in taken:
        number += 1
    return name


def _counter(name: str, place: Place) -> Counter:
    return LineCounter(place, name) if isinstance(place, Line) else ZoneCounter(place, name)


def _check_seen(named: dict[str, Place], wh: Size) -> None:
    """Pixels of another size of picture would count nothing for ever."""
    for name, place in named.items():
        corners = on_picture(place, size_wh=wh, first_wh=wh)
        if (corners.min(axis=0) > wh).any():
            raise RequestError(
                f"expected {name!r} within the picture of {wh[0]}x{wh[1]}, got {corners.tolist()}; try fractions, 0..1"
            )


def _size_wh(frame: Frame) -> Size:
    return frame.image.shape[1], frame.image.shape[0]
