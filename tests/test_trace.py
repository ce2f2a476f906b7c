"""Traces: what the trace-event format asks for, held against real runs; and that spans sum to what the profile counted.

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU ("Trace Event Format").
"""

from __future__ import annotations

import copy
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any

import mjpeg_server
import pytest

from edgezoo.bundle import Bundle
from edgezoo.engine import Engine
from edgezoo.frame import Event
from edgezoo.latency import STAGES, Profile, Span
from edgezoo.measure import recording as room
from edgezoo.measure.recording import Recording
from edgezoo.measure.report import report_of
from edgezoo.measure.stages import StageProfile, profile_stages
from edgezoo.measure.trace import trace_of, write_trace
from edgezoo.preprocess import Preprocess

RECIPE = Preprocess(size_wh=(64, 48), fit="stretch")
CLIP = "synthetic:#size=96x64&live=0&frames=60"
Trace = dict[str, Any]

NAMED = {
    "process_name": "name",
    "thread_name": "name",
    "process_sort_index": "sort_index",
    "thread_sort_index": "sort_index",
}


def check_format(trace: Trace) -> None:
    """AssertionError where the trace is not what the format says, or what a viewer would show wrongly."""
    assert isinstance(trace["traceEvents"], list)
    assert trace.get("displayTimeUnit", "ms") in ("ms", "ns")
    events = trace["traceEvents"]
    for event in events:
        check_event(event)
    timed = [event for event in events if event["ph"] != "M"]
    assert [event["ts"] for event in timed] == sorted(event["ts"] for event in timed), "in the order of time"
    check_names(events)
    slices = check_nesting(event for event in events if event["ph"] == "X")
    check_flows([event for event in events if event["ph"] in "stf"], slices)


def check_event(event: Trace) -> None:
    assert event["ph"] in ("X", "M", "i", "C", "s", "t", "f"), f"a phase that is not used here: {event}"
    assert isinstance(event["name"], str)
    assert event["name"]
    assert is_number(event["ts"]), "microseconds"
    assert event["ts"] >= 0
    assert type(event["pid"]) is int
    assert type(event["tid"]) is int
    assert isinstance(event.get("args", {}), dict)
    if event["ph"] == "X":
        assert is_number(event["dur"])
        assert event["dur"] >= 0
        assert isinstance(event["cat"], str)
    elif event["ph"] == "M":
        argument = event["args"][NAMED[event["name"]]]
        assert type(argument) is (str if event["name"].endswith("_name") else int)
    elif event["ph"] == "i":
        assert event["s"] in ("g", "p", "t")
    elif event["ph"] == "C":
        assert event["args"]
        assert all(is_number(value) for value in event["args"].values())
    else:
        assert isinstance(event["id"], (int, str))
        assert isinstance(event["cat"], str)


