"""The bench: what it plays, in which order, when it stops, and that nothing of it goes on. Nothing is timed here."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edgezoo import machine as computer
from edgezoo.bundle import Bundle
from edgezoo.engine import Engine
from edgezoo.errors import BackendError, RequestError, SourceError
from edgezoo.measure import bench as room
from edgezoo.measure.bench import bench
from edgezoo.measure.player import BLOCK_RUNS, BareEngine, Loop, Player
from edgezoo.preprocess import Preprocess

RECIPE = Preprocess(size_wh=(64, 48), fit="stretch")
CLIP = "synthetic:#size=96x64&live=0&frames=7"
BundleOf = Callable[..., Bundle]


@pytest.fixture(scope="module")
def engine(bundle_of: BundleOf) -> Iterator[Engine]:
    with Engine(bundle_of("squares", RECIPE), threads=1) as engine:
        yield engine


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks of milliseconds; and no thread may outlive a test."""
    monkeypatch.setattr(room, "_BLOCK_S", 0.004)
    monkeypatch.setattr(room, "_PAUSE_S", 0.0)
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize(("workers", "batch"), [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_a_bench_says_all_it_depends_on(engine: Engine, workers: int, batch: int) -> None:
    told: list[tuple[int, int]] = []
    found = bench(
        engine, source=CLIP, workers=workers, batch=batch, blocks=3, max_seconds=0.2,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    shown = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert shown["engine"]["fps"] > 0
    assert shown["pipeline"]["fps"] > 0
    assert shown["ratio"] > 0
    for figures in (shown["engine"]["run"], shown["pipeline"]["interval"], shown["pipeline"]["age"]):
        assert {"n", "p50_ms", "p90_ms", "p99_ms"} <= set(figures)
        assert figures["n"] >= BLOCK_RUNS * found.blocks
    assert set(shown["pipeline"]["stages"]) == {"capture", "wait", "prepare", "infer", "read", "sink"}
    runs = shown["runs"]
    assert (runs["workers"], runs["batch"], runs["threads"], runs["precision"]) == (workers, batch, 1, "fp32")
    assert runs["opencv_threads"] == cv2.getNumThreads()
    assert shown["machine"]["cores"] >= 1
    assert told[0] == (0, 3)
    assert told[-1][0] == found.blocks == len(told) - 1


def test_a_bench_needs_no_source(engine: Engine) -> None:
    assert bench(engine, blocks=1, max_seconds=0).source == room.CLIP


class Scripted:
    """In place of an engine or a player: rates from a list, and a record of who was asked."""

    def __init__(self, name: str, rates: list[float], asked: list[str]) -> None:
        self._name, self._rates, self._asked = name, iter(rates), asked

    def block(self, seconds: float) -> float:
        self._asked.append(self._name)
        return next(self._rates)


def test_the_two_take_turns() -> None:
    asked: list[str] = []
    bare, player = Scripted("A", [100.0] * 3, asked), Scripted("B", [90.0] * 3, asked)
    pairs: list[Any] = [room._pair(bare, player, swapped=k % 2 == 1) for k in range(3)]  # type: ignore[arg-type]
    assert "".join(asked) == "ABBAAB"
    assert pairs == [(100.0, 90.0)] * 3


@pytest.mark.parametrize(
    ("ratios", "spread"),
    [
        ([0.9], math.inf),
        ([0.9, 0.9], math.inf),
        ([0.9, 0.9, 0.9], 0.0),
        ([0.8, 0.9, 1.0], 0.1 / 0.9),
        ([0.5, 0.9, 0.9, 0.9, 2.0], 0.0),
    ],
)
def test_the_spread_of_pairs(ratios: list[float], spread: float) -> None:
    assert room._spread([(100.0, 100.0 * ratio) for ratio in ratios]) == pytest.approx(spread)


@pytest.mark.parametrize(
    ("rates", "blocks", "measured", "stable"),
    [([90.0] * 9, 3, 3, True), ([80.0, 90.0, 99.0] + [90.0] * 20, 3, 5, True), ([60.0, 90.0] * 50, 3, 40, False)],
    ids=["steady", "steady after a while", "never"],
)
def test_when_a_bench_stops(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, rates: list[float], blocks: int, measured: int, stable: bool
) -> None:
    pairs = ((100.0, rate) for rate in rates)
    clock = iter(range(1000))  # a second for each look at it
    monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(room, "_pair", lambda *both, swapped: next(pairs))
    found = bench(engine, source=CLIP, blocks=blocks, max_seconds=39)
    assert (found.blocks, found.stable) == (measured, stable)
    assert found.engine.fps == 100.0


@pytest.mark.parametrize("batch", [1, 3])
def test_a_clip_is_played_over_and_over(engine: Engine, batch: int) -> None:
    player = Player(engine, CLIP, workers=1, batch=batch)
    try:
        for _ in range(3):
            player.block(0)
            count = player._delivered
            assert count % batch == 0
            assert player.pipeline.profile.grabbed == player.pipeline.profile.delivered == count
            time.sleep(0.02)
            assert player.pipeline.profile.grabbed == count  # held: nothing runs beside the bare engine
        assert count > 3 * 7
    finally:
        player.close()
    assert not player.pipeline.stuck


def test_frames_of_a_loop_are_the_clips(engine: Engine) -> None:
    loop = Loop(CLIP, batch=1)
    loop.go()
    frames = [frame for frame, _ in zip(loop, range(15))]
    loop.close()
    assert [frame.index for frame in frames] == list(range(15))
    for k in (0, 6):
        assert np.array_equal(frames[k].image, frames[k + 7].image)


def test_the_bare_engine_runs_whole_batches(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    real = engine.infer
    monkeypatch.setattr(engine, "infer", lambda array: shapes.append(array.shape) or real(array))  # type: ignore[func-returns-value]
    BareEngine(engine, 9, CLIP).block(0)  # more than the clip has frames
    assert shapes == [(9, 48, 64, 3)] * BLOCK_RUNS


def test_a_bundle_of_fixed_batch(bundle_of: BundleOf) -> None:
    with Engine(bundle_of("squares", RECIPE, batch=2), threads=1) as engine:
        assert bench(engine, source=CLIP, batch=2, blocks=1, max_seconds=0).blocks == 1
        with pytest.raises(RequestError, match="batch of at most 2"):
            bench(engine, source=CLIP, batch=3, blocks=1, max_seconds=0)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"source": "synthetic:"}, RequestError, "expected a clip, got a live source"),
        ({"source": "nowhere.mp4"}, SourceError, "expected a file"),
        ({"source": CLIP, "blocks": 0}, RequestError, "1 block or more"),
        ({"source": CLIP, "workers": 0}, RequestError, "workers of 1 to 64"),
        ({"source": CLIP, "batch": 0}, RequestError, "batch of 1 to 1024"),
    ],
)
def test_requests_that_cannot_be_served(
    engine: Engine, asked: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        bench(engine, **asked)


def test_a_source_that_fails_on_the_way(engine: Engine, tmp_path: Path) -> None:
    for k in range(3):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.zeros((8, 8, 3), np.uint8))
    player = Player(engine, str(tmp_path), workers=1, batch=1)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(SourceError):
        player.block(0)
    player.close()


