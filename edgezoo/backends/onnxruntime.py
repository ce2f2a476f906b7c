"""ONNX Runtime, on the CPU and on NVIDIA GPUs (https://onnxruntime.ai/docs/execution-providers).

Its sessions fall back to the CPU without an error; here the session's real providers are read back, and
asked for CUDA it runs CUDA or fails.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from bisect import bisect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgezoo import graphs
from edgezoo.backends import DEVICE, Arrays, Layer, Port, Runs, batches_of
from edgezoo.errors import BackendError, RequestError, UnknownName
from edgezoo.optional import require

DEVICES = ("cpu", "cuda")

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
_QUIET = 3  # errors only: they come as exceptions too

_UNWANTED = [
    "WeightBiasQuantization"
]  # makes integers of a convolution that its graph says is float, for its neighbours

_PRECISIONS = {
    "float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64", "uint8": "int8", "int8": "int8",
}  # fmt: skip
_CONVERSIONS = {
    "Cast", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Transpose", "ReorderInput", "ReorderOutput",
    "MemcpyToHost", "MemcpyFromHost",
}  # fmt: skip
_COMPUTES_IN_INT8 = re.compile("QLinear|QGemm|QAttention|DynamicQuantize")  # also where its input comes as floats
_OF_SHAPES = {"Shape", "Size"}
_CONTAINERS = {"If", "Loop", "Scan"}  # what is inside them is told too


def open_graph(graph: bytes, *, device: str, threads: int | None, options: Mapping[str, Any]) -> OnnxRuntimeBackend:
    """Options: `spin` (bool), whether idle worker threads burn their core to start the next operator sooner."""
    return OnnxRuntimeBackend(graph, device=device, threads=threads, options=options)


class OnnxRuntimeBackend:
    """One inference session."""

    def __init__(self, graph: bytes, *, device: str, threads: int | None, options: Mapping[str, Any]) -> None:
        self._graph, self._device, self._options = graph, device, options
        self._session = session = _session(graph, device=device, threads=threads, options=options)
        self.inputs = tuple(_port(node) for node in session.get_inputs())
        self.outputs = tuple(_port(node) for node in session.get_outputs())
        self.batches = batches_of(self.inputs)
        self._names = [port.name for port in self.outputs]
        provider_options = _provider(device)[1]
        runs_on = f"cuda:{provider_options['device_id']}" if provider_options else device
        version = require("onnxruntime").__version__
        self.runs = Runs(backend="onnxruntime", version=version, device=runs_on, threads=threads)

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Raises BackendError."""
        if self._session is None:
            raise BackendError("onnxruntime: this graph was closed; open it again")
        return dict(zip(self._names, _run(self._session, self._names, feeds), strict=True))

    def fork(self, *, threads: int | None) -> OnnxRuntimeBackend:
        return OnnxRuntimeBackend(self._graph, device=self._device, threads=threads, options=self._options)

    def close(self) -> None:
        self._session = None


def layers(
    graph: bytes,
    feeds: Mapping[str, npt.NDArray[Any]],
    *,
    device: str,
    threads: int | None,
    options: Mapping[str, Any],
    runs: int,
) -> list[Layer]:
    """From its own trace, which names the kernels it ran: those of the optimised graph."""
    with tempfile.TemporaryDirectory() as folder:
        trace = str(Path(folder) / "trace")
        session = _session(graph, device=device, threads=threads, options=options, trace=trace)
        try:
            for _ in range(1 + runs):
                _run(session, None, feeds)
        finally:
            file = session.end_profiling()
        return _layers_of(json.loads(Path(file).read_text("utf-8", errors="replace")))


def _layers_of(trace: Sequence[Mapping[str, Any]]) -> list[Layer]:
    """Of the trace of some runs, the first of which is left out."""
    starts = sorted(event["ts"] for event in trace if event["name"] == "model_run")
    nodes: dict[tuple[str, str], Mapping[str, Any]] = {}
    times: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * len(starts))
    for event in trace:
        step = event.get("args", {})
        if event["cat"] != "Node" or not event["name"].endswith("_kernel_time") or step["op_name"] in _CONTAINERS:
            continue
        key = step["node_index"], event["name"]  # inside a container indices begin again
        nodes.setdefault(key, step)
        times[key][bisect(starts, event["ts"]) - 1] += event["dur"] / 1000
    return [
        Layer(
            name=_name(name, step),
            kind=step["op_name"],
            precision=_precision(step),
            ms=statistics.median(times[index, name][1:]),
            conversion=step["op_name"] in _CONVERSIONS,
        )
        for (index, name), step in nodes.items()
    ]


