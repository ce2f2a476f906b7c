"""The pipeline: frames from sources in, `(frame, result)` out. The only place with threads.

    captures: a thread per source, and one that watches them       streams: what state each is in
       │        readings: open, read, number on
       ▼
    inbox: the newest frame of each live source, a bounded queue of any other; batches over all of them
       │
       ▼
    workers: prepare, infer and read, a thread per engine          jobs: batches on their way, in order
       │
       ▼
    the caller's thread: iterates, and hears of events

Files: `prepare` runs ahead in a thread of its own, queues are bounded, nothing is lost and order is kept. Several
workers keep all cores busy by themselves; there each prepares, infers and reads its own batches, with fewer hand-overs.
Live: a worker takes the newest frame when it is free to run it, and not before, so that no frame grows old waiting.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TypeAlias

from edgezoo.engine import Engine
from edgezoo.errors import RequestError
from edgezoo.frame import Event, Frame
from edgezoo.latency import Profile
from edgezoo.machine import cores, cpu_quota
from edgezoo.pipeline.captures import Captures
from edgezoo.pipeline.inbox import Inbox
from edgezoo.pipeline.jobs import Job, Jobs
from edgezoo.pipeline.streams import StreamState
from edgezoo.pipeline.workers import Workers
from edgezoo.results import Result
from edgezoo.sources import Source
from edgezoo.sources.feed import Feed

LONGEST_MS = 3_600_000.0
MOST_WORKERS = 8  # each holds a copy of the network
JOIN_S = 5.0  # how long closing waits for threads that a driver may hold
IDLE_S = 0.1

Given: TypeAlias = Source | str | Feed
"""A source: opened already, or its address, with `#fps=`, `#roi=` and `#timeout=` where wanted (see `sources.feed`)."""


class Pipeline:
    """Iterate it once; leave it by `with`, or close it. Close ends every thread and every source.

    `batch`, `wait_ms`: a batch closes when it is full or its oldest frame has waited so long (None: not at all for
    live sources, until full for files). `workers`: so many engines of one thread each; 1 runs the engine as it is. None
    is 1 for live sources, where one engine on all cores answers soonest, and for files on a CPU, unless the engine was
    given a number of threads, one for each core, which gets more through.
    `max_age_ms`: a live frame older than that is dropped before it costs inference.

    A live source that was given as an address is opened again when it fails or stalls: for ever, or until `retries`
    tries in a row were in vain. With a number of `retries`, which may be infinite, even a single one need not be there
    at the start: a device may boot before its camera. What cannot get better, such as a wrong password, is given up at
    once. A source that fails neither stops nor delays the others: `on_event` hears of it at once, in the caller's
    thread, and when all the others have ended its error is raised. Errors of any other stage are raised where they
    happened in the order of frames. `profile` accounts for every frame, `states` tells of every stream as it is now.

    `endless`: iteration goes on when all sources have ended, for others may be added. `on_idle` is called in the
    caller's thread every 0.1 s while no frame comes; it may close the pipeline.
    """

    def __init__(
        self,
        sources: Given | Sequence[Given],
        engine: Engine,
        *,
        batch: int = 1,
        wait_ms: float | None = None,
        workers: int | None = None,
        max_age_ms: float | None = None,
        retries: float | None = None,
        endless: bool = False,
        on_event: Callable[[Event], None] | None = None,
        on_idle: Callable[[], None] | None = None,
    ) -> None:
        """Raises RequestError for numbers out of range, and SourceError for a single source that cannot be opened now,
        where no `retries` are given.
        """
        _check(engine, batch=batch, workers=workers, wait_ms=wait_ms, max_age_ms=max_age_ms, retries=retries)
        feeds = _feeds(sources)
        if not feeds and not endless:
            raise RequestError("expected at least one source")
        if len(feeds) == 1 and not endless and not (feeds[0].live and retries is not None):
            feeds = [feeds[0].now()]
        self.profile = Profile()
        self.stuck: tuple[str, ...] = ()
        """Threads that a driver still held when the pipeline closed."""
        live = endless or any(feed.live for feed in feeds)
        workers = workers or (1 if live else _workers_for(engine))
        self._engine = engine
        self._engines = _engines(engine, workers, feeds)
        self.profile.runs = {**self._engines[0].describe(), "workers": workers}
        self._on_event = on_event or (lambda event: None)
        self._on_idle = on_idle
        self._jobs = Jobs(limit=workers if live else 2 * workers + 1)
        inbox = Inbox(self.profile, batch=batch, wait_ms=wait_ms, max_age_ms=max_age_ms, endless=endless)
        self._inbox = inbox
        self._captures = Captures(inbox, self.profile, tell=self._jobs.tell, fail=self._jobs.fail, retries=retries)
        alone, ahead = workers > 1, not live and workers == 1
        self._workers = Workers(engine, self._engines, inbox, self._jobs, self.profile, alone=alone, ahead=ahead)
        self._threads: list[threading.Thread] = []
        self._handing: deque[str] = deque()
        """Sources of the frames that are the next ones for the caller."""
        self._closing = threading.RLock()
        self._ended = False
        for feed in feeds:
            self._captures.add(feed)

    # -- sources

    @property
    def states(self) -> tuple[StreamState, ...]:
        """Every stream as it is now, in the order in which they were added."""
        return self._captures.states()

    def add(self, source: Given) -> str:
        """Another source, before or while the pipeline runs; what it is called here. From any thread.

        An address is opened in a thread of its own, and what goes wrong is an event, as of all the others. Raises
        RequestError for an address that is none, and once the pipeline is closed.
        """
        return self._captures.add(_feeds(source)[0])

    def remove(self, address: str) -> None:
        """End a source, by what `add` and `states` call it; the others go on. From any thread.

        Frames that wait are dropped; those that are being worked on still come.
        """
        self._captures.remove(address)

    # -- the caller's thread

    def __iter__(self) -> Iterator[tuple[Frame, Result]]:
        if self._threads or self._jobs.closed:
            raise RequestError("a pipeline runs once; make another")
        try:
            self._start()
            patience_s = None if self._on_idle is None else IDLE_S
            while (news := self._jobs.next(patience_s)) is not None:
                if isinstance(news, Event):
                    self._on_event(news)
                elif isinstance(news, Job):
                    yield from self._hand_over(news)
                elif self._on_idle is not None:
                    self._on_idle()
            all_ended = not self._jobs.closed
        finally:
            self.close()
        if all_ended and self._captures.error is not None:
            raise self._captures.error

    def _start(self) -> None:
        for name, target in self._workers.runs():
            run = partial(self._guarded, target)
            self._threads.append(threading.Thread(target=run, name=f"edgezoo {name}", daemon=True))
        self._captures.start()
        for thread in self._threads:
            thread.start()

    def _guarded(self, target: Callable[[], None]) -> None:
        """A thread that fails where nothing was expected to must not leave the caller waiting."""
        try:
            target()
        except BaseException as error:
            self._jobs.fail(error)

    def _hand_over(self, job: Job) -> Iterator[tuple[Frame, Result]]:
        try:
            if job.error is not None:
                raise job.error
            assert job.answer is not None
            results = self._workers.read(job, job.answer) if job.results is None else job.results
        except BaseException:
            for waiting in job.taken:
                self.profile.count_failed(1, source=waiting.slot.name)
            raise
        self._handing.extend(waiting.slot.name for waiting in job.taken)
        try:
            for waiting, result in zip(job.taken, results, strict=True):
                try:
                    source = self._handing.popleft()
                except IndexError:
                    return  # closed meanwhile
                frame = waiting.frame
                self.profile.count_delivered(frame.age_ms, source=source)
                began_ns = time.perf_counter_ns()
                yield frame, result
                self.profile.took("sink", began_ns, (frame,))
        finally:
            self._drop_rest()

    def _drop_rest(self) -> None:
        """Of the batch that is being handed over, for a caller who wants no more."""
        with suppress(IndexError):  # whoever closes it may do so at the same time
            while True:
                self.profile.count_dropped("closed", source=self._handing.popleft())

    # -- the end

    def close(self) -> None:
        """End every thread and source; what was on its way is counted as dropped. It has ended when this returns.

        Safe to call again, from any thread that is not the pipeline's own: also to finish what a signal interrupted.
        A signal's handler should raise, or tell somebody else, and not call it.
        """
        self._jobs.close()
        self._inbox.close()
        self._captures.close()
        with self._closing:
            if not self._ended:
                self._end()
                self._ended = True

    def _end(self) -> None:
        until_s = time.monotonic() + JOIN_S
        for thread in filter(threading.Thread.is_alive, self._threads):  # a signal may come before all were started
            thread.join(max(0.0, until_s - time.monotonic()))
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        self.stuck = (*stuck, *self._captures.join(until_s))
        self._drop_rest()
        for job in self._jobs.left():
            for waiting in job.taken:
                self.profile.count_dropped("closed", source=waiting.slot.name)
        for engine in self._engines:
            if engine is not self._engine:
                engine.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _feeds(sources: Given | Sequence[Given]) -> list[Feed]:
    given = [sources] if isinstance(sources, str) or not isinstance(sources, Sequence) else sources
    feeds = []
    for each in given:
        feeds.append(each if isinstance(each, Feed) else Feed.at(each) if isinstance(each, str) else Feed.of(each))
    return feeds


def _check(
    engine: Engine,
    *,
    batch: int,
    workers: int | None,
    wait_ms: float | None,
    max_age_ms: float | None,
    retries: float | None,
) -> None:
    """RequestError for numbers out of range."""
    for name, number, least, most in (("batch", batch, 1, 1024), ("workers", workers, 1, 64)):
        if number is not None and not least <= number <= most:
            raise RequestError(f"expected {name} of {least} to {most}, got {number}")
    if retries is not None and not retries >= 0:
        raise RequestError(f"expected retries of 0 or more, or None for ever, got {retries}")
    for name, value in (("wait_ms", wait_ms), ("max_age_ms", max_age_ms)):
        if value is not None and not 0 <= value <= LONGEST_MS:
            raise RequestError(f"expected {name} within 0..{LONGEST_MS:.0f} ms, got {value}")
    largest = engine.batches[1]
    if largest is not None and batch > largest:
        raise RequestError(
            f"expected a batch of at most {largest}, which this graph was made for, got {batch}; "
            "another needs `edgezoo convert --batch`, or `edgezoo compile --batch` on TensorRT"
        )


def _engines(engine: Engine, workers: int, feeds: list[Feed]) -> list[Engine]:
    """One for each worker; where that fails, nothing stays open."""
    engines = [engine] if workers == 1 else []
    try:
        while len(engines) < workers:
            engines.append(engine.fork(threads=1))
    except BaseException:
        for fork in engines:
            fork.close()
        for feed in feeds:
            if feed.opened is not None:
                feed.opened.close()
        raise
    return engines


def _workers_for(engine: Engine) -> int:
    """How many engines of one thread serve files best: one a core, where the engine is free to use them all."""
    if engine.runs.device != "cpu" or engine.runs.threads is not None:
        return 1
    return max(1, min(cores(), int(cpu_quota() or MOST_WORKERS), MOST_WORKERS))
