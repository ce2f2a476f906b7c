"""The states of a stream, by a clock of the test's own: what happened when, and what is to be done next."""

from __future__ import annotations

import json
import logging
import random
import re
import time

import pytest

from edgezoo.errors import MissingDependency, RequestError, SourceAbsent, SourceError, SourceRefused
from edgezoo.frame import Event, Frame
from edgezoo.latency import DROPS
from edgezoo.pipeline.inbox import Rate
from edgezoo.pipeline.numbering import Numbering
from edgezoo.pipeline.streams import LONGEST_ASK_S, LONGEST_TRY_S, PASSING_S, Stream, StreamState

SIZE = (640, 480)


class Clock:
    """A stream, the time, and what it told."""

    def __init__(
        self, *, live: bool = True, reopens: bool = True, retries: int | None = None, timeout_s: float | None = None
    ) -> None:
        self.now = 100.0
        self.events: list[Event] = []
        self.stream = Stream(
            "cam",
            address="cam",
            tell=self.events.append,
            live=live,
            reopens=reopens,
            retries=retries,
            timeout_s=timeout_s,
            dice=random.Random(0),
            now_s=self.now,
        )

    def opens(self, fps: float | None = 10.0) -> None:
        self.stream.begins(self.now)
        self.stream.opened(self.now, fps)

    def frames(self, count: int, gap_s: float = 0.1, size: tuple[int, int] = SIZE) -> None:
        for _ in range(count):
            self.now += gap_s
            assert self.stream.check(self.now) is None
            self.stream.came(self.now, size)

    def passes(self, seconds: float) -> str | None:
        """What watching says meanwhile, looked at when the stream asks for it, but for rounding."""
        until = self.now + seconds
        while (due := self.stream.due_s()) is not None and due <= until:
            self.now = due + 1e-9
            if (why := self.stream.check(self.now)) is not None:
                return why
        self.now = until
        return None

    def fails(self, error: Exception) -> float | None:
        return self.stream.failed(error, self.now)

    @property
    def told(self) -> list[str]:
        return [event.kind for event in self.events]


def test_a_stream_that_goes_well() -> None:
    clock = Clock()
    assert (clock.stream.state, clock.told) == ("connecting", ["connecting"])
    clock.opens()
    clock.now += 1
    assert clock.stream.state == "connecting", "a stream is live when a frame has come, not when it is open"
    clock.frames(50)
    assert clock.told == ["connecting", "live"]
    assert clock.events[1].message == "640x480 at 10 fps"
    assert clock.stream.fps == pytest.approx(10, rel=0.01)
    clock.stream.ended(clock.now)
    assert clock.told == ["connecting", "live", "ended"]
    assert not clock.events[-1].error
    assert clock.stream.due_s() is None


def test_a_stall_is_told_first_and_then_counts_as_a_loss() -> None:
    clock = Clock()
    clock.opens()
    clock.frames(20)
    last = clock.now
    why = clock.passes(60)
    assert why is not None
    assert why.startswith("no frame for 2.0 s")
    assert clock.now == pytest.approx(last + 2.0)
    assert clock.told[-1] == "stalled"
    assert clock.events[-1].at_ns == pytest.approx((last + 0.75) * 1e9)
    assert clock.fails(SourceError(f"cam: {why}")) == 0.0, "the first try is at once"
    assert (clock.told[-1], clock.events[-1].message) == ("lost", why)


def test_a_stall_that_passes_is_no_loss() -> None:
    clock = Clock()
    clock.opens()
    clock.frames(20)
    assert clock.passes(1.5) is None
    clock.frames(20)
    assert clock.told[-2:] == ["stalled", "live"]
    assert clock.events[-1].message.startswith("frames again after 1.6 s")
    assert clock.stream.reconnects == 0


@pytest.mark.parametrize(
    ("fps", "stalled_s", "lost_s"),
    [(60, 0.75, 2.0), (30, 0.75, 2.0), (5, 1.0, 2.0), (1, 5.0, 10.0), (0.1, 50.0, 100.0)],
)
def test_a_few_intervals_without_a_frame_are_a_stall(fps: float, stalled_s: float, lost_s: float) -> None:
    clock = Clock()
    clock.opens(fps)
    clock.frames(30, 1 / fps)
    last = clock.now
    assert clock.passes(1000) is not None
    assert clock.now - last == pytest.approx(lost_s, rel=0.1)
    assert clock.events[-1].at_ns / 1e9 - last == pytest.approx(stalled_s, rel=0.1)


