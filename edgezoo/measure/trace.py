"""A recording as a trace for Perfetto (https://ui.perfetto.dev) and `chrome://tracing`.

The trace-event format, in its JSON object form. One process holds the pipeline's threads, each stage a complete event
in the thread that it ran in; a further process for each source holds its frames while they waited. Arrows lead from a
frame's capture through inference to the sink; age and drops are counters, changes of a stream's state are instants.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from edgezoo.frame import Event
from edgezoo.latency import Span
from edgezoo.measure.recording import Recording

Entry = dict[str, Any]

_THREADS = 1  # the process that holds them; sources come behind
_FLOW = ("capture", "infer", "sink")


def trace_of(recording: Recording) -> dict[str, Any]:
    """The whole trace, ready for JSON: `traceEvents` in the order of time, names of processes and threads first."""
    spans = [*recording.spans]
    tracks = _Tracks(recording)
    entries = [*(tracks.entry(span) for span in spans), *_counters(recording), *tracks.instants(recording.events)]
    entries += tracks.flows(spans)
    # A span that holds another one stands before it; what points at a span, behind.
    entries.sort(key=lambda entry: (entry["ts"], entry["ph"] != "X", -entry.get("dur", 0.0)))
    return {
        "traceEvents": [*tracks.names(), *entries],
        "displayTimeUnit": "ms",
        "otherData": {
            "runs": recording.profile.runs,
            "profile": recording.profile.to_dict(),
            "spans_left_out": recording.left_out,
        },
    }


def write_trace(recording: Recording, path: str | Path) -> None:
    """One entry a line. Raises OSError."""
    trace = trace_of(recording)
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in trace.pop("traceEvents"))
    rest = json.dumps(trace)[1:]
    Path(path).write_text(f'{{"traceEvents":[\n{lines}\n],{rest}\n', "utf-8")


class _Tracks:
    """Which process and which thread of the trace a span belongs to.

    Spans of one track may not overlap, and some would: frames of a clip wait beside each other, and a thread that a
    driver held for long ends when another one of the same name has already begun. So a track has lanes.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._sources: dict[str, int] = {}
        self._tracks: dict[tuple[int, str], list[tuple[int, int]]] = {}
        """By process and name: the number of each lane, and when its last span ended."""
        self._count = 0
        self._place: dict[int, tuple[int, int]] = {}
        """By the span's id: lanes can only be told in the order of time."""
        for span in sorted(recording.spans, key=lambda span: span.began_ns):
            self._place[id(span)] = self._lane(span)

    def entry(self, span: Span) -> Entry:
        pid, tid = self._place[id(span)]
        frames = [{"source": source, "frame": index} for source, index in span.frames]
        return {
            "name": span.stage,
            "cat": "stage",
            "ph": "X",
            "ts": self._us(span.began_ns),
            "dur": (span.ended_ns - span.began_ns) / 1e3,
            "pid": pid,
            "tid": tid,
            "args": frames[0] if len(frames) == 1 else {"frames": frames},
        }

    def instants(self, events: Iterable[tuple[float, Event]]) -> Iterator[Entry]:
        for at_s, event in events:
            yield {
                "name": f"{event.source}: {event.kind}",
                "cat": "stream",
                "ph": "i",
                "s": "p",
                "ts": round(max(0.0, at_s) * 1e6, 3),  # it may have begun to connect before
                "pid": self._source(event.source),
                "tid": 0,
                "args": event.to_dict(),
            }

    def flows(self, spans: Iterable[Span]) -> Iterator[Entry]:
        """Arrows of the frames that arrived; each end stands in the middle of its span, and so in no other."""
        ways: dict[tuple[str, int], dict[str, Span]] = {}
        for span in spans:
            if span.stage in _FLOW:
                for frame in span.frames:
                    ways.setdefault(frame, {})[span.stage] = span
        whole = (way for way in ways.values() if len(way) == len(_FLOW))
        for number, way in enumerate(whole, 1):
            for stage, phase in zip(_FLOW, "stf"):
                span = way[stage]
                pid, tid = self._place[id(span)]
                entry = {"name": "frame", "cat": "frame", "ph": phase, "id": number, "pid": pid, "tid": tid}
                entry["ts"] = self._us((span.began_ns + span.ended_ns) // 2)
                yield {**entry, "bp": "e"} if phase == "f" else entry

    def names(self) -> Iterator[Entry]:
        """After all entries were asked for: it tells the names of their tracks."""
        for name, pid in {"pipeline": _THREADS, **self._sources}.items():
            yield _named("process_name", pid, 0, name=name)
            yield _named("process_sort_index", pid, 0, sort_index=pid)
        for (pid, name), lanes in self._tracks.items():
            for lane, (tid, _) in enumerate(lanes, 1):
                short = name.removeprefix("edgezoo ")
                yield _named("thread_name", pid, tid, name=short if lane == 1 else f"{short}, {lane}")
                yield _named("thread_sort_index", pid, tid, sort_index=_rank(name))

    def _lane(self, span: Span) -> tuple[int, int]:
        waits = span.stage == "wait" and bool(span.frames)
        pid = self._source(span.frames[0][0]) if waits else _THREADS
        lanes = self._tracks.setdefault((pid, "waiting" if waits else span.thread), [])
        for at, (tid, free_ns) in enumerate(lanes):
            if free_ns <= span.began_ns:
                lanes[at] = (tid, span.ended_ns)
                return pid, tid
        self._count += 1
        lanes.append((self._count, span.ended_ns))
        return pid, self._count

    def _source(self, name: str) -> int:
        return self._sources.setdefault(name, _THREADS + 1 + len(self._sources))

    def _us(self, time_ns: int) -> float:
        return (time_ns - self._recording.began_ns) / 1e3


def _counters(recording: Recording) -> Iterator[Entry]:
    for source, ages in recording.ages.items():
        for at_s, age_ms in zip(ages.at_s, ages.age_ms):
            yield _counter(f"age of {source}, ms", at_s, {"ms": round(age_ms, 3)})
    for at_s, dropped in recording.drops:
        yield _counter("dropped", at_s, dropped)


def _counter(name: str, at_s: float, series: dict[str, Any]) -> Entry:
    return {"name": name, "ph": "C", "ts": round(at_s * 1e6, 3), "pid": _THREADS, "tid": 0, "args": series}


def _named(what: str, pid: int, tid: int, **args: str | int) -> Entry:
    return {"name": what, "ph": "M", "ts": 0, "pid": pid, "tid": tid, "args": args}


def _rank(thread: str) -> int:
    """Threads stand in the order that a frame goes through them."""
    for rank, start in enumerate(("edgezoo capture", "edgezoo prepare", "edgezoo worker")):
        if thread.startswith(start):
            return rank
    return 3
