"""Inference: batches out of the inbox, prepared, run and read, by as many engines as there are workers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from edgezoo.backends import Arrays
from edgezoo.engine import Engine
from edgezoo.frame import Image
from edgezoo.latency import Profile
from edgezoo.pipeline.inbox import Inbox, Waiting
from edgezoo.pipeline.jobs import Job, Jobs
from edgezoo.results import Detections, Result


class Workers:
    """One thread per engine, and where one prepares ahead, a thread for that."""

    def __init__(
        self,
        engine: Engine,
        engines: Sequence[Engine],
        inbox: Inbox,
        jobs: Jobs,
        profile: Profile,
        *,
        alone: bool,
        ahead: bool,
    ) -> None:
        """`engine` prepares and reads, whichever of the `engines` runs. `alone`: each worker does all three by itself.

        `ahead`: batches are prepared before somebody is free.
        """
        self._engine, self._engines, self._inbox, self._jobs, self._profile = engine, engines, inbox, jobs, profile
        self._alone, self._ahead = alone, ahead
        self._taking = threading.Lock()

    def runs(self) -> list[tuple[str, Callable[[], None]]]:
        """What each thread is called, and does."""
        runs: list[tuple[str, Callable[[], None]]] = [("prepare", self._prepare_ahead)] if self._ahead else []
        return runs + [(f"worker {number}", partial(self._work, each)) for number, each in enumerate(self._engines)]

    def read(self, job: Job, answer: Arrays) -> list[Result]:
        """A batch's results, in pixels of the whole pictures."""
        with self._profile.time("read", job.frames):
            results = self._engine.read(answer, job.placements)
            return [_home(result, each) for result, each in zip(results, job.taken, strict=True)]

    def _take(self) -> Job | None:
        """The next batch, once there is room for one more on the way; None: no more come."""
        with self._taking:
            self._jobs.wait_for_room()
            taken = self._inbox.take()
            if taken:
                return self._jobs.add(taken)
            self._jobs.drained()
            return None

    def _prepare(self, job: Job) -> None:
        try:
            with self._profile.time("prepare", job.frames):
                job.array, job.placements = self._engine.prepare([_seen(each) for each in job.taken])
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
                with self._profile.time("infer", job.frames):
                    answer = engine.infer(job.array)
                self._jobs.settle(job, answer=answer, results=self.read(job, answer) if self._alone else None)
            except Exception as error:
                self._jobs.settle(job, error=error)


def _seen(waiting: Waiting) -> Image:
    """What the engine sees of a frame."""
    if waiting.box_xyxy is None:
        return waiting.frame.image
    x1, y1, x2, y2 = waiting.box_xyxy
    return waiting.frame.image[y1:y2, x1:x2]


def _home(result: Result, waiting: Waiting) -> Result:
    """A result of the part that was seen, in pixels of the whole frame."""
    if waiting.box_xyxy is None or not isinstance(result, Detections):
        return result
    x1, y1, _, _ = waiting.box_xyxy
    shift = np.array([x1, y1, x1, y1], np.float32)
    return replace(result, boxes_xyxy=result.boxes_xyxy + shift)
