"""What is there, and its memory.

Stricter than CUDA in one thing: the host's side of an asynchronous copy must be pinned memory, because from any other
it would not be asynchronous. The environment's `FAKE_CUDA=none` answers as the real package was seen to answer on a
machine without a driver: cudaErrorInsufficientDriver, and a driver of version 0.
"""

# The names are NVIDIA's.
# ruff: noqa: F405, N802, N803

from __future__ import annotations

import ctypes
import threading

from cuda._calls import LAST, answers, expect
from cuda._device import DEVICE, TOTAL, Stream, Work, driver, gpus, runtime
from cuda._errors import SENTENCES, Failure, cudaError_t
from cuda._kinds import *  # noqa: F403

_local = threading.local()


def _here() -> int:
    return getattr(_local, "device", 0)


def _gpu(device: int) -> tuple[str, int, int]:
    if not 0 <= device < len(gpus()):
        raise Failure(cudaError_t.cudaErrorInvalidDevice, f"{device}")
    return gpus()[device]


# What is there.


@answers(1)
def cudaDriverGetVersion() -> int:
    return driver()


@answers(1)
def cudaRuntimeGetVersion() -> int:
    return runtime()


@answers(1)
def cudaGetDeviceCount() -> int:
    return len(gpus())


@answers(0)
def cudaSetDevice(device: int) -> None:
    _gpu(device)
    _local.device = device


@answers(1)
def cudaGetDevice() -> int:
    return _here()


@answers(1)
def cudaGetDeviceProperties(device: int) -> cudaDeviceProp:
    name, major, minor = _gpu(device)
    told = cudaDeviceProp()
    told.name, told.major, told.minor, told.totalGlobalMem = name.encode(), major, minor, TOTAL
    told.uuid, told.integrated, told.multiProcessorCount = cudaUUID_t(device + 1), int("Orin" in name), 16
    return told


@answers(1)
def cudaDeviceGetAttribute(attr: cudaDeviceAttr, device: int) -> int:
    name, major, minor = _gpu(device)
    told = {75: major, 76: minor, 18: int("Orin" in name), 16: 16}
    return told[int(expect(attr, cudaDeviceAttr))]


@answers(1)
def cudaGetErrorName(error: cudaError_t) -> bytes:
    return expect(error, cudaError_t).name.encode()


@answers(1)
def cudaGetErrorString(error: cudaError_t) -> bytes:
    return SENTENCES[int(expect(error, cudaError_t))]


def cudaGetLastError() -> tuple[cudaError_t]:
    last = LAST[-1] if LAST else cudaError_t.cudaSuccess
    LAST.clear()
    return (last,)


# Memory.


@answers(1)
def cudaMalloc(size: int) -> int:
    with DEVICE.lock:
        DEVICE.unsafe("cudaMalloc")
        return DEVICE.allocate(size, "device")


@answers(1)
def cudaHostAlloc(size: int, flags: int) -> int:
    with DEVICE.lock:
        DEVICE.unsafe("cudaHostAlloc")
        return DEVICE.allocate(size, "pinned")


@answers(1)
def cudaMallocHost(size: int) -> int:
    with DEVICE.lock:
        DEVICE.unsafe("cudaMallocHost")
        return DEVICE.allocate(size, "pinned")


@answers(0)
def cudaFree(devPtr: int) -> None:
    """It waits for the device first, as CUDA's does."""
    with DEVICE.lock:
        DEVICE.unsafe("cudaFree")
        streams = DEVICE.streams()
    DEVICE.drain(streams)
    with DEVICE.lock:
        if devPtr:
            DEVICE.free(int(devPtr), "device")


@answers(0)
def cudaFreeHost(ptr: int) -> None:
    """It does not wait: a copy that is still under way then touches what is freed, and is caught."""
    with DEVICE.lock:
        DEVICE.unsafe("cudaFreeHost")
        DEVICE.free(int(ptr), "pinned")


@answers(2)
def cudaMemGetInfo() -> tuple[int, int]:
    return TOTAL - DEVICE.used("device"), TOTAL


_SIDES = {0: ("pinned", "pinned"), 1: ("device", "pinned"), 2: ("pinned", "device"), 3: ("device", "device")}


def _copy(dst: int, src: int, count: int, kind: cudaMemcpyKind) -> Work:
    to, whence = _SIDES[int(expect(kind, cudaMemcpyKind))]

    def check(code: cudaError_t) -> None:
        with DEVICE.lock:
            DEVICE.view(int(dst), count, to, code)
            DEVICE.view(int(src), count, whence, code)

    def run() -> None:
        check(cudaError_t.cudaErrorIllegalAddress)
        ctypes.memmove(int(dst), int(src), count)

    check(cudaError_t.cudaErrorInvalidValue)
    return Work(f"copy {count} bytes, {kind.name}", run)


@answers(0)
def cudaMemcpyAsync(dst: int, src: int, count: int, kind: cudaMemcpyKind, stream: cudaStream_t) -> None:
    work = _copy(dst, src, count, kind)
    DEVICE.take(stream, Stream).put(work)


@answers(0)
def cudaMemsetAsync(devPtr: int, value: int, count: int, stream: cudaStream_t) -> None:
    def run() -> None:
        DEVICE.view(int(devPtr), count, "device", cudaError_t.cudaErrorIllegalAddress)
        ctypes.memset(int(devPtr), value, count)

    DEVICE.view(int(devPtr), count, "device", cudaError_t.cudaErrorInvalidValue)
    DEVICE.take(stream, Stream).put(Work(f"set {count} bytes", run))
