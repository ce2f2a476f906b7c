"""Addresses: one grammar for sources and sinks, printed without logins."""

from __future__ import annotations

import pytest

from edgezoo.address import Address, parse_size, without_login, without_options
from edgezoo.errors import RequestError


@pytest.mark.parametrize(
    ("text", "scheme", "target", "options"),
    [
        ("camera:0", "camera", "0", {}),
        ("camera:0#size=1280x720&fps=30", "camera", "0", {"size": "1280x720", "fps": "30"}),
        ("camera:/dev/video2", "camera", "/dev/video2", {}),
        ("Camera:0", "camera", "0", {}),
        ("synthetic:", "synthetic", "", {}),
        ("synthetic:#seed=1&live=0", "synthetic", "", {"seed": "1", "live": "0"}),
        ("window", "", "window", {}),
        ("-", "", "-", {}),
        ("web:8080", "web", "8080", {}),
        ("clip.mp4", "", "clip.mp4", {}),
        ("photos/", "", "photos/", {}),
        ("*.jpg", "", "*.jpg", {}),
        ("/a b/ü.mp4", "", "/a b/ü.mp4", {}),
        (r"C:\clips\a.mp4", "", r"C:\clips\a.mp4", {}),
        ("C:/clips/a.mp4", "", "C:/clips/a.mp4", {}),
        ("clip#2.mp4", "", "clip#2.mp4", {}),  # a name with a hash, not options
        ("clip#.mp4#loop=1", "", "clip#.mp4", {"loop": "1"}),
        ("out.mp4#", "", "out.mp4#", {}),
        ("out.mp4#fps=", "", "out.mp4", {"fps": ""}),
        ("camera:0#pipe=a=b=c", "camera", "0", {"pipe": "a=b=c"}),
        ("rtsp://host/a?channel=1&subtype=0", "rtsp", "rtsp://host/a?channel=1&subtype=0", {}),
        ("rtsp://host/a?channel=1#latency=0", "rtsp", "rtsp://host/a?channel=1", {"latency": "0"}),
        ("http://host/a#part", "http", "http://host/a#part", {}),
        ("RTSP://host/a", "rtsp", "RTSP://host/a", {}),
        ("gstreamer:videotestsrc ! appsink", "gstreamer", "videotestsrc ! appsink", {}),
    ],
)
def test_parse(text: str, scheme: str, target: str, options: dict[str, str]) -> None:
    address = Address.parse(text)
    assert (address.scheme, address.target, dict(address.options)) == (scheme, target, options)


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_address(text: str) -> None:
    with pytest.raises(RequestError, match=r"such as camera:0 or clip\.mp4"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("camera:0#fps=30", "camera:0"),
        ("clip.mp4", "clip.mp4"),
        ("rtsp://host/a", "rtsp://host/a"),
        ("rtsp://admin:secret@host:554/a?channel=1", "rtsp://host:554/a?channel=1"),
        ("rtsp://admin@host/a", "rtsp://host/a"),
        ("rtsp://admin:sec@ret@host/a", "rtsp://host/a"),  # as FFmpeg reads it: up to the last @
        ("rtsp://admin:sec#ret@host/a", "rtsp://host/a"),
        ("rtsp://admin:sec?ret@host/a", "rtsp://host/a"),
        ("rtsp://admin:@host", "rtsp://host"),
        ("rtsp://admin:sec/ret@host/a", "rtsp://host/a"),
        ("rtsp://admin:sec#a=b@host/a", "rtsp://host/a"),
        ("http://host/a@b", "http://host/***"),
    ],
)
def test_printed_without_logins(text: str, told: str) -> None:
    assert str(Address.parse(text)) == told


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("rtsp://u:p@host/a?b=1#fps=5&transport=udp&roi=0,0,1,1", "rtsp://u:p@host/a?b=1#transport=udp"),
        ("clip#2.mp4#fps=5", "clip#2.mp4"),
        ("clip#2.mp4", "clip#2.mp4"),
        ("http://host/a#part", "http://host/a#part"),
        ("camera:0#size=4x4", "camera:0#size=4x4"),
    ],
)
def test_options_are_taken_out(text: str, rest: str) -> None:
    assert without_options(text, ["fps", "roi"]) == rest


def test_logins_in_a_longer_text() -> None:
    text = "gstreamer: rtspsrc location=rtsp://u:p@one/a ! x location=rtsp://v:q@two/b"
    assert without_login(text) == "gstreamer: rtspsrc location=rtsp://one/a ! x location=rtsp://two/b"
    assert without_login("mail me@home.org") == "mail me@home.org"


@pytest.mark.parametrize(
    ("text", "known", "raises"),
    [
        ("camera:0#fps=30", ("fps", "size"), None),
        ("camera:0", (), None),
        ("camera:0#fsp=30", ("fps", "size"), "no option is called 'fsp'; did you mean 'fps'"),
        ("camera:0#colour=1", ("fps", "size"), "no option is called 'colour'; known: fps, size"),
        ("clip.mp4#fps=3", (), "known: none"),
        ("http://host/a?pwd=p#x=1", (), r"^http://host/a\?\*\*\*: no such option; known: none"),
        ("rtsp://u:p@host/a#x=1", (), "^rtsp://host/a: no option is called 'x'"),
    ],
)
def test_options_that_an_address_does_not_have(text: str, known: tuple[str, ...], raises: str | None) -> None:
    address = Address.parse(text)
    if raises is None:
        address.check_options(known)
        return
    with pytest.raises(RequestError, match=raises):
        address.check_options(known)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("30", 30),
        ("29.97", 29.97),
        ("0", 0),
        ("1e3", 1000),
        ("x", None),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_number(value: str, expected: float | None) -> None:
    address = Address.parse(f"camera:0#fps={value}")
    if expected is None:
        with pytest.raises(RequestError, match=f"camera:0: expected fps=NUMBER, got {value!r}"):
            address.number("fps")
    else:
        assert address.number("fps") == expected
    assert address.number("other") is None
    assert address.number("other", 5.0) == 5.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("640x480", (640, 480)),
        ("1x1", (1, 1)),
        ("99999x1", (99999, 1)),
        *[
            (text, None)
            for text in (
                "",
                "640",
                "640x",
                "x480",
                "0x480",
                "640x0",
                "640X480",
                "-1x5",
                "6.5x4",
                " 1x1",
                "1x1x1",
                "123456x1",
            )
        ],
    ],
)
def test_sizes(text: str, expected: tuple[int, int] | None) -> None:
    if expected is None:
        with pytest.raises(RequestError, match="WIDTHxHEIGHT in pixels, such as 640x480"):
            parse_size(text)
    else:
        assert parse_size(text) == expected
        assert Address.parse(f"camera:0#size={text}").size_wh() == expected


def test_no_size_is_no_size() -> None:
    assert Address.parse("camera:0").size_wh() is None