def _name(told: str, step: Mapping[str, Any]) -> str:
    """The node's, or its number and the shape it answers where the optimiser left it none."""
    name = re.sub(r"(_nchwc|_token_\d+|/\w*Fusion/)?_kernel_time$", "", told)
    if name not in ("", step["op_name"]):
        return name
    shapes = ["x".join(map(str, shape)) for port in step["output_type_shape"] for shape in port.values()]
    return " ".join([f"{step['op_name']}_{step['node_index']}", *shapes[:1]])


def _precision(step: Mapping[str, Any]) -> str:
    """By the first input; by the first output where that holds no numbers to compute with, and of a conversion."""
    kind = step["op_name"]
    if _COMPUTES_IN_INT8.match(kind):
        return "int8"
    first, answer = (
        next((dtype for port in step[ports] for dtype in port), "")
        for ports in ("input_type_shape", "output_type_shape")
    )
    counts = first in ("", "bool", "int32", "int64")
    dtype = answer if answer and (counts or kind in _CONVERSIONS | _OF_SHAPES) else first
    return _PRECISIONS.get(dtype, dtype)


def _session(
    graph: bytes, *, device: str, threads: int | None, options: Mapping[str, Any], trace: str | None = None
) -> Any:
    """An InferenceSession that runs what was asked for; `trace` is how the path of its trace begins."""
    for name in options:
        if name != "spin":
            raise UnknownName("option of onnxruntime", name, ["spin"])
    if not isinstance(spin := options.get("spin", True), bool):
        raise RequestError(f"onnxruntime: expected the option spin as true or false, got {spin!r:.40}")
    ort = require("onnxruntime")
    provider, provider_options = _provider(device)
    if provider not in ort.get_available_providers():
        raise BackendError(
            f"asked for {device}, but this onnxruntime has only {', '.join(ort.get_available_providers())}; "
            'try: pip uninstall onnxruntime && pip install "edgezoo[gpu]"'
        )
    settings = ort.SessionOptions()
    settings.log_severity_level = _QUIET
    settings.intra_op_num_threads = threads or 0
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    if graphs.half_scales(
        graph
    ):  # its integer kernels take float32 ones alone, and it makes an invalid graph of others
        settings.add_session_config_entry("session.disable_quant_qdq", "1")
    if trace is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = trace
    try:
        session = ort.InferenceSession(
            graph, settings, providers=[(provider, provider_options)], disabled_optimizers=_UNWANTED
        )
    except Exception as error:
        raise BackendError(f"onnxruntime could not open the graph: {_first_line(error)}") from error
    real = session.get_providers()
    if real[0] != provider:
        raise BackendError(
            f"asked for {device}, but onnxruntime would run {real[0]}: its CUDA libraries do not load here; "
            "`edgezoo doctor` tells which are missing"
        )
    return session


def _run(session: Any, names: Sequence[str] | None, feeds: Mapping[str, npt.NDArray[Any]]) -> list[Any]:
    try:
        answers: list[Any] = session.run(names, dict(feeds))
    except Exception as error:
        raise BackendError(f"onnxruntime failed: {_first_line(error)}") from error
    return answers


def _provider(device: str) -> tuple[str, dict[str, str]]:
    found = re.fullmatch(DEVICE, device)
    if found is None:
        raise RequestError(f"onnxruntime: expected device cpu, cuda or cuda:N, got {device!r}")
    if device == "cpu":
        return "CPUExecutionProvider", {}
    # Without TF32, which has ten bits of mantissa and is the provider's default: fp32 means fp32.
    return "CUDAExecutionProvider", {"device_id": found[1] or "0", "use_tf32": "0"}


def _port(node: Any) -> Port:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return Port(node.name, _DTYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")")), shape)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
