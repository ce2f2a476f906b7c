"""ONNX Runtime, on the CPU and on NVIDIA GPUs (https://onnxruntime.ai/docs/execution-providers).

Its sessions fall back to the CPU without an error; here the session's real providers are read back, and asked for CUDA
it runs CUDA or fails. Whatever here is of a GPU alone was written without one, after ONNX Runtime's documents and
source, and tried over a double: `tests/gpu` proves it where there is one.

    opening.py     sessions that run where they were asked to     binding.py    memory that is made once
    libraries.py   what the CUDA provider needs                   trace.py      what really runs
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgezoo.backends import Arrays, Layer, Port, Runs, _nvidia, batches_of
from edgezoo.backends.onnxruntime.binding import Bound, Buffers, run_options
from edgezoo.backends.onnxruntime.opening import How, first_line, open_session, read_how
from edgezoo.backends.onnxruntime.trace import layers_of
from edgezoo.errors import BackendError
from edgezoo.optional import require

DEVICES = ("cpu", "cuda")

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
_MOST_THREADS = 4  # that replay graphs: each has its own captured, and ONNX Runtime keeps that until it is closed


def open_graph(graph: bytes, *, device: str, threads: int | None, options: Mapping[str, Any]) -> OnnxRuntimeBackend:
    """Options, true or false: `spin`, whether idle worker threads burn their core to start the next operator sooner;
    `io_binding`, whether inputs and outputs have memory on the device that is made once (default: on a GPU);
    `cuda_graph`, whether a GPU's runs are captured once and replayed as a whole, where that can be done (default: yes).
    """
    return OnnxRuntimeBackend(graph, read_how(device, threads, options))


def layers(
    graph: bytes,
    feeds: Mapping[str, npt.NDArray[Any]],
    *,
    device: str,
    threads: int | None,
    options: Mapping[str, Any],
    runs: int,
) -> list[Layer]:
    """From its own trace, which names the kernels it ran: those of the optimised graph, also those that it left to the
    CPU. Without CUDA graphs, whose runs are one step.
    """
    how, runtime = read_how(device, threads, options), require("onnxruntime")
    with tempfile.TemporaryDirectory() as folder, _beside(how):
        session = open_session(runtime, graph, how, trace=str(Path(folder) / "trace"))
        try:
            for _ in range(1 + runs):
                session.run(None, dict(feeds))
        except Exception as error:
            raise BackendError(f"onnxruntime failed: {first_line(error)}") from error
        finally:
            file = session.end_profiling()
        return layers_of(json.loads(Path(file).read_text("utf-8", errors="replace")))


class OnnxRuntimeBackend:
    """One inference session."""

    def __init__(self, graph: bytes, how: How) -> None:
        self._graph, self._how, self._runtime = graph, how, require("onnxruntime")
        self._busy = threading.Lock()
        """Of the memory that all runs share: two at once would mix their answers."""
        with _beside(how):
            self._open()
        self.batches = batches_of(self.inputs)
        self._names = [port.name for port in self.outputs]
        # What it says where layers are left to the CPU, but for those that only reckon with shapes.
        device = f"{how.real_device} and cpu" if "partitioned" in self.no_graph else how.real_device
        self.runs = Runs(backend="onnxruntime", version=self._runtime.__version__, device=device, threads=how.threads)

    def _open(self, no_graph: str = "") -> None:
        """A session and its memory, with CUDA graphs if `no_graph` does not say why not and ONNX Runtime agrees."""
        self._session: Any = None
        self.no_graph = no_graph
        """Why runs are not replayed as CUDA graphs, where that was asked for."""
        if self._how.cuda_graph and not no_graph:
            try:
                self._session = open_session(self._runtime, self._graph, self._how, replayed=True)
            except BackendError as error:
                self.no_graph = str(error)
        if self._session is None:
            self._session = open_session(self._runtime, self._graph, self._how)
        self.graph = self._how.cuda_graph and not self.no_graph
        """Whether runs are replayed as CUDA graphs."""
        self.inputs = tuple(_port(node) for node in self._session.get_inputs())
        self.outputs = tuple(_port(node) for node in self._session.get_outputs())
        self._buffers = Buffers(self._runtime, self._session, self.inputs, self.outputs, gpu=self._how.gpu)
        self._unbound = run_options(self._runtime, graph=-1)
        self._captured, self._capturing = threading.local(), 0

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Raises BackendError."""
        if self._session is None:
            raise BackendError("onnxruntime: this graph was closed; open it again")
        try:
            with self._busy if self._how.io_binding else nullcontext():
                answers = self._replay(feeds) if self.graph else self._run(feeds)
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(f"onnxruntime failed: {first_line(error)}") from error
        return dict(zip(self._names, answers, strict=True))

    def bound(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Bound | None:
        """The memory that such feeds run in, for who times copies apart; None where they run without."""
        return self._buffers.of(feeds) if self._how.io_binding and self._session is not None else None

    def fork(self, *, threads: int | None) -> OnnxRuntimeBackend:
        return OnnxRuntimeBackend(self._graph, replace(self._how, threads=threads))

    def close(self) -> None:
        with self._busy, _beside(self._how):
            self._let_go()

    def _run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        with _beside(self._how):
            bound = self._buffers.of(feeds) if self._how.io_binding else None
            if bound is not None:
                return bound.run(feeds)
            answers: list[npt.NDArray[Any]] = self._session.run(self._names, dict(feeds))
            return answers

    def _replay(self, feeds: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """The first run of a batch size in a thread captures, which nothing else of CUDA may disturb."""
        with _nvidia.CUDA.together():
            bound = self._buffers.of(feeds)
            if bound is None:
                answers: list[npt.NDArray[Any]] = self._session.run(self._names, dict(feeds), self._unbound)
                return answers
            captured: set[Bound] | None = getattr(self._captured, "of", None)
            if captured is not None and bound in captured:
                return bound.run(feeds)
        if captured is None:
            if self._capturing == _MOST_THREADS:
                return self._run_without(feeds, f"more than {_MOST_THREADS} threads ran it")
            captured = self._captured.of = set()
            self._capturing += 1
        try:
            with _nvidia.CUDA.alone():
                answers = bound.run(feeds)
        except Exception as error:
            return self._run_without(feeds, first_line(error))
        captured.add(bound)
        return answers

    def _run_without(self, feeds: Mapping[str, npt.NDArray[Any]], why: str) -> list[npt.NDArray[Any]]:
        """From now on without CUDA graphs: as right, and slower."""
        with _nvidia.CUDA.together():
            self._let_go()
            self._open(why)
        return self._run(feeds)

    def _let_go(self) -> None:
        self._captured = threading.local()
        self._buffers.clear()
        self._session = None


def _beside(how: How) -> AbstractContextManager[None]:
    """On a GPU, not while another thread captures."""
    return nullcontext() if how.gpu is None else _nvidia.CUDA.together()


def _port(node: Any) -> Port:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return Port(node.name, _DTYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")")), shape)
