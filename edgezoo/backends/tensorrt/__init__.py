"""TensorRT, on NVIDIA GPUs (https://docs.nvidia.com/deeplearning/tensorrt), 8.6 to 11 by one code path.

Opening a graph never builds: it takes the engine that `edgezoo compile` made of it for this very machine, or fails with
what has changed since. Host memory is pinned, all work of a run stands on one stream, and nothing is allocated on the
device after opening; where an engine takes one batch size alone, a run is one CUDA graph.

    options.py    what an engine is built for         compiling.py  have it built, once
    versions.py   what differs between versions       child.py      by a process of its own, which tells
    parser.py     what each version's parser reads    building.py   what that process does; checking.py
    limits.py     and what of an operator not         progress.py   how far it is
    cuda.py       memory, streams, facts              engines.py    the engines that are kept, and which one is meant
    logger.py     what TensorRT says                  fitting.py    which machine each is for
    inspection.py what really runs inside             private.py    files that nobody else can have made; timings.py
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgezoo.backends import Arrays, Layer, Port, Runs, _nvidia
from edgezoo.backends.tensorrt import cuda, inspection
from edgezoo.backends.tensorrt.logger import logger, said, starting
from edgezoo.errors import BackendError, RequestError, UnknownName

if TYPE_CHECKING:
    from edgezoo.backends.tensorrt.engines import Compiled
    from edgezoo.backends.tensorrt.options import BuildOptions

DEVICES = ("cuda",)

_NUMPY = {
    "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "UINT8": "uint8", "INT32": "int32", "INT64": "int64",
    "BOOL": "bool",
}  # fmt: skip
_OPTIONS = ("cuda_graph",)


def open_graph(graph: bytes, *, device: str, threads: int | None, options: Mapping[str, Any]) -> TensorRtBackend:
    """Options: `cuda_graph` (bool), whether an engine of one batch size is captured and replayed as a whole.

    Raises NotCompiled. Threads mean nothing to a GPU.
    """
    return _opened(graph, device=device, options=options)


def layers(
    graph: bytes,
    feeds: Mapping[str, npt.NDArray[Any]],
    *,
    device: str,
    threads: int | None,
    options: Mapping[str, Any],
    runs: int,
) -> list[Layer]:
    """From the engine inspector, and the profiler's times on the device; layers run one after another for that."""
    with closing(_opened(graph, device=device, options={**options, "cuda_graph": False})) as backend:
        return backend.profile(feeds, runs)


def _opened(graph: bytes, *, device: str, options: Mapping[str, Any]) -> TensorRtBackend:
    for name in options:
        if name not in _OPTIONS:
            raise UnknownName("option of tensorrt", name, _OPTIONS)
    if not isinstance(captured := options.get("cuda_graph", True), bool):
        raise RequestError(f"tensorrt: expected the option cuda_graph as true or false, got {captured!r:.40}")
    from edgezoo.backends.tensorrt.engines import find

    index = cuda.index_of(device)
    compiled = find(hashlib.sha256(graph).hexdigest(), cuda.facts(index))
    with _nvidia.CUDA.together():
        return TensorRtBackend(*_fitting(compiled, index), device=index, captured=captured)