def test_an_engine_that_fails_on_the_way(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    real, runs = engine.infer, iter(range(12))

    def infer(array: Any) -> Any:
        if next(runs, None) is None:
            raise BackendError("out of memory")
        return real(array)

    monkeypatch.setattr(engine, "infer", infer)
    with pytest.raises(BackendError, match="out of memory"):
        bench(engine, source=CLIP)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"/sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 2.0),
    ],
)
def test_what_a_container_may_use(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], quota: float | None) -> None:
    monkeypatch.setattr(computer, "_text", lambda path: files.get(path, ""))
    assert computer.cpu_quota() == quota


@pytest.mark.parametrize(
    ("files", "model", "sets"),
    [
        ({"/proc/cpuinfo": "model name\t: Fast CPU @ 3 GHz\nflags\t\t: fpu avx2 avx512_vnni\n"}, "Fast CPU @ 3 GHz", 2),
        ({"/proc/cpuinfo": "Features\t: fp asimd asimddp\n", "/proc/device-tree/model": "A Board\0"}, "A Board", 2),
        ({"/proc/cpuinfo": "Hardware\t: BCM2835\n"}, "BCM2835", 0),
    ],
)
def test_what_a_cpu_is_called(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], model: str, sets: int) -> None:
    monkeypatch.setattr(computer, "_text", lambda path: files.get(path, ""))
    assert computer.cpu_model() == model
    assert len(computer.instruction_sets()) == sets


def test_what_others_take_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([(10.0, 1.0, 0.0), (13.0, 2.0, 2.0), (None, 2.0, 3.0)])
    monkeypatch.setattr(computer.OtherLoad, "_now", lambda self: next(readings))
    monkeypatch.setattr(computer.os, "cpu_count", lambda: 2)
    load = computer.OtherLoad()
    assert load.share() == pytest.approx(0.5)  # 3 s of work, 1 s of it ours, in 2 s on 2 cores
    assert load.share() is None


def test_a_machine_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computer, "_text", lambda path: "")
    assert computer.OtherLoad().share() is None
    assert computer.cpu_model()
    assert computer.instruction_sets() == []
