"""How far a build is: by the phases that TensorRT tells of, or by how long earlier ones took."""

from __future__ import annotations

from typing import Any

import pytest

from edgezoo.backends.tensorrt.progress import MOST, Building, duration

READING = [{"start": "reading the graph", "parent": None, "steps": 1}, {"finish": "reading the graph"}]
WHOLE = {"start": "Building engine", "parent": None, "steps": 4}
PART = {"start": "Timing graph nodes", "parent": "Building engine", "steps": 10}
TACTIC = {"start": "Finding fastest tactic for conv_1 + relu_1", "parent": "Timing graph nodes", "steps": 5}
TIME = {"start": "Measuring tactic time", "parent": TACTIC["start"], "steps": 4}


def step(of: dict[str, Any], number: int) -> dict[str, Any]:
    return {"step": number, "phase": of["start"]}


def end(of: dict[str, Any]) -> dict[str, Any]:
    return {"finish": of["start"]}


@pytest.mark.parametrize(
    ("news", "share", "text"),
    [
        ([], None, "starting"),
        (READING[:1], None, "reading the graph"),
        (READING, None, "starting"),
        ([*READING, WHOLE], None, "building the engine (1 of 4)"),
        ([WHOLE, step(WHOLE, 0)], 1 / 4, "building the engine (2 of 4)"),
        ([WHOLE, step(WHOLE, 0), PART], 1 / 4, "timing layers (1 of 10)"),
        ([WHOLE, step(WHOLE, 0), PART, step(PART, 4)], (1 + 5 / 10) / 4, "timing layers (6 of 10)"),
        (
            [WHOLE, PART, step(PART, 4), TACTIC, step(TACTIC, 1)],
            (5 + 2 / 5) / 10 / 4,
            "timing kernels of conv_1 + relu_1 (3 of 5)",
        ),
        # What is too short to be read is told by what is around it.
        (
            [WHOLE, PART, TACTIC, TIME, step(TIME, 1)],
            2 / 4 / 5 / 10 / 4,
            "timing kernels of conv_1 + relu_1 (1 of 5)",
        ),
        # A phase that ended has filled its step, until the step ends; then the next one begins.
        ([WHOLE, PART, end(PART)], 1 / 4, "building the engine (1 of 4)"),
        ([WHOLE, PART, end(PART), step(WHOLE, 0)], 1 / 4, "building the engine (2 of 4)"),
        ([WHOLE, PART, end(PART), step(WHOLE, 0), PART], 1 / 4, "timing layers (1 of 10)"),
        # Nothing goes back, and nothing is done before it is.
        ([WHOLE, step(WHOLE, 2), step(WHOLE, 0)], 3 / 4, "building the engine (4 of 4)"),
        ([WHOLE, step(WHOLE, 3)], MOST, "building the engine (4 of 4)"),
        ([WHOLE, step(WHOLE, 3), end(WHOLE)], MOST, "building the engine"),
        ([WHOLE, step(WHOLE, 3), end(WHOLE), {**PART, "parent": None}, step(PART, 0)], MOST, "timing layers (2 of 10)"),
        # What makes no sense does no harm.
        ([WHOLE, step(WHOLE, 99)], MOST, "building the engine (4 of 4)"),
        ([{**WHOLE, "steps": 0}, step(WHOLE, 0)], MOST, "building the engine"),
        ([{**WHOLE, "steps": "many"}, {"step": "one", "phase": "Building engine"}], MOST, "building the engine"),
        ([step(WHOLE, 0), end(WHOLE), {"say": "hello"}, {"start": 7}], None, "starting"),
        ([{**PART, "parent": "nobody"}, step(PART, 0)], 1 / 10, "timing layers (2 of 10)"),
        ([{"start": "Foo  Bar\n" + "x" * 99, "parent": None, "steps": 1}], None, "foo Bar " + "x" * 61 + "…"),
    ],
)  # fmt: skip
def test_phases(news: list[dict[str, Any]], share: float | None, text: str) -> None:
    building = Building()
    for number, each in enumerate(news):
        building.hear(each, number / 100)
    told = building.told(1.0)
    assert told.text == text
    assert told.share == (None if share is None else pytest.approx(share))


def test_a_share_never_goes_back() -> None:
    building, last = Building(), 0.0
    news = [WHOLE]
    for k in range(4):
        for j in range(3):
            news += [PART, *(step(PART, number) for number in range(0, 10, 3 + j)), end(PART)]
        news.append(step(WHOLE, k))
    for number, each in enumerate([*news, end(WHOLE)]):
        building.hear(each, float(number))
        share = building.told(float(number)).share or 0.0
        assert last <= share <= MOST
        last = share
    assert last == MOST


@pytest.mark.parametrize(
    ("times", "at_s", "left_s"),
    [
        ([], 10.0, None),
        ([(0.5, 50)], 1.0, None),  # too early to tell
        ([(1.0, 10), (10.0, 50), (20.0, 90)], 20.0, 10 / 40 * 10),  # 40 % in the last ten seconds
        ([(0.1, 75), (100.0, 80)], 100.0, 20 / 5 * 50),  # three quarters in no time say nothing about the rest
        ([(1.0, 10), (2.0, 50)], 100.0, None),  # it has stood still for longer than it went on
        ([(1.0, 1), (99.0, 1.0001)], 100.0, None),  # of more than a day nothing is said
    ],
)
def test_what_is_left_by_the_pace_of_the_last_half(
    times: list[tuple[float, float]], at_s: float, left_s: float | None
) -> None:
    building = Building(before_s=7.0)
    whole = {"start": "all", "parent": None, "steps": 1_000_000}
    building.hear(whole, 0.0)
    for when_s, percent in times:
        building.hear({"step": int(percent * 10_000) - 1, "phase": "all"}, when_s)
    told = building.told(at_s)
    assert told.left_s == (None if left_s is None else pytest.approx(left_s, rel=1e-3))


@pytest.mark.parametrize(
    ("before_s", "at_s", "share", "left_s", "text"),
    [
        (None, 100.0, None, None, "reading the graph"),
        (0.0, 100.0, None, None, "reading the graph"),
        (200.0, 0.0, 0.0, 200.0, "reading the graph"),
        (200.0, 50.0, 0.25, 150.0, "reading the graph"),
        (200.0, 199.9, MOST, 0.1, "reading the graph"),
        (200.0, 260.0, MOST, None, "reading the graph; longer than the 3 min 20 s of the last time"),
    ],
)
def test_a_tensorrt_that_tells_nothing(
    before_s: float | None, at_s: float, share: float | None, left_s: float | None, text: str
) -> None:
    building = Building(before_s=before_s)
    building.hear(READING[0], 0.0)
    told = building.told(at_s)
    assert (told.text, told.share) == (text, share)
    assert told.left_s == (None if left_s is None else pytest.approx(left_s))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (4.26, "4.3 s"), (42.4, "42 s"), (59.6, "1 min 0 s"), (192, "3 min 12 s"), (3840, "1 h 04 min")],
)
def test_a_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
