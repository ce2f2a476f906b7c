"""Memory, streams, graphs and events of the CUDA that is none, with what is wrong about their use."""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cuda._errors import Failure, cudaError_t

TOTAL = 8 * 2**30
_FREED = 0xDD


@dataclass(frozen=True)
class Work:
    """One entry of a stream: what it is for, and what it does, as often as it is replayed."""

    what: str
    run: Callable[[], None]


@dataclass(eq=False)
class Stream:
    flags: int = 0
    waiting: deque[Work] = field(default_factory=deque)
    captured: list[Work] | None = None
    """A list while it captures: nothing runs, all is noted down."""
    mode: int = 0
    thread: int = 0
    spoiled: bool = False
    busy: Any = field(default_factory=threading.RLock)

    def put(self, work: Work) -> None:
        (self.waiting if self.captured is None else self.captured).append(work)

    def drain(self, until: Callable[[], bool] = lambda: False) -> None:
        with self.busy:
            while self.waiting and not until():
                self.waiting.popleft().run()


@dataclass(eq=False)
class Event:
    flags: int = 0
    at_s: float | None = None
    stream: Stream | None = None
    captured: bool = False


class Captured(list[Work]):
    """A graph as it was captured."""


class Graph(list[Work]):
    """A graph made ready to launch."""


class Block:
    """One allocation, of the device or of pinned memory."""

    def __init__(self, size: int, kind: str) -> None:
        self.bytes = (ctypes.c_uint8 * max(1, size)).from_buffer(bytearray(b"\xcd" * max(1, size)))
        self.size, self.kind, self.address = size, kind, ctypes.addressof(self.bytes)


class Device:
    """All that one process has of CUDA. One lock: the tables are shared by threads, as the driver's are."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.blocks: dict[int, Block] = {}
        self.freed: deque[Block] = deque(maxlen=64)  # kept, so that their addresses are not given out again at once
        self.handles: dict[int, Stream | Event | Captured | Graph] = {0: Stream()}
        self.numbers = itertools.count(0x51000, 16)
        self.calls: Counter[str] = Counter()
        self.faults: list[str] = []
        self.broken: Failure | None = None
        self.engines: weakref.WeakSet[Any] = weakref.WeakSet()
        self.contexts: weakref.WeakSet[Any] = weakref.WeakSet()

    # Memory.

    def allocate(self, size: int, kind: str) -> int:
        if size < 0 or size > TOTAL - self.used("device"):
            raise Failure(cudaError_t.cudaErrorMemoryAllocation, f"{size} bytes")
        block = Block(size, kind)
        self.blocks[block.address] = block
        return block.address

    def free(self, address: int, kind: str) -> None:
        block = self.blocks.get(address)
        if block is None or block.kind != kind:
            self.fault(f"freed what is not allocated: {kind} {address:#x}")
            raise Failure(cudaError_t.cudaErrorInvalidValue, "freed twice, or never allocated")
        ctypes.memset(address, _FREED, block.size)
        self.freed.append(self.blocks.pop(address))

    def view(self, address: int, size: int, kind: str, code: cudaError_t) -> None:
        """Raises Failure unless `size` bytes from there lie in one living allocation of that kind."""
        for block in self.blocks.values():
            if block.address <= address and address + size <= block.address + block.size:
                if block.kind == kind:
                    return
                break
        raise Failure(code, f"{size} bytes at {address:#x} are not within an allocation of {kind} memory")

    def used(self, kind: str) -> int:
        return sum(block.size for block in self.blocks.values() if block.kind == kind)

    # Handles.

    def keep(self, thing: Stream | Event | Captured | Graph) -> int:
        number = next(self.numbers)
        self.handles[number] = thing
        return number

    def take(self, handle: Any, kind: type) -> Any:
        found = self.handles.get(int(handle))
        if not isinstance(found, kind):
            self.fault(f"used what is no {kind.__name__}, or no more: {int(handle):#x}")
            raise Failure(cudaError_t.cudaErrorInvalidResourceHandle, f"no {kind.__name__}: {int(handle):#x}")
        return found

    def drop(self, handle: Any, kind: type) -> Any:
        found = self.take(handle, kind)
        del self.handles[int(handle)]
        return found

    def streams(self) -> list[Stream]:
        return [thing for thing in self.handles.values() if isinstance(thing, Stream)]

    # Running.

    def drain(self, streams: list[Stream], until: Callable[[], bool] = lambda: False) -> None:
        """Run what waits; what fails there breaks the device for good, as an illegal access does."""
        for stream in streams:
            try:
                stream.drain(until)
            except Failure as error:
                self.fault(str(error))
                self.broken = error
                stream.waiting.clear()
        if self.broken is not None:
            raise self.broken

    def unsafe(self, what: str) -> None:
        """A call that may wait for others: not while a capture forbids it, and such a capture is lost."""
        here = threading.get_ident()
        for stream in self.streams():
            if stream.captured is not None and (stream.mode == 0 or (stream.mode == 1 and stream.thread == here)):
                stream.spoiled = True
                raise Failure(cudaError_t.cudaErrorStreamCaptureUnsupported, what)

    def fault(self, what: str) -> None:
        self.faults.append(what)

    def live(self) -> dict[str, int]:
        """How many there are of everything that must be given back."""
        kinds = Counter(type(thing).__name__ for number, thing in self.handles.items() if number)
        memory = Counter(block.kind for block in self.blocks.values())
        return {
            "allocations": memory["device"],
            "pinned": memory["pinned"],
            "streams": kinds["Stream"],
            "events": kinds["Event"],
            "graphs": kinds["Captured"] + kinds["Graph"],
            "engines": len(self.engines),
            "contexts": len(self.contexts),
        }


DEVICE = Device()


def gpus() -> list[tuple[str, int, int]]:
    """Name and compute capability of each GPU that the environment says there is. Raises Failure for none."""
    there = os.environ.get("FAKE_CUDA", "")
    if there == "none":
        raise Failure(cudaError_t.cudaErrorInsufficientDriver, "FAKE_CUDA=none")
    if there == "nodevice":
        raise Failure(cudaError_t.cudaErrorNoDevice, "FAKE_CUDA=nodevice")
    told = [text.rpartition(":") for text in os.environ.get("FAKE_GPU", "NVIDIA Fake RTX:8.9").split(";")]
    return [(name, *map(int, capability.split("."))) for name, _, capability in told]  # type: ignore[misc]


def driver() -> int:
    return 0 if os.environ.get("FAKE_CUDA") == "none" else int(os.environ.get("FAKE_DRIVER", "13010"))


def runtime() -> int:
    return int(os.environ.get("FAKE_RUNTIME", "13000"))


def now() -> float:
    return time.perf_counter()
