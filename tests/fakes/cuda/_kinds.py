"""Enums, handles and structures of the runtime, as far as they are used."""

# The names are NVIDIA's.
# ruff: noqa: N801, N815, N816

from __future__ import annotations

from enum import IntEnum

cudaStreamDefault, cudaStreamNonBlocking = 0, 1
cudaHostAllocDefault, cudaHostAllocPortable, cudaHostAllocMapped = 0, 1, 2
cudaEventDefault, cudaEventBlockingSync, cudaEventDisableTiming = 0, 1, 2


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToHost = 0
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1
    cudaStreamCaptureModeRelaxed = 2


class cudaStreamCaptureStatus(IntEnum):
    cudaStreamCaptureStatusNone = 0
    cudaStreamCaptureStatusActive = 1
    cudaStreamCaptureStatusInvalidated = 2


class cudaDeviceAttr(IntEnum):
    cudaDevAttrMultiProcessorCount = 16
    cudaDevAttrIntegrated = 18
    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


class _Handle:
    def __init__(self, init_value: int = 0) -> None:
        self._number = int(init_value)

    def __int__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handle) and int(self) == int(other)

    def __hash__(self) -> int:
        return hash(self._number)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._number:#x}>"


class cudaStream_t(_Handle): ...


class cudaEvent_t(_Handle): ...


class cudaGraph_t(_Handle): ...


class cudaGraphExec_t(_Handle): ...


class cudaUUID_t:
    def __init__(self, seed: int = 0) -> None:
        self.bytes = bytes((seed * 31 + place) % 256 for place in range(16))


class cudaDeviceProp:
    def __init__(self) -> None:
        self.name, self.major, self.minor, self.totalGlobalMem = b"", 0, 0, 0
        self.uuid, self.integrated, self.multiProcessorCount = cudaUUID_t(), 0, 0
