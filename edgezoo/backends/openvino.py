"""OpenVINO, on the CPU (https://docs.openvino.ai).

Left alone it runs an fp32 graph in bf16 where the CPU can, and pins its threads onto cores that others pin theirs
onto. Here precision and threads are said each time, and read back from what was compiled.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo import graphs
from edgezoo.backends import Arrays, Layer, Port, Runs, batches_of
from edgezoo.errors import BackendError, RequestError, UnknownName
from edgezoo.optional import require

DEVICES = ("cpu",)

_DEVICE = "CPU"
_PRECISIONS = ("f32", "bf16")
_NAMES = {"f32": "fp32", "f16": "fp16", "f64": "fp64", "u8": "int8", "i8": "int8", "i32": "int32", "i64": "int64"}
_CONVERSIONS = {"Convert", "Reorder", "Transpose", "FakeQuantize"}
_PRODUCTS = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "Deconvolution", "FullyConnected", "MatMul"}
_MOST_STATIC = 4  # batch sizes with a compiled graph of their own; each holds the weights once more

Shapes = tuple[tuple[int, ...], ...]


def open_graph(graph: bytes, *, device: str, threads: int | None, options: Mapping[str, Any]) -> OpenVinoBackend:
    """Options: `precision` (`f32`, `bf16`), what the layers that are not quantised compute in."""
    return _opened(graph, device=device, threads=threads, options=options)


def layers(
    graph: bytes,
    feeds: Mapping[str, npt.NDArray[Any]],
    *,
    device: str,
    threads: int | None,
    options: Mapping[str, Any],
    runs: int,
) -> list[Layer]:
    """From its own counters. What it fused into another layer, or did by doing nothing, is none."""
    backend = _opened(graph, device=device, threads=threads, options=options, counting=True)
    with closing(backend):
        backend.run(feeds)
        request = backend.request_of(feeds)
        first = request.profiling_info
        for _ in range(runs):
            backend.run(feeds)
        executed = request.get_compiled_model().get_runtime_model().get_ordered_ops()
        about = {node.get_friendly_name(): _about(node) for node in executed}
        pairs = zip(first, request.profiling_info, strict=True)
        return [_layer(*pair, about.get(pair[0].node_name, {}), runs) for pair in pairs if _runs(pair[1])]


def capabilities() -> list[str]:
    """What this CPU computes in, as OpenVINO says: `FP32`, `INT8`, `BF16`, … Raises MissingDependency."""
    return sorted(_runtime().Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"))


class OpenVinoBackend:
    """One graph, compiled once for each of the first batch sizes, for one size is faster than for any."""

    def __init__(self, graph: bytes, *, threads: int | None, precision: str, counting: bool = False) -> None:
        self._graph = graph
        self._ov = _runtime()
        self._core = self._ov.Core()
        self._precision = precision
        able = self._core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in able:
            raise BackendError(
                f"asked for bf16, but on this CPU OpenVINO has only {', '.join(sorted(able))}; try another artifact"
            )
        self._settings = _settings(precision, threads) | {"PERF_COUNT": counting}
        self._compiled: dict[Shapes | None, Any] = {}  # None: for any size
        try:
            self._model = self._core.read_model(graph)
            inputs, outputs = _onnx_names(graph)
            self.inputs = tuple(_port(*pair) for pair in zip(inputs, self._model.inputs, strict=True))
            self.outputs = tuple(_port(*pair) for pair in zip(outputs, self._model.outputs, strict=True))
            request = self._request(tuple(tuple(size or 1 for size in port.shape) for port in self.inputs))
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(f"openvino could not open the graph: {_in_one_line(error)}") from error
        real = request.get_compiled_model().get_property("INFERENCE_NUM_THREADS")
        self.batches = batches_of(self.inputs)
        version = self._ov.get_version().partition("-")[0]
        self.runs = Runs(backend="openvino", version=version, device="cpu", threads=None if threads is None else real)

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """The first run of a batch size compiles the graph for it. Raises BackendError."""
        if self._model is None:
            raise BackendError("openvino: this graph was closed; open it again")
        arrays = self._checked(feeds)
        try:
            request = self._request(tuple(array.shape for array in arrays))
            # The arrays are read where they lie: they outlive the run, and the next one sets others.
            request.infer(dict(enumerate(arrays)), share_inputs=True, share_outputs=True)
            answers = [request.get_output_tensor(k).data.copy() for k in range(len(self.outputs))]
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(f"openvino failed: {_in_one_line(error)}") from error
        return {port.name: answer for port, answer in zip(self.outputs, answers, strict=True)}

    def fork(self, *, threads: int | None) -> OpenVinoBackend:
        return OpenVinoBackend(self._graph, threads=threads, precision=self._precision)

    def close(self) -> None:
        self._model = None
        self._compiled.clear()

    def request_of(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Any:
        """The library's own InferRequest that runs such feeds, for what it counts."""
        return self._request(tuple(array.shape for array in self._checked(feeds)))

    def _checked(self, feeds: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """The feeds in the graph's order, each in one piece; OpenVINO itself would cast and reshape."""
        names = [port.name for port in self.inputs]
        if set(feeds) != set(names):
            raise BackendError(f"openvino: expected inputs {names}, got {sorted(feeds)}")
        for port in self.inputs:
            array = feeds[port.name]
            if not isinstance(array, np.ndarray):
                raise BackendError(f"openvino: expected {_told(port)}, got a {type(array).__name__}")
            fits = len(array.shape) == len(port.shape) and all(
                size >= 1 and wanted in (None, size) for size, wanted in zip(array.shape, port.shape)
            )
            if array.dtype != port.dtype or not fits:
                raise BackendError(f"openvino: expected {_told(port)}, got {array.dtype} {array.shape}")
        return [np.ascontiguousarray(feeds[name]) for name in names]

    def _request(self, shapes: Shapes) -> Any:
        """What runs these shapes: a graph compiled for them, or, past the first few, the one for any."""
        key = shapes if shapes in self._compiled or len(self._compiled) < _MOST_STATIC else None
        if key not in self._compiled:
            self._compiled[key] = self._compile(key)
        return self._compiled[key]

    def _compile(self, shapes: Shapes | None) -> Any:
        model = self._model.clone()
        if shapes is not None:
            model.reshape({k: self._ov.PartialShape(list(shape)) for k, shape in enumerate(shapes)})
        compiled = self._core.compile_model(model, _DEVICE, self._settings)
        real = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if real != self._precision:
            raise BackendError(f"asked for {self._precision}, but OpenVINO would run {real} on this CPU")
        return compiled.create_infer_request()


def _opened(
    graph: bytes, *, device: str, threads: int | None, options: Mapping[str, Any], counting: bool = False
) -> OpenVinoBackend:
    for name in options:
        if name != "precision":
            raise UnknownName("option of openvino", name, ["precision"])
    precision = options.get("precision", "f32")
    if precision not in _PRECISIONS:
        raise RequestError(f"openvino: expected precision {' or '.join(_PRECISIONS)}, got {precision!r}")
    if device != "cpu":
        raise RequestError(f"openvino: expected device cpu, got {device!r}")
    return OpenVinoBackend(graph, threads=threads, precision=precision, counting=counting)


def _about(node: Any) -> dict[str, str]:
    return {name: str(value.value) for name, value in node.get_rt_info().items()}


def _runs(counted: Any) -> bool:
    """Whether something is executed: what takes less than a microsecond is `NOT_RUN` too, but it has a kernel."""
    return counted.status == counted.Status.EXECUTED or not counted.exec_type.startswith(("unknown", "undef"))


def _layer(first: Any, counted: Any, about: Mapping[str, str], runs: int) -> Layer:
    """`first`: as it was counted after one run. The counts are means in whole microseconds."""
    taken_ms = 1000 * (counted.real_time.total_seconds() * (1 + runs) - first.real_time.total_seconds()) / runs
    precision = _precision(counted.exec_type.rpartition("_")[2])
    answer = _precision(about.get("outputPrecisions", "").partition(",")[0]) or precision
    alone = "," not in about.get("originalLayersNames", ",")
    conversion = counted.node_type in _CONVERSIONS or (
        counted.node_type == "Subgraph" and alone and answer != precision
    )
    # Element by element, it computes in what it answers; a product of int8 may be answered as floats.
    computes_in = answer if conversion or counted.node_type not in _PRODUCTS else precision
    return Layer(
        name=counted.node_name.replace("/WithoutBiases", ""),
        kind=counted.node_type,
        precision=computes_in,
        ms=max(0.0, taken_ms),
        conversion=conversion,
    )


def _precision(told: str) -> str:
    return _NAMES.get(told.lower(), told.lower())


def _settings(precision: str, threads: int | None) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # Pinned, two engines of one thread each share the first core, and the second stays idle.
        "ENABLE_CPU_PINNING": False,
        **({} if threads is None else {"INFERENCE_NUM_THREADS": threads}),
    }


