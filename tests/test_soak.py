"""The soak: that it passes what is well, and sees each thing that is not."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from test_pipeline import Echo

from edgezoo.bundle import Bundle
from edgezoo.cli import main, soak_
from edgezoo.errors import RequestError
from edgezoo.measure import soak as module
from edgezoo.measure.soak import Bounds, Sample, Soak, chaos_sources, sample, soak
from edgezoo.pipeline import Pipeline
from edgezoo.preprocess import Preprocess

pytest.importorskip("cv2", reason="chaos resizes")

QUIET = "chaos:synthetic:#size=64x48&fps=40&shapes=1&seed={}"
WILD = QUIET + "&die=0.1&die_s=0.2&drop=0.05&burst=0.05&burst_frames=4&resize=0.05&corrupt=0.05"


def samples(
    memory: Callable[[float], float], *, seconds: int = 300, threads: Callable[[float], int] = lambda s: 9
) -> Soak:
    found = Soak(bounds=Bounds(), seconds=seconds)
    found.samples = [Sample(s, memory(s), threads(s), 20) for s in range(seconds)]
    return found


def out_of_bounds(found: Soak) -> list[str]:
    return [line.partition(":")[0] for line in found.missed]


DICE = random.Random(0)


@pytest.mark.parametrize(
    ("memory", "grows"),
    [
        (lambda s: 200.0, False),
        (lambda s: 200 + DICE.uniform(-8, 8), False),
        (lambda s: 100 + min(s, 60) * 2, False),  # the warm-up fills arenas and caches
        (lambda s: 200 + s * 0.03, False),  # 7 MB
        (lambda s: 200 + s * 0.06, True),  # 14 MB
        (lambda s: 200 + 15 * (s > 180), True),  # a step that stays
        (lambda s: 200 + DICE.uniform(-8, 8) + s * 0.08, True),
    ],
)
def test_memory_that_grows_is_seen_through_its_noise(memory: Callable[[float], float], grows: bool) -> None:
    assert out_of_bounds(samples(memory)) == (["memory growth"] if grows else [])


def test_threads_that_are_left_are_seen_and_one_that_ends_is_not() -> None:
    assert out_of_bounds(samples(lambda s: 1.0, threads=lambda s: 9 + s // 100)) == ["threads more"]
    assert out_of_bounds(samples(lambda s: 1.0, threads=lambda s: 9 + (s % 10 == 0))) == []


def test_a_sample_is_of_this_process() -> None:
    before, held = sample(0.0), np.ones(40_000_000, np.uint8)
    with open(__file__, encoding="utf-8"):
        after = sample(1.0)
    assert 35 < after.memory_mb - before.memory_mb < 60
    assert after.files == before.files + 1
    assert after.threads >= 1
    assert held.size


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SAMPLE_S", 0.1)


@pytest.mark.usefixtures("often")
def test_wild_cameras_under_a_good_pipeline() -> None:
    told: list[str] = []

    def progress(found: Soak, pipeline: Pipeline) -> None:
        console = Console(file=io.StringIO(), width=160)
        console.print(soak_._now(found, pipeline, 64))
        told.append(console.file.getvalue())

    found = soak(
        Echo(),
        [WILD.format(seed) for seed in (1, 2)],
        seconds=2,
        bounds=Bounds(growth_mb=500, age_p99_ms=5000, back_s=10),
        progress=progress,
    )
    assert out_of_bounds(found) in ([], ["threads more"]), found.checks()  # a short time for a median
    assert found.unexplained == found.out_of_order == 0
    assert found.events["lost"] >= 2
    assert found.events["live"] >= 4, "two for the first time, and two that came back"
    assert sum(tally.reconnects for tally in found.profile.sources.values()) >= 2
    assert sum(faults["deaths"] for faults in found.faults.values()) >= 2
    assert re.search(r"1:0\d left", told[-1])
    assert "lost" in "".join(told)
    assert len(told) == len(found.samples) > 5
    assert json.loads(json.dumps(found.to_dict()))["profile"]["grabbed"] == sum(
        faults["given"] for faults in found.faults.values()
    )


class Hoarder(Echo):
    """Keeps two megabytes a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.hoard: list[Any] = []

    def prepare(self, images):
        self.hoard.append(np.ones(2_000_000, np.uint8))
        return super().prepare(images)


