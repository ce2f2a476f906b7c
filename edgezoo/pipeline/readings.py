"""A thread's time with a source: open it, hand its frames on, and say how it ended."""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from edgezoo.errors import SourceError, SourceRefused
from edgezoo.frame import Frame
from edgezoo.latency import Profile
from edgezoo.pipeline.inbox import Box, Inbox, Slot
from edgezoo.pipeline.numbering import Numbering
from edgezoo.pipeline.streams import Stream
from edgezoo.sources import Source
from edgezoo.sources.feed import Feed


@dataclass(eq=False)
class Reading:
    """One thread's time with a source: over when it is given up, or nobody wants the source any more."""

    over: threading.Event = field(default_factory=threading.Event)
    source: Source | None = None


@dataclass(eq=False)
class Kept:
    """A source, its state, and who reads it."""

    feed: Feed
    stream: Stream
    slot: Slot
    numbering: Numbering
    first: Source | None
    """Opened before the pipeline ran, and not read yet."""
    reading: Reading | None = None
    held: set[Reading] = field(default_factory=set)
    """Given up, and not ended yet."""
    wants_reader_s: float | None = None
    """Since when there was no thread to be had for it."""


class Reader:
    """Reads sources, each in the thread that asks for it. `changed` guards who reads what, and every stream's state."""

    def __init__(self, inbox: Inbox, profile: Profile, changed: threading.Condition) -> None:
        self._inbox, self._profile, self._changed = inbox, profile, changed

    def read(self, kept: Kept, reading: Reading) -> Exception | None:
        """One opening, to its end: what went wrong."""
        source = None
        try:
            with self._changed:
                kept.stream.begins(time.monotonic())
                source, kept.first = kept.first, None
                self._changed.notify_all()
            if source is None:
                source = kept.feed.open()
            with self._changed:
                reading.source = source
                kept.numbering.again()
                if reading.over.is_set():
                    return None
                kept.stream.opened(time.monotonic(), source.fps)
                self._changed.notify_all()
            self._take_frames(kept, reading, source)
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # which would keep their pictures until somebody collects them
            return error
        finally:
            if source is not None:
                source.close()
            with self._changed:
                reading.source = None
        return None

    def _take_frames(self, kept: Kept, reading: Reading, source: Source) -> None:
        frames = iter(source)
        damaged = 0
        try:
            while True:
                began_ns = time.perf_counter_ns()
                try:
                    came = next(frames, None)
                finally:
                    if (bad := getattr(source, "damaged", 0)) != damaged:
                        self._count_damaged(kept, bad - damaged)
                        damaged = bad
                box = None if came is None else self._box(kept, came)
                frame = None if came is None else self._accept(kept, reading, came)
                self._profile.took("capture", began_ns, () if frame is None else (frame,))
                if frame is None or not self._inbox.put(kept.slot, frame, box):
                    return
        finally:
            if isinstance(frames, _Closes):
                frames.close()

    def _accept(self, kept: Kept, reading: Reading, frame: Frame) -> Frame | None:
        """The frame as the pipeline knows it; None once nobody wants one from there."""
        with self._changed:
            if reading.over.is_set():  # it came too late, but it did come out of the source
                self._profile.count_grabbed(kept.stream.name)
                self._profile.count_dropped("closed", source=kept.stream.name)
                return None
            if kept.stream.state != "live":
                self._changed.notify_all()  # from now on a stall comes sooner than what was waited for
            if kept.stream.came(time.monotonic(), _size_wh(frame)):
                self._profile.count_reconnect(kept.stream.name)
            return kept.numbering(frame)

    def _box(self, kept: Kept, frame: Frame) -> Box | None:
        """The part of the picture that is wanted; None for all of it."""
        region, size_wh = kept.feed.region, _size_wh(frame)
        if region is None:
            return None
        try:
            box = region.box(size_wh)
        except SourceRefused as error:
            self._profile.count_grabbed(kept.stream.name)
            self._profile.count_failed(1, source=kept.stream.name)
            if kept.stream.size_wh is None:
                raise SourceRefused(f"{kept.feed.address}: {error}") from None
            raise SourceError(f"{kept.feed.address}: {error}") from None  # it was inside before, and may be again
        return None if box == (0, 0, *size_wh) else box

    def _count_damaged(self, kept: Kept, frames: int) -> None:
        for _ in range(frames):
            self._profile.count_grabbed(kept.stream.name)
        self._profile.count_dropped("damaged", frames, source=kept.stream.name)


@runtime_checkable
class _Closes(Protocol):
    """A generator, as most iterators of sources are: it releases what it holds when it is closed."""

    def close(self) -> None: ...


def _size_wh(frame: Frame) -> tuple[int, int]:
    return frame.image.shape[1], frame.image.shape[0]
