"""Where frames wait between capture and inference, and where it is decided which frame goes next."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from edgezoo.frame import Frame
from edgezoo.latency import Profile

Box: TypeAlias = tuple[int, int, int, int]


class Waiting(NamedTuple):
    """A frame, and what the way home of its result needs."""

    frame: Frame
    slot: Slot
    box_xyxy: Box | None
    """The part of it that the engine sees; None for the whole."""
    came_ns: int
    """By `time.perf_counter_ns()`."""


class Rate:
    """Lets through so many frames a second on the whole: the first one that comes when the next is due."""

    def __init__(self, fps: float, *, early: float = 0.25) -> None:
        """`early`: of an interval. A source of just that rate, which is never quite even, keeps all its frames."""
        self._interval_s = 1 / fps
        self._early_s = early / fps
        self._due_s: float | None = None

    def takes(self, now_s: float) -> bool:
        if (
            self._due_s is None or now_s < self._due_s - 2 * self._interval_s
        ):  # the first one, or a clock that began anew
            self._due_s = now_s
        if now_s < self._due_s - self._early_s:
            return False
        self._due_s = max(self._due_s, now_s - self._interval_s) + self._interval_s
        return True


@dataclass(eq=False)
class Slot:
    """What waits from one source: the newest frame of a live one, a bounded queue of any other."""

    name: str
    live: bool
    depth: int
    rate: Rate | None = None
    frames: deque[Waiting] = field(default_factory=deque)
    flowing: bool = True
    """Whether frames come: no batch waits for a stream that is stalled or lost."""
    ended: bool = False
    closed: bool = False


class Inbox:
    """Frames of many sources in, batches out.

    Live: one slot per source, the newest frame wins, what it overwrites is counted. Others: `put` waits for room,
    nothing is lost. Sources take turns, so that a fast one cannot starve a slow one.
    """

    def __init__(
        self, profile: Profile, *, batch: int, wait_ms: float | None, max_age_ms: float | None, endless: bool = False
    ) -> None:
        """`endless`: it has not ended when all its sources have, for others may come."""
        self._profile = profile
        self._batch = batch
        self._wait_ms = wait_ms
        self._max_age_ms = max_age_ms
        self._endless = endless
        self._slots: list[Slot] = []
        self._changed = threading.Condition()
        self._turn = 0
        self._since: float | None = None
        self._closed = False

    def add(self, name: str, *, live: bool, fps: float | None = None) -> Slot:
        """A place for another source's frames, of which at most `fps` a second go on."""
        rate = None if fps is None else Rate(fps, early=0.25 if live else 0.01)  # a file is even
        slot = Slot(name, live, depth=1 if live else max(2, 2 * self._batch), rate=rate, flowing=not live)
        with self._changed:
            self._slots.append(slot)
            self._changed.notify_all()
        return slot

    def put(self, slot: Slot, frame: Frame, box_xyxy: Box | None = None) -> bool:
        """Hand in a frame; False once nobody wants more."""
        came_ns = time.perf_counter_ns()
        count = self._profile
        with self._changed:
            count.count_grabbed(slot.name)
            if self._closed or slot.closed:
                count.count_dropped("closed", source=slot.name)
                return False
            if slot.rate is not None and not slot.rate.takes(frame.grabbed_ns / 1e9 if slot.live else frame.pts_s):
                count.count_dropped("rate", source=slot.name)
                return True
            if slot.live and slot.frames:
                slot.frames.clear()
                count.count_dropped("overwritten", source=slot.name)
            while len(slot.frames) >= slot.depth and not (self._closed or slot.closed):
                self._changed.wait()
            if self._closed or slot.closed:
                count.count_dropped("closed", source=slot.name)
                return False
            slot.flowing = True
            slot.frames.append(Waiting(frame, slot, box_xyxy, came_ns))
            if self._since is None:
                self._since = time.monotonic()
            self._changed.notify_all()
            return True

    def pause(self, slot: Slot) -> None:
        """Frames have stopped coming: until another one does, no batch waits for it."""
        with self._changed:
            slot.flowing = False
            self._changed.notify_all()

    def end(self, slot: Slot) -> None:
        """No more frames come from this source; what waits is still served."""
        with self._changed:
            slot.ended = True
            self._changed.notify_all()

    def remove(self, slot: Slot) -> None:
        """Nobody wants this source's frames any more; what waits is counted as dropped."""
        with self._changed:
            self._empty(slot)
            slot.ended = slot.closed = True
            if slot in self._slots:
                self._slots.remove(slot)
            self._changed.notify_all()

    def take(self) -> list[Waiting]:
        """The next batch: waits until it is full or its oldest frame has waited `wait_ms`. Empty: all has ended."""
        with self._changed:
            while True:
                self._drop_old()
                waiting = sum(len(slot.frames) for slot in self._slots)
                if self._closed or (not waiting and self._all_ended()):
                    return []
                left_s = self._left_s(waiting) if waiting else None
                if left_s is not None and left_s <= 0:
                    return self._collect()
                self._changed.wait(left_s)

    def close(self) -> None:
        """Let everybody go who waits here; what still waits is counted as dropped."""
        with self._changed:
            self._closed = True
            for slot in self._slots:
                self._empty(slot)
            self._changed.notify_all()

    def _empty(self, slot: Slot) -> None:
        if slot.frames:
            self._profile.count_dropped("closed", len(slot.frames), source=slot.name)
            slot.frames.clear()
            self._wait_anew()

    def _wait_anew(self) -> None:
        """With nothing left, the next batch has waited for nothing yet."""
        if not any(slot.frames for slot in self._slots):
            self._since = None

    def _all_ended(self) -> bool:
        return not self._endless and all(slot.ended for slot in self._slots)

    def _left_s(self, waiting: int) -> float | None:
        """Seconds until the batch closes as it is; None: not before another frame comes."""
        coming = [slot for slot in self._slots if not slot.ended and (slot.flowing or slot.frames)]
        # Live sources give one frame each, so that a larger batch would wait in vain.
        live = [slot for slot in coming if slot.live]
        full = self._batch if len(live) < len(coming) else min(self._batch, max(1, len(live)))
        if waiting >= full or not coming:
            return 0.0
        wait_ms = self._wait_ms if self._wait_ms is not None else (0.0 if live else None)
        if wait_ms is None:
            return None
        return (self._since or 0.0) + wait_ms / 1e3 - time.monotonic()

    def _collect(self) -> list[Waiting]:
        batch: list[Waiting] = []
        idle = 0
        while len(batch) < self._batch and idle < len(self._slots):
            slot = self._slots[self._turn % len(self._slots)]
            self._turn += 1
            idle = 0 if slot.frames else idle + 1
            if slot.frames:
                waiting = slot.frames.popleft()
                self._profile.took("wait", waiting.came_ns, (waiting.frame,))
                batch.append(waiting)
        self._since = time.monotonic() if any(slot.frames for slot in self._slots) else None
        self._changed.notify_all()
        return batch

    def _drop_old(self) -> None:
        if self._max_age_ms is None:
            return
        for slot in self._slots:
            if slot.live and slot.frames and slot.frames[0].frame.age_ms > self._max_age_ms:
                slot.frames.clear()
                self._profile.count_dropped("too_old", source=slot.name)
        self._wait_anew()
