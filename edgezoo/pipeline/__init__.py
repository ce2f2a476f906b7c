"""The pipeline: frames from sources in, `(frame, result)` out. The only place with threads.

    capture (a thread per source) -> inbox -> prepare -> infer (a thread per worker) -> read, in the caller's thread

Files: `prepare` runs ahead in a thread of its own, queues are bounded, nothing is lost and order is kept.
Live: a worker takes the newest frame when it is free to run it, and not before, so that no frame grows old waiting.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType

from edgezoo.address import Address
from edgezoo.backends import Arrays
from edgezoo.engine import Engine
from edgezoo.errors import RequestError
from edgezoo.frame import Event, Frame
from edgezoo.geometry import Placement
from edgezoo.latency import Profile
from edgezoo.pipeline.inbox import Inbox
from edgezoo.results import Result
from edgezoo.sources import Source, is_live, open_source

JOIN_S = 5.0  # how long closing waits for a thread that a driver may hold


@dataclass(eq=False)
class _Job:
    """A batch on its way; `answer` is set by a worker, or `error` by whoever failed."""

    frames: list[Frame]
    array: object = None
    placements: list[Placement] = field(default_factory=list)
    answer: Arrays | None = None
    error: BaseException | None = None

    @property
    def settled(self) -> bool:
        return self.answer is not None or self.error is not None


class Pipeline:
    """Iterate it once; leave it by `with`, or close it. Close ends every thread and every source.

    `batch`, `wait_ms`: a batch closes when it is full or its oldest frame has waited so long (None: not at all for
    live sources, until full for files). `workers`: so many engines of one thread each; 1 runs the engine as it is.
    `max_age_ms`: a live frame older than that is dropped before it costs inference.

    A source that fails neither stops nor delays the others: `on_event` hears of it at once, in the caller's thread, and
    when all the others have ended its error is raised. Errors of any other stage are raised where they happened in the
    order of frames. `profile` accounts for every frame.
    """

    def __init__(
        self,
        sources: Source | str | Sequence[Source | str],
        engine: Engine,
        *,
        batch: int = 1,
        wait_ms: float | None = None,
        workers: int = 1,
        max_age_ms: float | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """Raises SourceError for a single source that cannot be opened, RequestError for numbers out of range."""
        if batch < 1 or workers < 1:
            raise RequestError(f"expected batch and workers of 1 or more, got {batch} and {workers}")
        fixed = engine.bundle.manifest.batch
        if fixed is not None and batch > fixed:
            raise RequestError(f"expected a batch of at most {fixed}, which this bundle is fixed at, got {batch}")
        given: list[Source | str] = (
            [sources] if isinstance(sources, str) or not isinstance(sources, Sequence) else [*sources]
        )
        if not given:
            raise RequestError("expected at least one source")
        if len(given) == 1 and isinstance(given[0], str):
            given = [open_source(given[0])]
        self.profile = Profile()
        self.stuck: tuple[str, ...] = ()
        """Threads that a driver still held when the pipeline closed."""
        self._given = given
        self._live = any(is_live(source) if isinstance(source, str) else source.live for source in given)
        self._engine = engine
        self._engines = [engine] if workers == 1 else [engine.fork(threads=1) for _ in range(workers)]
        self.profile.runs = {
            **self._engines[0].runs.to_dict(),
            "precision": engine.artifact.precision,
            "workers": workers,
        }
        self._inbox = Inbox(self.profile, batch=batch, wait_ms=wait_ms, max_age_ms=max_age_ms)
        self._inbox.expect(len(given))
        self._on_event = on_event or (lambda event: None)
        self._jobs: deque[_Job] = deque()  # taken and not handed over yet, in order
        self._ready: deque[_Job] = deque()  # prepared ahead, for the next free worker
        self._limit = workers if self._live else 2 * workers + 1
        self._changed = threading.Condition()
        self._events: deque[Event] = deque()
        self._errors: list[Exception] = []
        self._open: list[Source] = [source for source in given if not isinstance(source, str)]
        self._threads: list[threading.Thread] = []
        self._taking = threading.Lock()
        self._drained = False
        self._closing = False

    def __iter__(self) -> Iterator[tuple[Frame, Result]]:
        if self._threads or self._closing:
            raise RequestError("a pipeline runs once; make another")
        self._start()
        try:
            while (job := self._next_job()) is not None:
                yield from self._hand_over(job)
        finally:
            self.close()
        if self._errors:
            raise self._errors[0]

    def _start(self) -> None:
        runs: list[tuple[str, Callable[[], None]]] = [] if self._live else [("prepare", self._prepare_ahead)]
        for source in self._given:
            runs.append((f"capture {_name(source)}", partial(self._capture, source)))
        for number, engine in enumerate(self._engines):
            runs.append((f"worker {number}", partial(self._work, engine)))
        for name, target in runs:
            self._threads.append(threading.Thread(target=target, name=f"edgezoo {name}", daemon=True))
        for thread in self._threads:
            thread.start()

    # -- capture: a thread per source

    def _capture(self, given: Source | str) -> None:
        name, slot = _name(given), None
        try:
            source = open_source(given) if isinstance(given, str) else given
            name = source.address
            with self._changed:
                self._open.append(source)
                closing = self._closing
            if closing:
                source.close()
            slot = self._inbox.add(live=source.live)
            self._tell(Event(name, "opened", "opened"))
            for frame in source:
                if not self._inbox.put(slot, frame):
                    break
            self._tell(Event(name, "ended", "ended"))
        except Exception as error:
            with self._changed:
                self._errors.append(error)
            self._tell(Event(name, "failed", str(error)))
        finally:
            if slot is None:
                self._inbox.lost()
            else:
                self._inbox.end(slot)

    def _tell(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    # -- prepare and infer

    def _take(self) -> _Job | None:
        """The next batch, once there is room for one more on the way; None: no more come."""
        with self._taking:  # one at a time, so that the order of jobs is the order of frames
            with self._changed:
                while len(self._jobs) >= self._limit and not self._closing:
                    self._changed.wait()
            frames = self._inbox.take()
            with self._changed:
                if not frames:
                    self._drained = True
                    self._changed.notify_all()
                    return None
                job = _Job(frames)
                self._jobs.append(job)
                return job

    def _prepare(self, job: _Job) -> None:
        try:
            with self.profile.time("prepare"):
                job.array, job.placements = self._engine.prepare([frame.image for frame in job.frames])
        except Exception as error:
            self._settle(job, error=error)

    def _prepare_ahead(self) -> None:
        while (job := self._take()) is not None:
            self._prepare(job)
            with self._changed:
                self._ready.append(job)
                self._changed.notify_all()

    def _prepared(self) -> _Job | None:
        """The next job for a worker that is free."""
        if self._live:
            job = self._take()
            if job is not None:
                self._prepare(job)
            return job
        with self._changed:
            while not self._ready and not self._drained and not self._closing:
                self._changed.wait()
            return self._ready.popleft() if self._ready and not self._closing else None

    def _work(self, engine: Engine) -> None:
        while (job := self._prepared()) is not None:
            if job.error is not None:
                continue
            try:
                with self.profile.time("infer"):
                    answer = engine.infer(job.array)  # type: ignore[arg-type]
                self._settle(job, answer=answer)
            except Exception as error:
                self._settle(job, error=error)

    def _settle(self, job: _Job, *, answer: Arrays | None = None, error: Exception | None = None) -> None:
        with self._changed:
            job.answer, job.error = answer, error
            self._changed.notify_all()

    # -- the caller's thread

    def _next_job(self) -> _Job | None:
        while True:
            with self._changed:
                while not self._events and not (self._jobs and self._jobs[0].settled):
                    if self._drained and not self._jobs:
                        return None
                    self._changed.wait()
                if not self._events:
                    job = self._jobs.popleft()
                    self._changed.notify_all()
                    return job
                event = self._events.popleft()
            self._on_event(event)

    def _hand_over(self, job: _Job) -> Iterator[tuple[Frame, Result]]:
        try:
            if job.error is not None:
                raise job.error
            assert job.answer is not None
            with self.profile.time("read"):
                results = self._engine.read(job.answer, job.placements)
        except BaseException:
            self.profile.count_failed(len(job.frames))
            raise
        left = len(job.frames)
        try:
            for frame, result in zip(job.frames, results, strict=True):
                left -= 1
                self.profile.count_delivered(frame.age_ms)
                yield frame, result
        finally:
            self.profile.count_dropped("closed", left)

    # -- the end

    def close(self) -> None:
        """End every thread and source; what was on its way is counted as dropped. Safe to call again."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
            sources = [*self._open]
        self._inbox.close()
        for source in sources:
            source.close()
        for thread in self._threads:
            thread.join(JOIN_S)
        self.stuck = tuple(thread.name for thread in self._threads if thread.is_alive())
        for job in self._jobs:
            self.profile.count_dropped("closed", len(job.frames))
        self._jobs.clear()
        for engine in self._engines:
            if engine is not self._engine:
                engine.close()
        while self._events:
            self._on_event(self._events.popleft())

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _name(source: Source | str) -> str:
    """Its address as people may see it."""
    return str(Address.parse(source)) if isinstance(source, str) else source.address
