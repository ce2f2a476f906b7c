"""Images of many requests, answered together: decoded and prepared side by side, then as one batch through the engine.

    request ──▶ decode, prepare (a thread a core) ──▶ waiting ──▶ batches ──▶ infer, read (a thread an engine)

Requests take turns at decoding, an image each, so that nobody waits for all the large images of another. A batch closes
when it is full or when its first image has waited `wait_ms`; by default that is as soon as an engine is free, so that
batches grow with the load by themselves and nobody waits for company.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgezoo.engine import Engine
from edgezoo.errors import RequestError, SourceError
from edgezoo.frame import Image
from edgezoo.geometry import Placement
from edgezoo.machine import cores, cpu_quota
from edgezoo.results import Result
from edgezoo.tasks import Ask

MOST_ENGINES = 4  # each holds a copy of the network
MOST_BATCH = 256
_RATE = 32  # answers that the time for one is estimated by


class Full(Exception):
    """No more images are taken for now."""

    def __init__(self, retry_s: int) -> None:
        super().__init__(retry_s)
        self.retry_s = retry_s


@dataclass(eq=False, slots=True)
class Answer:
    """An image on its way, and what became of it; times in ms."""

    ask: Ask
    decode: Callable[[], Image]
    future: asyncio.Future[Answer]
    result: Result | None = None
    size_wh: tuple[int, int] = (0, 0)
    batch: int = 0
    """So many images went through the engine with it, itself among them."""
    ms: dict[str, float] = field(default_factory=dict)
    array: npt.NDArray[np.uint8] | None = None
    placement: Placement | None = None
    ready_ns: int = 0
    gone: bool = False
    """Nobody waits for it any more."""


class Batcher:
    """One model. `answer` is for the server's loop; threads begin with `start`."""

    def __init__(
        self,
        engine: Engine,
        *,
        batch: int = 4,
        wait_ms: float = 0.0,
        queue: int = 64,
        told: Callable[[int, float], None] = lambda images, seconds: None,
    ) -> None:
        """`queue`: so many images may be under way. `told` hears of each batch, how many and how long it ran.

        The engine stays its owner's, who does not run it meanwhile. Raises RequestError.
        """
        least, most = engine.batches
        for name, number, top in (("batch", batch, MOST_BATCH), ("queue", queue, 65536)):
            if not 1 <= number <= top:
                raise RequestError(f"expected {name} of 1 to {top}, got {number}")
        if not 0 <= wait_ms <= 60_000:
            raise RequestError(f"expected wait_ms within 0..60000 ms, got {wait_ms:g}")
        self.engine, self.queue = engine, queue
        self.batch = max(least, min(batch, most or batch))
        self._wait_s, self._told = wait_ms / 1e3, told
        self.under_way = 0
        """Images that were taken and not answered yet; in the server's loop."""
        self._turns: deque[deque[Answer]] = deque()  # what is to be decoded of each request
        self._turn = threading.Lock()
        self._ready: deque[Answer] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._finished: deque[float] = deque(maxlen=_RATE)
        self._decoders = ThreadPoolExecutor(max(2, cores()), thread_name_prefix="edgezoo decode")
        self._engines = _engines(engine)
        self._threads = [
            threading.Thread(target=self._work, args=(each,), name=f"edgezoo answers {number}", daemon=True)
            for number, each in enumerate(self._engines)
        ]

    def start(self) -> None:
        width, height = self.engine.recipe.size_wh
        for engine in self._engines:
            engine.warm_up()
            engine.infer(np.zeros((self.batch, height, width, 3), np.uint8))  # memory for the largest is taken now
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def full(self, images: int) -> Full | None:
        """What `answer` would raise, were it asked for so many more."""
        return Full(self._retry_s()) if self.under_way + images > self.queue else None

    async def answer(self, images: Sequence[Callable[[], Image]], ask: Ask) -> list[Answer]:
        """The answers to images, each given as what decodes it. Cancelled, it takes back what has not begun.

        Raises Full, and what decoding, preparing or the engine raise.
        """
        if (full := self.full(len(images))) is not None:
            raise full
        loop = asyncio.get_running_loop()
        answers = [Answer(ask, decode, loop.create_future()) for decode in images]
        if not self.under_way:  # what was idle tells nothing of how long an answer takes
            self._finished.clear()
            self._finished.append(time.monotonic())
        self.under_way += len(answers)
        with self._turn:
            self._turns.append(deque(answers))
        for each in answers:
            each.future.add_done_callback(self._settled)
            self._decoders.submit(self._prepare)
        try:
            return [*await asyncio.gather(*(asyncio.shield(each.future) for each in answers))]
        finally:
            for each in answers:
                each.gone, each.decode = True, _for_nobody  # which lets go of its body

    def close(self) -> None:
        """What is under way is answered first."""
        self._decoders.shutdown(wait=True)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(30)
        for engine in self._engines:
            if engine is not self.engine:
                engine.close()

    # -- threads that decode

    def _next(self) -> Answer:
        with self._turn:
            request = self._turns.popleft()
            answer = request.popleft()
            if request:
                self._turns.append(request)
            return answer

    def _prepare(self) -> None:
        answer = self._next()
        loop = answer.future.get_loop()
        try:
            if answer.gone:
                return _deliver(loop, [answer])
            began_ns = time.perf_counter_ns()
            image = answer.decode()
            answer.size_wh = (image.shape[1], image.shape[0])
            answer.ms["decode"] = _ms_since(began_ns)
            began_ns = time.perf_counter_ns()
            array, (answer.placement,) = self.engine.prepare([image])
            answer.array = array[:1]
            answer.ready_ns = time.perf_counter_ns()
            answer.ms["prepare"] = _ms_since(began_ns)
            with self._changed:
                self._ready.append(answer)
                self._changed.notify()
        except BaseException as error:
            _deliver(loop, [answer], error)

    # -- threads that infer

    def _work(self, engine: Engine) -> None:
        while batch := self._take():
            there = [answer for answer in batch if not answer.gone]
            error: BaseException | None = None
            if there:
                try:
                    self._run(engine, there)
                except BaseException as failure:
                    error = failure
            _deliver(batch[0].future.get_loop(), batch, error)

    def _take(self) -> list[Answer]:
        """The next batch; empty: no more come."""
        with self._changed:
            while True:
                if len(self._ready) >= self.batch or (self._closed and self._ready):
                    break
                if self._closed:
                    return []
                left_s = None
                if self._ready:
                    left_s = self._wait_s - (time.perf_counter_ns() - self._ready[0].ready_ns) / 1e9
                    if left_s <= 0:
                        break
                self._changed.wait(left_s)
            return [self._ready.popleft() for _ in range(min(self.batch, len(self._ready)))]

    def _run(self, engine: Engine, batch: list[Answer]) -> None:
        began_ns = time.perf_counter_ns()
        arrays = [answer.array for answer in batch if answer.array is not None]
        arrays += [arrays[-1]] * (engine.batches[0] - len(arrays))  # of a graph for so many, and no fewer
        outputs = engine.infer(np.concatenate(arrays) if len(arrays) > 1 else arrays[0])
        infer_ms = _ms_since(began_ns)
        for k, answer in enumerate(batch):
            read_ns = time.perf_counter_ns()
            assert answer.placement is not None
            one = {name: array[k : k + 1] for name, array in outputs.items()}
            (answer.result,) = self.engine.asking(answer.ask).read(one, [answer.placement])
            answer.batch = len(batch)
            answer.ms |= {"wait": (began_ns - answer.ready_ns) / 1e6, "infer": infer_ms, "read": _ms_since(read_ns)}
            answer.array = None
        self._told(len(batch), infer_ms / 1e3)

    # -- the server's loop

    def _settled(self, future: asyncio.Future[Answer]) -> None:
        self.under_way -= 1
        self._finished.append(time.monotonic())
        if not future.cancelled():
            future.exception()  # seen: whoever waited for it may have gone

    def _retry_s(self) -> int:
        """When there may be room: by what was answered of late."""
        if len(self._finished) < 2:
            return 1
        each_s = (self._finished[-1] - self._finished[0]) / (len(self._finished) - 1)
        return max(1, min(30, math.ceil(each_s * self.under_way)))


def _for_nobody() -> Image:
    raise SourceError("nobody waits for it")


def _deliver(loop: asyncio.AbstractEventLoop, answers: list[Answer], error: BaseException | None = None) -> None:
    def deliver() -> None:
        for answer in answers:
            if answer.future.done():
                continue
            if error is not None:
                answer.future.set_exception(error)
            else:
                answer.future.set_result(answer)

    if not loop.is_closed():
        loop.call_soon_threadsafe(deliver)


def _engines(engine: Engine) -> list[Engine]:
    """On a CPU one of one thread for each core, where nobody said otherwise: they do not wait for each other."""
    if engine.runs.device != "cpu" or engine.runs.threads is not None:
        return [engine]
    number = max(1, min(cores(), int(cpu_quota() or MOST_ENGINES), MOST_ENGINES))
    return [engine.fork(threads=1) for _ in range(number)]


def _ms_since(began_ns: int) -> float:
    return (time.perf_counter_ns() - began_ns) / 1e6
