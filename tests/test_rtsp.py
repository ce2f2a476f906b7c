"""RTSP against a real server: the pixels tell which frame came, and how old it is."""

from __future__ import annotations

import signal
import socket
import threading
import time
from itertools import islice
from typing import Any

import fake_rtsp
import pytest
from rtsp import rtsp_process, rtsp_server

from edgezoo.errors import EdgezooError, RequestError, SourceAbsent, SourceError, SourceRefused
from edgezoo.sources import barcode, open_source
from edgezoo.sources._relay import FrameEnds

pytest.importorskip("cv2")


@pytest.mark.parametrize(("options", "bound_ms"), [("", 30), ("#relay=0", 80), ("#transport=udp", 80)])
def test_frames_come_fresh(options: str, bound_ms: float) -> None:
    """Through the relay a frame is younger than the 33 ms by which FFmpeg alone is late."""
    with rtsp_server(fps=30) as url:
        source = open_source(url + options)
        assert source.live
        assert source.size_wh == (640, 480)
        assert source.fps == 30
        ages_ms, indices, last_pts_s = [], [], -1.0
        for frame in islice(source, 40):
            code = barcode.read(frame.image)
            assert code is not None
            ages_ms.append((time.monotonic_ns() - code[1]) / 1e6)
            indices.append(frame.index)
            assert frame.source == url
            assert frame.grabbed_ns >= code[1]
            assert frame.pts_s > last_pts_s
            last_pts_s = frame.pts_s
        source.close()
    assert indices[0] > 5, "what came while it was opened is counted, not shown"
    assert ages_ms[0] < 200
    assert sorted(ages_ms)[10] < bound_ms
    assert not relays()


def test_a_slow_reader_sees_fresh_frames() -> None:
    with rtsp_server(fps=30) as url:
        source = open_source(url)
        ages_ms, indices = [], []
        for frame in islice(source, 10):
            code = barcode.read(frame.image)
            assert code is not None
            ages_ms.append((time.monotonic_ns() - code[1]) / 1e6)
            indices.append(frame.index)
            time.sleep(0.12)
        source.close()
    assert sorted(ages_ms)[5] < 67
    assert indices[-1] - indices[0] >= 3 * 9, "the gap in the index tells of skipped frames"


def test_login() -> None:
    with rtsp_server(login="me:secret") as url:
        with_login = url.replace("//", "//me:secret@")
        for relay in ("", "#relay=0"):
            source = open_source(with_login + relay)
            frame = next(iter(source))
            source.close()
            assert source.address == frame.source == url
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
        ("rtsp://me:secret@127.0.0.1:{mute}/x#timeout=1", SourceError, "no picture within 1 s"),
        ("rtsp://me:secret@127.0.0.1:{mute}/x#timeout=1&relay=0", SourceError, "no picture within 1 s"),
        ("rtsp://me:secret@127.0.0.1:{mute}/x#timeout=0.3", SourceError, "no picture within 0.3 s"),
        ("rtsps://me:secret@127.0.0.1:{dead}/x", SourceError, "does not answer"),
        ("http://me:secret@127.0.0.1:{dead}/x", SourceError, "does not answer"),
        ("tcp://127.0.0.1:{dead}", SourceError, "expected a video stream"),
        ("rtsp://127.0.0.1:99999/x", RequestError, "port"),
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


def test_one_that_says_yes_and_sends_nothing_is_found_out_without_opening_it() -> None:
    with fake_rtsp.Server() as fake:
        with pytest.raises(SourceAbsent, match=r"no picture within 0\.3 s"):
            open_source(f"{fake.url}#timeout=0.3")
        assert fake.questions == ["DESCRIBE", "SETUP", "PLAY"]
        with rtsp_server(fps=30) as url:
            source = open_source(url)
            next(iter(source))
            source.close()


def test_one_that_falls_silent_while_it_is_opened_does_not_take_all_the_time_that_it_could() -> None:
    with fake_rtsp.Server(sends=True) as fake:
        began = time.monotonic()
        with pytest.raises(SourceError, match="no picture within 2 s"):
            open_source(fake.url)
        assert time.monotonic() - began < 4
        assert fake.questions.count("PLAY") == 2
    assert not relays()


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_silent_server_does_not_hold_up_the_opening_of_others(scheme: str) -> None:
    """OpenCV holds a lock of the process while it opens, FFmpeg's time-out long: a silent server never gets there."""
    with rtsp_server(fps=30, size="320x240") as url, socket.create_server(("127.0.0.1", 0)) as mute:
        ended: list[float] = []

        def wait_in_vain() -> None:
            with pytest.raises(SourceAbsent):
                open_source(f"{scheme}://127.0.0.1:{mute.getsockname()[1]}/x#timeout=6")
            ended.append(time.monotonic())

        waiting = threading.Thread(target=wait_in_vain)
        waiting.start()
        time.sleep(0.1)
        source = open_source(url)
        next(iter(source))
        source.close()
        assert not ended, "the good one was open while the other was still waited for"
        mute.close()
        waiting.join()


