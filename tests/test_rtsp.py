"""RTSP against a real server: the pixels tell which frame came, and how old it is."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import fake_rtsp
import pytest
from rtsp import rtsp_process, rtsp_server

from edgezoo.errors import EdgezooError, RequestError, SourceAbsent, SourceError, SourceRefused
from edgezoo.frame import Frame
from edgezoo.sources import barcode, open_source

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def live() -> Iterator[str]:
    """The URL of a server that is left alone."""
    with rtsp_server(fps=30) as url:
        yield url


@pytest.mark.parametrize(("options", "bound_ms"), [("", 30), ("#relay=0", 80), ("#transport=udp", 80)])
def test_frames_come_fresh(options: str, bound_ms: float, live: str) -> None:
    """Through the relay a frame is younger than the 33 ms by which FFmpeg alone is late."""
    with closing(open_source(live + options)) as source:
        assert source.live
        assert source.size_wh == (640, 480)
        assert source.fps == pytest.approx(30, abs=0.2)
        ages_ms, indices, last_pts_s = [], [], -1.0
        for frame in islice(source, 24):
            ages_ms.append(age_ms(frame))
            indices.append(frame.index)
            assert frame.source == live
            assert frame.pts_s > last_pts_s
            last_pts_s = frame.pts_s
    assert indices[0] > 5, "what came while it was opened is counted, not shown"
    assert ages_ms[0] < 200
    assert sorted(ages_ms)[6] < bound_ms
    assert not relays()


def age_ms(frame: Frame) -> float:
    """Now minus what is burnt into the pixels."""
    code = barcode.read(frame.image)
    assert code is not None
    assert frame.grabbed_ns >= code[1]
    return (time.monotonic_ns() - code[1]) / 1e6


def test_a_slow_reader_sees_fresh_frames(live: str) -> None:
    with closing(open_source(live)) as source:
        ages_ms, indices = [], []
        for frame in islice(source, 8):
            ages_ms.append(age_ms(frame))
            indices.append(frame.index)
            time.sleep(0.12)
    assert sorted(ages_ms)[4] < 67
    assert indices[-1] - indices[0] >= 3 * 7, "the gap in the index tells of skipped frames"


def test_login() -> None:
    with rtsp_server(login="me:secret") as url:
        with_login = url.replace("//", "//me:secret@")
        for relay in ("", "#relay=0"):
            with closing(open_source(with_login + relay)) as source:
                assert source.address == next(iter(source)).source == url
        for wrong in (url, url.replace("//", "//me:wrong@"), url.replace("//", "//me:wrong@") + "#relay=0"):
            with pytest.raises(SourceError, match=r"401 Unauthorized.*login") as raised:
                open_source(wrong)
            assert "me:" not in str(raised.value)
            assert "wrong" not in str(raised.value)
        with pytest.raises(SourceError, match=r"404 Not Found.*path"):
            open_source(with_login.replace("live", "nothing"))


def test_a_stalled_stream_is_an_error_in_time_and_close_does_not_wait_for_it() -> None:
    with rtsp_process() as (process, url):
        stalled, closed = open_source(url + "#timeout=0.4"), open_source(url + "#timeout=20")
        frames, other_frames = iter(stalled), iter(closed)
        for _ in range(5):
            next(frames), next(other_frames)
        process.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(SourceError, match=r"no frame for 0\.4 s"):
                list(frames)
            assert 0.3 < time.monotonic() - began < 4
            threading.Timer(0.3, closed.close).start()
            began = time.monotonic()
            assert len(list(other_frames)) < 100
            assert time.monotonic() - began < 4
        finally:
            process.send_signal(signal.SIGCONT)
    assert not relays()


def test_a_stream_that_ends_is_an_error() -> None:
    with rtsp_process() as (process, url):
        frames = iter(open_source(url))
        next(frames)
        process.kill()
        with pytest.raises(SourceError, match=f"{url}: the stream ended after frame"):
            list(frames)


@pytest.mark.parametrize(
    ("address", "raises", "says"),
    [
        ("rtsp://me:secret@127.0.0.1:{dead}/x", SourceError, r"rtsp://127.0.0.1:\d+/x: .*does not answer"),
        ("rtsp://me:secret@127.0.0.1:{dead}/x#relay=0", SourceError, "does not answer"),
        ("rtsp://me:secret@127.0.0.1:{mute}/x#timeout=0.3&relay=0", SourceError, "no picture within 0.3 s"),
        ("rtsp://me:secret@127.0.0.1:{mute}/x#timeout=0.3", SourceError, "no picture within 0.3 s"),
        ("rtsps://me:secret@127.0.0.1:{dead}/x", SourceError, "does not answer"),
        ("http://me:secret@127.0.0.1:{dead}/x", SourceError, "does not answer"),
        ("tcp://127.0.0.1:{dead}", SourceError, "expected a video stream"),
        ("udp://127.0.0.1:{dead}#timeout=0.2", SourceAbsent, r"no picture within 0\.2 s"),
        ("udp://239.255.1.2:{dead}#timeout=0.2", SourceAbsent, "expected a video stream"),
        ("udp://127.0.0.1", RequestError, "udp://HOST:PORT"),
        ("rtsp://127.0.0.1:99999/x", RequestError, "port"),
        ("rtsp://cam..local/1", RequestError, "expected the name of a host"),
        ("rtsp://" + "a" * 64 + "/1", RequestError, "expected the name of a host"),
        ("rtsp://h/x#timeout=1e300", RequestError, "timeout above 0 s and up to 86400"),
        ("rtsps://h/x#basic=2", RequestError, "basic=0 or basic=1"),
        ("udp://127.0.0.1:{dead}#basic=1", RequestError, "no option"),
        ("rtsp://127.0.0.1:{dead}/x#basic=1", SourceAbsent, "does not answer"),
        ("http://127.0.0.1:{dead}/x#basic=1", SourceAbsent, "does not answer"),
        ("rtsp://h/x#transport=carrier", RequestError, "transport=tcp or transport=udp"),
        ("rtsp://h/x#timeout=0", RequestError, "timeout above 0"),
        ("rtsp://h/x#relay=2", RequestError, "relay=0 or relay=1"),
        ("http://h/x#transport=tcp", RequestError, "no option"),
        ("rtsp://h/x#transprot=tcp", RequestError, "did you mean 'transport'"),
    ],
)
def test_no_stream_is_one_line_in_time(address: str, raises: type[EdgezooError], says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with socket.create_server(("127.0.0.1", 0)) as dead:
            dead_port = dead.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(raises, match=says) as raised:
            open_source(address.format(dead=dead_port, mute=mute.getsockname()[1]))
        assert time.monotonic() - began < 4
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)
    assert not relays()


@pytest.mark.parametrize(
    ("server", "options", "raises", "says"),
    [
        ({"describe": "401 Unauthorized"}, "", SourceRefused, "got '401 Unauthorized' from the server; is the login"),
        ({"describe": "403 Forbidden"}, "", SourceRefused, "got '403 Forbidden' from the server; is the login"),
        ({"describe": "404 Not Found"}, "", SourceRefused, "got '404 Not Found' from the server; is the path"),
        ({"describe": "410 Gone"}, "#relay=0", SourceRefused, "got '410 Gone'"),
        ({"setup": "461 Unsupported Transport"}, "", SourceRefused, "got '461 Unsupported Transport'"),
        ({"setup": "461 Unsupported Transport"}, "#transport=udp", SourceRefused, "461 .*try the other of #transport"),
        ({}, "#transport=udp", SourceAbsent, "no picture over UDP within 0.4 s; is a firewall between"),
        ({"describe": "302 Found", "location": "/live"}, "", SourceRefused, "sent on more than 5 times"),
        ({"describe": "302 Found", "location": "http://h/"}, "", SourceRefused, "sent on to http:…"),
        ({"describe": "302 Found"}, "", SourceRefused, "'302 Found' from the server; is the path"),
        ({"codec": None}, "", SourceRefused, "without any video"),
        ({"codec": "X-NEW", "sends": True}, "", SourceRefused, "got video as X-NEW, which FFmpeg cannot decode"),
        ({"describe": "503 Service Unavailable"}, "", SourceAbsent, "got '503 Service Unavailable'"),
        ({"describe": "454 Session Not Found"}, "", SourceAbsent, "got '454 Session Not Found'"),
        ({"describe": None}, "", SourceAbsent, "no picture within 0.4 s"),
        ({"login": "me:secret"}, "", SourceRefused, "401"),
    ],
)
def test_the_server_is_asked_why(server: dict[str, Any], options: str, raises: type[SourceError], says: str) -> None:
    with fake_rtsp.Server(**server) as fake:
        address = f"{fake.url}{options}{'&' if options else '#'}timeout=0.4"
        with pytest.raises(raises, match=says) as raised:
            open_source(address)
        assert type(raised.value) is raises
    assert "\n" not in str(raised.value)
    assert not relays()


@pytest.mark.parametrize(("algorithm", "qop"), [("", ""), ("MD5", "auth"), ("SHA-256", "auth,auth-int")])
def test_the_server_is_asked_with_the_login(algorithm: str, qop: str) -> None:
    with fake_rtsp.Server(login="me:se:cret", algorithm=algorithm, qop=qop, describe="404 Not Found") as fake:
        for login, says in (("me:se:cret@", "404"), ("me:se%3Acret@", "404"), ("me:wrong@", "401"), ("", "401")):
            with pytest.raises(SourceRefused, match=says):
                open_source(fake.url.replace("//", f"//{login}"))
        assert set(fake.questions) == {"DESCRIBE"}, "nothing was opened"


def test_one_that_says_yes_and_sends_nothing_is_found_out_without_opening_it(live: str) -> None:
    with fake_rtsp.Server() as fake:
        with pytest.raises(SourceAbsent, match=r"no picture within 0\.3 s"):
            open_source(f"{fake.url}#timeout=0.3")
        assert fake.questions == ["DESCRIBE", "SETUP", "PLAY"]
    with closing(open_source(live)) as source:
        next(iter(source))


def test_one_that_falls_silent_while_it_is_opened_does_not_take_all_the_time_that_it_could(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgezoo.sources.stream._SILENCE_S", 0.5)
    with fake_rtsp.Server(sends=True) as fake:
        began = time.monotonic()
        with pytest.raises(SourceError, match=r"no picture within 0\.[5-9] s"):
            open_source(fake.url)
        assert time.monotonic() - began < 2.5
        assert fake.questions.count("PLAY") == 2
    assert not relays()


def test_where_a_server_sends_us_on_to_is_followed() -> None:
    with rtsp_server(fps=30, size="320x240", login="me:secret") as url:
        with (
            fake_rtsp.Server(describe="301 Moved Permanently", location=url) as fake,
            closing(open_source(fake.url.replace("//", "//me:secret@"))) as source,
        ):
            assert next(iter(source)).source == fake.url
        elsewhere = url.replace("127.0.0.1", "localhost")
        moved = fake_rtsp.Server(describe="301 Moved Permanently", location=elsewhere)
        with moved as fake, pytest.raises(SourceRefused, match=r"401 .*sent us on to localhost:\d+\)"):
            open_source(fake.url.replace("//", "//me:secret@"))


SILENT = ["rtsp://127.0.0.1:{mute}/x", "http://127.0.0.1:{mute}/x", "tcp://127.0.0.1:{mute}", "udp://127.0.0.1:{mute}"]


def test_silent_servers_do_not_hold_up_the_opening_of_others(live: str) -> None:
    """OpenCV holds a lock of the process while it opens, FFmpeg's time-out long: a silent server never gets there."""
    ended: list[str] = []

    def wait_in_vain(address: str) -> None:
        with pytest.raises(SourceAbsent):
            open_source(f"{address}timeout=2.5")
        ended.append(address)

    with socket.create_server(("127.0.0.1", 0)) as mute, fake_rtsp.Server() as fake:
        addresses = [f"{each.format(mute=mute.getsockname()[1])}#" for each in SILENT] + [f"{fake.url}#transport=udp&"]
        waiting = [threading.Thread(target=wait_in_vain, args=(address,)) for address in addresses]
        for thread in waiting:
            thread.start()
        time.sleep(0.1)
        with closing(open_source(live)) as source:
            next(iter(source))
        assert not ended, "the good one was open while the others were still waited for"
        for thread in waiting:
            thread.join()
    assert len(ended) == len(waiting)
    assert "OPTIONS" not in fake.questions, "FFmpeg's first question"
    assert not relays()


def test_options_of_the_user_are_respected(monkeypatch: pytest.MonkeyPatch, live: str) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    with pytest.raises(RequestError, match="got both"):
        open_source("rtsp://h/x#transport=tcp")
    with closing(open_source(live)) as source:
        assert not relays(), "how the user connects is not known, so nothing is put in between"
        next(iter(source))


@pytest.mark.parametrize(
    ("options", "server", "raises", "says"),
    [
        (
            "fflags;nobuffer|rtsp_transport;udp",
            {},
            SourceAbsent,
            "no picture over UDP .*between. try another rtsp_transport in OPENCV",
        ),
        ("rtsp_transport;udp", {"setup": "461 No"}, SourceRefused, "461 No.*; try another rtsp_transport in OPENCV"),
        ("fflags;nobuffer", {}, SourceAbsent, "no picture within"),
    ],
)
def test_the_server_is_asked_for_the_transport_that_the_user_chose(
    monkeypatch: pytest.MonkeyPatch, options: str, server: dict[str, Any], raises: type[SourceError], says: str
) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", options)
    with fake_rtsp.Server(**server) as fake, pytest.raises(raises, match=says):
        open_source(f"{fake.url}#timeout=0.3")


def relays() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "relay" in thread.name]
