"""What pages show: the newest frame of every source with its answer, and who waits for one.

A pipeline hands its frames over and goes on: it keeps nothing but the newest, and costs nothing while nobody looks. A
page asks for what is newer than what it has, so that a slow one sees fewer frames and never old ones.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgezoo.capture import Capture
from edgezoo.errors import RequestError
from edgezoo.frame import Event, Frame
from edgezoo.latency import Profile
from edgezoo.results import Result
from edgezoo.web.figures import SOURCES, Figures

TICK_S = 0.5


@dataclass(frozen=True, eq=False, slots=True)
class Shot:
    """A frame, and what was found in it."""

    number: int
    """Counts the frames of all sources; rises also from one run of the program to the next."""
    frame: Frame
    result: Result


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What a person may choose on the page; None is not there."""

    models: tuple[str, ...] = ()
    model: str | None = None
    """The one of them that runs, or is about to."""
    choose: Callable[[str], None] | None = None
    """Another of `models` runs from now on; returns at once."""
    threshold: float = 0.0
    """What is shown scores at least this."""
    least: float = 0.0
    """What it may be set to."""
    ask: Callable[[float], None] | None = None
    """Told of another threshold, so that the model answers what is to be shown."""
    capture: Capture | None = None
    described: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What runs of each model, as engines describe themselves; for when no source is watched."""
    photos: bool = False
    """Whether photos of the page's own may be sent to a model."""


class Hub:
    """`write`, `event` and `watch` are for the pipeline's thread, `wait` for the server's, all others for any."""

    def __init__(self, controls: Controls | None = None) -> None:
        self.controls = controls or Controls()
        self.figures = Figures()
        self.closing = False
        self._shots: dict[str, Shot] = {}
        self._number = time.time_ns() // 1_000_000
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    # -- for the pipeline

    def write(self, frame: Frame, result: Result, *, stream: str | None = None) -> None:
        """`stream`: what the page knows its source by, where that is not the frame's."""
        name = stream or frame.source
        with self._lock:
            self._number += 1
            self._shots[name] = Shot(self._number, frame, result)
        self.figures.saw(name, frame)
        if len(self._shots) > SOURCES:
            self._drop_untold()
        self._call()

    def event(self, event: Event) -> None:
        self.figures.heard(event)

    def watch(self, profile: Profile) -> None:
        """Figures are those of this pipeline from now on."""
        self.figures.watch(profile)

    def begin(self) -> None:
        """Another pipeline begins: nothing of the last one is shown any more."""
        with self._lock:
            self._shots.clear()
        self.figures.begin()

    def _drop_untold(self) -> None:
        """Of a source that the figures have left out, nobody can ask for the picture."""
        with self._lock:
            told = {source.name for source, _ in self.figures.states()}
            self._shots = {name: shot for name, shot in self._shots.items() if name in told}

    # -- for pages

    def newer(self, than: int) -> dict[str, Shot]:
        """By source, what a page does not have yet."""
        with self._lock:
            if than > self._number:  # of a program that ran here before
                than = 0
            return {source: shot for source, shot in self._shots.items() if shot.number > than}

    def shown(self, result: Result) -> Result:
        """What of an answer scores enough to be shown. At the lowest threshold that is all of it: who follows objects
        has taken that threshold himself, and gives also what scores less, but goes on a track.
        """
        threshold = self.controls.threshold
        return result if threshold <= self.controls.least else result[result.scores >= threshold]

    def set_threshold(self, threshold: float) -> None:
        """Raises RequestError."""
        if not self.controls.least <= threshold <= 1:
            raise RequestError(f"expected a threshold of {self.controls.least:g} to 1, got {threshold:g}")
        self.controls = replace(self.controls, threshold=threshold)
        if self.controls.ask is not None:
            self.controls.ask(threshold)

    def keep(self, source: str) -> Path:
        """The newest frame of a source, with what is shown of it, into the operator's folder. Raises SinkError."""
        with self._lock:
            shot = self._shots.get(source)
        if self.controls.capture is None:
            raise RequestError("expected a folder to keep frames in, none was named; try: --capture FOLDER")
        if shot is None:
            raise RequestError(f"expected a source with a frame, got {source!r}")
        return self.controls.capture.save(shot.frame, self.shown(shot.result))

    # -- for the server

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Who waits does so in this loop."""
        self._loop = loop

    async def tick(self) -> None:
        """Until the end: figures, at their times."""
        while not self.closing:
            self.figures.tick()
            self._wake()
            await asyncio.sleep(TICK_S)

    async def wait(self, has_news: Callable[[], bool], patience_s: float) -> None:
        """Until there are news, or it is over."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + patience_s
        while not self.closing:
            call = loop.create_future()
            self._waiting.add(call)  # before looking: what comes in between calls
            try:
                left_s = until_s - loop.time()
                if has_news() or left_s <= 0:
                    return
                await asyncio.wait([call], timeout=left_s)
            finally:
                self._waiting.discard(call)

    def close(self) -> None:
        """Nobody waits any longer."""
        self.closing = True
        self._call()

    def _call(self) -> None:
        if (self._waiting or self.closing) and self._loop is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # closed meanwhile
                self._loop = None

    def _wake(self) -> None:
        for call in self._waiting:
            if not call.done():
                call.set_result(None)
