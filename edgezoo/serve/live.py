"""The pipeline behind the page: one model at a time on all sources, until it is closed or another one is chosen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edgezoo.engine import Engine
from edgezoo.errors import EdgezooError, RequestError, SourceError
from edgezoo.frame import Event
from edgezoo.pipeline import Pipeline
from edgezoo.sources.feed import Feed
from edgezoo.sources.images import is_images
from edgezoo.sources.paced import Paced
from edgezoo.tasks import detect
from edgezoo.tracking import LOWEST_SCORE, Follower
from edgezoo.web.hub import Hub

LEAST_SCORE = 0.05  # that a person may ask for: below, there is a box everywhere


class Live:
    """`run` it in one thread; `choose`, `ask` and `close` are for any."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        sources: Sequence[str],
        hub: Hub,
        *,
        batch: int = 1,
        wait_ms: float | None = None,
        retries: int | None = None,
        follower: Callable[[], Follower] | None = None,
    ) -> None:
        """`follower` makes one for each pipeline; objects are followed where it is given.

        Raises RequestError, and SourceError for a clip that cannot be read.
        """
        for source in sources:
            feed = Feed.at(source)
            if not feed.live:  # a clip that is not there, or no address at all, is told now
                feed.open().close()
        if follower is not None and not any(map(_detects, engines.values())):
            raise RequestError(
                f"expected a model that finds objects to track, got {', '.join(engines)}; try yolox_nano"
            )
        self._engines, self._sources, self._hub, self._follower = engines, sources, hub, follower
        self._batch, self._wait_ms, self._retries = batch, wait_ms, retries
        self._model = next(iter(engines))
        self._engine: Engine | None = None
        self._closed = threading.Event()

    def choose(self, model: str) -> None:
        """Another model from the next frame on."""
        self._model = model
        self._hub.controls = replace(self._hub.controls, model=model)

    def ask(self, score: float) -> None:
        """Answers are to hold what scores at least this."""
        engine = self._engine
        if engine is not None:
            engine.ask = replace(engine.ask, score=self._floor(score))

    def close(self) -> None:
        self._closed.set()

    def run(self) -> None:
        """Until it is closed. Raises what a pipeline does of its engine; sources tell by events."""
        while not self._closed.is_set():
            if not self._sources:
                self._closed.wait()
                return
            self._run(self._model)

    def _run(self, model: str) -> None:
        self._hub.begin()
        with self._engines[model].fork(threads=self._engines[model].runs.threads) as engine:
            engine.ask = replace(engine.ask, score=self._floor(self._hub.controls.threshold))
            follower = self._follower() if self._follower is not None and _detects(engine) else None
            pipeline = Pipeline(
                self._feeds(), engine, endless=True, on_event=self._hub.event,
                on_idle=lambda: pipeline.close() if self._is_over(model) else None,
                batch=min(self._batch, len(self._sources), engine.batches[1] or self._batch),
                wait_ms=self._wait_ms,
                retries=self._retries,
            )  # fmt: skip
            self._engine = engine
            self._hub.watch(pipeline.profile)
            try:
                with pipeline:
                    for frame, result in pipeline:
                        if self._is_over(model):
                            return
                        self._hub.write(frame, result if follower is None else follower(frame, result))
            except SourceError:
                pass  # of one that was given up, which was told then
            finally:
                self._engine = None

    def _is_over(self, model: str) -> bool:
        return self._closed.is_set() or model != self._model

    def _floor(self, score: float) -> float:
        """What is followed also goes on with what scores low."""
        return min(score, LOWEST_SCORE) if self._follower is not None else score

    def _feeds(self) -> list[Feed]:
        """Clips by their own clock: as fast as they can be read, nobody could see them."""
        feeds = []
        for source in self._sources:
            feed = Feed.at(source)
            if not feed.live and feed.text is not None and not is_images(feed.text):
                try:
                    feed = replace(feed, live=True, text=None, opened=Paced(feed.open()))
                except EdgezooError as error:
                    self._hub.event(Event(feed.address, "ended", str(error), error=True))
                    continue
            feeds.append(feed)
        return feeds


def _detects(engine: Engine) -> bool:
    return engine.bundle.manifest.task == "detect"


def default_threshold(engine: Engine) -> float:
    """What is shown at first: what the model would answer unasked."""
    if engine.ask.score is not None:
        return engine.ask.score
    return detect.SCORE if _detects(engine) else 0.0
