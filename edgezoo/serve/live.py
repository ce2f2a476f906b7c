"""The pipeline behind the page: one model at a time on all sources, until it is closed or another one is chosen."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edgezoo.engine import Engine
from edgezoo.errors import EdgezooError, RequestError
from edgezoo.frame import Event
from edgezoo.pipeline import Pipeline
from edgezoo.sources.feed import Feed
from edgezoo.sources.images import Images
from edgezoo.sources.paced import Paced
from edgezoo.tasks import task
from edgezoo.tracking import LOWEST_SCORE, Follower
from edgezoo.web.hub import Hub

LEAST_SCORE = 0.05  # that a person may ask for: below, there is a box everywhere
AGAIN_S, LONGEST_S = 1.0, 60.0
"""After a model has failed, until it begins again: twice as long each time, up to the longest; who has run that long
begins with the first."""
_log = logging.getLogger("edgezoo")


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
        retries: float | None = None,
        follower: Callable[[], Follower] | None = None,
    ) -> None:
        """`follower` makes one for each model that is chosen; objects are followed where it is given.

        Raises RequestError, and SourceError for a clip that cannot be read.
        """
        feeds = [Feed.at(source) for source in sources]
        for feed in feeds:
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
        self._closed, self._called = threading.Event(), threading.Event()
        self._names = [feed.address for feed in feeds]
        self._photos: dict[str, str] = {}
        """The name of the source that a photo is of."""
        self._begun = ""
        """The model that the page has shown last."""
        self._following: Follower | None = None
        """Its follower, which goes on counting when the model is begun again."""
        self._has_shown = False
        self.trouble = ""
        """Why nothing is shown now, though there are sources."""

    def scores(self, model: str) -> tuple[float, float]:
        """Where the page's threshold begins: what the model would answer unasked. And what it may be set to: where
        objects are followed, nothing is known of those below.
        """
        engine = self._engines[model]
        threshold = default_threshold(engine)
        return threshold, threshold if self._follows(engine) else min(LEAST_SCORE, threshold)

    def choose(self, model: str) -> None:
        """Another model from the next frame on, with a threshold of its own: scores of two models do not compare."""
        if model != self._model:
            threshold, least = self.scores(model)
            self._hub.controls = replace(self._hub.controls, model=model, threshold=threshold, least=least)
            self._model = model
            self._called.set()

    def ask(self, score: float) -> None:
        """Answers are to hold what scores at least this."""
        engine = self._engine
        if engine is not None:
            engine.ask = replace(engine.ask, score=self._floor(engine, score))

    def close(self) -> None:
        self._closed.set()
        self._called.set()

    def run(self) -> None:
        """Until it is closed. Sources tell by events what happens to them, and a model that fails is begun again.

        Raises RequestError for places that are in no picture, where nothing could be shown yet.
        """
        if not self._sources:
            self._closed.wait()
        wait_s = AGAIN_S
        while not self._closed.is_set():
            self._called.clear()
            model, began_s = self._model, time.monotonic()
            try:
                self._run(model)
                wait_s = AGAIN_S
            except Exception as error:
                if isinstance(error, RequestError) and not self._has_shown:
                    raise
                if time.monotonic() - began_s > LONGEST_S:
                    wait_s = AGAIN_S
                self._tell_failed(model, error, wait_s)
                if not self._closed.is_set():
                    self._called.wait(wait_s)
                wait_s = min(2 * wait_s, LONGEST_S)

    def _tell_failed(self, model: str, error: Exception, wait_s: float) -> None:
        line = f"{model} failed: {str(error) or type(error).__name__}; begins again in {wait_s:g} s"
        self.trouble = line
        _log.error(line, exc_info=None if isinstance(error, EdgezooError) else error)
        states = {source.name: source.state for source, _ in self._hub.figures.states()}
        for name in states or self._names:
            if states.get(name) != "ended":
                self._hub.event(Event(name, "lost", line))

    def _run(self, model: str) -> None:
        if model != self._begun:
            self._hub.begin()
            self._begun = model
            self._following = (
                self._follower() if self._follower is not None and _detects(self._engines[model]) else None
            )
        follower = self._following
        with self._engines[model].fork(threads=self._engines[model].runs.threads) as engine:
            self._engine = engine  # before the threshold is read: who changes it now tells the engine
            engine.ask = replace(engine.ask, score=self._floor(engine, self._hub.controls.threshold))
            pipeline = Pipeline(
                self._feeds(), engine, endless=True, on_event=self._hub.event,
                on_idle=lambda: pipeline.close() if self._is_over(model) else None,
                batch=min(self._batch, len(self._sources), engine.batches[1] or self._batch),
                wait_ms=self._wait_ms,
                retries=self._retries,
            )  # fmt: skip
            self._hub.watch(pipeline.profile)
            try:
                with pipeline:
                    for frame, result in pipeline:
                        if self._is_over(model):
                            return
                        result = result if follower is None else follower(frame, result)
                        self._hub.write(frame, result, stream=self._photos.get(frame.source))
                        self._has_shown, self.trouble = True, ""
            finally:
                self._engine = None

    def _is_over(self, model: str) -> bool:
        return self._closed.is_set() or model != self._model

    def _follows(self, engine: Engine) -> bool:
        return self._follower is not None and _detects(engine)

    def _floor(self, engine: Engine, score: float) -> float:
        """What is followed also goes on with what scores low."""
        return min(score, LOWEST_SCORE) if self._follows(engine) else score

    def _feeds(self) -> list[Feed]:
        """Clips by their own clock: as fast as they can be read, nobody could see them."""
        feeds = []
        for feed in map(Feed.at, self._sources):
            try:
                feeds.append(feed if feed.live else self._opened(feed))
            except EdgezooError as error:
                self._hub.event(Event(feed.address, "ended", str(error), error=True))
        return feeds

    def _opened(self, feed: Feed) -> Feed:
        source = feed.open()
        if isinstance(source, Images):
            self._photos.update(dict.fromkeys(source.paths, feed.address))
            return replace(feed, opened=source)
        return replace(feed, live=True, text=None, opened=Paced(source))


def _detects(engine: Engine) -> bool:
    return engine.bundle.manifest.task == "detect"


def default_threshold(engine: Engine) -> float:
    """What the model answers unasked."""
    return engine.ask.score if engine.ask.score is not None else task(engine.bundle.manifest.task).SCORE
