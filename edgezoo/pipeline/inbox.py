"""Where frames wait between capture and inference, and where it is decided which frame goes next."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from edgezoo.frame import Frame
from edgezoo.latency import Profile


@dataclass(eq=False)
class Slot:
    """What waits from one source: the newest frame of a live one, a bounded queue of any other."""

    live: bool
    depth: int
    frames: deque[tuple[Frame, int]] = field(default_factory=deque)
    """Each with when it came, by `time.perf_counter_ns()`."""
    ended: bool = False


class Inbox:
    """Frames of many sources in, batches out.

    Live: one slot per source, the newest frame wins, what it overwrites is counted. Others: `put` waits for room,
    nothing is lost. Sources take turns, so that a fast one cannot starve a slow one.
    """

    def __init__(self, profile: Profile, *, batch: int, wait_ms: float | None, max_age_ms: float | None) -> None:
        self._profile = profile
        self._batch = batch
        self._wait_ms = wait_ms
        self._max_age_ms = max_age_ms
        self._slots: list[Slot] = []
        self._changed = threading.Condition()
        self._turn = 0
        self._since: float | None = None
        self._closed = False
        self._expected = 0

    def expect(self, sources: int) -> None:
        """So many sources will `add` themselves; until they did or were `lost`, the inbox has not ended."""
        self._expected = sources

    def add(self, *, live: bool) -> Slot:
        slot = Slot(live, depth=1 if live else max(2, 2 * self._batch))
        with self._changed:
            self._slots.append(slot)
            self._expected -= 1
            self._changed.notify_all()
        return slot

    def lost(self) -> None:
        """A source that was expected could not be opened."""
        with self._changed:
            self._expected -= 1
            self._changed.notify_all()

    def put(self, slot: Slot, frame: Frame) -> bool:
        """Hand in a frame; False once nobody wants more."""
        came_ns = time.perf_counter_ns()
        with self._changed:
            if self._closed:
                return False
            self._profile.count_grabbed()
            if slot.live and slot.frames:
                slot.frames.clear()
                self._profile.count_dropped("overwritten")
            while len(slot.frames) >= slot.depth and not self._closed:
                self._changed.wait()
            if self._closed:
                self._profile.count_dropped("closed")
                return False
            slot.frames.append((frame, came_ns))
            if self._since is None:
                self._since = time.monotonic()
            self._changed.notify_all()
            return True

    def end(self, slot: Slot) -> None:
        """No more frames come from this source; what waits is still served."""
        with self._changed:
            slot.ended = True
            self._changed.notify_all()

    def take(self) -> list[Frame]:
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
                self._profile.count_dropped("closed", len(slot.frames))
                slot.frames.clear()
            self._changed.notify_all()

    def _all_ended(self) -> bool:
        return not self._expected and all(slot.ended for slot in self._slots)

    def _left_s(self, waiting: int) -> float | None:
        """Seconds until the batch closes as it is; None: not before another frame comes."""
        open_slots = [slot for slot in self._slots if not slot.ended]
        # Live sources give one frame each, so that a larger batch would wait in vain.
        live = [slot for slot in open_slots if slot.live]
        full = self._batch if len(live) < len(open_slots) else min(self._batch, max(1, len(live)))
        if waiting >= full or (not open_slots and not self._expected):
            return 0.0
        wait_ms = self._wait_ms if self._wait_ms is not None else (0.0 if live else None)
        if wait_ms is None:
            return None
        return (self._since or 0.0) + wait_ms / 1e3 - time.monotonic()

    def _collect(self) -> list[Frame]:
        batch: list[Frame] = []
        idle = 0
        while len(batch) < self._batch and idle < len(self._slots):
            slot = self._slots[self._turn % len(self._slots)]
            self._turn += 1
            idle = 0 if slot.frames else idle + 1
            if slot.frames:
                frame, came_ns = slot.frames.popleft()
                self._profile.took("wait", came_ns, (frame,))
                batch.append(frame)
        self._since = time.monotonic() if any(slot.frames for slot in self._slots) else None
        self._changed.notify_all()
        return batch

    def _drop_old(self) -> None:
        if self._max_age_ms is None:
            return
        for slot in self._slots:
            if slot.live and slot.frames and slot.frames[0][0].age_ms > self._max_age_ms:
                slot.frames.clear()
                self._profile.count_dropped("too_old")
        if not any(slot.frames for slot in self._slots):
            self._since = None
