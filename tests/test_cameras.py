"""The cameras that tests run against: they do what their controls say, and an HTTP camera is read as fresh as any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import islice

import mjpeg_server
import pytest
import rtsp

from edgezoo.errors import SourceError
from edgezoo.frame import Frame
from edgezoo.sources import Source, barcode, open_source

SERVERS = {"rtsp": rtsp.Server, "mjpeg": mjpeg_server.Server}


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = threading.active_count()
    yield
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def ages_ms(frames: Iterator[Frame], count: int) -> list[float]:
    """True ages of the next frames when they arrive."""
    ages = []
    for frame in islice(frames, count):
        code = barcode.read(frame.image)
        assert code is not None
        ages.append((time.monotonic_ns() - code[1]) / 1e6)
    return ages


@pytest.mark.parametrize(("style", "bound_ms"), [("plain", 25), ("dashed", 25), ("quoted", 25), ("no length", 75)])
def test_an_http_camera_is_read_fresh(style: mjpeg_server.Style, bound_ms: float) -> None:
    """Without a length FFmpeg knows the end of a picture from the next one: an interval of 33 ms late."""
    camera = mjpeg_server.Server(fps=30, size="320x240", style=style)
    with camera as server, closing(open_source(server.url)) as source:
        assert source.size_wh == (320, 240)
        ages = ages_ms(iter(source), 10)
    assert sorted(ages)[2] < bound_ms


def test_an_http_camera_asks_for_its_login() -> None:
    with mjpeg_server.Server(login="me:secret", answers_head=False) as server:
        with closing(open_source(server.url_with_login)) as source:
            assert next(iter(source)).source == server.url
        with pytest.raises(SourceError):
            open_source(server.url)


@pytest.mark.parametrize("kind", SERVERS)
def test_controls(kind: str) -> None:
    with SERVERS[kind](fps=50, size="320x240") as server, ExitStack() as stack:

        def watch(options: str = "") -> Source:
            return stack.enter_context(closing(open_source(f"{server.url}{options}")))

        port = server.port
        frames = iter(watch("#timeout=0.6"))
        next(frames)
        server.pace(5)
        next(frames)
        assert seconds_of(frames, 3) > 0.3
        server.pace(50)
        next(frames)
        assert seconds_of(frames, 5) < 0.8
        server.vanish()
        with pytest.raises(SourceError, match="404"):
            watch()
        next(frames)
        server.appear()
        check_it_ends(frames, server.stall)
        server.go_on()
        server.resize("640x480")
        larger = watch()
        assert larger.size_wh == (640, 480)
        frames = iter(larger)
        next(frames)
        check_it_ends(frames, server.kill)
        with pytest.raises(SourceError, match="does not answer"):
            watch()
        server.start()
        assert server.port == port
        server.freeze()
        with pytest.raises(SourceError):
            watch("#timeout=0.3")
        server.thaw()
        again = watch()
        assert again.size_wh == (640, 480)
        next(iter(again))


def test_an_rtsp_camera_asks_for_its_login_by_basic_authentication() -> None:
    with rtsp.Server(size="320x240", login="me:secret", auth="basic") as server:
        with closing(open_source(server.url_with_login)) as source:
            assert next(iter(source)).source == server.url
        with pytest.raises(SourceError, match="401"):
            open_source(server.url)


def test_an_rtsp_camera_plays_a_clip_over_and_over(test_data: object) -> None:
    camera = rtsp.Server(clip=test_data / "media" / "one-by-one-person-detection.mp4")  # type: ignore[operator]
    with camera as server, closing(open_source(server.url)) as source:
        assert source.size_wh == (768, 432)
        first = next(iter(source)).image
    assert first.std() > 10


def seconds_of(frames: Iterator[Frame], count: int) -> float:
    began = time.monotonic()
    assert len(list(islice(frames, count))) == count
    return time.monotonic() - began


def check_it_ends(frames: Iterator[Frame], cut: Callable[[], None]) -> None:
    cut()
    with pytest.raises(SourceError):
        list(islice(frames, 200))