class TensorRtBackend:
    """An execution context of a compiled engine, with the memory of its largest batch."""

    def __init__(self, runtime: Any, engine: Any, *, device: int, captured: bool) -> None:
        self._runtime, self._engine, self._index, self._captured = runtime, engine, device, captured
        self._held = ExitStack()
        self._graphs: dict[int, Any] = {}
        self._n = 0  # the batch size that the context is set to
        try:
            self._make()
        except BaseException:
            self._free()
            raise

    def _make(self) -> None:
        trt, engine = cuda.tensorrt(), self._engine
        self._stream = cuda.Stream(self._index, self._held)
        self._context = engine.create_execution_context()
        if self._context is None:
            raise BackendError(f"tensorrt could not make room to run in: {said()}")
        self._held.callback(self._forget)
        names = [engine.get_tensor_name(k) for k in range(engine.num_io_tensors)]
        door = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.batches = _batches(engine, door)
        self.inputs = tuple(self._port(name, engine.get_tensor_shape(name)) for name in door)
        for name in door:
            self._set_shape(name, self.batches[1])
        self.outputs = tuple(
            self._port(name, self._context.get_tensor_shape(name)) for name in names if name not in door
        )
        self._host: dict[str, npt.NDArray[Any]] = {}
        self._copies: dict[str, tuple[int, int]] = {}
        """The addresses of each tensor, on the host and on the device."""
        for port in (*self.inputs, *self.outputs):
            shape = (self.batches[1], *(size or 1 for size in port.shape[1:]))
            address, self._host[port.name] = self._stream.host(shape, port.dtype)
            self._copies[port.name] = address, self._stream.device(shape, port.dtype)
            self._context.set_tensor_address(port.name, self._copies[port.name][1])
        self.runs = Runs(
            backend="tensorrt",
            version=trt.__version__,
            device=f"cuda:{self._index}",
            threads=None,
            precisions=inspection.precisions(inspection.read_layers(trt, engine, self._context)),
        )

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Raises BackendError."""
        if self._engine is None:
            raise BackendError("tensorrt: this graph was closed; open it again")
        n = self._take(feeds)
        with _nvidia.CUDA.together():
            self._stream.enter()
            if n in self._graphs:
                self._stream.launch(self._graphs[n])
            else:
                self._prepare(n)
                self._enqueue(n)
            self._stream.wait()
            answers = {port.name: self._host[port.name][:n].copy() for port in self.outputs}
            if self._captured and n not in self._graphs and self.batches[0] == self.batches[1]:
                self._capture(n)
        return answers

    def fork(self, *, threads: int | None) -> TensorRtBackend:
        """Another context of the same engine: weights lie on the device once."""
        if self._engine is None:
            raise BackendError("tensorrt: this graph was closed; open it again")
        with _nvidia.CUDA.together():
            return TensorRtBackend(self._runtime, self._engine, device=self._index, captured=self._captured)

    def close(self) -> None:
        with _nvidia.CUDA.together():
            self._free()

    def _free(self) -> None:
        with suppress(AttributeError, BackendError):  # there was none yet; it failed for good
            self._stream.enter()
        self._held.close()
        self._engine = self._runtime = None

    def __del__(self) -> None:
        with suppress(Exception):
            self._free()  # without its turn: it may be collected in the midst of another's

    def profile(self, feeds: Mapping[str, npt.NDArray[Any]], runs: int) -> list[Layer]:
        """The layers with the device's time for each, the median over `runs` runs after a first that does not count."""
        trt: Any = cuda.tensorrt()
        profiler = _profiler(trt)
        self.run(feeds)
        told = inspection.read_layers(trt, self._engine, self._context)
        self._context.profiler = profiler
        for _ in range(runs):
            profiler.times.append([])
            self.run(feeds)
        return inspection.timed(told, profiler.times)

    def _take(self, feeds: Mapping[str, npt.NDArray[Any]]) -> int:
        """Put the feeds where the device copies from; N."""
        names = [port.name for port in self.inputs]
        if set(feeds) != set(names):
            raise BackendError(f"tensorrt: expected inputs {names}, got {sorted(feeds)}")
        least, most = self.batches
        sizes = set()
        for port in self.inputs:
            array, room = feeds[port.name], self._host[port.name]
            fits = isinstance(array, np.ndarray) and array.dtype == port.dtype and array.shape[1:] == room.shape[1:]
            if not fits or not array.shape or not least <= len(array) <= most:
                told = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
                allowed = str(most) if least == most else f"{least} to {most}"
                cure = "" if not fits else "; another range needs `edgezoo compile --batch`"
                wanted = f"{port.name} {port.dtype} (N, {', '.join(map(str, room.shape[1:]))}), N of {allowed}"
                raise BackendError(f"tensorrt: expected {wanted}, got {told}{cure}")
            sizes.add(len(array))
        if len(sizes) != 1:
            raise BackendError(f"tensorrt: expected the same N of all inputs, got {sorted(sizes)}")
        n = sizes.pop()
        for port in self.inputs:
            np.copyto(self._host[port.name][:n], feeds[port.name])
        return n

    def _prepare(self, n: int) -> None:
        """Set the context to a batch of `n`."""
        if n == self._n:
            return
        self._n = 0
        for port in self.inputs:
            self._set_shape(port.name, n)
        for port in self.outputs:
            shape = tuple(self._context.get_tensor_shape(port.name))
            if shape != (n, *self._host[port.name].shape[1:]):
                raise BackendError(f"tensorrt: expected {port.name} of {n} answers, got shape {shape}")
        self._n = n

    def _enqueue(self, n: int) -> None:
        """All of a run, on the stream: in, through, out."""
        for port in self.inputs:
            host, device = self._copies[port.name]
            self._stream.upload(device, host, self._host[port.name][:n].nbytes)
        if not self._context.execute_async_v3(int(self._stream.handle)):
            raise BackendError(f"tensorrt failed: {said()}")
        for port in self.outputs:
            host, device = self._copies[port.name]
            self._stream.download(host, device, self._host[port.name][:n].nbytes)

    def _capture(self, n: int) -> None:
        """Keep a run as a graph. Its first run went without, for TensorRT does work then that may not be captured."""
        try:
            self._stream.begin_capture()
            try:
                self._enqueue(n)
            finally:
                self._graphs[n] = self._stream.end_capture()
        except BackendError:  # layers that wait for the host cannot be: without, it is as right, and a little slower
            self._graphs.pop(n, None)
            self._captured = False

    def _set_shape(self, name: str, n: int) -> None:
        shape = (n, *tuple(self._engine.get_tensor_shape(name))[1:])
        if not self._context.set_input_shape(name, shape):
            raise BackendError(f"tensorrt: expected {name} of a shape that the engine was built for, got {shape}")

    def _port(self, name: str, shape: Any) -> Port:
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in _NUMPY:
            raise BackendError(f"tensorrt: {name} is {kind}, which NumPy does not have")
        least, most = self.batches
        return Port(name, _NUMPY[kind], (least if least == most else None, *tuple(shape)[1:]))

    def _forget(self) -> None:
        self._context = None
        self._graphs.clear()


