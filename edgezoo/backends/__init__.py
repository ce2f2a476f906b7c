"""How a graph is run: one file, or one folder, a runtime; its name is the backend's.

A backend moves named arrays through a graph and knows nothing about images. Its module has
`DEVICES`, the kinds of devices that it runs on, the first unless another is asked for,
`open_graph(graph, *, device, threads, options) -> Backend` and
`layers(graph, feeds, *, device, threads, options, runs) -> list[Layer]`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy.typing as npt

from edgezoo.errors import RequestError, UnknownName

Arrays = dict[str, npt.NDArray[Any]]
DEVICE = r"cpu|cuda(?::(\d+))?"
"""A device's name; group 1 is the GPU's number."""


@dataclass(frozen=True, slots=True)
class Port:
    """A named input or output of a graph."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    """None where the graph takes any size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """What really runs, as read back from the runtime."""

    backend: str
    version: str
    device: str
    """`cpu`, `cuda:0`, or `cuda:0 and cpu` where the runtime leaves some of the layers to the CPU."""
    threads: int | None
    """Threads inside one run; None where the runtime decides."""
    precisions: tuple[str, ...] = ()
    """What its layers compute in, most of them first, where the runtime tells without being timed."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        threads = "" if self.threads is None else f", {self.threads} thread{'s' * (self.threads != 1)}"
        precisions = f", in {' and '.join(self.precisions)}" if self.precisions else ""
        return f"{self.backend} {self.version} on {self.device}{threads}{precisions}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A step of the graph as the runtime executes it, after all that it fused, split and put in between."""

    name: str
    kind: str
    """The operator, as the runtime calls it."""
    precision: str
    """What it computes in (`fp32`, `fp16`, `bf16`, `int8` with or without a sign, `int64`, …)."""
    ms: float
    """Of one run: the median, or the mean where the runtime tells no more. ONNX Runtime tells of a GPU's layers how
    long it takes to launch them."""
    conversion: bool
    """It computes nothing: it changes the type of values, or where they lie."""

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ms": round(self.ms, 4)}


class Backend(Protocol):
    """An opened graph. One thread at a time; what it answers owns its memory."""

    @property
    def inputs(self) -> tuple[Port, ...]: ...

    @property
    def outputs(self) -> tuple[Port, ...]: ...

    @property
    def batches(self) -> tuple[int, int | None]:
        """The smallest and the largest N that one run takes; None: any."""

    @property
    def runs(self) -> Runs: ...

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays: ...

    def fork(self, *, threads: int | None) -> Backend:
        """The same graph for another thread; what can be shared is. Closing one leaves the other open."""

    def close(self) -> None: ...


def backends() -> list[str]:
    """The backends there are files or folders for."""
    here = Path(__file__).parent
    return sorted(path.stem for path in [*here.glob("[!_]*.py"), *(init.parent for init in here.glob("*/__init__.py"))])


def device_of(name: str, device: str | None) -> str:
    """`device`, or where the backend of that name runs unless told otherwise. Raises UnknownName."""
    default: str = _module(name, None).DEVICES[0]
    return default if device is None else device


def runs_on(name: str, device: str) -> bool:
    """Whether the backend of that name is for that kind of device at all; whether it is there is another matter.

    Raises UnknownName, RequestError.
    """
    if not re.fullmatch(DEVICE, device):
        raise RequestError(f"expected device cpu, cuda or cuda:N, got {device!r}")
    return device.partition(":")[0] in _module(name, None).DEVICES


def batches_of(inputs: Sequence[Port]) -> tuple[int, int | None]:
    """The `batches` of a graph that takes what its inputs say."""
    fixed = next((port.shape[0] for port in inputs if port.shape), None)
    return fixed or 1, fixed


def open_backend(
    name: str,
    graph: bytes,
    *,
    device: str | None = None,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Backend:
    """The graph, opened on `device` (`cpu`, `cuda`, `cuda:1`) by the backend of that name.

    Raises UnknownName, RequestError, MissingDependency, and BackendError where the runtime or the device is not
    what was asked for: it never falls back.
    """
    module, device = _module(name, threads), device_of(name, device)
    backend: Backend = module.open_graph(graph, device=device, threads=threads, options=options or {})
    return backend


def layers(
    name: str,
    graph: bytes,
    feeds: Mapping[str, npt.NDArray[Any]],
    *,
    device: str | None = None,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    runs: int = 20,
) -> list[Layer]:
    """What really runs of the graph, in order, timed over `runs` runs after a first that does not count.

    Opens the graph anew, as `open_backend` would. Raises what that raises, and BackendError for feeds that do not fit.
    """
    if runs < 1:
        raise RequestError(f"expected 1 run or more, got {runs}")
    module, device = _module(name, threads), device_of(name, device)
    found: list[Layer] = module.layers(graph, feeds, device=device, threads=threads, options=options or {}, runs=runs)
    return found


def _module(name: str, threads: int | None) -> ModuleType:
    if name not in backends():
        raise UnknownName("backend", name, backends())
    if threads is not None and threads < 1:
        raise RequestError(f"expected 1 thread or more, got {threads}")
    return importlib.import_module(f"edgezoo.backends.{name}")
