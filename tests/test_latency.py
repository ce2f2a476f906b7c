"""Distributions that stay small and tell percentiles, and the profile's account of every frame."""

from __future__ import annotations

import json
import sys
import threading

import numpy as np
import pytest

from edgezoo.latency import DROPS, STAGES, Distribution, Profile


def filled(values: object) -> Distribution:
    distribution = Distribution()
    for value in np.asarray(values, float).tolist():
        distribution.add(value)
    return distribution


DICE = np.random.default_rng(0)
DISTRIBUTIONS = {
    "uniform": DICE.uniform(1, 100, 4999),
    "normal": np.abs(DICE.normal(12, 0.3, 4999)) + 1e-3,
    "a long tail": DICE.lognormal(1, 2, 4999),
    "two hills": np.concatenate([DICE.normal(5, 0.1, 2999), DICE.normal(50, 1, 2000)]),
    "microseconds": DICE.exponential(0.002, 4999) + 2e-4,
    "minutes": DICE.uniform(1e4, 1e6, 4999),
    "all the same": np.full(100, 7.3),
    "one": np.array([3.21]),
    "two": np.array([1.0, 1000.0]),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("percent", [1, 10, 50, 90, 99, 99.9, 100])
def test_percentiles_are_right_to_one_percent(name: str, percent: float) -> None:
    values = DISTRIBUTIONS[name]  # of a size that has no rank between two values
    expected = np.percentile(values, percent, method="inverted_cdf")
    assert filled(values).percentile(percent) == pytest.approx(expected, rel=0.01)


def test_percentiles_rise_and_end_at_the_largest() -> None:
    for values in DISTRIBUTIONS.values():
        distribution = filled(values)
        rising = [distribution.percentile(percent) for percent in range(0, 101, 5)]
        assert rising == sorted(rising)
        assert rising[-1] <= distribution.max_ms == values.max()


@pytest.mark.parametrize(
    ("values", "p50", "largest"),
    [([], 0, 0), ([0, 0, 0], 0, 0), ([1e-9], 1e-9, 1e-9), ([0, 0, 5], pytest.approx(1e-4, rel=0.01), 5)],
)
def test_nothing_and_next_to_nothing(values: list[float], p50: float, largest: float) -> None:
    distribution = filled(values)
    assert distribution.percentile(50) == p50
    assert distribution.max_ms == largest


def test_longer_than_any_bucket_is_still_counted() -> None:
    distribution = filled([1, 1e12])
    assert distribution.max_ms == 1e12
    assert 1e6 < distribution.percentile(99) <= 1e12


def test_a_day_takes_no_more_room_than_a_minute() -> None:
    def size(distribution: Distribution) -> int:
        return len(distribution._counts) + sys.getsizeof(distribution._counts)

    distribution = filled([1.0])
    before = size(distribution)
    for value in DICE.lognormal(1, 3, 20_000).tolist():
        distribution.add(value)
    assert size(distribution) == before
    assert distribution.n == 20_001


def test_a_distribution_as_json() -> None:
    told = json.loads(json.dumps(filled([1, 2, 3, 4]).to_dict()))
    assert set(told) == {"n", "p50_ms", "p90_ms", "p99_ms", "max_ms", "mean_ms"}
    assert (told["n"], told["max_ms"], told["mean_ms"]) == (4, 4, 2.5)
    assert filled([]).to_dict() == {"n": 0, "p50_ms": 0, "p90_ms": 0, "p99_ms": 0, "max_ms": 0, "mean_ms": 0}


def test_a_profile_accounts_for_every_frame() -> None:
    profile = Profile()
    for _ in range(10):
        profile.count_grabbed()
    for age_ms in (5, 7):
        profile.count_delivered(age_ms)
    profile.count_dropped("overwritten", 4)
    profile.count_dropped("too_old")
    profile.count_failed(3)
    told = json.loads(json.dumps(profile.to_dict()))
    assert told["grabbed"] == told["delivered"] + told["dropped"]["all"] + told["failed"] == 10
    assert told["dropped"] == {"overwritten": 4, "too_old": 1, "rate": 0, "damaged": 0, "closed": 0, "all": 5}
    assert set(told["dropped"]) == {*DROPS, "all"}
    assert told["age"]["n"] == 2
    assert told["age"]["max_ms"] == 7
    assert profile.fps > 0
    assert repr(profile).startswith("Profile(2 delivered, 5 dropped, 3 failed")


def test_an_empty_profile() -> None:
    told = Profile().to_dict()
    assert told["fps"] == 0
    assert set(told["stages"]) == set(STAGES)
    assert all(stage["n"] == 0 for stage in told["stages"].values())


def test_only_known_reasons_and_stages() -> None:
    with pytest.raises(KeyError):
        Profile().count_dropped("lost")
    with pytest.raises(KeyError), Profile().time("thinking"):
        pass


def test_a_stage_is_timed_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1_000_000_000, 1_005_000_000])
    monkeypatch.setattr("edgezoo.latency.time.perf_counter_ns", lambda: next(clock))
    profile = Profile()
    with profile.time("infer"):
        pass
    assert (profile.stages["infer"].n, profile.stages["infer"].max_ms) == (1, 5.0)


def test_a_stage_that_fails_is_not_timed() -> None:
    profile = Profile()
    with profile.time("infer"):
        pass
    with pytest.raises(ZeroDivisionError), profile.time("infer"):
        _ = 1 / 0
    assert profile.stages["infer"].n == 1


def test_threads_count_together() -> None:
    profile = Profile()

    def count() -> None:
        for _ in range(500):
            profile.count_grabbed()
            profile.count_delivered(1)
            with profile.time("read"):
                pass

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (profile.grabbed, profile.delivered, profile.age.n, profile.stages["read"].n) == (2000,) * 4