def test_options_of_the_user_are_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    with pytest.raises(RequestError, match="got both"):
        open_source("rtsp://h/x#transport=tcp")
    with rtsp_server() as url:
        source = open_source(url)
        assert not relays(), "how the user connects is not known, so nothing is put in between"
        next(iter(source))
        source.close()


def relays() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "relay" in thread.name]


DESCRIPTION = (
    b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 %s/90000\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000\r\n"
)
DELIMITER = {b"H264": b"\x09\xf0", b"H265": b"\x46\x01\x50", b"JPEG": b""}


def answer(body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"RTSP/1.0 " + status + b"\r\nCSeq: 1\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def packet(
    timestamp: int, *, end: bool, channel: int = 0, payload_type: int = 96, payload: bytes = b"\x65 pixels"
) -> bytes:
    head = bytes([0x80, payload_type | (0x80 if end else 0), 0, 7]) + timestamp.to_bytes(4, "big") + b"from"
    return b"$" + bytes([channel]) + (12 + len(payload)).to_bytes(2, "big") + head + payload


def frames(count: int, first: int = 0) -> list[bytes]:
    return [packet(first + n, end=end) for n in range(count) for end in (False, True)]


@pytest.mark.parametrize("codec", DELIMITER)
@pytest.mark.parametrize("size", [1, 3, 100, 100_000])
def test_the_relay_marks_ends_of_frames_once_it_trusts_them(codec: bytes, size: int) -> None:
    stream = answer(DESCRIPTION % codec) + b"".join(frames(5)) + packet(9, end=True, channel=2, payload_type=97)
    ends = FrameEnds()
    passed = b"".join(ends.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    added = DELIMITER[codec]
    expected = answer(DESCRIPTION % codec)
    for number, each in enumerate(frames(5)):
        expected += each
        if added and number in (7, 9):  # the ends of the fourth and fifth: three before it were right
            expected += packet(number // 2, end=True, payload=added)
    assert passed == expected + packet(9, end=True, channel=2, payload_type=97)
    assert ends.status == "200 OK"


def test_the_relay_leaves_wrong_marks_alone() -> None:
    ends = FrameEnds()
    ends.feed(answer(DESCRIPTION % b"H264") + b"".join(frames(5)))
    wrong = packet(5, end=True) + packet(5, end=True)
    assert len(ends.feed(wrong[: len(wrong) // 2])) > len(wrong) // 2
    rest = wrong[len(wrong) // 2 :] + b"".join(frames(10, first=6))
    assert ends.feed(rest) == rest


@pytest.mark.parametrize(
    ("codec", "size", "others"),
    [
        (b"H264", b"\x67 small", [b"\x65 pixels", b"\x68 more", b"\x7c\x67 part"]),
        (b"H264", b"\x18\0\x08\x67 small\0\x02\x68!", [b"\x18\0\x02\x68!"]),
        (b"H265", b"\x42\x01 small", [b"\x40\x01 more", b"\x26\x01 pixels"]),
        (b"H265", b"\x60\x01\0\x03\x40\x01!\0\x08\x42\x01 small", [b"\x60\x01\0\x02\x40\x01"]),
        (b"JPEG", b"", [b"\x67 pixels"]),
    ],
)
def test_the_relay_sees_another_size(codec: bytes, size: bytes, others: list[bytes]) -> None:
    ends = FrameEnds()
    ends.feed(answer(DESCRIPTION % codec) + packet(0, end=True, payload=size))
    ends.watch_size()
    for number, payload in enumerate([*others, size, b"\x18\0", b"\x60"], 1):
        ends.feed(packet(number, end=True, payload=payload))
    ends.feed(packet(9, end=True, payload=size.replace(b"small", b"audio"), payload_type=97))
    extended = bytearray(packet(10, end=True, payload=b"\x67ab\0\x01\x67abcd" + (size or b"\x65")))
    extended[4] |= 0x10
    ends.feed(bytes(extended))
    assert not ends.resized
    ends.feed(packet(11, end=True, payload=size.replace(b"small", b"large")))
    assert ends.resized is bool(size)


@pytest.mark.parametrize(
    "strange",
    [
        b"\x00\x01 not RTSP at all",
        b"\r\n\r\n",
        b"HTTP" + 70_000 * b"x",
        answer() + b"\xff\xfe rest",
        b"RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n",
    ],
)
def test_the_relay_passes_on_what_it_does_not_understand(strange: bytes) -> None:
    ends = FrameEnds()
    stream = answer(DESCRIPTION % b"H264") + strange
    assert ends.feed(stream) == stream
    after = b"".join(frames(10))
    assert ends.feed(after) == after
