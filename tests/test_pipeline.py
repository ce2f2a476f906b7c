"""The pipeline with made-up sources and a made-up engine, so that every stage can fail, stall or lag on purpose."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from edgezoo.backends import Runs
from edgezoo.errors import BackendError, RequestError, SourceError
from edgezoo.frame import Event, Frame
from edgezoo.pipeline import Pipeline


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
    profile = pipeline.profile
    return profile.grabbed == profile.delivered + profile.dropped_in_all + profile.failed


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