def is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def check_names(events: list[Trace]) -> None:
    """Every process and every thread with spans has one name."""
    processes = [event["pid"] for event in events if event["name"] == "process_name"]
    threads = [(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"]
    assert len({*processes}) == len(processes)
    assert len({*threads}) == len(threads)
    assert {event["pid"] for event in events} == {*processes}
    assert {(event["pid"], event["tid"]) for event in events if event["ph"] == "X"} == {*threads}


def check_nesting(spans: Iterator[Trace]) -> dict[tuple[int, int], list[Trace]]:
    """By thread: each span holds another one whole, or nothing of it."""
    threads: dict[tuple[int, int], list[Trace]] = defaultdict(list)
    for span in spans:
        threads[span["pid"], span["tid"]].append(span)
    for slices in threads.values():
        open_until: list[float] = []
        for span in slices:
            while open_until and open_until[-1] <= span["ts"] + 1e-4:
                open_until.pop()
            end = span["ts"] + span["dur"]
            assert not open_until or end <= open_until[-1] + 1e-4, f"overlaps the one before: {span}"
            open_until.append(end)
    return threads


def check_flows(flows: list[Trace], slices: dict[tuple[int, int], list[Trace]]) -> None:
    """Each begins once, ends once, goes forward, and each of its ends stands in a span."""
    by_id = defaultdict(list)
    for flow in flows:
        by_id[flow["cat"], flow["name"], flow["id"]].append(flow)
        around = slices[flow["pid"], flow["tid"]]
        assert any(span["ts"] <= flow["ts"] <= span["ts"] + span["dur"] for span in around), (
            f"points at nothing: {flow}"
        )
    for ends in by_id.values():
        phases = "".join(flow["ph"] for flow in ends)
        assert phases[0] == "s"
        assert phases[-1] == "f"
        assert {*phases[1:-1]} <= {"t"}
        assert ends[-1].get("bp") == "e"


# Real runs.


@pytest.fixture(scope="module")
def engine(bundle_of: Callable[..., Bundle]) -> Iterator[Engine]:
    with Engine(bundle_of("squares", RECIPE), threads=1) as engine:
        yield engine


RUNS: dict[str, dict[str, Any]] = {
    "a clip": {"sources": [CLIP], "workers": 1},
    "workers and batches": {"sources": [CLIP, CLIP + "&seed=1"], "workers": 2, "batch": 3},
    "cameras": {
        "sources": [
            "synthetic:#size=96x64&fps=60",
            "chaos:synthetic:#size=96x64&fps=60&drop=0.2&stall=0.02&stall_s=0.2",
        ],
        "seconds": 0.8,
        "batch": 2,
    },
}


@pytest.fixture(scope="module", params=RUNS)
def found(request: pytest.FixtureRequest, engine: Engine) -> StageProfile:
    return profile_stages(engine, spans=True, **RUNS[request.param])


def test_a_trace_is_what_the_format_says(found: StageProfile) -> None:
    trace = trace_of(found.recording)
    check_format(json.loads(json.dumps(trace)))
    names = {event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "process_name"}
    assert names == {"pipeline", *found.recording.ages}


def test_spans_sum_to_the_figures_of_the_profile(found: StageProfile) -> None:
    trace = trace_of(found.recording)
    sums, counts = dict.fromkeys(STAGES, 0.0), dict.fromkeys(STAGES, 0)
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            sums[event["name"]] += event["dur"] / 1e3
            counts[event["name"]] += 1
    for name, stage in found.profile.stages.items():
        assert counts[name] == stage.n, name
        assert sums[name] == pytest.approx(stage.sum_ms, abs=1e-6 * max(1, stage.n)), name
    assert counts["infer"] > 0
    told = trace["otherData"]["profile"]
    assert (
        told["delivered"] == found.profile.delivered == sum(len(ages.age_ms) for ages in found.recording.ages.values())
    )


def test_every_frame_that_arrived_has_its_way(found: StageProfile) -> None:
    """An arrow for each, but for the last one, in whose hand-over the run ended."""
    trace = trace_of(found.recording)
    arrows = len({event["id"] for event in trace["traceEvents"] if event["ph"] == "f"})
    assert found.profile.delivered - 1 <= arrows <= found.profile.delivered
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    infer = [event["args"].get("frames", [event["args"]]) for event in spans if event["name"] == "infer"]
    assert sum(map(len, infer)) >= found.profile.delivered
    assert all({"source", "frame"} == {*frame} for frames in infer for frame in frames)


def test_a_written_trace_reads_line_by_line(found: StageProfile, tmp_path: Path) -> None:
    write_trace(found.recording, tmp_path / "trace.json")
    text = (tmp_path / "trace.json").read_text("utf-8")
    read = json.loads(text)
    assert read == json.loads(json.dumps(trace_of(found.recording)))
    assert all(json.loads(line.removesuffix(",")) for line in text.splitlines()[1:-1])


def test_no_password_is_in_a_trace_or_a_report(engine: Engine) -> None:
    with mjpeg_server.Server(fps=50, size="320x160", login="me:verysecret") as server:
        found = profile_stages(engine, [server.url_with_login], frames=5, seconds=20, spans=True)
    told = json.dumps(trace_of(found.recording)) + json.dumps(found.to_dict()) + report_of(found)
    assert server.url in told
    assert "verysecret" not in told


# Spans made up: what real threads rarely do.


def recorded(*spans: Span, events: tuple[Event, ...] = ()) -> Recording:
    profile = Profile()
    recording = Recording(profile, spans=True)
    assert profile.recorder is not None
    for span in spans:
        began_ns, ended_ns = (recording.began_ns + at_ns for at_ns in (span.began_ns, span.ended_ns))
        profile.recorder(replace(span, began_ns=began_ns, ended_ns=ended_ns))
    for event in events:
        recording.event(event)
    return recording


def span(stage: str, began: int, ended: int, *, frame: int = 0, thread: str = "worker", source: str = "a") -> Span:
    """Times in microseconds since the recording began."""
    return Span(stage, began * 1000, ended * 1000, ((source, frame),), thread)


def test_what_overlaps_stands_side_by_side() -> None:
    waits = [
        span("wait", 0, 10),
        span("wait", 5, 12, frame=1),
        span("wait", 10, 20, frame=2),
        span("wait", 11, 13, frame=3),
    ]
    held = [span("capture", 0, 50, thread="capture a"), span("capture", 20, 30, frame=1, thread="capture a")]
    trace = trace_of(recorded(*waits, *held))
    check_format(trace)
    tracks = {event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    assert tracks == {"waiting", "waiting, 2", "waiting, 3", "capture a", "capture a, 2"}


def test_spans_after_the_most_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_SPANS", 3)
    trace = trace_of(recorded(*(span("infer", k, k + 1) for k in range(5))))
    assert sum(event["ph"] == "X" for event in trace["traceEvents"]) == 3
    assert trace["otherData"]["spans_left_out"] == 2


def test_events_are_instants_of_their_source() -> None:
    trace = trace_of(recorded(events=(Event("a", "lost", "no frame for 2 s"), Event("b", "ended", "ended"))))
    check_format(trace)
    told = [event for event in trace["traceEvents"] if event["ph"] == "i"]
    assert [(event["name"], event["args"]["message"]) for event in told] == [
        ("a: lost", "no frame for 2 s"),
        ("b: ended", "ended"),
    ]
    assert len({event["pid"] for event in told}) == 2


# A check that cannot fail is none.


def good() -> Trace:
    spans = [
        span("capture", 0, 5, thread="c"),
        span("wait", 5, 6),
        span("infer", 6, 9),
        span("sink", 10, 12, thread="m"),
    ]
    trace = trace_of(recorded(*spans, events=(Event("a", "live", "live"),)))
    check_format(trace)
    return trace


def of(trace: Trace, phase: str) -> Trace:
    event: Trace = next(event for event in trace["traceEvents"] if event["ph"] == phase)
    return event


BROKEN: dict[str, Callable[[Trace], Any]] = {
    "no list": lambda trace: trace.update(traceEvents={}),
    "another unit": lambda trace: trace.update(displayTimeUnit="s"),
    "no duration": lambda trace: of(trace, "X").pop("dur"),
    "a duration below 0": lambda trace: of(trace, "X").update(dur=-1),
    "a time as text": lambda trace: of(trace, "X").update(ts="5"),
    "a thread as text": lambda trace: of(trace, "X").update(tid="main"),
    "an unknown phase": lambda trace: of(trace, "X").update(ph="Q"),
    "a scope that is none": lambda trace: of(trace, "i").update(s="x"),
    "a counter of words": lambda trace: of(trace, "C").update(args={"n": "many"}),
    "a name that is no text": lambda trace: of(trace, "M").update(args={"name": 5}),
    "a thread without a name": lambda trace: of(trace, "X").update(tid=77),
    "out of order": lambda trace: trace["traceEvents"].reverse(),
    "an overlap": lambda trace: trace["traceEvents"].append({**of(trace, "X"), "ts": of(trace, "X")["ts"] + 1}),
    "an arrow from nowhere": lambda trace: trace["traceEvents"].remove(of(trace, "s")),
    "an arrow to nowhere": lambda trace: of(trace, "f").update(bp=""),
    "an arrow at nothing": lambda trace: of(trace, "t").update(tid=of(trace, "s")["tid"]),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_trace_is_seen(how: str) -> None:
    trace = copy.deepcopy(good())
    BROKEN[how](trace)
    if how == "an overlap":
        trace["traceEvents"].sort(key=lambda event: event["ts"] * (event["ph"] != "M"))
    with pytest.raises((AssertionError, KeyError)):
        check_format(trace)


def test_the_recorder_costs_nothing_where_there_is_none(engine: Engine) -> None:
    profile = Profile()
    for _ in itertools.repeat(None, 3):
        profile.took("infer", 0)
    assert profile.recorder is None
    found = profile_stages(engine, [CLIP])
    assert found.recording.spans == []
    assert found.profile.stages["infer"].n > 0
