"""What is told of an address has nothing of its login in it, whatever the password is; and the address works."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pytest
from test_pipeline import Echo, Numbers

from edgezoo.address import Address, told, without_login
from edgezoo.errors import EdgezooError, RequestError, SourceAbsent
from edgezoo.logins import bare_told, url_told
from edgezoo.measure.report import report_of
from edgezoo.measure.stages import profile_stages
from edgezoo.measure.trace import trace_of
from edgezoo.results import Labels
from edgezoo.sinks import open_sink
from edgezoo.sources import open_source
from edgezoo.sources.feed import Feed

LETTERS = "ΩЖ字"  # of passwords, and nowhere else: not one of them may be told
MARKS = " /?#@:%[]&=;+'\"\\,.!$_~|-(){}<>*^`\t\uff0f0123"

# By what is told of them. The scheme is forgotten in some, or a slash.
PLACES = {
    "rtsp://user:{}@10.0.0.5:554/cam/1?channel=2": "rtsp://10.0.0.5:554/cam/1?channel=2",
    "rtsp://user:{}@cam.local/live": "rtsp://cam.local/live",
    "RTSP://USER:{}@CAM/1": "RTSP://CAM/1",
    "http://user:{}@[fe80::1]:80/1": "http://[fe80::1]:80/1",
    "rtsp://:{}@cam/1": "rtsp://cam/1",
    "rtsp://user:{}@cam/1#fps=5&transport=udp": "rtsp://cam/1",
    "chaos:rtsp://user:{}@cam/1#seed=7&die=0.1": "chaos:rtsp://cam/1",
    "http://10.0.0.5/video.cgi?loginuse=admin&loginpas={}&resolution=32": "http://10.0.0.5/video.cgi?***&resolution=32",
    "http://10.0.0.5:88/v?cmd=GetMJStream&usr=admin&pwd={}": "http://10.0.0.5:88/v?cmd=GetMJStream&***",
    "http://cam/v?auth={}": "http://cam/v?***",
    "rtsp://cam/user=admin_password={}_channel=1_stream=0.sdp": "rtsp://cam/***&channel=1&stream=0.sdp",
    "rtsp://cam:554/user=admin&password={}&channel=1?": None,
    "http://proxy/?url=rtsp://user:{}@cam/1": "http://proxy/?***",
    "http://proxy/v?url=rtsp%3A%2F%2Fuser%3A{}%40cam": "http://proxy/v?***",
    "http://proxy/rtsp%3A%2F%2Fuser%3A{}%40cam": None,
    "http://proxy:8080/rtsp://user:{}@cam/1": None,
    "rtsp:/user:{}@cam/1": "***@cam/1",
    "rtsp:user:{}@cam/1": "***@cam/1",
    "user:{}@cam/1": "***@cam/1",
    "//user:{}@cam/1": "***@cam/1",
    "user:{}@cam/photo.jpg": "***@cam/photo.jpg",
    "10.0.0.5/v.cgi?user=admin&pwd={}": "10.0.0.5/v.cgi?***",
    "gstreamer:rtspsrc location=rtsp://user:{}@one/a latency=0 ! appsink": None,
}  # fmt: skip


def nasty_passwords(count: int) -> list[str]:
    dice = random.Random(7)
    return [
        "".join(dice.choice(LETTERS if dice.random() < 0.5 else MARKS) for _ in range(dice.randint(1, 12))) + LETTERS
        for _ in range(count)
    ]


def assert_hidden(text: str, what: object) -> None:
    secrets = {*LETTERS, *(quote(letter) for letter in LETTERS), *(quote(letter).lower() for letter in LETTERS)}
    secrets |= {ascii(letter).strip("'") for letter in LETTERS}
    assert not [secret for secret in secrets if secret in text], (what, text)


def refusal(do: Callable[[], Any]) -> str:
    try:
        do()
    except EdgezooError as error:
        return f"{error} {error!r} {error.__cause__!r}"
    return ""


@pytest.mark.parametrize("place", PLACES)
def test_nothing_of_a_password_is_told(place: str) -> None:
    for password in ["plainΩ", *nasty_passwords(30)]:
        for form in (password, quote(password, safe="")):
            text = place.format(form)
            address = Address.parse(text)
            shown = str(address)
            texts = [shown, repr(address), told(text), refusal(lambda each=address: each.check_options(("fps",)))]
            texts += [refusal(address.url), refusal(lambda each=text: Feed.at(each))]
            if not any(mark.isspace() for mark in form):
                texts += [without_login(f"could not open {text!r}, [Errno 5]"), without_login(f"lost {text}: gone")]
            for each in texts:
                assert_hidden(each, text)
            assert without_login(f"{shown}: gone") == f"{shown}: gone", "what has been told stays as it is"
    if PLACES[place] is not None:
        assert str(Address.parse(place.format("plain"))) == PLACES[place]


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://cam/1",
        "rtsp://192.168.1.5:554/Streaming/Channels/101",
        "rtsp://cam.local:8554/cam/realmonitor?channel=1&subtype=0",
        "http://pi:8080/?action=stream",
        "http://cam/axis-cgi/mjpg/video.cgi?resolution=640x480&fps=5",
        "http://[fe80::1%25eth0]:80/a",
        "http://cam/a#part",
        "udp://239.0.0.1:1234",
        "udp://:1234",
        "rtsp://cam/live.sdp",
        "camera:/dev/v4l/by-path/platform-usb-0:1.2:1.0-video-index0",
        "clip@home.mp4",
        "rec-10:30.mp4",
        "C:/clips/a.mp4",
        r"C:\clips\a.mp4",
        "photos/*.jpg",
        "runs/lr=3/clip.mp4",
        "chaos:clip.mp4",
        "gstreamer:videotestsrc num-buffers=3 ! appsink",
    ],
)
def test_what_has_no_login_is_told_as_it_is(text: str) -> None:
    assert str(Address.parse(text)) == told(text) == text
    assert without_login(f"{text}: lost") == f"{text}: lost"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rtsp://me:12/34@cam/1", "rtsp://***"),  # a password with a slash, or a path with an @?
        ("rtsp://me@home.org:12/34@cam/1", "rtsp://***"),
        ("rtsp://me:pw", "rtsp://***"),  # no host
        ("rtsp://me:pw%40cam/1", "rtsp://***"),
        ("http://cam:99999/1", "http://***"),
        ("http://10.0.0.5:80/live@1", "http://10.0.0.5:80/***"),
        ("http://cam/v?user=me@home.org&pwd=x", "http://cam/v?***"),
        ("http://cam/v?password=a#b", "http://cam/v?***"),
        ("http://cam/v?hunter2", "http://cam/v?***"),
        ("http://cam/v?stream=averylongvalue-that-is-no-number", "http://cam/v?***"),
        ("rtsp://cam/1;jsessionid=1F3A", "rtsp://cam/1;***"),
        ("me:p#a=b@cam/1", "***"),
        ("gstreamer:x location=rtsp://cam user-pw='my pw' ! y", "gstreamer:x location=rtsp://cam user-pw=*** ! y"),
        (r'gstreamer:x user-pw="a \" b" user-id=(string)me ! y', "gstreamer:x user-pw=*** user-id=(string)*** ! y"),
        (r"gstreamer:x user-pw=my\ pw ! y", "gstreamer:x user-pw=*** ! y"),
        ("gstreamer:x user-pw='my pw", "gstreamer:x user-pw=***"),
        ("gstreamer:x a='pw=me' ! y", "gstreamer:x a='pw=*** ! y"),
    ],
)  # fmt: skip
def test_in_doubt_it_is_hidden(text: str, told: str) -> None:
    assert str(Address.parse(text)) == told


@pytest.mark.parametrize(
    "part", ["a:", "a-", "user-", "pw=", "@:", "://", "a://b@", 'pw="', "channel=1&", "/a;", "x://!"]
)
def test_a_long_text_takes_no_long_time(part: str) -> None:
    """A server may say what it wants, and it is told in a message."""
    text = part * (20000 // len(part))
    began = time.thread_time()
    for tell in (without_login, url_told, bare_told):
        tell(text)
    assert time.thread_time() - began < 2


def test_an_example_in_a_message_stays() -> None:
    text = "is the login right? rtsp://USER:PASSWORD@HOST/…; try web:8080#token=SECRET"
    assert without_login(text) == text


@pytest.mark.parametrize(
    "place", ["rtsp://{}:{}@cam.local:554/1?x=2", "http://{}:{}@[fe80::1]/1", "rtsp://{}:{}@10.0.0.5"]
)
def test_an_address_with_such_a_password_works(place: str) -> None:
    for password in nasty_passwords(60):
        user = "ad min"
        encoded = place.format(quote(user, safe=""), quote(password, safe=""))
        raw = place.format(user, password)
        urls = [Address.parse(encoded).url()]
        try:
            urls.append(Address.parse(raw).url())
        except RequestError:  # in doubt; it says what to write instead (see below)
            assert "/" in password or "?" in password or "#" in password
        for url in urls:
            assert url.hostname == Address.parse(place.format("u", "p")).url().hostname
            assert unquote(url.username or "") == user
            if url is urls[0] or unquote(password) == password:
                assert unquote(url.password or "") == password
            assert not any(mark in url.netloc.rpartition("@")[0] for mark in " /?#@[]\t")


@pytest.mark.parametrize(
    ("text", "netloc", "path"),
    [
        ("rtsp://me:p/w@cam/1", "me:p%2Fw@cam", "/1"),
        ("rtsp://me:p#w=1@cam/1", "me:p%23w%3D1@cam", "/1"),
        ("rtsp://me:my pass@cam/1", "me:my%20pass@cam", "/1"),
        ("rtsp://me:p@w@cam/1", "me:p%40w@cam", "/1"),
        ("rtsp://me:100%@cam/1", "me:100%25@cam", "/1"),
        ("rtsp://me:p%2fw@cam/1", "me:p%2fw@cam", "/1"),
        ("rtsp://me@cam", "me@cam", ""),
        ("rtsp://cam/my live\n1", "cam", "/my%20live%0A1"),
        ("RTSP://cam", "cam", ""),
    ],
)
def test_logins_are_found(text: str, netloc: str, path: str) -> None:
    url = Address.parse(text).url()
    assert (url.scheme, unquote(url.netloc), url.path) == ("rtsp", unquote(netloc), path)
    assert set(url.netloc.rpartition("@")[0]).isdisjoint(" /?#@")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rtsp://me:12/34@cam/1", "written %2F %3F %23 %40"),
        ("rtsp://cam:99999/1", "a port from 0 to 65535"),
        ("rtsp://me:pw@/1", "rtsp:///1: expected HOST"),
        ("rtsp:///me:pw@cam/1", "rtsp:///***: expected HOST"),
        ("rtsp:/me:pw@cam/1", "expected rtsp://HOST/…, got one without //"),
        ("rtsp://cam..local/1", "expected the name of a host"),
        (f"rtsp://{'a' * 70}/1", "expected the name of a host"),
    ],
)
def test_what_is_no_url(text: str, says: str) -> None:
    with pytest.raises(RequestError) as raised:
        Address.parse(text).url()
    assert says in str(raised.value)
    assert raised.value.__cause__ is None


class Names(Echo):
    """An engine whose answers can be written as JSON."""

    def read(self, outputs, placements):
        return [Labels(np.ones(1, np.float32), np.zeros(1, np.int64), ("a",)) for _ in outputs["out"]]

    def describe(self):
        return {**super().describe(), "size_wh": (4, 4)}


@pytest.mark.parametrize("password", ["Ωmy pass", "Ω/Ж", "Ω#a=字", "Ж[字]", "Ж\uff0fΩ", "Ω%zzЖ"])
def test_a_pipeline_tells_no_login(
    password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of sources that live, die and are not there."""
    prometheus = pytest.importorskip("prometheus_client")
    from edgezoo.web.hub import Hub
    from edgezoo.web.metrics import registry_of

    caplog.set_level(logging.DEBUG)
    good, query, bad = f"rtsp://me:{password}@cam/1", f"http://cam/v?pwd={password}", f"rtsp://me:{password}@gone/1"

    def open_made_up(text: str) -> Numbers:
        if "gone" in text:
            raise SourceAbsent(f"[Errno -2] cannot open {text!r}")  # as a library might say it
        return Numbers(10, name=str(Address.parse(text)), live=True, every_s=0.002, fail_at=8)

    monkeypatch.setattr("edgezoo.sources.feed.open_source", open_made_up)
    hub, lines = Hub(), open_sink(str(tmp_path / "out.jsonl"))

    class Page:
        done = False
        write, event = staticmethod(hub.write), staticmethod(hub.event)

        def close(self) -> None:
            hub.close()

    found = profile_stages(
        Names(),  # type: ignore[arg-type]
        [good, query, bad],
        frames=20,
        retries=1,
        sinks=[lines, Page()],
        spans=True,
        seconds=5,
    )
    hub.watch(found.profile)
    hub.figures.tick()
    lines.close()
    texts = {
        "log": caplog.text,
        "lines": (tmp_path / "out.jsonl").read_text("utf-8"),
        "profile": json.dumps(found.to_dict(), ensure_ascii=False) + repr(found.profile),
        "trace": json.dumps(trace_of(found.recording), ensure_ascii=False),
        "report": report_of(found),
        "page": json.dumps(hub.figures.to_dict(since=0), ensure_ascii=False),
        "metrics": prometheus.generate_latest(registry_of(hub)).decode(),
    }
    for name, text in texts.items():
        assert_hidden(text, name)
        assert "rtsp://cam/1" in text, name
    assert "http://cam/v?***" in texts["lines"]
    assert "cannot open" in texts["log"]


@pytest.mark.parametrize("place", [place for place in PLACES if not place.startswith(("gstreamer", "chaos"))])
def test_opening_in_vain_tells_no_login(
    place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def nobody(*args: object, **kwargs: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("socket.create_connection", nobody)
    monkeypatch.setattr("edgezoo.sources.stream.Relay", nobody)
    for password in ("Ω", "Ж[字]Ω", "Ω\uff0fЖ", "Ω/字", "Ω#r=Ж", "Ω Ж", "Ω%Ж", "Ω?Ж", "12/Ω"):
        with pytest.raises(Exception) as raised:
            open_source(place.format(password))
        error: BaseException | None = raised.value
        while error is not None:
            assert_hidden(f"{error} {error!r}", place)
            error = error.__cause__ or error.__context__
    assert_hidden("".join(capfd.readouterr()), place)
