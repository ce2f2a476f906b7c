"""The pipeline with made-up sources and a made-up engine, so that every stage can fail, stall or lag on purpose."""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgezoo.address import Address
from edgezoo.backends import Runs
from edgezoo.errors import BackendError, RequestError, SourceAbsent, SourceError, SourceRefused
from edgezoo.frame import Event, Frame
from edgezoo.pipeline import Pipeline
from edgezoo.results import Detections
from edgezoo.sources.feed import Feed


class Numbers:
    """Frames whose pixels hold their number; live ones come every `every_s`."""

    size_wh = (4, 4)
    fps = None

    def __init__(
        self, count: int, *, name: str = "numbers", live: bool = False, every_s: float = 0.0, fail_at: int = -1
    ) -> None:
        self.address, self.live = name, live
        self._count, self._every_s, self._fail_at = count, every_s, fail_at
        self._ended = threading.Event()
        self.released = False

    def __iter__(self) -> Iterator[Frame]:
        try:
            for index in range(self._count):
                if self._ended.wait(self._every_s) if self._every_s else self._ended.is_set():
                    return
                if index == self._fail_at:
                    raise SourceError(f"{self.address}: gone")
                image = np.full((4, 4, 3), index % 256, np.uint8)
                yield Frame(image, index, index / 10, time.monotonic_ns(), self.address)
        finally:
            self.released = True

    def close(self) -> None:
        self._ended.set()


class Echo:
    """An engine that answers the number in each image."""

    def __init__(self, *, infer_s: float | Callable[[int], float] = 0.0, fail: str = "", fail_at: int = 3) -> None:
        self.batches: tuple[int, int | None] = (1, None)
        self.runs = Runs(backend="echo", version="1", device="cpu", threads=1)
        self._infer_s, self._fail, self._fail_at = infer_s, fail, fail_at
        self.seen: list[list[int]] = []
        self.forks: list[Echo] = []
        self.closed = False

    def prepare(self, images):
        array = np.stack([image[0, 0, :1] for image in images])
        self._maybe_fail("prepare", array)
        return array, [None] * len(images)

    def infer(self, array):
        self._maybe_fail("infer", array)
        self.seen.append(array[:, 0].tolist())
        time.sleep(self._infer_s(int(array[0, 0])) if callable(self._infer_s) else self._infer_s)
        return {"out": array}

    def read(self, outputs, placements):
        self._maybe_fail("read", outputs["out"])
        return outputs["out"][:, 0].tolist()

    def fork(self, *, threads):
        self.forks.append(Echo(infer_s=self._infer_s, fail=self._fail, fail_at=self._fail_at))
        return self.forks[-1]

    def describe(self):
        return {"model": "echo", **self.runs.to_dict(), "precision": "fp32"}

    def close(self):
        self.closed = True

    def _maybe_fail(self, stage, array):
        if self._fail == stage and self._fail_at in array:
            raise BackendError(f"{stage} failed on purpose")


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(thread.name.startswith("edgezoo") for thread in threading.enumerate()):
        time.sleep(0.01)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("edgezoo")] == []


def accounted(pipeline: Pipeline) -> bool:
    """Every frame, of every source and in all."""
    profile = pipeline.profile
    parts = [*profile.sources.values()]
    whole = sum(part.grabbed for part in parts) == profile.grabbed
    delivered = sum(part.delivered for part in parts) == profile.delivered == profile.age.n
    return whole and delivered and not any(tally.under_way for tally in [profile, *parts])


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_files_lose_nothing_and_keep_their_order(workers: int, batch: int) -> None:
    # Later batches finish first: order must come from the pipeline, not from luck.
    engine = Echo(infer_s=lambda number: 0.004 if number % 3 == 0 else 0.0)
    source = Numbers(50)
    pipeline = Pipeline(source, engine, workers=workers, batch=batch)
    got = [(frame.index, result) for frame, result in pipeline]
    assert got == [(k, k) for k in range(50)]
    assert pipeline.profile.delivered == pipeline.profile.grabbed == 50
    assert source.released
    assert all(fork.closed for fork in engine.forks)
    assert not engine.closed  # the caller's