def test_the_rate_is_learned_where_none_is_stated_or_a_wrong_one() -> None:
    for stated in (None, 25.0):
        clock = Clock()
        clock.opens(stated)
        clock.frames(60, 0.4)
        assert clock.stream.fps == pytest.approx(2.5, rel=0.05)
        assert clock.told.count("stalled") == 0


def test_bursts_are_not_taken_for_stalls_over_and_over() -> None:
    """Thirty frames at once, then nothing for a second: so do cameras on a busy network."""
    clock = Clock()
    clock.opens(30)
    for _ in range(20):
        clock.frames(29, 0.001)
        assert clock.passes(0.95) is None
        clock.frames(1, 0.01)
    assert clock.told.count("stalled") == 1, "what is usual for this stream is known from then on"
    assert "lost" not in clock.told


def test_a_timeout_of_ones_own() -> None:
    clock = Clock(timeout_s=6.0)
    clock.opens(30)
    clock.frames(10, 1 / 30)
    last = clock.now
    assert clock.passes(60) is not None
    assert clock.now - last == pytest.approx(6.0)
    assert clock.events[-1].at_ns / 1e9 - last == pytest.approx(3.0)


def test_what_opens_and_gives_nothing_is_given_up() -> None:
    clock = Clock()
    clock.stream.begins(clock.now)
    assert "no frame after 30 s" in str(clock.passes(100))
    clock.opens()
    began = clock.now
    assert clock.passes(100) is not None
    assert clock.now - began == pytest.approx(10.0)
    assert clock.fails(SourceError("silent")) == 0.0


def test_it_comes_back() -> None:
    clock = Clock()
    clock.opens()
    clock.frames(30)
    assert clock.fails(SourceError("cam: the stream ended after frame 29")) == 0.0
    assert clock.events[-1].message == "the stream ended after frame 29", "the address is told beside it"
    clock.now += 1.3
    clock.opens(30)
    assert clock.stream.state == "lost"
    clock.now += 0.1
    assert clock.stream.came(clock.now, (320, 240)) is True
    assert clock.stream.came(clock.now + 0.1, (320, 240)) is False
    assert clock.told == ["connecting", "live", "lost", "live"]
    assert clock.events[-1].message == "back after 1.4 s, 320x240 at 30 fps"
    assert clock.stream.reconnects == 1


def test_another_size_is_told() -> None:
    clock = Clock()
    clock.opens()
    clock.frames(3)
    since = clock.stream.since_s
    clock.frames(3, size=(320, 240))
    clock.frames(3)
    assert [event.message for event in clock.events[1:]] == [
        "640x480 at 10 fps",
        "320x240 from now on, it was 640x480",
        "640x480 from now on, it was 320x240",
    ]
    assert clock.stream.since_s == since, "it is live since then all the same"


@pytest.mark.parametrize(("error", "longest"), [(SourceAbsent, LONGEST_ASK_S), (SourceError, LONGEST_TRY_S)])
def test_tries_grow_apart_up_to_a_limit(error: type[SourceError], longest: float) -> None:
    clock = Clock()
    clock.opens()
    clock.frames(1)
    delays = [clock.fails(error("gone")) for _ in range(40)]
    assert delays[0] == 0
    expected = 0.25
    for delay in delays[1:]:
        assert delay is not None
        assert 0.5 * expected <= delay <= expected
        expected = min(2 * expected, longest)
    assert len(set(delays[10:])) > 20, "no two cameras ask in step"
    assert clock.told.count("lost") == 1, "nothing new is no event"


def test_a_try_that_got_further_than_those_before_is_not_made_to_wait_for_them() -> None:
    clock = Clock()
    clock.opens()
    clock.frames(1)
    for _ in range(10):
        clock.fails(SourceAbsent("nobody"))
    clock.opens()
    delay = clock.fails(SourceError("it broke off before the first frame"))
    assert delay is not None
    assert delay <= 0.25


