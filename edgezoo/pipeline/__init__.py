"""The pipeline: frames from sources in, `(frame, result)` out. The only place with threads.

    capture (a thread per source) -> inbox -> prepare -> infer (a thread per worker) -> read, in the caller's thread

Files: `prepare` runs ahead in a thread of its own, queues are bounded, nothing is lost and order is kept. Several
workers keep all cores busy by themselves; there each prepares, infers and reads its own batches, with fewer hand-overs.
Live: a worker takes the newest frame when it is free to run it, and not before, so that no frame grows old waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType

from edgezoo.address import Address
from edgezoo.backends import Arrays
from edgezoo.engine import Engine
from edgezoo.errors import RequestError
from edgezoo.frame import Event, Frame
from edgezoo.latency import Profile
from edgezoo.machine import cores, cpu_quota
from edgezoo.pipeline.inbox import Inbox
from edgezoo.pipeline.jobs import Job, Jobs
from edgezoo.results import Result
from edgezoo.sources import Source, is_live, open_source

LONGEST_MS = 3_600_000.0
MOST_WORKERS = 8  # each holds a copy of the network
JOIN_S = 5.0  # how long closing waits for a thread that a driver may hold


class Pipeline:
    """Iterate it once; leave it by `with`, or close it. Close ends every thread and every source.

    `batch`, `wait_ms`: a batch closes when it is full or its oldest frame has waited so long (None: not at all for
    live sources, until full for files). `workers`: so many engines of one thread each; 1 runs the engine as it is. None
    is 1 for live sources, where one engine on all cores answers soonest, and for files on a CPU, unless the engine was
    given a number of threads, one for each core, which gets more through.
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
        workers: int | None = None,
        max_age_ms: float | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """Raises SourceError for a single source that cannot be opened, RequestError for numbers out of range."""
        for name, number, most in (("batch", batch, 1024), ("workers", workers, 64)):
            if number is not None and not 1 <= number <= most:
                raise RequestError(f"expected {name} of 1 to {most}, got {number}")
        for name, value in (("wait_ms", wait_ms), ("max_age_ms", max_age_ms)):
            if value is not None and not 0 <= value <= LONGEST_MS:
                raise RequestError(f"expected {name} within 0..{LONGEST_MS:.0f} ms, got {value}")
        largest = engine.batches[1]
        if largest is not None and batch > largest:
            raise RequestError(f"expected a batch of at most {largest}, which this graph was made for, got {batch}")
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
        workers = workers or (1 if self._live else _workers_for(engine))
        self._alone = workers > 1  # a worker does all three stages by itself
        self._ahead = not self._live and not self._alone
        self._engine = engine
        self._open: list[Source] = [source for source in given if not isinstance(source, str)]
        self._engines: list[Engine] = [engine] if workers == 1 else []
        try:
            while len(self._engines) < workers:
                self._engines.append(engine.fork(threads=1))
        except BaseException:
            for fork in self._engines:
                fork.close()
            for source in self._open:
                source.close()
            raise
        self.profile.runs = {**self._engines[0].describe(), "workers": workers}
        self._inbox = Inbox(self.profile, batch=batch, wait_ms=wait_ms, max_age_ms=max_age_ms)
        self._inbox.expect(len(given))
        self._on_event = on_event or (lambda event: None)
        self._jobs = Jobs(limit=workers if self._live else 2 * workers + 1)
        self._lock = threading.Lock()
        self._errors: list[Exception] = []
        self._threads: list[threading.Thread] = []
        self._taking = threading.Lock()

    def __iter__(self) -> Iterator[tuple[Frame, Result]]:
        if self._threads or self._jobs.closed:
            raise RequestError("a pipeline runs once; make another")
        self._start()
        try:
            while (news := self._jobs.next()) is not None:
                if isinstance(news, Event):
                    self._on_event(news)
                else:
                    yield from self._hand_over(news)
        finally:
            self.close()
        if self._errors:
            raise self._errors[0]

    def _start(self) -> None:
        runs: list[tuple[str, Callable[[], None]]] = [("prepare", self._prepare_ahead)] if self._ahead else []
        for source in self._given:
            runs.append((f"capture {_name(source)}", partial(self._capture, source)))
        for number, engine in enumerate(self._engines):
            runs.append((f"worker {number}", partial(self._work, engine)))
        for name, target in runs:
            run = partial(self._guarded, target)
            self._threads.append(threading.Thread(target=run, name=f"edgezoo {name}", daemon=True))
        for thread in self._threads:
            thread.start()

    def _guarded(self, target: Callable[[], None]) -> None:
        """A thread that fails where nothing was expected to must not leave the caller waiting."""
        try:
            target()
        except BaseException as error:
            self._jobs.fail(error)

    # -- capture: a thread per source

    def _capture(self, given: Source | str) -> None:
        name, slot = _name(given), None
        try:
            source = open_source(given) if isinstance(given, str) else given
            name = source.address
            with self._lock:
                self._open.append(source)
                closing = self._jobs.closed
            if closing:
                source.close()
            slot = self._inbox.add(live=source.live)
            self._jobs.tell(Event(name, "opened", "opened"))
            frames = iter(source)
            while True:
                began_ns = time.perf_counter_ns()
                frame = next(frames, None)
                self.profile.took("capture", began_ns, () if frame is None else (frame,))
                if frame is None or not self._inbox.put(slot, frame):
                    break
            self._jobs.tell(Event(name, "ended", "ended"))
        except Exception as error:
            with self._lock:
                self._errors.append(error)
            self._jobs.tell(Event(name, "failed", str(error)))
        finally:
            if slot is None:
                self._inbox.lost()
            else:
                self._inbox.end(slot)

    # -- prepare and infer

    def _take(self) -> Job | None:
        """The next batch, once there is room for one more on the way; None: no more come."""
        with self._taking:
            self._jobs.wait_for_room()
            frames = self._inbox.take()
            if frames:
                return self._jobs.add(frames)
            self._jobs.drained()
            return None

    def _prepare(self, job: Job) -> None:
        try:
            with self.profile.time("prepare", job.frames):
                job.array, job.placements = self._engine.prepare([frame.image for frame in job.frames])
        except Exception as error:
            self._jobs.settle(job, error=error)

    def _prepare_ahead(self) -> None:
        while (job := self._take()) is not None:
            self._prepare(job)
            self._jobs.put_prepared(job)

    def _next(self) -> Job | None:
        """The next job for a worker that is free."""
        if self._ahead:
            return self._jobs.take_prepared()
        job = self._take()
        if job is not None:
            self._prepare(job)
        return job

    def _work(self, engine: Engine) -> None:
        while (job := self._next()) is not None:
            if job.error is not None:
                continue
            try:
                with self.profile.time("infer", job.frames):
                    answer = engine.infer(job.array)
                self._jobs.settle(job, answer=answer, results=self._read(job, answer) if self._alone else None)
            except Exception as error:
                self._jobs.settle(job, error=error)

    def _read(self, job: Job, answer: Arrays) -> list[Result]:
        with self.profile.time("read", job.frames):
            return self._engine.read(answer, job.placements)

    # -- the caller's thread

    def _hand_over(self, job: Job) -> Iterator[tuple[Frame, Result]]:
        try:
            if job.error is not None:
                raise job.error
            assert job.answer is not None
            results = self._read(job, job.answer) if job.results is None else job.results
        except BaseException:
            self.profile.count_failed(len(job.frames))
            raise
        left = len(job.frames)
        try:
            for frame, result in zip(job.frames, results, strict=True):
                left -= 1
                self.profile.count_delivered(frame.age_ms)
                began_ns = time.perf_counter_ns()
                yield frame, result
                self.profile.took("sink", began_ns, (frame,))
        finally:
            self.profile.count_dropped("closed", left)

    # -- the end

    def close(self) -> None:
        """End every thread and source; what was on its way is counted as dropped. Safe to call again."""
        with self._lock:
            if self._jobs.closed:
                return
            self._jobs.close()
            sources = [*self._open]
        self._inbox.close()
        for source in sources:
            source.close()
        for thread in self._threads:
            thread.join(JOIN_S)
        self.stuck = tuple(thread.name for thread in self._threads if thread.is_alive())
        self.profile.count_dropped("closed", sum(len(job.frames) for job in self._jobs.left()))
        for engine in self._engines:
            if engine is not self._engine:
                engine.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _name(source: Source | str) -> str:
    """Its address as people may see it."""
    return str(Address.parse(source)) if isinstance(source, str) else source.address


def _workers_for(engine: Engine) -> int:
    """How many engines of one thread serve files best: one a core, where the engine is free to use them all."""
    if engine.runs.device != "cpu" or engine.runs.threads is not None:
        return 1
    return max(1, min(cores(), int(cpu_quota() or MOST_WORKERS), MOST_WORKERS))
