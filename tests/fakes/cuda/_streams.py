"""Streams, graphs and events of the runtime, in the form of `_calls.py`."""

# The names are NVIDIA's.
# ruff: noqa: F405, N802, N803

from __future__ import annotations

import threading

from cuda._calls import answers, expect
from cuda._device import DEVICE, Captured, Event, Graph, Stream, Work, now
from cuda._errors import Failure, cudaError_t
from cuda._kinds import *  # noqa: F403

# Streams.


@answers(1)
def cudaStreamCreateWithFlags(flags: int) -> cudaStream_t:
    return cudaStream_t(DEVICE.keep(Stream(flags)))


@answers(0)
def cudaStreamDestroy(stream: cudaStream_t) -> None:
    DEVICE.take(stream, Stream)
    DEVICE.drain([DEVICE.drop(stream, Stream)])  # what waits there is still done, says the manual


@answers(0)
def cudaStreamSynchronize(stream: cudaStream_t) -> None:
    with DEVICE.lock:
        found = DEVICE.take(stream, Stream)
        if found.captured is not None:
            found.spoiled = True
            raise Failure(cudaError_t.cudaErrorStreamCaptureUnsupported, "synchronised while it captures")
    DEVICE.drain([found])


@answers(0)
def cudaDeviceSynchronize() -> None:
    with DEVICE.lock:
        DEVICE.unsafe("cudaDeviceSynchronize")
        streams = DEVICE.streams()
    DEVICE.drain(streams)


# Graphs.


@answers(0)
def cudaStreamBeginCapture(stream: cudaStream_t, mode: cudaStreamCaptureMode) -> None:
    with DEVICE.lock:
        found = DEVICE.take(stream, Stream)
        if int(stream) == 0 or found.captured is not None:
            raise Failure(cudaError_t.cudaErrorIllegalState, "captures already, or may not")
        found.captured, found.spoiled = [], False
        found.mode, found.thread = int(expect(mode, cudaStreamCaptureMode)), threading.get_ident()


@answers(1)
def cudaStreamIsCapturing(stream: cudaStream_t) -> cudaStreamCaptureStatus:
    found = DEVICE.take(stream, Stream)
    return cudaStreamCaptureStatus(0 if found.captured is None else 1 + found.spoiled)


@answers(1)
def cudaStreamEndCapture(stream: cudaStream_t) -> cudaGraph_t:
    with DEVICE.lock:
        found = DEVICE.take(stream, Stream)
        if found.captured is None:
            raise Failure(cudaError_t.cudaErrorIllegalState, "does not capture")
        if found.mode != 2 and found.thread != threading.get_ident():
            raise Failure(cudaError_t.cudaErrorStreamCaptureWrongThread, "ended by another thread")
        work, found.captured = found.captured, None
        if found.spoiled:
            raise Failure(cudaError_t.cudaErrorStreamCaptureInvalidated, "something in it was not permitted")
        return cudaGraph_t(DEVICE.keep(Captured(work)))


@answers(1)
def cudaGraphInstantiate(graph: cudaGraph_t, flags: int) -> cudaGraphExec_t:
    return cudaGraphExec_t(DEVICE.keep(Graph(DEVICE.take(graph, Captured))))


@answers(0)
def cudaGraphLaunch(graphExec: cudaGraphExec_t, stream: cudaStream_t) -> None:
    work, found = DEVICE.take(graphExec, Graph), DEVICE.take(stream, Stream)
    for one in work:
        found.put(one)


@answers(0)
def cudaGraphDestroy(graph: cudaGraph_t) -> None:
    DEVICE.drop(graph, Captured)


@answers(0)
def cudaGraphExecDestroy(graphExec: cudaGraphExec_t) -> None:
    DEVICE.drop(graphExec, Graph)


# Events.


@answers(1)
def cudaEventCreateWithFlags(flags: int) -> cudaEvent_t:
    return cudaEvent_t(DEVICE.keep(Event(flags)))


@answers(1)
def cudaEventCreate() -> cudaEvent_t:
    return cudaEvent_t(DEVICE.keep(Event()))


@answers(0)
def cudaEventRecord(event: cudaEvent_t, stream: cudaStream_t) -> None:
    found, on = DEVICE.take(event, Event), DEVICE.take(stream, Stream)

    def run() -> None:
        found.at_s = now()

    found.stream, found.captured = on, on.captured is not None
    if not found.captured:
        found.at_s = None
    on.put(Work("event", run))


@answers(0)
def cudaEventSynchronize(event: cudaEvent_t) -> None:
    found = DEVICE.take(event, Event)
    if found.captured:
        raise Failure(cudaError_t.cudaErrorCapturedEvent, "recorded in a capture")
    if found.stream is not None:
        DEVICE.drain([found.stream], until=lambda: found.at_s is not None)


@answers(1)
def cudaEventElapsedTime(start: cudaEvent_t, end: cudaEvent_t) -> float:
    first, last = DEVICE.take(start, Event), DEVICE.take(end, Event)
    if (first.flags | last.flags) & cudaEventDisableTiming or None in (first.stream, last.stream):
        raise Failure(cudaError_t.cudaErrorInvalidResourceHandle, "an event without a time")
    if first.at_s is None or last.at_s is None:
        raise Failure(cudaError_t.cudaErrorNotReady, "not there yet")
    return (last.at_s - first.at_s) * 1000


@answers(0)
def cudaEventDestroy(event: cudaEvent_t) -> None:
    DEVICE.drop(event, Event)
