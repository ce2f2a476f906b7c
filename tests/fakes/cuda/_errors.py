"""The numbers, names and sentences of the runtime's errors; a test holds them against NVIDIA's own."""

# The names are NVIDIA's.
# ruff: noqa: N801, N815

from __future__ import annotations

from enum import IntEnum


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidDevice = 101
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalState = 401
    cudaErrorNotReady = 600
    cudaErrorIllegalAddress = 700
    cudaErrorLaunchFailure = 719
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901
    cudaErrorStreamCaptureUnmatched = 903
    cudaErrorCapturedEvent = 907
    cudaErrorStreamCaptureWrongThread = 908


SENTENCES = {
    0: b"no error",
    1: b"invalid argument",
    2: b"out of memory",
    35: b"CUDA driver version is insufficient for CUDA runtime version",
    100: b"no CUDA-capable device is detected",
    101: b"invalid device ordinal",
    400: b"invalid resource handle",
    401: b"the operation cannot be performed in the present state",
    600: b"device not ready",
    700: b"an illegal memory access was encountered",
    719: b"unspecified launch failure",
    900: b"operation not permitted when stream is capturing",
    901: b"operation failed due to a previous error during capture",
    903: b"capture was not ended in the same stream as it began",
    907: b"operation not permitted on an event last recorded in a capturing stream",
    908: b"attempt to terminate a thread-local capture sequence from another thread",
}


class Failure(Exception):
    """Inside the fake, an error on its way to becoming a call's first answer."""

    def __init__(self, code: cudaError_t, why: str) -> None:
        super().__init__(f"{code.name}: {why}")
        self.code = code
