"""TensorRT's one logger: the first that it is given hears of everything, and must live as long as the process."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgezoo.backends import _nvidia
from edgezoo.backends.tensorrt import cuda
from edgezoo.errors import BackendError

_MOST = 20


@functools.cache
def logger() -> Any:
    """An `ILogger` that keeps the last `errors` and prints nothing."""
    trt: Any = cuda.tensorrt()

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=_MOST)

        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.Logger.ERROR, trt.Logger.INTERNAL_ERROR):
                self.errors.append(" ".join(text.split()))

    return Logger()


@contextmanager
def starting() -> Iterator[None]:
    """Around the making of a `Builder` or a `Runtime`: BackendError where CUDA does not start for TensorRT."""
    try:
        yield
    except TypeError as error:  # pybind11's word for it
        version = cuda.tensorrt().__version__
        why = _nvidia.missing() or said()
        raise BackendError(f"TensorRT {version} does not start: {why}; is it made for this driver's CUDA?") from error


def said() -> str:
    """The last error, for the end of a line of ours."""
    errors = logger().errors
    return str(errors[-1])[:300] if errors else "it does not say why"
