"""Capture: a thread for every source that opens it, reads it, and opens it again; and one that watches them all.

A thread that a driver holds in a blocked read cannot be ended. It is given up: whatever it still brings is not taken,
another one opens the source anew, and when its driver lets go it releases what it holds, and ends.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Container
from functools import partial

from edgezoo.errors import RequestError, SourceError, nearest
from edgezoo.frame import Event
from edgezoo.latency import Profile, Tally
from edgezoo.machine import give_back
from edgezoo.pipeline.inbox import Inbox, Slot
from edgezoo.pipeline.numbering import Numbering
from edgezoo.pipeline.readings import Kept, Reader, Reading
from edgezoo.pipeline.streams import Stream, StreamState
from edgezoo.sources import Source
from edgezoo.sources.feed import Feed

MOST_HELD = 3  # threads of one source that a driver may hold at a time
OPENING_S = 1.0  # how long closing waits for one that opens a source
HELD_S = 0.5  # between looks at whether it has let go of one
TIDY_S = 30.0  # between times that freed memory is given back
LATE_S = 1.0  # a watch that wakes so much later than it should was not the only one that could not run


class Captures:
    """All sources of a pipeline. One lock guards what is in here; a source is opened, read and closed outside of it."""

    def __init__(
        self,
        inbox: Inbox,
        profile: Profile,
        *,
        tell: Callable[[Event], None],
        fail: Callable[[BaseException], None],
        retries: float | None,
    ) -> None:
        """`tell` hears of every event, and `fail` of what should not happen, in any thread."""
        self._inbox, self._profile, self._tell, self._fail, self._retries = inbox, profile, tell, fail, retries
        self._kept: dict[str, Kept] = {}
        self._changed = threading.Condition()
        self._reader = Reader(inbox, profile, self._changed)
        self._started = self._closed = False
        self._threads: list[tuple[threading.Thread, Reading]] = []
        self._watch: threading.Thread | None = None
        self.error: Exception | None = None
        """Why the first source that was given up failed."""

    # -- for the pipeline

    def add(self, feed: Feed) -> str:
        """Its name from now on. Raises RequestError once closed."""
        with self._changed:
            if self._closed:
                raise RequestError("expected a pipeline that runs, got one that was closed; make another")
            name = _unused(feed.address, self._kept)
            slot = self._inbox.add(name, live=feed.live, fps=feed.fps)
            stream = Stream(
                name,
                address=feed.address,
                tell=partial(self._heard, slot),
                live=feed.live,
                reopens=feed.reopens,
                retries=self._retries,
                timeout_s=feed.timeout_s,
                dice=random.Random(),
                now_s=time.monotonic(),
            )
            numbering = Numbering(name if feed.live or name != feed.address else None)
            kept = self._kept[name] = Kept(feed, stream, slot, numbering, feed.opened)
            if self._started:
                self._begin(kept, 0.0)
        return name

    def remove(self, address: str) -> None:
        """Raises RequestError for one that is not here."""
        with self._changed:
            name = address if address in self._kept else Feed.at(address).address
            if name not in self._kept:
                near = nearest(name, self._kept)
                hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(self._kept) or 'none'}"
                raise RequestError(f"expected a source of this pipeline, got {name!r}; {hint}")
            kept = self._kept.pop(name)
            kept.stream.ended(time.monotonic(), "removed")
            ending = self._end(kept)
        for source in ending:
            source.close()
        self._inbox.remove(kept.slot)

    def states(self) -> tuple[StreamState, ...]:
        with self._changed:
            return tuple(self._state(kept) for kept in self._kept.values())

    def start(self) -> None:
        with self._changed:
            self._started = True
            for kept in self._kept.values():
                self._begin(kept, 0.0)

    def close(self) -> None:
        """End every source; never waits."""
        with self._changed:
            self._closed = True
            now_s = time.monotonic()
            for kept in self._kept.values():
                kept.stream.ended(now_s, "the pipeline was closed")
            ending = [source for kept in self._kept.values() for source in self._end(kept)]
            self._changed.notify_all()
        for source in ending:
            source.close()

    def join(self, until_s: float) -> tuple[str, ...]:
        """Wait for the threads, by the clock until then; the names of those that a driver or a server still holds.

        One that waits for a server's answer holds nothing else, and ends in its time: it is hardly waited for.
        """
        opening_until_s = min(until_s, time.monotonic() + OPENING_S)
        with self._changed:
            threads = [*self._threads]
        for thread, reading in threads:
            if not thread.is_alive():
                continue  # or never started, where a signal came in between
            thread.join(max(0.0, (opening_until_s if reading.source is None else until_s) - time.monotonic()))
        if self._watch is not None and self._watch.is_alive():
            self._watch.join(max(0.0, until_s - time.monotonic()))
        return tuple(thread.name for thread, _ in threads if thread.is_alive())

    # -- threads: one reads a source

    def _begin(self, kept: Kept, delay_s: float) -> None:
        """Another thread for it, which waits so long first; with the lock held."""
        if kept.stream.state == "ended":
            return
        if len(kept.held) >= MOST_HELD:
            kept.reading, kept.wants_reader_s = None, time.monotonic()
            kept.stream.waits(f"{len(kept.held)} threads that read it are held by its driver", kept.wants_reader_s)
            return
        kept.wants_reader_s = None
        kept.reading = Reading()
        target = partial(self._guarded, partial(self._read_on, kept, kept.reading, delay_s))
        thread = threading.Thread(target=target, name=f"edgezoo capture {kept.stream.name}", daemon=True)
        self._threads = [*(each for each in self._threads if each[0].is_alive()), (thread, kept.reading)]
        thread.start()
        if kept.feed.live and self._watch is None:
            target = partial(self._guarded, self._watch_all)
            self._watch = threading.Thread(target=target, name="edgezoo watch", daemon=True)
            self._watch.start()

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:
            self._fail(error)

    def _read_on(self, kept: Kept, reading: Reading, delay_s: float | None) -> None:
        """Open and read until it is over, or given up."""
        try:
            while delay_s is not None and not reading.over.wait(delay_s):
                error = self._reader.read(kept, reading)
                with self._changed:
                    delay_s = None if reading.over.is_set() else self._settle(kept, error)
        finally:
            with self._changed:
                kept.held.discard(reading)
                self._changed.notify_all()

    def _settle(self, kept: Kept, error: Exception | None) -> float | None:
        """What comes after an opening that has ended: seconds until the next one; None: nothing."""
        now_s = time.monotonic()
        delay_s = None
        if error is None:
            kept.stream.ended(now_s)
        else:
            delay_s = kept.stream.failed(error, now_s)
            if delay_s is None:
                self.error = self.error or error
        if delay_s is None:
            self._inbox.end(kept.slot)
        return delay_s

    # -- threads: one watches them all

    def _watch_all(self) -> None:
        tidy_s = time.monotonic() + TIDY_S
        while True:
            with self._changed:
                if self._closed:
                    return
                due_s = min(self._due_s(), tidy_s)
                self._changed.wait(max(0.0, due_s - time.monotonic()))
                now_s = time.monotonic()
                given_up = [] if self._closed else self._look(now_s - due_s)
            for source in given_up:
                source.close()
            if now_s >= tidy_s:
                give_back()  # frames are of many sizes, and what they leave behind fits the next ones badly
                tidy_s = now_s + TIDY_S

    def _due_s(self) -> float:
        dues = [kept.stream.due_s() for kept in self._kept.values()]
        dues += [kept.wants_reader_s + HELD_S for kept in self._kept.values() if kept.wants_reader_s is not None]
        return min((due for due in dues if due is not None), default=float("inf"))

    def _look(self, late_s: float) -> list[Source]:
        """Give up whoever reads a stream from which nothing comes; what there is to close."""
        given_up: list[Source] = []
        for kept in self._kept.values():
            if late_s > LATE_S:
                kept.stream.forgive(late_s, time.monotonic())
            elif kept.wants_reader_s is not None:
                self._begin(kept, 0.0)
            elif kept.reading is not None and (why := kept.stream.check(time.monotonic())) is not None:
                given_up += self._give_up(kept, kept.reading, why)
        return given_up

    def _give_up(self, kept: Kept, reading: Reading, why: str) -> list[Source]:
        reading.over.set()
        kept.held.add(reading)
        kept.reading = None
        delay_s = self._settle(kept, SourceError(f"{kept.feed.address}: {why}"))
        if delay_s is not None:
            self._begin(kept, delay_s)
        return [] if reading.source is None else [reading.source]

    # -- within

    def _heard(self, slot: Slot, event: Event) -> None:
        """A stream's state has changed."""
        if event.kind in ("stalled", "lost"):
            self._inbox.pause(slot)
        self._tell(event)

    def _end(self, kept: Kept) -> list[Source]:
        """Nobody reads it any more; what there is to close."""
        ending = [kept.first] if kept.first is not None else []
        kept.first = None
        if kept.reading is not None:
            kept.reading.over.set()
            ending += [] if kept.reading.source is None else [kept.reading.source]
        return ending

    def _tally(self, name: str) -> Tally:
        return self._profile.sources.get(name) or Tally()

    def _state(self, kept: Kept) -> StreamState:
        stream, tally = kept.stream, self._tally(kept.stream.name)
        return StreamState(
            source=stream.name,
            state=stream.state,
            since_ns=round(stream.since_s * 1e9),
            reason=stream.reason,
            error=stream.error,
            fps=stream.fps,
            size_wh=stream.size_wh,
            frames=tally.grabbed,
            delivered=tally.delivered,
            failed=tally.failed,
            dropped={**tally.dropped},
            reconnects=stream.reconnects,
            held=len(kept.held),
        )


def _unused(address: str, taken: Container[str]) -> str:
    """`address`, or the first of `address (2)`, `address (3)`, … that is free."""
    names = (address if number == 1 else f"{address} ({number})" for number in itertools.count(1))
    return next(name for name in names if name not in taken)
