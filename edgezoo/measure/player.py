"""The two that `bench` holds against each other, each played a block at a time: the bare engine, and a pipeline."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgezoo.engine import Engine
from edgezoo.errors import RequestError, SourceError
from edgezoo.frame import Frame
from edgezoo.latency import Distribution
from edgezoo.pipeline import Pipeline
from edgezoo.sources import open_source

BLOCK_RUNS = 5
"""A block has at least so many runs, for engines that are slow against its seconds."""


class BareEngine:
    """The backend on a prepared batch: what the pipeline is held against."""

    def __init__(self, engine: Engine, batch: int, clip: str) -> None:
        source = open_source(clip)
        try:
            images = [frame.image for frame in itertools.islice(source, batch)]
        finally:
            source.close()
        if not images:
            raise SourceError(f"{source.address}: expected frames, got none")
        images += images[-1:] * (batch - len(images))
        self._engine, self._batch = engine, batch
        self.array, _ = engine.prepare(images)
        self.run = Distribution()

    def block(self, seconds: float) -> float:
        """Frames per second over at least so long."""
        began = now = time.perf_counter_ns()
        runs = 0
        while now - began < seconds * 1e9 or runs < BLOCK_RUNS:
            before = now
            self._engine.infer(self.array)
            now = time.perf_counter_ns()
            self.run.add((now - before) / 1e6)
            runs += 1
        return runs * self._batch / ((now - began) / 1e9)

    def forget(self) -> None:
        self.run = Distribution()


class Player:
    """A pipeline over an endless clip, played a block at a time. Between blocks it is empty, and nothing of it runs."""

    def __init__(self, engine: Engine, clip: str, *, workers: int | None, batch: int) -> None:
        self.clip = Loop(clip, batch)
        try:
            self.pipeline = Pipeline(self.clip, engine, workers=workers, batch=batch)
        except BaseException:
            self.clip.close()
            raise
        self._results = iter(self.pipeline)
        self._delivered = 0
        self._unit = (
            self.pipeline.profile.runs["workers"] * batch
        )  # frames come in bursts of that many; a block is whole bursts
        self._filling = 4 * self._unit + 4 * batch
        self.forget()

    def block(self, seconds: float) -> float:
        """Frames per second over at least so long, from a first frame that found the pipeline full."""
        self.clip.go()
        for _ in range(self._filling):
            self._next()
        began = now = time.perf_counter_ns()
        frames = 0
        while now - began < seconds * 1e9 or frames < BLOCK_RUNS * self._unit or frames % self._unit:
            before = now
            frame = self._next()
            now = time.perf_counter_ns()
            self.age.add(frame.age_ms)
            self.interval.add((now - before) / 1e6)
            frames += 1
        self.clip.hold()
        while self.clip.flowing(self._delivered):
            self._next()
        return frames / ((now - began) / 1e9)

    def forget(self) -> None:
        self.interval, self.age = Distribution(), Distribution()

    def close(self) -> None:
        self._results.close()  # type: ignore[attr-defined]
        self.pipeline.close()

    def _next(self) -> Frame:
        frame, _ = next(self._results)
        self._delivered += 1
        return frame


@dataclass(eq=False)
class Loop:
    """A source: a clip from its beginning to its end, over and over, in spans of `batch` frames that can be held."""

    address: str
    batch: int
    live: bool = field(default=False, init=False)
    frames: None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._first = open_source(self.address)
        self.fps, self.size_wh = self._first.fps, self._first.size_wh
        if self._first.live:
            self._first.close()
            raise RequestError(
                f"{self._first.address}: expected a clip, got a live source, which sets its own pace; "
                "try clip.mp4 or synthetic:#live=0"
            )
        self.address, self._given = self._first.address, self.address
        self._changed = threading.Condition()
        self._going = self._closed = self._held = False
        self._granted = 0

    def __iter__(self) -> Iterator[Frame]:
        given = 0
        for source in itertools.chain([self._first], map(open_source, itertools.repeat(self._given))):
            before = given
            try:
                for frame in source:
                    if given == self._granted and not self._grant():
                        return
                    yield Frame(frame.image, given, frame.pts_s, frame.grabbed_ns, self.address)
                    given += 1
            finally:
                source.close()
            if given == before:
                raise SourceError(f"{self.address}: expected frames, got none")

    def _grant(self) -> bool:
        """Wait until frames may go; the next `batch` of them may. False: closed."""
        with self._changed:
            self._held = True
            self._changed.notify_all()
            while not self._going and not self._closed:
                self._changed.wait()
            self._held = False
            self._granted += self.batch
            return not self._closed

    def go(self) -> None:
        with self._changed:
            self._going = True
            self._changed.notify_all()

    def hold(self) -> None:
        with self._changed:
            self._going = False

    def flowing(self, delivered: int) -> bool:
        """Whether another frame will come than the `delivered`; waits until that is known. Only while held."""
        with self._changed:
            while delivered == self._granted and not self._held and not self._closed:
                self._changed.wait()
            return delivered < self._granted

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._first.close()
