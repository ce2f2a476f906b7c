"""How every function of the runtime is called, as cuda-python tells them: it answers a tuple, the error first."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from cuda._device import DEVICE, gpus
from cuda._errors import Failure, cudaError_t

_WITHOUT_GPU = {"cudaDriverGetVersion", "cudaRuntimeGetVersion", "cudaGetErrorName", "cudaGetErrorString"}
LAST: list[cudaError_t] = []


def answers(count: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function of the runtime that answers that many values behind the error, None each where it failed."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__

        @functools.wraps(function)
        def call(*given: Any) -> tuple[Any, ...]:
            with DEVICE.lock:
                DEVICE.calls[name] += 1
            if os.environ.get("FAKE_CUDA") == "unloadable":
                raise RuntimeError("Failed to dlopen libcuda.so.1")
            try:
                if name not in _WITHOUT_GPU:
                    gpus()
                found = function(*given)
                if DEVICE.broken is not None and name not in _WITHOUT_GPU:
                    raise DEVICE.broken  # nothing works any more, but what is given back is given back
            except Failure as error:
                LAST.append(error.code)
                return (error.code, *[None] * count)
            return (cudaError_t.cudaSuccess, *(found if isinstance(found, tuple) else (found,)))[: 1 + count]

        call.answers = count  # type: ignore[attr-defined]
        return call

    return wrap


def expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"Argument has incorrect type (expected {kind.__name__}, got {type(value).__name__})")
    return value