def test_batches_of_a_file_are_full_but_the_last() -> None:
    engine = Echo()
    list(Pipeline(Numbers(10), engine, batch=4))
    assert [len(batch) for batch in engine.seen] == [4, 4, 2]


def test_slow_consumer_loses_nothing_of_a_file() -> None:
    got = []
    for frame, _ in Pipeline(Numbers(12), Echo()):
        time.sleep(0.005)
        got.append(frame.index)
    assert got == list(range(12))


def test_live_source_faster_than_the_engine_gives_its_newest_frame() -> None:
    source = Numbers(200, live=True, every_s=0.002)
    with Pipeline(source, Echo(infer_s=0.02)) as pipeline:
        ages = [frame.age_ms for frame, _ in pipeline]
    profile = pipeline.profile
    assert profile.dropped["overwritten"] > 100
    assert accounted(pipeline)
    # One interval, one inference, and room for a busy machine; a queue of a few frames would add 20 ms each.
    assert np.median(ages) < 2 + 20 + 15


def test_live_source_slower_than_the_engine_gives_every_frame() -> None:
    with Pipeline(Numbers(20, live=True, every_s=0.01), Echo()) as pipeline:
        got = [frame.index for frame, _ in pipeline]
    assert got == list(range(20))
    assert accounted(pipeline)


def test_a_slow_consumer_of_a_live_source_sees_fresh_frames() -> None:
    with Pipeline(Numbers(300, live=True, every_s=0.002), Echo()) as pipeline:
        ages = []
        for frame, _ in pipeline:
            ages.append(frame.age_ms)
            time.sleep(0.03)
    assert np.median(ages) < 30 + 15  # at most one result waits, never a queue of them
    assert accounted(pipeline)


def test_frames_too_old_never_cost_inference() -> None:
    engine = Echo(infer_s=0.05)
    source = Numbers(40, live=True, every_s=0.03)
    with Pipeline(source, engine, max_age_ms=10) as pipeline:
        count = sum(1 for _ in pipeline)
    assert pipeline.profile.dropped["too_old"] > 0
    assert len(engine.seen) == count
    assert accounted(pipeline)


def test_one_batch_holds_frames_of_all_live_sources() -> None:
    sources = [Numbers(20, name=name, live=True, every_s=0.01) for name in "ab"]
    engine = Echo()
    with Pipeline(sources, engine, batch=8, wait_ms=500) as pipeline:
        seen = defaultdict(list)
        for frame, _ in pipeline:
            seen[frame.source].append(frame.index)
    # Two live sources cannot fill eight places: waiting 500 ms for that would make batches of old frames.
    assert max(map(len, engine.seen)) == 2
    assert pipeline.profile.age.percentile(50) < 250
    assert set(seen) == {"a", "b"}
    assert all(indices == sorted(indices) for indices in seen.values())
    assert accounted(pipeline)


def test_a_batch_closes_when_its_oldest_frame_has_waited_long_enough() -> None:
    sources = [Numbers(10, name="quick", live=True, every_s=0.01), Numbers(1, name="never", live=True, every_s=0.4)]
    with Pipeline(sources, Echo(), batch=2, wait_ms=15) as pipeline:
        began = time.monotonic()
        frame, _ = next(iter(pipeline))
        assert frame.source == "quick"
        assert time.monotonic() - began < 0.3


def test_a_dying_source_stops_neither_the_others_nor_the_news() -> None:
    events: list[Event] = []
    sources = [Numbers(30, name="good", every_s=0.002), Numbers(30, name="bad", fail_at=2)]
    pipeline = Pipeline(sources, Echo(), on_event=events.append)
    seen = defaultdict(int)
    with pytest.raises(SourceError, match="bad: gone"):
        for frame, _ in pipeline:
            seen[frame.source] += 1
    assert seen == {"good": 30, "bad": 2}
    assert [(event.source, event.kind) for event in events if event.error] == [("bad", "ended")]
    assert accounted(pipeline)