def _runtime() -> ModuleType:
    """The library, without what it sends home: importing it reports that to its makers, unless it cannot."""
    with _loading, _absent("openvino_telemetry"):
        return require("openvino")


_loading = threading.Lock()


@contextmanager
def _absent(module: str) -> Iterator[None]:
    """`import module` fails meanwhile; what was imported before stays so."""
    before = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        if before is not None:
            sys.modules[module] = before


def _onnx_names(graph: bytes) -> tuple[list[str], list[str]]:
    """The names of inputs and outputs, in order; OpenVINO keeps the order, but may know a tensor by more names."""
    onnx = graphs.parse(graph).graph
    weights = {tensor.name for tensor in onnx.initializer}
    return [one.name for one in onnx.input if one.name not in weights], [one.name for one in onnx.output]


def _port(name: str, node: Any) -> Port:
    if name not in node.names:
        raise BackendError(f"openvino calls {name!r} {sorted(node.names)}; this graph cannot be run on it")
    shape = tuple(size.get_length() if size.is_static else None for size in node.partial_shape)
    return Port(name, node.element_type.to_dtype().name, shape)


def _told(port: Port) -> str:
    sizes = ", ".join("N" if size is None else str(size) for size in port.shape)
    return f"{port.name} {port.dtype} ({sizes})"


def _in_one_line(error: Exception) -> str:
    """Without the places in its source that OpenVINO's messages begin with, and its advice that they end with."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from ", "Check '", "To facilitate "))]
    return " ".join(said)[:300] or type(error).__name__