def test_another_reason_is_an_event() -> None:
    clock = Clock()
    for reason in ("silent for 1 s", "silent for 2 s", "got '503 Busy'", "silent for 3 s"):
        clock.fails(SourceAbsent(reason))
    assert [event.message for event in clock.events[1:]] == ["silent for 1 s", "got '503 Busy'", "silent for 3 s"]
    clock.fails(SourceAbsent("silent for 4 s"))
    assert clock.stream.reason == "silent for 4 s", "no news, but true"


def test_a_stream_that_dies_at_once_every_time_is_not_opened_in_a_tight_loop() -> None:
    clock = Clock()
    waited = 0.0
    for _ in range(10):
        clock.opens()
        clock.frames(2)
        delay = clock.fails(SourceError("ended"))
        assert delay is not None
        waited += delay
    assert waited > 4
    clock.opens()
    clock.frames(40)
    assert clock.fails(SourceError("ended")) == 0.0, "four seconds of frames make up for it"


@pytest.mark.parametrize(
    "error",
    [
        SourceRefused("got '401 Unauthorized'"),
        SourceRefused("got '404 Not Found'", may_pass=True),
        RequestError("no such option"),
        MissingDependency("no OpenCV"),
        ValueError("a bug"),
    ],
)
def test_what_cannot_get_better_is_over(error: Exception) -> None:
    clock = Clock()
    assert clock.fails(error) is None
    assert (clock.told[-1], clock.events[-1].error) == ("ended", True)
    told = clock.events[-1].to_dict()
    assert abs(time.monotonic() - clock.events[-1].at_ns / 1e9 - (time.time() - clock.events[-1].at.timestamp())) < 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("time"))
    assert told == {"source": "cam", "event": "ended", "message": str(error), "error": True}


def test_a_server_that_was_there_may_take_a_moment_to_find_its_path_again() -> None:
    clock = Clock()
    clock.opens()
    clock.frames(30)
    clock.fails(SourceError("ended"))
    began = clock.now
    while (delay := clock.fails(SourceRefused("got '404 Not Found'", may_pass=True))) is not None:
        assert delay <= LONGEST_ASK_S
        clock.now += max(delay, 0.01)
    assert clock.now - began == pytest.approx(PASSING_S, abs=2)
    assert clock.events[-1].error

    clock = Clock()
    clock.opens()
    clock.frames(30)
    assert clock.fails(SourceRefused("got '401 Unauthorized'")) is None, "asking again would lock us out"


def test_a_moment_without_its_path_is_not_held_against_it_long_after() -> None:
    clock = Clock()
    clock.opens()
    clock.frames(30)
    clock.fails(SourceError("ended"))
    for error in (
        SourceRefused("404", may_pass=True),
        *[SourceAbsent("off")] * 60,
        SourceRefused("404", may_pass=True),
    ):
        clock.now += 1
        assert clock.fails(error) is not None


@pytest.mark.parametrize("fps", [None, 25.0])
def test_a_slow_camera_is_learnt_to_be_slow_though_every_opening_gives_one_frame(fps: float | None) -> None:
    clock = Clock()
    for opening in range(4):  # noqa: B007
        clock.opens(fps)
        clock.stream.came(clock.now, SIZE)
        if clock.passes(2.5) is None:
            break
        clock.fails(SourceError("no frame"))
        clock.now += 0.5
    assert opening == 1
    clock.frames(10, gap_s=2.5)
    assert clock.stream.reconnects == 1
    clock.opens(fps)
    clock.fails(SourceError("off for a while"))
    clock.now += 3600
    clock.opens(fps)
    clock.frames(50)
    assert clock.passes(60) is not None, "one that was away is not slow"


def test_retries_are_counted_in_a_row() -> None:
    clock = Clock(retries=2)
    for _ in range(3):
        clock.opens()
        clock.frames(40)
        assert clock.fails(SourceError("ended")) == 0
        assert clock.fails(SourceAbsent("nobody")) is not None
    assert clock.fails(SourceAbsent("nobody")) is None
    assert clock.events[-1].message == "nobody; given up after 2 tries"
    clock = Clock(retries=0)
    assert clock.fails(SourceAbsent("nobody")) is None
    assert clock.events[-1].message == "nobody"


def test_a_source_that_cannot_be_opened_again() -> None:
    clock = Clock(reopens=False)
    clock.opens()
    clock.frames(20)
    assert clock.passes(3600) is None, "there would be nothing to gain from giving it up"
    assert clock.told[-1] == "stalled"
    assert clock.fails(SourceError("unplugged")) is None
    assert clock.events[-1].error


