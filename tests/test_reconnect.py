"""Streams that stay up: real servers that die, stall, freeze, change and come back under a running pipeline."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mjpeg_server
import pytest
import reconnects
import rtsp
from test_pipeline import Echo, accounted

from edgezoo.errors import SourceError, SourceRefused
from edgezoo.frame import Event
from edgezoo.pipeline import Pipeline
from edgezoo.sinks import open_sink

pytest.importorskip("cv2")

SERVERS: dict[str, Any] = {"rtsp": rtsp.Server, "mjpeg": mjpeg_server.Server}
KILLS = int(os.environ.get("EDGEZOO_KILLS", "2"))
BACK_S = 2.0
PATIENCE_S = 20.0

Step = tuple[Callable[[], None], str]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = threading.active_count()
    yield
    deadline = time.monotonic() + 6  # FFmpeg's read, which a thread that was given up may be in, ends after 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before, threading.enumerate()


class Show:
    """A pipeline that is watched while things are done to its servers."""

    def __init__(self, *addresses: str) -> None:
        self.events: list[Event] = []
        self.steps: list[Step] = []
        self.seconds: list[float] = []
        """From the end of each step until what it should lead to."""
        self.sizes: list[tuple[int, ...]] = []
        self.indices: list[int] = []
        self.pipeline = Pipeline([*addresses], Echo(), on_event=self.events.append, on_idle=self._go_on)
        self._waits_for = "live"
        self._since = time.monotonic()
        self._seen = 0

    def run(self, *steps: Step, source: str) -> None:
        """Wait until `source` is live, then do each step and wait for the state that it should bring."""
        self.steps = [*steps]
        self.source = source
        with self.pipeline:
            for frame, _ in self.pipeline:
                if frame.source == source:
                    self.sizes.append(frame.image.shape[:2])
                    self.indices.append(frame.index)
                self._go_on()
        assert not self.steps, self.events
        assert accounted(self.pipeline)
        assert self.indices == sorted(set(self.indices))

    def kinds(self, source: str) -> list[str]:
        return [event.kind for event in self.events if event.source == source]

    def _go_on(self) -> None:
        news = [event for event in self.events[self._seen :] if event.source == self.source]
        arrived = next((event for event in news if event.kind == self._waits_for), None)
        if arrived is None:
            assert time.monotonic() - self._since < PATIENCE_S, (self._waits_for, self.events)
            return
        self.seconds.append(max(0.0, arrived.at_ns / 1e9 - self._since))
        if not self.steps:
            self.pipeline.close()
            return
        act, self._waits_for = self.steps.pop(0)
        self._seen = len(self.events)
        act()
        self._since = time.monotonic()


def test_a_server_that_is_killed_over_and_over_disturbs_nobody() -> None:
    """EDGEZOO_KILLS=20 is the long form, and `tests/benchmarks/reconnect.py` tells the figures."""
    found = reconnects.run(Echo(), kills=KILLS, up_s=0.4)
    assert len(found.backs_s) == KILLS
    assert max(found.backs_s) <= BACK_S, found
    assert max(found.losses_s) <= 1.0, found
    assert min(found.kept) >= 0.95, found
    assert found.accounted
    assert found.threads[1] <= found.threads[0], found
    assert found.files[1] <= found.files[0], found


@pytest.mark.parametrize("kind", SERVERS)
def test_a_camera_comes_back_after_each_kind_of_trouble(kind: str) -> None:
    with SERVERS[kind](fps=30, size="320x240") as server:
        show = Show(server.url)

        def restart_larger() -> None:
            server.resize("480x320")
            server.pace(10) if kind == "mjpeg" else None
            server.start()

        show.run(
            (server.kill, "lost"),
            (restart_larger, "live"),
            (server.stall, "stalled"),
            (server.go_on, "live"),
            (server.freeze, "lost"),
            (server.thaw, "live"),
            source=server.url,
        )
    _, lost_s, back_s, stalled_s, gone_on_s, frozen_s, thawed_s = show.seconds
    assert lost_s < 1
    assert max(back_s, thawed_s, gone_on_s) <= BACK_S, show.events
    assert 1.5 < frozen_s < 5, "a stall is a loss after two seconds, though the library would read for five"
    assert stalled_s < 2
    assert (240, 320) in show.sizes
    assert show.sizes[-1] == (320, 480)
    assert show.pipeline.stuck == ()


@pytest.mark.parametrize("kind", SERVERS)
def test_a_camera_that_changes_its_size_goes_on(kind: str) -> None:
    with SERVERS[kind](fps=30, size="320x240") as server:
        show = Show(server.url)

        def resize() -> None:
            server.resize("480x320")
            wait_until(lambda: show.pipeline.states[0].size_wh == (480, 320))

        show.run((resize, "live"), source=server.url)
    assert set(show.sizes) == {(240, 320), (320, 480)}, "none was squeezed into the old size"


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_forgot_its_path_for_a_moment(kind: str) -> None:
    with SERVERS[kind](fps=30, size="320x240") as server:
        show = Show(server.url)

        def restart_without() -> None:
            if kind == "mjpeg":  # it keeps that over a restart, and is back before anything could be said to it
                server.vanish()
            server.kill()
            server.start()
            if kind == "rtsp":
                server.vanish()

        def come_back() -> None:
            wait_until(lambda: "404" in show.pipeline.states[0].reason)
            with pytest.raises(SourceRefused, match="404"):
                Pipeline(server.url, Echo())  # where it was never seen, that is an error
            server.appear()

        show.run((restart_without, "lost"), (come_back, "live"), source=server.url)
        assert not any(event.error for event in show.events)
    assert show.seconds[-1] <= BACK_S, show.events


def wait_until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stalled_server_does_not_keep_others_from_coming_back() -> None:
    with rtsp.Server(fps=30, size="320x240") as stalls, rtsp.Server(fps=30, size="320x240") as dies:
        show = Show(stalls.url, dies.url)

        def make_trouble() -> None:
            wait_until(lambda: all(state.state == "live" for state in show.pipeline.states))
            stalls.stall()
            dies.kill()

        def restart() -> None:
            wait_until(lambda: show.pipeline.states[0].state == "lost")
            dies.start()

        show.run((make_trouble, "lost"), (restart, "live"), source=dies.url)
        assert show.seconds[-1] <= BACK_S, show.events
        assert "stalled" in show.kinds(stalls.url)


def test_no_login_is_told_anywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    with rtsp.Server(fps=30, size="320x240", login="visitor:Pa55 -/w0rd%") as server:
        sink = open_sink(str(tmp_path / "out.jsonl"))
        wrong = server.url_with_login.replace("-/w0rd", "-/wr0ng")
        events: list[Event] = []

        def hear(event: Event) -> None:
            events.append(event)
            sink.event(event)

        pipeline = Pipeline([server.url_with_login, wrong], Echo(), on_event=hear, retries=3)
        deadline, killed = time.monotonic() + 30, False
        with pytest.raises(SourceError) as raised, pipeline:
            for _ in pipeline:
                if not killed and sum(event.error for event in events) == 1:
                    server.kill()
                    killed = True
                assert time.monotonic() < deadline
        sink.close()
        told += [repr(event) + json.dumps(event.to_dict()) for event in events]
        told += [json.dumps(state.to_dict()) + repr(state) for state in pipeline.states]
        told += [json.dumps(pipeline.profile.to_dict()), repr(pipeline.profile), caplog.text]
        told += [(tmp_path / "out.jsonl").read_text("utf-8"), *chain(raised.value)]
        for text in (
            "rtsp://visitor:Pa55-w0rd@127.0.0.1:1/x",
            "rtsp://visitor:Pa55/w0rd@127.0.0.1:1/x",
            "rtsp://visitor:55/Pa55w0rd@127.0.0.1/x",
            "http://visitor:Pa55-w0rd@127.0.0.1:1/x?password=Pa55-w0rd",
            wrong,
        ):
            with pytest.raises(Exception, match=r"127\.0\.0\.1|expected HOST") as refused:
                Pipeline(f"{text}#roi=0,0,1,1", Echo())
            told += chain(refused.value)
        told += [thread.name for thread in threading.enumerate()]
    everything = "\n".join(told)
    assert [event.kind for event in events if event.error] == ["ended", "ended"]
    assert "401" in everything
    assert server.url in everything
    for secret in ("visitor", "Pa55", "w0rd", "wr0ng"):
        assert secret not in everything


def chain(error: BaseException) -> list[str]:
    """All that an error carries, also what it was raised from and what a traceback would leave out."""
    told = ["".join(traceback.format_exception(error)), repr(error)]
    for inner in (error.__cause__, error.__context__):
        told += [] if inner is None else chain(inner)
    return told
