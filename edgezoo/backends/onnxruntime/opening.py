"""Sessions of ONNX Runtime that run where they were asked to, or are none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from edgezoo import graphs
from edgezoo.backends import DEVICE, _nvidia
from edgezoo.backends.onnxruntime import libraries
from edgezoo.errors import BackendError, RequestError, UnknownName

_FATAL, _WARNING = 4, 2
_UNWANTED = [
    "WeightBiasQuantization"
]  # makes integers of a convolution that its graph says is float, for its neighbours


@dataclass(frozen=True, kw_only=True, slots=True)
class How:
    """Where a graph is run, and in which way."""

    device: str
    gpu: int | None
    threads: int | None
    spin: bool
    io_binding: bool
    cuda_graph: bool

    @property
    def real_device(self) -> str:
        return "cpu" if self.gpu is None else f"cuda:{self.gpu}"


def read_how(device: str, threads: int | None, options: Mapping[str, Any]) -> How:
    """Raises RequestError, UnknownName."""
    found = re.fullmatch(DEVICE, device)
    if found is None:
        raise RequestError(f"onnxruntime: expected device cpu, cuda or cuda:N, got {device!r}")
    on_gpu = device != "cpu"
    binds = _flag(options, "io_binding", on_gpu)
    flags = {
        "spin": _flag(options, "spin", True),
        "io_binding": binds,
        "cuda_graph": _flag(options, "cuda_graph", on_gpu and binds),
    }
    if unknown := set(options) - set(flags):
        raise UnknownName("option of onnxruntime", min(unknown), flags)
    if flags["cuda_graph"] and not (on_gpu and binds):
        raise RequestError("onnxruntime: expected the option cuda_graph with a GPU and io_binding alone")
    return How(device=device, gpu=int(found[1] or 0) if on_gpu else None, threads=threads, **flags)


def open_session(
    runtime: ModuleType, graph: bytes, how: How, *, replayed: bool = False, trace: str | None = None
) -> Any:
    """An InferenceSession; `replayed`: its runs are captured as CUDA graphs, `trace`: how the path of its trace begins.

    Raises BackendError, also where the provider that was asked for would not be the one that runs.
    """
    provider, choices = _provider(how)
    if provider not in (there := runtime.get_available_providers()):
        names = ", ".join(name.removesuffix("ExecutionProvider") for name in there)
        cure = _nvidia.cure('pip uninstall onnxruntime && pip install "edgezoo[gpu]"')
        besides = f"; besides, {lacking}" if (lacking := _nvidia.missing()) else ""
        raise BackendError(f"asked for {how.device}, but this onnxruntime has only {names}; {cure}{besides}")
    if replayed:
        choices["enable_cuda_graph"] = "1"
    if how.gpu is not None:
        _load_libraries(runtime, how)
    try:
        with _hushed(runtime, how):
            session = runtime.InferenceSession(
                graph,
                _settings(runtime, graph, how, trace),
                providers=[(provider, choices)],
                disabled_optimizers=_UNWANTED,
                enable_fallback=0,
            )
    except Exception as error:
        if lacking := _lacking(runtime, how):  # the provider's own words for that are "Parse Failed"
            raise BackendError(f"asked for {how.device}, but {lacking}") from error
        raise BackendError(f"onnxruntime could not open the graph: {first_line(error)}") from error
    session.disable_fallback()  # which a failing run of a GPU has otherwise, to the CPU
    real = session.get_providers()[0]
    if real != provider:
        why = _lacking(runtime, how) or "`edgezoo doctor` may tell why"
        raise BackendError(f"asked for {how.device}, but onnxruntime would run {real}: {why}")
    return session


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


def _settings(runtime: ModuleType, graph: bytes, how: How, trace: str | None) -> Any:
    settings = runtime.SessionOptions()
    settings.log_severity_level = _FATAL  # errors come as exceptions too
    settings.intra_op_num_threads = how.threads or 0
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(how.spin)))
    if graphs.half_scales(
        graph
    ):  # its integer kernels take float32 ones alone, and it makes an invalid graph of others
        settings.add_session_config_entry("session.disable_quant_qdq", "1")
    if trace is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = trace
    return settings


def _provider(how: How) -> tuple[str, dict[str, str]]:
    if how.gpu is None:
        return "CPUExecutionProvider", {}
    # Without TF32, which has ten bits of mantissa and is the provider's default: fp32 means fp32.
    return "CUDAExecutionProvider", {"device_id": str(how.gpu), "use_tf32": "0"}


def _load_libraries(runtime: ModuleType, how: How) -> None:
    try:
        libraries.load(runtime)
    except BackendError as error:
        driver = _lacking(runtime, how)
        told = f"{driver}; besides, {error}" if driver else str(error)
        raise BackendError(f"asked for {how.device}, but {told}") from None


def _lacking(runtime: ModuleType, how: How) -> str:
    """What of a GPU is not there; empty where none was asked for."""
    return "" if how.gpu is None else _nvidia.missing(libraries.cuda_of(runtime), gpu=how.gpu)


@contextmanager
def _hushed(runtime: ModuleType, how: How) -> Iterator[None]:
    """Without what ONNX Runtime writes to stderr when a GPU's session does not come up: all of that is raised."""
    if how.gpu is None:
        yield
        return
    runtime.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        runtime.set_default_logger_severity(_WARNING)  # as it is unless a program set another; it cannot be asked


def _flag(options: Mapping[str, Any], name: str, default: bool) -> bool:
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(f"onnxruntime: expected the option {name} as true or false, got {value!r:.40}")
    return value
