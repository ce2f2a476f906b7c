"""A camera's server is killed and started again, over and over, beside two others that are left alone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import rtsp

from edgezoo.frame import Event
from edgezoo.pipeline import Pipeline
from edgezoo.sources import barcode

PATIENCE_S = 15.0


@dataclass(kw_only=True)
class Account:
    """What came of it."""

    backs_s: list[float] = field(default_factory=list)
    """From the moment that the server listens again until the first frame is handed over."""
    losses_s: list[float] = field(default_factory=list)
    """From the kill until it is told."""
    fps: list[float] = field(default_factory=list)
    """Of the others, as handed over."""
    kept: list[float] = field(default_factory=list)
    """Of the frames that the others' cameras made, by the numbers in the pixels: the part that was handed over."""
    accounted: bool = False
    threads: tuple[int, int] = (0, 0)
    """After the first minute, or half of the kills where that is sooner; and at the end."""
    files: tuple[int, int] = (0, 0)
    seconds: float = 0.0


class _Seen:
    """The numbers in the pixels, by source; and when the events came."""

    def __init__(self) -> None:
        self.first: dict[str, tuple[float, int]] = {}
        self.last: dict[str, tuple[float, int]] = {}
        self.count: dict[str, int] = {}
        self.events: list[Event] = []

    def frame(self, source: str, image: Any) -> None:
        code = barcode.read(image)
        if code is not None:
            now = (time.monotonic(), code[0])
            self.first.setdefault(source, now)
            self.last[source] = now
            self.count[source] = self.count.get(source, 0) + 1

    def forget(self) -> None:
        self.first, self.last, self.count = {}, {}, {}


def run(engine: Any, *, kills: int, fps: float = 15, size: str = "320x240", up_s: float = 1.0) -> Account:
    """`up_s`: how long the server may be seen before it is killed again."""
    account, seen = Account(), _Seen()
    with ExitStack() as stack:
        servers = [stack.enter_context(rtsp.Server(fps=fps, size=size, seconds=0)) for _ in range(3)]
        pipeline = Pipeline([server.url for server in servers], engine, batch=3, wait_ms=5, on_event=seen.events.append)
        stack.enter_context(pipeline)
        over = threading.Event()
        killer = threading.Thread(target=_kill, args=(servers[0], pipeline, seen, account, kills, up_s, over))
        stack.callback(killer.join)
        stack.callback(over.set)
        frames = iter(pipeline)
        for _ in frames:
            if len({event.source for event in seen.events if event.kind == "live"}) == 3:
                break
        began = time.monotonic()
        seen.forget()
        killer.start()
        for frame, _ in frames:
            seen.frame(frame.source, frame.image)
            if not killer.is_alive():
                break
        account.seconds = time.monotonic() - began
        for server in servers[1:]:
            (began_s, first), (ended_s, last) = seen.first[server.url], seen.last[server.url]
            account.fps.append((seen.count[server.url] - 1) / (ended_s - began_s))
            account.kept.append(seen.count[server.url] / (last - first + 1))
    tallies = [pipeline.profile, *pipeline.profile.sources.values()]
    account.accounted = not any(tally.under_way for tally in tallies)
    return account


def _kill(
    server: rtsp.Server,
    pipeline: Pipeline,
    seen: _Seen,
    account: Account,
    kills: int,
    up_s: float,
    over: threading.Event,
) -> None:
    began, half = time.monotonic(), (kills + 1) // 2
    for number in range(kills):
        over.wait(up_s)
        account.losses_s.append(_timed(server.kill, seen, server.url, "lost", over))
        over.wait(0.2 + 0.3 * (number % 4))
        account.backs_s.append(_timed(server.start, seen, server.url, "live", over))
        if over.is_set():
            return
        over.wait(0.3)  # what the opening needed has been let go of
        now = threading.active_count(), len(os.listdir("/proc/self/fd"))
        if number + 1 == half or (time.monotonic() - began < 60 and number + 1 < half):
            account.threads, account.files = (now[0], now[0]), (now[1], now[1])
        account.threads, account.files = (account.threads[0], now[0]), (account.files[0], now[1])


def _timed(act: Callable[[], None], seen: _Seen, source: str, kind: str, over: threading.Event) -> float:
    """Do it; seconds from then until the event."""
    count = sum(event.source == source and event.kind == kind for event in seen.events)
    act()
    acted = time.monotonic()
    while not over.is_set() and time.monotonic() - acted < PATIENCE_S:
        told = [event for event in seen.events if event.source == source and event.kind == kind]
        if len(told) > count:
            return max(0.0, told[count].at_ns / 1e9 - acted)
        over.wait(0.005)
    return float("inf")
