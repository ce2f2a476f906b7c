"""What NVIDIA's cuda-python has of the names that the fake CUDA uses, as one small JSON file; as `make.py` does.

    python tests/tensorrt_names/make_cuda.py FOLDER > tests/tensorrt_names/cuda-13.5.0.json

`FOLDER` holds `cuda`, as a wheel of cuda-bindings, or of cuda-python up to 12.6, brings it. It loads without a driver,
and later versions tell their errors' sentences without one. A function is told with its arguments and with what it
answers behind the error.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

FUNCTIONS = """
    cudaDeviceGetAttribute cudaDeviceSynchronize cudaDriverGetVersion cudaEventCreate cudaEventCreateWithFlags
    cudaEventDestroy cudaEventElapsedTime cudaEventRecord cudaEventSynchronize cudaFree cudaFreeHost cudaGetDevice
    cudaGetDeviceCount cudaGetDeviceProperties cudaGetErrorName cudaGetErrorString cudaGetLastError cudaGraphDestroy
    cudaGraphExecDestroy cudaGraphInstantiate cudaGraphLaunch cudaHostAlloc cudaMalloc cudaMallocHost cudaMemGetInfo
    cudaMemcpyAsync cudaMemsetAsync cudaRuntimeGetVersion cudaSetDevice cudaStreamBeginCapture
    cudaStreamCreateWithFlags cudaStreamDestroy cudaStreamEndCapture cudaStreamIsCapturing cudaStreamSynchronize
""".split()  # noqa: SIM905
ENUMS = ["cudaDeviceAttr", "cudaError_t", "cudaMemcpyKind", "cudaStreamCaptureMode", "cudaStreamCaptureStatus"]
CONSTANTS = """
    cudaEventBlockingSync cudaEventDefault cudaEventDisableTiming cudaHostAllocDefault cudaHostAllocMapped
    cudaHostAllocPortable cudaStreamDefault cudaStreamNonBlocking
""".split()  # noqa: SIM905
ATTRIBUTES = {"MultiProcessorCount", "Integrated", "ComputeCapabilityMajor", "ComputeCapabilityMinor"}
FIELDS = {"name", "major", "minor", "totalGlobalMem", "uuid", "integrated", "multiProcessorCount", "bytes"}
STRUCTURES = ["cudaDeviceProp", "cudaEvent_t", "cudaGraphExec_t", "cudaGraph_t", "cudaStream_t", "cudaUUID_t"]
ERRORS = """
    cudaErrorCapturedEvent cudaErrorIllegalAddress cudaErrorIllegalState cudaErrorInsufficientDriver
    cudaErrorInvalidDevice cudaErrorInvalidResourceHandle cudaErrorInvalidValue cudaErrorLaunchFailure
    cudaErrorMemoryAllocation cudaErrorNoDevice cudaErrorNotReady cudaErrorStreamCaptureInvalidated
    cudaErrorStreamCaptureUnmatched cudaErrorStreamCaptureUnsupported cudaErrorStreamCaptureWrongThread cudaSuccess
""".split()  # noqa: SIM905


def names_of(module: ModuleType, version: str) -> dict[str, Any]:
    """The listing of `cuda.bindings.runtime`, or of `cuda.cudart`."""
    enums = {name: _members(getattr(module, name)) for name in ENUMS}
    used = {"cudaError_t": set(ERRORS), "cudaDeviceAttr": {f"cudaDevAttr{name}" for name in ATTRIBUTES}}
    for name, some in used.items():
        enums[name] = {member: enums[name][member] for member in sorted(some)}
    errors = [getattr(module.cudaError_t, name) for name in ERRORS]
    return {
        "version": version,
        "functions": {name: _form(getattr(module, name)) for name in FUNCTIONS if hasattr(module, name)},
        "constants": {name: int(getattr(module, name)) for name in CONSTANTS},
        "enums": enums,
        "structures": {name: _fields(getattr(module, name)) for name in STRUCTURES},
        "sentences": {error.name: _sentence(module, error) for error in errors},
    }


def _sentence(module: ModuleType, error: Any) -> str:
    """Empty up to cuda-python 12.6, which asks the driver for them."""
    try:
        found: str = module.cudaGetErrorString(error)[1].decode()
    except RuntimeError:
        return ""
    return found


def _members(enum: Any) -> dict[str, int]:
    return {name: int(value) for name, value in enum.__members__.items() if int(value) < 1000}


def _fields(structure: type) -> str:
    return " ".join(name for name in sorted(dir(structure)) if name in FIELDS)


def _form(function: Any) -> str:
    """`(dst, src, count, kind, stream) -> ` and the names of what is answered, read from the docstring."""
    text = function.__doc__ or ""
    head = re.search(rf"{function.__name__}\((.*?)\)", text)
    assert head, function
    given = [re.split(r"[ *]", part.partition(":")[0].strip())[-1] for part in head[1].split(",") if part.strip()]
    answers = re.search(r"Returns\n\s*-+\n(.*?)(\n\s*\n\s*(See Also|Notes)|\Z)", text, re.DOTALL)
    found = re.findall(r"^ *(\w+) : ", answers[1], re.MULTILINE) if answers else []
    return f"({', '.join(given)}) -> {', '.join(found)}".strip()


def load(folder: Path) -> tuple[ModuleType, str]:
    sys.path[:0] = [str(folder)]
    try:
        module = importlib.import_module("cuda.bindings.runtime")
    except ModuleNotFoundError:
        module = importlib.import_module("cuda.cudart")
    for package in ("cuda.bindings", "cuda"):
        version = getattr(sys.modules.get(package), "__version__", "")
        if version:
            return module, version
    raise AssertionError(f"{folder}: no version")


if __name__ == "__main__":
    from make import written

    sys.stdout.write(written(names_of(*load(Path(sys.argv[1]).resolve()))))