def test_a_source_that_cannot_be_opened_stops_only_itself(tmp_path) -> None:
    missing = str(tmp_path / "missing.mp4")
    pipeline = Pipeline([Numbers(5), missing], Echo())
    got = []
    with pytest.raises(SourceError, match="missing"):
        for frame, _ in pipeline:
            got.append(frame.index)
    assert got == list(range(5))


def test_a_single_source_that_cannot_be_opened_fails_at_once(tmp_path) -> None:
    with pytest.raises(SourceError, match="missing"):
        Pipeline(str(tmp_path / "missing.mp4"), Echo())


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("stage", ["prepare", "infer", "read"])
def test_an_error_of_any_stage_reaches_the_caller_in_order(stage: str, live: bool, workers: int) -> None:
    source = Numbers(10, live=live, every_s=0.01 if live else 0.0)
    pipeline = Pipeline(source, Echo(fail=stage), workers=workers)
    got = []
    with pytest.raises(BackendError, match=f"{stage} failed on purpose"):
        for frame, _ in pipeline:
            got.append(frame.index)
    assert got == [0, 1, 2]
    assert pipeline.profile.failed == 1
    assert accounted(pipeline)
    assert source.released


@pytest.mark.parametrize("live", [False, True])
def test_leaving_early_ends_everything_and_accounts_for_the_rest(live: bool) -> None:
    source = Numbers(1000, live=live, every_s=0.002 if live else 0.0)
    with Pipeline(source, Echo(), batch=3) as pipeline:
        for _ in pipeline:
            break
    assert source.released
    assert pipeline.profile.delivered == 1
    assert pipeline.stuck == ()
    assert accounted(pipeline)


def test_closing_inside_the_loop_ends_it_and_accounts_for_the_rest_of_the_batch() -> None:
    pipeline = Pipeline(Numbers(1000), Echo(), batch=4)
    frames = iter(pipeline)
    assert [frame.index for frame, _ in itertools.islice(frames, 2)] == [0, 1]
    pipeline.close()
    assert accounted(pipeline), "though the iterator is still there"
    assert list(frames) == []
    assert pipeline.profile.delivered == 2


def test_an_error_of_the_caller_closes_too() -> None:
    source = Numbers(1000)
    with pytest.raises(ZeroDivisionError), Pipeline(source, Echo()) as pipeline:
        for _ in pipeline:
            raise ZeroDivisionError
    assert source.released
    assert accounted(pipeline)


def test_an_error_in_on_event_reaches_the_caller() -> None:
    def angry(event: Event) -> None:
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        list(Pipeline(Numbers(3), Echo(), on_event=angry))


