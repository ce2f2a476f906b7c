"""The fake CUDA itself: that it computes, and that it notices what is wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_modules import faked
from fake_parts import Device, ok, pinned


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with faked(monkeypatch):
        yield


def test_a_copy_is_made_when_somebody_waits_for_it() -> None:
    there = Device()
    back, array = pinned((16,), np.uint8)
    there.array[:], array[:] = 7, 0
    ok(there.up())
    ok(there.down(back))
    there.array[:] = 8  # too early: the copy did not begin yet
    assert not array.any()
    ok(there.cudart.cudaStreamSynchronize(there.stream))
    assert (array == 8).all()


def test_an_event_is_waited_for_no_longer_than_to_itself() -> None:
    there = Device()
    back, array = pinned((16,), np.uint8)
    array[:] = 0
    first, last = (ok(there.cudart.cudaEventCreate()) for _ in range(2))
    ok(there.cudart.cudaEventRecord(first, there.stream))
    ok(there.up())
    ok(there.cudart.cudaEventRecord(last, there.stream))
    ok(there.down(back))
    assert there.cudart.cudaEventElapsedTime(first, last)[0].name == "cudaErrorNotReady"
    ok(there.cudart.cudaEventSynchronize(last))
    assert ok(there.cudart.cudaEventElapsedTime(first, last)) >= 0
    assert not array.any()


def test_what_is_wrong_with_memory_is_seen() -> None:
    from cuda import fake

    there = Device()
    assert there.up(17)[0].name == "cudaErrorInvalidValue"
    own = np.zeros(16, np.uint8)
    assert there.down(own.ctypes.data)[0].name == "cudaErrorInvalidValue"
    assert fake.faults() == []
    ok(there.cudart.cudaFree(there.device))
    assert there.cudart.cudaFree(there.device)[0].name == "cudaErrorInvalidValue"
    assert len(fake.faults()) == 1
    assert there.cudart.cudaMalloc(2**40)[0].name == "cudaErrorMemoryAllocation"


def test_memory_that_is_freed_too_early_breaks_the_device() -> None:
    from cuda import fake

    there = Device()
    ok(there.up())
    ok(there.cudart.cudaFreeHost(there.host))
    assert there.cudart.cudaStreamSynchronize(there.stream)[0].name == "cudaErrorIllegalAddress"
    assert there.cudart.cudaMalloc(1)[0].name == "cudaErrorIllegalAddress"
    there.cudart.cudaFree(there.device)
    there.cudart.cudaStreamDestroy(there.stream)
    assert fake.faults()


def test_everything_that_is_given_out_is_counted() -> None:
    from cuda import fake

    there = Device()
    event = ok(there.cudart.cudaEventCreate())
    assert fake.live() == {**fake.nothing(), "allocations": 1, "pinned": 1, "streams": 1, "events": 1}
    ok(there.cudart.cudaEventDestroy(event))
    ok(there.cudart.cudaFree(there.device))
    ok(there.cudart.cudaFreeHost(there.host))
    ok(there.cudart.cudaStreamDestroy(there.stream))
    assert fake.live() == fake.nothing()
    assert fake.calls()["cudaFree"] == 1
    assert there.cudart.cudaStreamSynchronize(there.stream)[0].name == "cudaErrorInvalidResourceHandle"


def test_a_graph_does_again_what_was_captured() -> None:
    there = Device()
    back, array = pinned((16,), np.uint8)
    array[:] = 0
    cudart, mode = there.cudart, there.cudart.cudaStreamCaptureMode
    ok(cudart.cudaStreamBeginCapture(there.stream, mode.cudaStreamCaptureModeThreadLocal))
    ok(there.up())
    ok(there.down(back))
    captured = ok(cudart.cudaStreamEndCapture(there.stream))
    launchable = ok(cudart.cudaGraphInstantiate(captured, 0))
    ok(cudart.cudaGraphDestroy(captured))
    ok(cudart.cudaStreamSynchronize(there.stream))
    assert not array.any()  # a capture runs nothing
    for number in (3, 4):
        there.array[:] = number
        ok(cudart.cudaGraphLaunch(launchable, there.stream))
        ok(cudart.cudaStreamSynchronize(there.stream))
        assert (array == number).all()


@pytest.mark.parametrize("call", ["cudaStreamSynchronize", "cudaMalloc", "cudaHostAlloc", "cudaFree"])
def test_what_may_not_be_captured_loses_the_capture(call: str) -> None:
    there = Device()
    cudart = there.cudart
    given = {"cudaStreamSynchronize": (there.stream,), "cudaMalloc": (8,), "cudaHostAlloc": (8, 0), "cudaFree": (0,)}[
        call
    ]
    ok(cudart.cudaStreamBeginCapture(there.stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
    assert getattr(cudart, call)(*given)[0].name == "cudaErrorStreamCaptureUnsupported"
    assert cudart.cudaStreamEndCapture(there.stream) == (cudart.cudaError_t.cudaErrorStreamCaptureInvalidated, None)


@pytest.mark.parametrize(("mode", "code"), [("Global", 900), ("ThreadLocal", 0), ("Relaxed", 0)])
def test_another_threads_capture_forbids_what_its_mode_says(mode: str, code: int) -> None:
    there = Device()
    modes = there.cudart.cudaStreamCaptureMode
    ok(there.cudart.cudaStreamBeginCapture(there.stream, getattr(modes, f"cudaStreamCaptureMode{mode}")))
    answers: list[Any] = []
    other = threading.Thread(target=lambda: answers.append(there.cudart.cudaMalloc(8)))
    other.start()
    other.join()
    assert answers[0][0] == code


@pytest.mark.parametrize(
    ("there", "name"), [("none", "cudaErrorInsufficientDriver"), ("nodevice", "cudaErrorNoDevice")]
)
def test_no_gpu(monkeypatch: pytest.MonkeyPatch, there: str, name: str) -> None:
    from cuda.bindings import runtime as cudart

    monkeypatch.setenv("FAKE_CUDA", there)
    error, count = cudart.cudaGetDeviceCount()
    assert (error.name, count) == (name, None)
    assert cudart.cudaGetErrorName(error)[1] == name.encode()
    assert (ok(cudart.cudaDriverGetVersion()) == 0) == (there == "none")


def test_no_driver_with_an_older_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from cuda.bindings import runtime as cudart

    monkeypatch.setenv("FAKE_CUDA", "unloadable")
    with pytest.raises(RuntimeError, match=r"libcuda\.so\.1"):
        cudart.cudaGetDeviceCount()


def test_the_gpus_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from cuda.bindings import runtime as cudart

    monkeypatch.setenv("FAKE_GPU", "NVIDIA Orin:8.7;NVIDIA H100:9.0")
    assert ok(cudart.cudaGetDeviceCount()) == 2
    about = ok(cudart.cudaGetDeviceProperties(1))
    assert (about.name, about.major, about.minor) == (b"NVIDIA H100", 9, 0)
    assert cudart.cudaSetDevice(2)[0].name == "cudaErrorInvalidDevice"
