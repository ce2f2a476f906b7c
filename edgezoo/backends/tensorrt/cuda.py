"""What TensorRT needs of CUDA, by cuda-python (https://nvidia.github.io/cuda-python): where it runs, and memory.

Whatever is held is put on an ExitStack, so that it is freed in the reverse order, also after an error.
"""

from __future__ import annotations

import ctypes
import re
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.backends import DEVICE, _nvidia
from edgezoo.backends.tensorrt.versions import version_of
from edgezoo.errors import BackendError, MissingDependency, RequestError
from edgezoo.machine import l4t
from edgezoo.optional import require

_DRIVERS = ("/sys/module/nvidia/version", "/etc/nv_tegra_release")  # of a desktop; of a Jetson


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """All of a machine that a compiled engine depends on."""

    tensorrt: str
    cuda: str
    """The newest that the driver speaks, `13.0`."""
    driver: str
    """Its own version, `580.65.06`, or the release of a Jetson."""
    gpu: str
    capability: str
    """Compute capability, `8.7`."""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def index_of(device: str) -> int:
    """The GPU's number. Raises RequestError."""
    found = re.fullmatch(DEVICE, device) if isinstance(device, str) else None
    if found is None or device == "cpu":
        raise RequestError(f"tensorrt: expected device cuda or cuda:N, got {device!r}")
    return int(found[1] or 0)


def tensorrt() -> ModuleType:
    """NVIDIA's module, of a version that edgezoo speaks. Raises MissingDependency, BackendError."""
    try:
        module = require("tensorrt")
    except MissingDependency as error:
        raise _lacking("tensorrt", "tensorrt-cu12", error) from error
    if not hasattr(module, "Runtime"):
        raise MissingDependency(
            "tensorrt is installed, but not its libraries; try: pip install --force-reinstall tensorrt"
        )
    version_of(module.__version__)
    return module


def runtime() -> ModuleType:
    """cuda-python's CUDA runtime. Raises MissingDependency."""
    try:
        return require("cuda.bindings.runtime")
    except MissingDependency as error:
        try:
            return require("cuda.cudart")  # before 12.6
        except MissingDependency:
            raise _lacking("cuda-python", '"cuda-python==12.*"', error) from error


def facts(device: int) -> Facts:
    """Raises MissingDependency, and BackendError where there is no such GPU, with what is missing and how to get it."""
    version, cudart = tensorrt().__version__, runtime()
    try:
        error, count = cudart.cudaGetDeviceCount()
        why = f"CUDA says {cudart.cudaGetErrorString(error)[1].decode()}" if int(error) else "CUDA counts none"
    except RuntimeError as raised:  # of cuda-python before 12.9, without a driver
        count, why = 0, f"cuda-python says {raised}"
    if not count:
        raise BackendError(f"TensorRT {version} needs an NVIDIA GPU: {_nvidia.missing() or why}")
    if device >= count:
        there = "is one GPU" if count == 1 else f"are {count} GPUs"
        raise BackendError(f"asked for cuda:{device}, but there {there}, counted from 0; try --device cuda:0")
    about = checked(cudart.cudaGetDeviceProperties(device))
    spoken = checked(cudart.cudaDriverGetVersion())
    return Facts(
        tensorrt=version,
        cuda=f"{spoken // 1000}.{spoken % 1000 // 10}",
        driver=_driver() or "unknown",
        gpu=about.name.decode("utf-8", "replace").strip("\0 "),
        capability=f"{about.major}.{about.minor}",
    )


def checked(answer: tuple[Any, ...]) -> Any:
    """What a call of cuda-python answered, without its error code. Raises BackendError."""
    error, *values = answer
    if int(error):
        cudart = runtime()
        name, text = (told(error)[1].decode() for told in (cudart.cudaGetErrorName, cudart.cudaGetErrorString))
        raise BackendError(f"CUDA failed: {name}, {text}")
    return values[0] if len(values) == 1 else tuple(values)


class Stream:
    """One stream of a device, and the memory that is used on it."""

    def __init__(self, device: int, held: ExitStack) -> None:
        self._cudart, self._device, self._held = runtime(), device, held
        self.enter()
        self.handle = checked(self._cudart.cudaStreamCreateWithFlags(self._cudart.cudaStreamNonBlocking))
        held.callback(self._cudart.cudaStreamDestroy, self.handle)

    def enter(self) -> None:
        """Make the device that of the calling thread, whichever that is."""
        checked(self._cudart.cudaSetDevice(self._device))

    def host(self, shape: tuple[int, ...], dtype: str) -> tuple[int, npt.NDArray[Any]]:
        """Pinned memory, which the device copies from and to by itself: its address, and it as an array."""
        size = _bytes(shape, dtype)
        address = int(checked(self._cudart.cudaHostAlloc(size, self._cudart.cudaHostAllocDefault)))
        self._held.callback(self._cudart.cudaFreeHost, address)
        memory = (ctypes.c_ubyte * size).from_address(address)
        return address, np.ndarray(shape, dtype, memoryview(memory))

    def device(self, shape: tuple[int, ...], dtype: str) -> int:
        """The address of memory on the device."""
        address = int(checked(self._cudart.cudaMalloc(_bytes(shape, dtype))))
        self._held.callback(self._cudart.cudaFree, address)
        return address

    def upload(self, to: int, source: int, size: int) -> None:
        self._copy(to, source, size, self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice)

    def download(self, to: int, source: int, size: int) -> None:
        self._copy(to, source, size, self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def _copy(self, to: int, source: int, size: int, kind: Any) -> None:
        checked(self._cudart.cudaMemcpyAsync(to, source, size, kind, self.handle))

    def begin_capture(self) -> None:
        """What is enqueued from now on is kept as a graph and not run. Other threads may go on using CUDA."""
        mode = self._cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(self._cudart.cudaStreamBeginCapture(self.handle, mode))

    def end_capture(self) -> Any:
        """The graph, ready to be launched. Raises BackendError where something could not be captured."""
        graph = checked(self._cudart.cudaStreamEndCapture(self.handle))
        try:
            launchable = checked(self._cudart.cudaGraphInstantiate(graph, 0))
        finally:
            self._cudart.cudaGraphDestroy(graph)
        self._held.callback(self._cudart.cudaGraphExecDestroy, launchable)
        return launchable

    def launch(self, graph: Any) -> None:
        checked(self._cudart.cudaGraphLaunch(graph, self.handle))

    def wait(self) -> None:
        checked(self._cudart.cudaStreamSynchronize(self.handle))


def _bytes(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def _driver() -> str:
    """The driver's version as the system tells it; empty where it does not."""
    for path in map(Path, _DRIVERS):
        if path.is_file():
            told = path.read_text("utf-8", errors="replace")
            release = l4t(told)
            return f"L4T {release}" if release else told.partition("\n")[0].strip()[:80]
    return ""


def _lacking(package: str, on_cuda_12: str, error: MissingDependency) -> MissingDependency:
    """Which package is missing or broken, how it is had here, and what else is missing."""
    found = str(error)
    if not isinstance(error.__cause__, ImportError):  # it is not there at all
        cure = _nvidia.cure('pip install "edgezoo[tensorrt]"', on_cuda_12=f"pip install {on_cuda_12}")
        found = f"{package} is not installed; {cure}"
    missing = _nvidia.missing()
    return MissingDependency(f"{found}; besides, {missing}" if missing else found)