def test_a_driver_that_never_returns_is_told_of_and_does_not_hold_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    class Held(Numbers):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            release.wait()  # deaf to close(), as a driver in a blocked read is

    monkeypatch.setattr("edgezoo.pipeline.JOIN_S", 0.1)
    with Pipeline(Held(2, name="deaf", live=True, every_s=0.01), Echo()) as pipeline:
        next(iter(pipeline))
    assert pipeline.stuck == ("edgezoo capture deaf",)
    release.set()


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_an_interrupt_while_its_threads_start_leaves_none(nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, itertools.count(1)

    def interrupted(thread: threading.Thread) -> None:
        if thread.name.startswith("edgezoo") and next(started) == nth:
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    source = Numbers(10_000)
    pipeline = Pipeline(source, Echo())
    with pytest.raises(KeyboardInterrupt):
        next(iter(pipeline))
    source.close()
    assert pipeline.stuck == ()
    assert accounted(pipeline)


def test_who_closes_it_and_who_iterates_both_return_when_it_has_ended() -> None:
    pipeline, ends = Pipeline(Numbers(10_000, live=True, every_s=0.01), Echo(infer_s=0.5)), []

    def close() -> None:
        time.sleep(0.1)
        pipeline.close()
        ends.append(pipeline.profile.under_way)

    closer = threading.Thread(target=close)
    closer.start()
    for _ in pipeline:
        pass
    ends.append(pipeline.profile.under_way)
    assert not any(thread.name.startswith("edgezoo worker") for thread in threading.enumerate())
    closer.join()
    assert ends == [0, 0]


def test_closing_that_was_interrupted_is_finished_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(Numbers(10_000, live=True, every_s=0.01), Echo(infer_s=0.2))
    frames = iter(pipeline)
    next(frames)

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.close()
    pipeline.close()
    assert not any(thread.name.startswith("edgezoo") for thread in threading.enumerate())
    assert pipeline.stuck == ()
    assert accounted(pipeline)


def test_a_pipeline_runs_once() -> None:
    pipeline = Pipeline(Numbers(2), Echo())
    list(pipeline)
    with pytest.raises(RequestError, match="once"):
        list(pipeline)


@pytest.mark.parametrize(
    "options",
    [{"batch": 0}, {"workers": 0}, {"wait_ms": -1}, {"wait_ms": float("inf")}, {"max_age_ms": float("nan")}],
)
def test_numbers_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(RequestError):
        Pipeline(Numbers(1), Echo(), **options)


def test_a_fixed_batch_bounds_the_pipelines() -> None:
    engine = Echo()
    engine.batches = (2, 2)
    with pytest.raises(RequestError, match="at most 2"):
        Pipeline(Numbers(1), engine, batch=3)


def test_the_profile_tells_what_really_ran() -> None:
    engine = Echo(infer_s=0.003)
    engine.runs = replace(engine.runs, device="cuda:1")
    pipeline = Pipeline(Numbers(9), engine)
    list(pipeline)
    told = pipeline.profile.to_dict()
    assert told["runs"] == {
        "model": "echo", "backend": "echo", "version": "1", "device": "cuda:1", "threads": 1, "precisions": (),
        "precision": "fp32", "workers": 1,
    }  # fmt: skip
    assert told["stages"]["infer"]["n"] == 9
    assert told["stages"]["infer"]["p50_ms"] >= 3
    assert told["age"]["n"] == 9


@pytest.mark.parametrize("live", [False, True])
def test_a_thread_that_fails_unexpectedly_does_not_leave_the_caller_waiting(
    live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object) -> list[Frame]:
        raise OverflowError("on purpose")

    monkeypatch.setattr("edgezoo.pipeline.inbox.Inbox.take", broken)
    with pytest.raises(OverflowError, match="on purpose"):
        list(Pipeline(Numbers(3, live=live), Echo()))


# Live sources at addresses, which are opened again; the world behind the addresses is made up.


class World:
    """What is at each address: one behaviour for each opening, the last one for all that follow."""

    def __init__(self) -> None:
        self.behaviours: dict[str, list[Callable[[], Numbers]]] = {}
        self.opened: dict[str, int] = defaultdict(int)
        self.sources: list[Numbers] = []

    def open(self, text: str) -> Numbers:
        queue = self.behaviours[text]
        self.opened[text] += 1
        source = queue[min(self.opened[text], len(queue)) - 1]()
        source.address = str(Address.parse(text))
        self.sources.append(source)
        return source


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr("edgezoo.sources.feed.open_source", made.open)
    return made


def lives(count: int = 10**6, **how: Any) -> Callable[[], Numbers]:
    return lambda: Numbers(count, live=True, **{"every_s": 0.005, **how})


def dies(after: int = 5) -> Callable[[], Numbers]:
    return lives(fail_at=after)


def absent(what: str = "nobody there") -> Callable[[], Numbers]:
    def fail() -> Numbers:
        raise SourceAbsent(what)

    return fail


def kinds(events: list[Event], source: str) -> list[str]:
    return [event.kind for event in events if event.source == source]


def run_until(pipeline: Pipeline, done: Callable[[], bool], *, seconds: float = 10.0) -> list[Frame]:
    """Iterate until it is, which must be soon; the frames."""
    deadline = time.monotonic() + seconds
    got = []
    with pipeline:
        for frame, _ in pipeline:
            got.append(frame)
            if done():
                return got
            assert time.monotonic() < deadline, pipeline.states
    raise AssertionError(f"it ended: {pipeline.states}")


def test_a_source_that_dies_is_opened_again_and_its_frames_go_on_counting(world: World) -> None:
    world.behaviours["rtsp://me:secret@a/1"] = [dies(5), dies(7), lives()]
    events: list[Event] = []
    pipeline = Pipeline(["rtsp://me:secret@a/1"], Echo(), on_event=events.append)
    got = run_until(pipeline, lambda: pipeline.profile.reconnects == 2 and pipeline.profile.delivered > 20)
    assert kinds(events, "rtsp://a/1") == ["connecting", "live", "lost", "live", "lost", "live"]
    assert [frame.index for frame in got] == sorted({frame.index for frame in got})
    assert all(later.pts_s > earlier.pts_s for earlier, later in itertools.pairwise(got))
    assert {frame.source for frame in got} == {"rtsp://a/1"}
    (state,) = pipeline.states
    assert (state.state, state.reconnects, state.size_wh) == ("ended", 2, (4, 4))
    assert pipeline.profile.sources["rtsp://a/1"].reconnects == 2
    assert all(source.released for source in world.sources)
    assert accounted(pipeline)


def test_one_that_is_not_there_yet_holds_up_nobody_and_is_taken_when_it_comes(world: World) -> None:
    world.behaviours = {"rtsp://late/": [absent(), absent(), absent(), lives()], "rtsp://good/": [lives()]}
    events: list[Event] = []
    pipeline = Pipeline([*world.behaviours], Echo(), batch=2, wait_ms=2000, on_event=events.append)
    began = time.monotonic()
    got = run_until(pipeline, lambda: "live" in kinds(events, "rtsp://late/"))
    assert got[0].source == "rtsp://good/"
    assert pipeline.profile.sources["rtsp://good/"].age.percentile(50) < 200, "no batch waits for a lost stream"
    assert kinds(events, "rtsp://late/") == ["connecting", "lost", "live"]
    assert time.monotonic() - began < 8
    assert accounted(pipeline)


def test_what_is_refused_ends_with_its_error_and_the_others_go_on(world: World) -> None:
    def refused() -> Numbers:
        raise SourceRefused("rtsp://door/: got '401 Unauthorized'")

    world.behaviours = {"rtsp://me:secret@door/": [refused], "rtsp://good/": [lives(30)]}
    events: list[Event] = []
    pipeline = Pipeline([*world.behaviours], Echo(), on_event=events.append)
    with pytest.raises(SourceRefused, match="401"):
        list(pipeline)
    assert [event.error for event in events if event.source == "rtsp://door/"] == [False, True]
    assert world.opened["rtsp://me:secret@door/"] == 1
    assert pipeline.profile.delivered == 30


def test_retries_in_vain_end_with_the_last_error(world: World) -> None:
    world.behaviours["rtsp://a/"] = [dies(3), absent()]
    pipeline = Pipeline("rtsp://a/", Echo(), retries=2)
    with pytest.raises(SourceError, match="nobody there"):
        list(pipeline)
    assert world.opened["rtsp://a/"] == 3
    assert pipeline.states[0].error
    assert accounted(pipeline)


def test_a_blocked_read_is_given_up_and_the_source_opened_anew(world: World) -> None:
    release = threading.Event()

    class Deaf(Numbers):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            release.wait(20)  # to close(), as a driver in a blocked read is
            yield Frame(np.zeros((4, 4, 3), np.uint8), 999, 99.9, time.monotonic_ns(), self.address)
            self.released = True

    world.behaviours["rtsp://a/#timeout=0.3"] = [lambda: Deaf(8, live=True, every_s=0.02), lives(every_s=0.02)]
    events: list[Event] = []
    pipeline = Pipeline("rtsp://a/#timeout=0.3", Echo(), on_event=events.append)
    got = []
    with pipeline:
        for frame, _ in pipeline:
            got.append(frame.index)
            if len(got) == 20:
                assert pipeline.states[0].held == 1
                release.set()
            if len(got) > 20 and not pipeline.states[0].held:
                break
    assert kinds(events, "rtsp://a/") == ["connecting", "live", "stalled", "lost", "live"]
    assert 999 not in got, "what the old thread still brings is not taken"
    assert got == sorted(set(got))
    assert world.sources[0].released
    assert pipeline.stuck == ()
    assert accounted(pipeline)


def test_a_driver_that_holds_every_thread_gets_no_more_than_a_few(world: World) -> None:
    release, given = threading.Event(), []

    class Deaf(Numbers):
        def __iter__(self) -> Iterator[Frame]:
            given.append(self)
            yield from super().__iter__()
            release.wait(20)

    world.behaviours = {"rtsp://a/#timeout=0.1": [lambda: Deaf(2, live=True, every_s=0.001)], "rtsp://good/": [lives()]}
    events: list[Event] = []
    pipeline = Pipeline([*world.behaviours], Echo(), on_event=events.append)

    def held() -> bool:
        return any("threads that read it are held" in event.message for event in events)

    deadline, count = time.monotonic() + 20, 0
    with pipeline:
        for _ in pipeline:
            count += 1
            if held() and not release.is_set():
                assert pipeline.states[0].held == len(given) == 3
                release.set()
            if len(given) > 3:
                break  # it is opened again once there is a thread to be had
            assert time.monotonic() < deadline
    assert count > 50, "the other one is not disturbed"


def test_a_source_that_hangs_while_it_is_opened_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr("edgezoo.pipeline.streams.OPEN_S", 0.2)

    def hangs() -> Numbers:
        release.wait(20)
        return Numbers(5, live=True)

    world.behaviours["rtsp://a/"] = [hangs, lives()]
    pipeline = Pipeline(Feed.at("rtsp://a/"), Echo(), endless=True)
    run_until(pipeline, lambda: not release.is_set() and (release.set() or True))
    assert world.opened["rtsp://a/"] == 2
    deadline = time.monotonic() + 5
    while len(world.sources) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert accounted(pipeline)


@pytest.mark.parametrize("first", [[], [dies(3)]], ids=["for the first time", "again"])
def test_closing_hardly_waits_for_a_source_that_is_being_opened(world: World, first: list[Any]) -> None:
    release = threading.Event()

    def hangs() -> Numbers:
        release.wait(20)
        return Numbers(5, live=True)

    world.behaviours = {"rtsp://mute/": [*first, hangs], "rtsp://good/": [lives(every_s=0.01)]}
    pipeline = Pipeline([*world.behaviours], Echo())
    run_until(pipeline, lambda: world.opened["rtsp://mute/"] == len(first) + 1)
    began = time.monotonic()
    pipeline.close()
    assert time.monotonic() - began < 3
    assert pipeline.stuck == ("edgezoo capture rtsp://mute/",)
    release.set()


def test_sources_come_and_go_while_it_runs(world: World) -> None:
    world.behaviours = {"rtsp://a/": [lives()], "rtsp://me:secret@b/": [lives()], "rtsp://c/": [absent()]}
    events: list[Event] = []
    pipeline = Pipeline("rtsp://a/", Echo(infer_s=0.002), on_event=events.append)
    seen: dict[str, int] = defaultdict(int)
    with pipeline:
        for frame, _ in pipeline:
            seen[frame.source] += 1
            if seen["rtsp://a/"] == 5 and not seen["rtsp://b/"] and len(pipeline.states) == 1:
                assert pipeline.add("rtsp://me:secret@b/") == "rtsp://b/"
                assert pipeline.add("rtsp://c/") == "rtsp://c/"
            if seen["rtsp://b/"] == 5 and len(pipeline.states) == 3:
                with pytest.raises(RequestError, match=r"did you mean 'rtsp://a/'"):
                    pipeline.remove("rtsp://aa/")
                pipeline.remove("rtsp://a/")
                pipeline.remove("rtsp://c/")
                until = seen["rtsp://a/"] + 3  # some may be under way
            if seen["rtsp://b/"] == 40:
                pipeline.remove("rtsp://me:secret@b/")
                assert pipeline.states == ()
    assert seen["rtsp://a/"] <= until
    assert kinds(events, "rtsp://a/") == ["connecting", "live", "ended"]
    assert kinds(events, "rtsp://c/")[-1] == "ended"
    assert accounted(pipeline)
    with pytest.raises(RequestError, match="closed"):
        pipeline.add("rtsp://a/")


def test_whoever_closes_it_hears_no_error_of_a_source_that_was_given_up_before(world: World) -> None:
    def refused() -> Numbers:
        raise SourceRefused("no")

    world.behaviours = {"rtsp://door/": [refused], "rtsp://silent/": [lives(every_s=30)]}
    pipeline = Pipeline([*world.behaviours], Echo(), on_idle=lambda: pipeline.close())
    assert list(pipeline) == []
    assert pipeline.states[0].error


def test_an_endless_pipeline_waits_for_sources_and_its_caller_is_asked_meanwhile(world: World) -> None:
    world.behaviours["rtsp://a/"] = [lives(3)]
    idle = []

    def on_idle() -> None:
        idle.append(time.monotonic())
        if len(idle) == 2:
            pipeline.add("rtsp://a/")
        if len(idle) == 5:
            pipeline.close()

    pipeline = Pipeline([], Echo(), endless=True, on_idle=on_idle)
    assert [frame.index for frame, _ in pipeline] == [0, 1, 2]
    assert len(idle) == 5
    assert accounted(pipeline)


def test_two_sources_of_one_address_are_told_apart() -> None:
    sources = [Numbers(3, name="twin"), Numbers(4, name="twin")]
    pipeline = Pipeline(sources, Echo())
    counts: dict[str, int] = defaultdict(int)
    for frame, _ in pipeline:
        counts[frame.source] += 1
    assert counts == {"twin": 3, "twin (2)": 4}
    assert {name: tally.delivered for name, tally in pipeline.profile.sources.items()} == counts
    assert accounted(pipeline)


def test_a_file_is_thinned_by_its_own_clock_and_a_camera_by_ours(world: World) -> None:
    world.behaviours["clip"] = [lambda: Numbers(40)]  # ten frames a second
    pipeline = Pipeline("clip#fps=2.5", Echo())
    assert [frame.index for frame, _ in pipeline] == list(range(0, 40, 4))
    assert pipeline.profile.dropped["rate"] == 30
    assert accounted(pipeline)
    world.behaviours["rtsp://a/"] = [lives(every_s=0.004)]
    pipeline = Pipeline("rtsp://a/#fps=20", Echo())
    began = time.monotonic()
    got = run_until(pipeline, lambda: time.monotonic() - began > 1.0)
    assert 10 < len(got) <= 22
    assert pipeline.profile.dropped["rate"] > 100
    assert accounted(pipeline)


def test_frames_that_could_not_be_decoded_are_counted() -> None:
    class Damaged(Numbers):
        damaged = 0

        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                self.damaged += 2 if frame.index == 3 else 0
                yield frame
            self.damaged += 1

    pipeline = Pipeline(Damaged(6), Echo())
    assert len(list(pipeline)) == 6
    assert pipeline.profile.dropped["damaged"] == 3
    assert pipeline.profile.grabbed == 9
    assert accounted(pipeline)


@pytest.mark.parametrize("fail_at", [-1, 4], ids=["none after it", "all"])
def test_frames_that_could_not_be_decoded_before_a_source_failed_are_counted(fail_at: int) -> None:
    class Damaged(Numbers):
        damaged = 0

        def __iter__(self) -> Iterator[Frame]:
            try:
                yield from super().__iter__()
            finally:
                self.damaged += 7
            raise SourceError("gone")

    pipeline = Pipeline([Damaged(4, fail_at=fail_at), Numbers(2, name="other")], Echo())
    with pytest.raises(SourceError, match="gone"):
        list(pipeline)
    assert pipeline.profile.dropped["damaged"] == 7
    assert accounted(pipeline)


class Where(Echo):
    """Answers the whole picture that it sees as one box."""

    def prepare(self, images):
        return np.stack([np.array(image.shape[:2]) for image in images]), [None] * len(images)

    def infer(self, array):
        return {"out": array}

    def read(self, outputs, placements):
        return [
            Detections(np.array([[0, 0, w, h]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), ("all",))
            for h, w in outputs["out"]
        ]


class Pictures(Numbers):
    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            yield replace(frame, image=np.zeros((48, 64, 3), np.uint8))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("roi", "box"),
    [
        ("16,8,32,24", [16, 8, 48, 32]),
        ("0.5,0,0.5,1", [32, 0, 64, 48]),
        ("0,0,1,1", [0, 0, 64, 48]),
        ("40,40,100,100", [40, 40, 64, 48]),
    ],
)
def test_the_engine_sees_the_region_and_boxes_come_home(roi: str, box: list[int], workers: int, world: World) -> None:
    world.behaviours["clip"] = [lambda: Pictures(3)]
    for frame, result in Pipeline(f"clip#roi={roi}", Where(), workers=workers):
        assert frame.image.shape == (48, 64, 3)
        assert result.boxes_xyxy.tolist() == [box]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("clip#roi=1,2,3", "expected roi=X,Y,WIDTH,HEIGHT"),
        ("clip#roi=0.5,0,0.6,1", "expected roi=X,Y,WIDTH,HEIGHT"),
        ("clip#roi=nan,0,1,1", "expected roi=X,Y,WIDTH,HEIGHT"),
        ("clip#roi=-1,0,5,5", "expected roi=X,Y,WIDTH,HEIGHT"),
        ("clip#fps=0", "fps above 0"),
        ("clip#fps=fast", "fps=NUMBER"),
        ("rtsp://a/#timeout=0", "timeout above 0"),
        ("synthetic:#fps=0", "fps above 0"),
    ],
)
def test_wrong_options_of_every_source(address: str, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        Pipeline([address, "other"], Echo())


def test_a_region_outside_of_the_picture_ends_its_source_with_an_error(world: World) -> None:
    world.behaviours = {"clip": [lambda: Pictures(3)], "other": [lambda: Pictures(3)]}
    pipeline = Pipeline(["clip#roi=100,0,10,10", "other"], Where())
    with pytest.raises(SourceRefused, match=r"clip: expected roi=100,0,10,10 to be inside the picture, which is 64x48"):
        list(pipeline)
    assert pipeline.profile.delivered == 3
    assert pipeline.profile.sources["clip"].failed == 1
    assert accounted(pipeline)


def test_a_camera_that_is_too_small_for_its_region_for_a_while_comes_back(world: World) -> None:
    def shrinks() -> Numbers:
        class Shrinks(Pictures):
            def __iter__(self) -> Iterator[Frame]:
                for frame in super().__iter__():
                    yield replace(frame, image=frame.image[:, : 16 if frame.index > 3 else 64])

        return Shrinks(10**6, live=True, every_s=0.005)

    world.behaviours = {"rtsp://a/": [shrinks]}
    events: list[Event] = []
    pipeline = Pipeline("rtsp://a/#roi=20,0,10,10", Where(), on_event=events.append)
    run_until(pipeline, lambda: pipeline.profile.reconnects >= 2)
    assert pipeline.profile.failed >= 2
    assert any("to be inside the picture, which is 16x48" in event.message for event in events)
    assert accounted(pipeline)


def test_sources_take_turns_whatever_their_rates() -> None:
    sources = [
        Numbers(10**6, name="fast", live=True, every_s=0.001),
        Numbers(10**6, name="slow", live=True, every_s=0.02),
    ]
    pipeline = Pipeline(sources, Echo(infer_s=0.02))
    got = run_until(pipeline, lambda: pipeline.profile.delivered == 60)
    slow = sum(frame.source == "slow" for frame in got)
    assert slow > 20, "half of them, but for those that came late"
    assert accounted(pipeline)


def test_many_reconnects_leave_no_thread_and_no_file_behind(world: World) -> None:
    world.behaviours["rtsp://a/"] = [dies(3)]
    pipeline = Pipeline(["rtsp://a/"], Echo())
    before = threading.active_count()
    run_until(pipeline, lambda: pipeline.profile.reconnects >= 4)
    assert threading.active_count() <= before
    assert all(source.released for source in world.sources)


def test_what_happens_is_logged_too(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edgezoo")
    world.behaviours["rtsp://me:secret@a/"] = [dies(3), lives()]
    pipeline = Pipeline(["rtsp://me:secret@a/"], Echo())
    run_until(pipeline, lambda: pipeline.profile.reconnects == 1)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "rtsp://a/: connecting: being opened"
    assert lines[2] == "rtsp://a/: lost: gone"
    assert "secret" not in caplog.text
