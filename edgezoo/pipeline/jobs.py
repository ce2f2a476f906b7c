"""Batches on their way from the inbox to the caller: in order, no more than there is room for."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from edgezoo.backends import Arrays
from edgezoo.frame import Event, Frame
from edgezoo.geometry import Placement
from edgezoo.pipeline.inbox import Waiting
from edgezoo.results import Result

_MOST_EVENTS = 1000  # a caller who is away for weeks hears of the newest


@dataclass(eq=False)
class Job:
    """A batch, and what became of it so far: it is settled by an answer, by results or by an error."""

    taken: list[Waiting]
    array: Any = None
    placements: list[Placement] = field(default_factory=list)
    answer: Arrays | None = None
    results: list[Result] | None = None
    error: Exception | None = None

    @property
    def frames(self) -> list[Frame]:
        return [waiting.frame for waiting in self.taken]

    @property
    def settled(self) -> bool:
        return not (self.answer is None and self.results is None and self.error is None)


class Jobs:
    """The jobs taken and not handed over yet, oldest first, and the news for the caller.

    One lock; conditions apart, so that a change wakes only whom it concerns.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._under_way: deque[Job] = deque()
        self._prepared: deque[Job] = deque()
        self._events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._drained = False
        self._failure: BaseException | None = None
        self.closed = False
        lock = threading.Lock()
        self._room = threading.Condition(lock)
        self._work = threading.Condition(lock)
        self._news = threading.Condition(lock)

    def wait_for_room(self) -> None:
        with self._room:
            while len(self._under_way) >= self._limit and not self.closed:
                self._room.wait()

    def add(self, taken: list[Waiting]) -> Job:
        """Whoever takes batches does so one at a time: the order of jobs is the order of frames."""
        job = Job(taken)
        with self._room:
            self._under_way.append(job)
        return job

    def drained(self) -> None:
        """No more are added."""
        with self._room:
            self._drained = True
            self._work.notify_all()
            self._news.notify()

    def put_prepared(self, job: Job) -> None:
        with self._work:
            self._prepared.append(job)
            self._work.notify()

    def take_prepared(self) -> Job | None:
        """The next job that was prepared ahead; None: no more come."""
        with self._work:
            while not self._prepared and not self._drained and not self.closed:
                self._work.wait()
            return self._prepared.popleft() if self._prepared and not self.closed else None

    def settle(
        self,
        job: Job,
        *,
        answer: Arrays | None = None,
        results: list[Result] | None = None,
        error: Exception | None = None,
    ) -> None:
        with self._news:
            job.answer, job.results, job.error = answer, results, error
            if self._under_way and self._under_way[0] is job:
                self._news.notify()

    def tell(self, event: Event) -> None:
        with self._news:
            self._events.append(event)
            self._news.notify()

    def fail(self, error: BaseException) -> None:
        """`next` raises it from now on."""
        with self._news:
            self._failure = error
            self._news.notify()

    def next(self, patience_s: float | None = None) -> Job | Event | Literal["nothing yet"] | None:
        """For the caller: the next event, else the oldest job once it is settled; None: all is done, or closed."""
        with self._news:
            while self._failure is None and not self._events and not (self._under_way and self._under_way[0].settled):
                if self.closed or (self._drained and not self._under_way):
                    return None
                if not self._news.wait(patience_s):
                    return "nothing yet"
            if self._failure is not None:
                raise self._failure
            if self._events:
                return self._events.popleft()
            self._room.notify()
            return self._under_way.popleft()

    def close(self) -> None:
        """Let everybody go who waits here."""
        with self._room:
            self.closed = True
            for condition in (self._room, self._work, self._news):
                condition.notify_all()

    def left(self) -> list[Job]:
        """What nobody will take any more; once, when all threads have ended."""
        with self._room:
            left = [*self._under_way]
            self._under_way.clear()
        return left
