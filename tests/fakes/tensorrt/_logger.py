"""Loggers, callbacks, shapes and bytes: what every other part of the fake uses."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tensorrt._names import ENUMS, Real, Stored, real

Severity = ENUMS["ILogger.Severity"]


_handlers: dict[int, Any] = {}
"""Python's own, of the signals that wait while it is inside the library."""
_waiting: list[int] = []


@contextlib.contextmanager
def inside() -> Iterator[None]:
    """Signals wait, as they do while Python is inside C++: its handlers run only when Python runs again.

    By handlers, not by masks: a library's threads would take what this one masks, and Python run its handler here.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread alone
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(signal.getsignal(number)):
            _handlers[number] = signal.signal(number, lambda number, frame: _waiting.append(number))
    try:
        yield
    finally:
        before = dict(_handlers)
        _handlers.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
        _deliver(before)


def _deliver(handlers: dict[int, Any]) -> None:
    while _waiting:
        number = _waiting.pop()
        handlers[number](number, None)


def call_back(function: Callable[..., Any], *given: Any) -> Any:
    """Call what the user gave. What it raises would have to cross C++ that allows no exception: the process ends."""
    try:
        _deliver(_handlers)
        return function(*given)
    except BaseException:
        traceback.print_exc()
        print(f"terminate called: an exception left {function.__qualname__}", file=sys.stderr, flush=True)
        os.abort()


@real
class ILogger(Real):
    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError("ILogger.log")


@real
class Logger(ILogger):
    min_severity = Stored(Severity.WARNING, Severity)

    def __init__(self, min_severity: Any = Severity.WARNING) -> None:
        super().__init__()
        self.min_severity = min_severity

    def log(self, severity: Any, msg: str) -> None:
        if severity <= self.min_severity:
            print(f"[TRT] [{severity.name[0]}] {msg}", file=sys.stderr, flush=True)


def tell(logger: ILogger, severity: str, text: str) -> None:
    call_back(logger.log, Severity[severity], text)


@real
class IProfiler(Real):
    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError("IProfiler.report_layer_time")


@real
class IProgressMonitor(Real):
    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError("IProgressMonitor.phase_start")

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError("IProgressMonitor.step_complete")

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError("IProgressMonitor.phase_finish")


@real
class Dims(Real):
    """A shape: compared and walked like a tuple, but none."""

    def __init__(self, shape: Sequence[int] = ()) -> None:
        super().__init__()
        self._shape = tuple(int(size) for size in shape)

    def __len__(self) -> int:
        return len(self._shape)

    def __getitem__(self, place: Any) -> Any:
        return self._shape[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence | Dims) and self._shape == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._shape)


@real
class IHostMemory(bytes):
    """Memory of the library's: its bytes are had through the buffer protocol only, `bytes(memory)`."""

    nbytes = property(lambda self: memoryview(self).nbytes)
    dtype = property(lambda self: ENUMS["DataType"].INT8)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in ("nbytes", "dtype"):
            raise AttributeError(f"'tensorrt.IHostMemory' object has no attribute '{name}'")
        return super().__getattribute__(name)

    def __len__(self) -> int:
        raise TypeError("object of type 'tensorrt.IHostMemory' has no len()")

    def __getitem__(self, place: Any) -> Any:
        raise TypeError("'tensorrt.IHostMemory' object is not subscriptable")

    def __iter__(self) -> Any:
        raise TypeError("'tensorrt.IHostMemory' object is not iterable")


def environment(name: str, default: str = "") -> str:
    return os.environ.get(f"FAKE_TENSORRT_{name}", default)


def note(file: str, entry: dict[str, Any]) -> None:
    """One line more in a file that many processes write to at once."""
    if file:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, json.dumps(entry).encode() + b"\n")
        finally:
            os.close(handle)