def test_a_file_never_stalls() -> None:
    clock = Clock(live=False, reopens=False)
    clock.opens()
    clock.frames(3, 30.0)
    clock.frames(1, size=(10, 10))
    assert clock.passes(3600) is None
    assert clock.told == ["connecting", "live"]


@pytest.mark.parametrize("frame_first", [False, True])
def test_a_process_that_stood_still_blames_nobody(frame_first: bool) -> None:
    clock = Clock()
    clock.opens()
    clock.frames(20)
    clock.now += 60
    if frame_first:
        clock.stream.came(clock.now, SIZE)
    clock.stream.forgive(60, clock.now)
    assert clock.stream.check(clock.now) is None
    assert clock.stream.state == "live"
    clock.frames(20)
    assert clock.stream.fps > 0
    assert clock.passes(60) is not None


def test_logins_are_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgezoo")
    clock = Clock()
    clock.fails(SourceError("could not open rtsp://me:secret@door/1?password=hidden now"))
    clock.fails(SourceRefused("rtsp://me:sec/ret@door/1: no"))
    told = repr(clock.events) + caplog.text + clock.stream.reason
    assert "rtsp://door/1" in told
    assert not [word for word in ("me:", "secret", "hidden", "sec/", "ret@") if word in told]
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "ERROR"]


def test_a_state_as_json() -> None:
    dropped = dict.fromkeys(DROPS, 0)
    state = StreamState(
        source="cam", state="live", since_ns=5, reason="640x480", error=False, fps=29.9712, size_wh=SIZE, frames=7,
        delivered=6, failed=0, dropped=dropped, reconnects=1, held=0,
    )  # fmt: skip
    assert json.loads(json.dumps(state.to_dict())) == {
        "source": "cam", "state": "live", "since_ns": 5, "reason": "640x480", "error": False, "fps": 29.97,
        "size_wh": [640, 480], "frames": 7, "delivered": 6, "failed": 0, "dropped": dropped, "reconnects": 1, "held": 0,
    }  # fmt: skip


# What else has a clock.


@pytest.mark.parametrize(
    ("comes", "wanted", "passes"), [(30, 5, 50), (30, 20, 200), (5, 5, 50), (5, 30, 50), (29.97, 30, 300), (7, 6, 60)]
)
def test_a_rate_lets_so_many_through(comes: float, wanted: float, passes: int) -> None:
    """In ten seconds; a source of just the wanted rate loses nothing, though it is never quite even."""
    dice, rate = random.Random(1), Rate(wanted)
    taken = [
        k / comes
        for k in range(round(10 * comes))
        if rate.takes(k / comes + dice.uniform(-0.1, 0.1) / max(comes, wanted))
    ]
    assert abs(len(taken) - passes) <= 2


def test_a_rate_after_a_pause_makes_up_for_nothing() -> None:
    rate = Rate(5)
    assert sum(rate.takes(0.01 * k) for k in range(1000)) in (50, 51)
    assert sum(rate.takes(100 + 0.01 * k) for k in range(1000)) in (50, 51, 52)
    assert rate.takes(0.0), "a clock that began anew"


def frame(index: int, pts_s: float, at_s: float) -> Frame:
    import numpy as np

    return Frame(np.zeros((2, 2, 3), np.uint8), index, pts_s, round(at_s * 1e9), "cam")


def test_numbers_and_times_go_on_over_openings() -> None:
    number = Numbering("cam (2)")
    got = [number(frame(k, k / 10, 50 + k / 10)) for k in range(3)]
    number.again()
    got += [number(frame(k, k / 10, 60 + k / 10)) for k in range(2)]
    number.again()
    got += [number(frame(k, k / 10, 70 + k / 10)) for k in range(2)]
    assert [each.index for each in got] == [0, 1, 2, 3, 4, 5, 6]
    assert [each.pts_s for each in got] == pytest.approx([0, 0.1, 0.2, 10.0, 10.1, 20.0, 20.1])
    assert {each.source for each in got} == {"cam (2)"}


def test_a_source_that_goes_on_by_itself_keeps_its_numbers() -> None:
    number = Numbering(None)
    before = frame(7, 0.7, 50.7)
    assert number(before) is before
    number.again()
    after = frame(30, 3.0, 53.0)
    assert number(after) is after