@pytest.mark.usefixtures("often")
def test_a_leak_is_seen() -> None:
    found = soak(Hoarder(), [QUIET.format(3)], seconds=2, bounds=Bounds(age_p99_ms=5000))
    assert "memory growth" in out_of_bounds(found)
    assert 20 < found.growth_mb < 300


@pytest.mark.usefixtures("often")
def test_old_frames_and_a_stream_that_comes_back_late_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgezoo.pipeline.streams.SHORTEST_TRY_S", 60.0)  # a pipeline that is in no hurry
    monkeypatch.setattr("edgezoo.pipeline.streams.LONGEST_ASK_S", 60.0)
    dies = QUIET.format(4) + "&die=0.1&die_s=0.2"
    found = soak(
        Echo(infer_s=0.2), [QUIET.format(5), dies], seconds=2, bounds=Bounds(growth_mb=500, age_p99_ms=100, back_s=0.5)
    )
    assert {"frame age, p99", "a lost stream back"} <= set(out_of_bounds(found))
    assert max(found.backs_s) > 1


@pytest.mark.usefixtures("often")
def test_the_time_in_which_a_camera_gives_nothing_is_not_held_against_the_pipeline() -> None:
    dies = QUIET.format(4) + "&die=0.1&die_s=1.2"
    found = soak(Echo(), [dies], seconds=3, bounds=Bounds(growth_mb=500, age_p99_ms=5000))
    losses = found.losses_s["chaos:synthetic:"]
    assert max(losses) > 1.2
    assert max(found.backs_s) < max(losses) - 0.5


@pytest.mark.usefixtures("often")
def test_frames_that_vanish_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgezoo.latency import Profile

    monkeypatch.setattr(Profile, "count_delivered", lambda self, age_ms, source=None: None)
    found = soak(Echo(), [QUIET.format(6)], seconds=0.5, bounds=Bounds(growth_mb=500))
    assert found.unexplained > 5
    assert "frames unexplained" in out_of_bounds(found)


def test_a_stream_without_a_frame_and_a_time_that_was_not_run_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(found: Soak, pipeline: Pipeline) -> None:
        if found.seconds > 0.4:
            raise KeyboardInterrupt

    sources = [QUIET.format(9), QUIET.format(10) + "&stall=1&stall_s=3000"]
    monkeypatch.setattr(module, "_SAMPLE_S", 0.1)
    found = soak(Echo(), sources, seconds=60, bounds=Bounds(growth_mb=500, age_p99_ms=5000), progress=interrupted)
    assert {"time", "streams without a frame"} <= set(out_of_bounds(found))
    assert found.profile.delivered > 5
    assert found.unexplained == 0


@pytest.mark.parametrize("source", ["clip.mp4", "synthetic:#live=0"])
def test_what_sets_its_own_pace_is_no_camera(source: str) -> None:
    with pytest.raises(RequestError, match=r"expected live sources, got .*; try chaos:"):
        soak(Echo(), [source], seconds=1)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 1e9])
def test_times_that_are_none(seconds: float) -> None:
    with pytest.raises(RequestError, match="expected a time"):
        soak(Echo(), [QUIET.format(7)], seconds=seconds)


def test_the_default_cameras_differ() -> None:
    assert len({*chaos_sources()}) == 4


# The verb.


@pytest.fixture
def bundle(bundle_of: Callable[..., Bundle]) -> str:
    pytest.importorskip("onnxruntime")
    return str(bundle_of("squares", Preprocess(size_wh=(96, 64), fit="letterbox")).folder)


WIDE = ["--max-growth", "500", "--max-age-p99", "5000", "--max-back", "10"]


@pytest.mark.usefixtures("often")
def test_the_verb(bundle: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["soak", "--model", bundle, "--minutes", "0.03", QUIET.format(8)]
    assert main([*arguments, *WIDE]) == 0
    said = capfd.readouterr()
    assert "frames unexplained" in said.out
    assert main([*arguments, *WIDE, "--json", "--max-age-p99", "0"]) == 1
    said = capfd.readouterr()
    assert any("frame age" in line for line in json.loads(said.out)["missed"])
    assert "frame age, p99: expected at most 0 ms, got" in said.err
    assert main(["soak", "--minutes", "0"]) == 2
    assert "--minutes above 0" in capfd.readouterr().err