def loaded(data: bytes, options: BuildOptions) -> tuple[Any, Any]:
    """The runtime, which must outlive it, and the engine, None where it is not taken; on the current device."""
    trt = cuda.tensorrt()
    with starting():
        runtime = trt.Runtime(logger())
    if options.dla is not None:
        runtime.DLA_core = options.dla
    if options.version_compatible:
        runtime.engine_host_code_allowed = True  # the runtime of its own version, which it brings along
    logger().errors.clear()
    engine = runtime.deserialize_cuda_engine(data)
    return runtime, engine


def _fitting(compiled: Compiled, device: int) -> tuple[Any, Any]:
    cuda.checked(cuda.runtime().cudaSetDevice(device))
    runtime, engine = loaded(compiled.read(), compiled.record.options)
    if engine is None:
        raise BackendError(f"tensorrt did not take {compiled.path}: {said()}; compile it again")
    return runtime, engine


def _batches(engine: Any, door: list[str]) -> tuple[int, int]:
    sizes: set[int] = {engine.get_tensor_shape(name)[0] for name in door}
    if len(sizes) != 1:
        raise BackendError(f"tensorrt: expected inputs of one batch size, got {sorted(sizes)}")
    if (fixed := sizes.pop()) > 0:
        return fixed, fixed
    least, _, most = engine.get_tensor_profile_shape(door[0], 0)
    return least[0], most[0]


def _profiler(trt: Any) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: list[list[tuple[str, float]]] = []
            """Of each run, `(layer, ms)` in order."""

        def report_layer_time(self, name: str, ms: float) -> None:
            self.times[-1].append((name, ms))

    return Profiler()
