"""ONNX Runtime, on the CPU and on NVIDIA GPUs (https://onnxruntime.ai/docs/execution-providers).

Its sessions fall back to the CPU without an error; here the session's real providers are read back, and
asked for CUDA it runs CUDA or fails.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from edgezoo.backends import Arrays, Port, Runs
from edgezoo.errors import BackendError, RequestError, UnknownName
from edgezoo.optional import require

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
_QUIET = 3  # errors only: they come as exceptions too


def open_graph(graph: bytes, *, device: str, threads: int | None, options: Mapping[str, Any]) -> OnnxRuntimeBackend:
    """Options: `spin` (bool), whether idle worker threads burn their core to start the next operator sooner."""
    for name in options:
        if name != "spin":
            raise UnknownName("option of onnxruntime", name, ["spin"])
    return OnnxRuntimeBackend(graph, device=device, threads=threads, spin=bool(options.get("spin", True)))


class OnnxRuntimeBackend:
    """One inference session."""

    def __init__(self, graph: bytes, *, device: str, threads: int | None, spin: bool) -> None:
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
        try:
            session = ort.InferenceSession(graph, settings, providers=[(provider, provider_options)])
        except Exception as error:
            raise BackendError(f"onnxruntime could not open the graph: {_first_line(error)}") from error
        real = session.get_providers()
        if real[0] != provider:
            raise BackendError(
                f"asked for {device}, but onnxruntime would run {real[0]}: its CUDA libraries do not load here; "
                "`edgezoo doctor` tells which are missing"
            )
        self._session = session
        self.inputs = tuple(_port(node) for node in session.get_inputs())
        self.outputs = tuple(_port(node) for node in session.get_outputs())
        self._names = [port.name for port in self.outputs]
        runs_on = f"cuda:{provider_options['device_id']}" if provider_options else device
        self.runs = Runs(backend="onnxruntime", version=ort.__version__, device=runs_on, threads=threads)

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Raises BackendError."""
        if self._session is None:
            raise BackendError("onnxruntime: this graph was closed; open it again")
        try:
            answers = self._session.run(self._names, dict(feeds))
        except Exception as error:
            raise BackendError(f"onnxruntime failed: {_first_line(error)}") from error
        return dict(zip(self._names, answers, strict=True))

    def close(self) -> None:
        self._session = None


def _provider(device: str) -> tuple[str, dict[str, str]]:
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
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
