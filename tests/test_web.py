"""The page's server: newest frames, figures, what a person may change; and what it never tells."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from served import ask, serving, wait_for

from edgezoo.address import Address
from edgezoo.bundle import Bundle
from edgezoo.capture import Capture
from edgezoo.cli import main
from edgezoo.engine import Engine
from edgezoo.errors import RequestError, SinkError
from edgezoo.frame import Event, Frame
from edgezoo.latency import Profile
from edgezoo.preprocess import Preprocess
from edgezoo.results import Crossing, Detections, LineCount, ZoneCount
from edgezoo.sinks import open_sink
from edgezoo.sinks.web import WebSink, from_address
from edgezoo.tracking import Follower, Line
from edgezoo.web.figures import EVENTS, POINTS, SOURCES, Figures
from edgezoo.web.hub import Controls, Hub
from edgezoo.web.pictures import encode
from edgezoo.web.server import address_of

cv2 = pytest.importorskip("cv2")

RECIPE = Preprocess(size_wh=(64, 48), fit="letterbox")
NAMES = ("cat", "dog")
SECRET = "somebody:hunter2"


def frame(index: int = 0, source: str = "camera:0", *, wide: int = 64) -> Frame:
    scene = graphs.scene((wide, wide * 3 // 4), (8, 8, 24, 32))
    return Frame(scene, index, index / 10, time.monotonic_ns() - 5_000_000, source)


def found(*scores: float) -> Detections:
    boxes = np.tile(np.array([8, 8, 24, 32], np.float32), (len(scores), 1))
    return Detections(boxes, np.array(scores, np.float32), np.zeros(len(scores), np.int64), NAMES)


@dataclass
class News:
    """What `/live` answers."""

    frames: list[dict[str, Any]]
    figures: dict[str, Any] | None
    jpegs: list[bytes]


def live(port: int, query: str = "", **headers: str) -> News:
    answer = ask(port, f"/live?{query}", **headers)
    assert answer.status == 200, answer
    (length,) = struct.unpack_from(">I", answer.body)
    told, at, jpegs = json.loads(answer.body[4 : 4 + length]), 4 + length, []
    for row in told["frames"]:
        jpegs.append(answer.body[at : at + row["bytes"]])
        at += row["bytes"]
    assert at == len(answer.body)
    return News(told["frames"], told.get("figures"), jpegs)


@pytest.fixture
def sink() -> Iterator[WebSink]:
    sink = open_sink("web:0")
    assert isinstance(sink, WebSink)
    yield sink
    sink.close()


def port_of(sink: WebSink) -> int:
    return int(sink.url.rpartition(":")[2].strip("/"))


# -- frames


def test_a_page_gets_the_newest_frame_and_what_is_in_it(sink: WebSink) -> None:
    sink.event(Event("camera:0", "live", "64x48"))
    for index in range(3):
        sink.write(frame(index), found(0.9, 0.4))
    news = live(port_of(sink))
    (row,) = news.frames
    assert (row["size_wh"], row["classes"]) == ([64, 48], [0, 0])
    assert [box["score"] for box in row["result"]["detections"]] == pytest.approx([0.9, 0.4], abs=1e-4)
    picture = cv2.imdecode(np.frombuffer(news.jpegs[0], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (48, 64, 3)
    assert picture[20, 16].argmax() == 2, "the square is red"
    sink.write(frame(3), found(0.3))
    (newer,) = live(port_of(sink), f"after={row['number']}").frames
    assert newer["number"] == row["number"] + 1
    assert len(newer["result"]["detections"]) == 1


def test_a_page_asks_for_what_it_does_not_have(sink: WebSink) -> None:
    port = port_of(sink)
    for name in ("camera:0", "camera:1", "camera:2"):
        sink.write(frame(0, name), found())
    first = live(port)
    numbers = {row["source"]: row["number"] for row in first.frames}
    assert len(numbers) == 3
    sink.write(frame(1, "camera:1"), found())
    news = live(port, f"after={max(numbers.values())}")
    assert [row["source"] for row in news.frames] == [2]
    assert [row["source"] for row in live(port, "show=1,3").frames] == [1, 3]
    assert live(port, "show=").frames == []
    again = live(port, f"after={10**17}").frames
    assert len(again) == 3, "the numbers of a program that ran here before"
    assert max(row["number"] for row in again) < 10**17, "from where it asks on"


def test_photos_are_one_source(sink: WebSink, tmp_path: Path) -> None:
    for folder in (f"{tmp_path}", "2 images", "*.jpg", "a.jpg"):
        sink.event(Event(folder, "live", "opened"))
    for name in ("a.jpg", f"{tmp_path}/b.jpg"):
        sink.write(frame(source=name), found())
    cameras = ["http://camera/video.jpg", "gstreamer:v4l2src ! video/x-raw,framerate=[1/1,30/1] ! appsink"]
    for camera in cameras:
        sink.event(Event(camera, "live", "opened"))
    figures = live(port_of(sink)).figures
    assert figures is not None
    assert [source["name"] for source in figures["sources"]] == ["photos", *cameras]


def test_a_page_waits_for_news(sink: WebSink) -> None:
    sink.write(frame(), found())
    port = port_of(sink)
    last = live(port)
    assert last.figures is not None
    query = f"after={last.frames[0]['number']}&tick={10**6}"
    began_s = time.monotonic()
    threading.Timer(0.2, lambda: sink.write(frame(7), found())).start()
    news = live(port, query.replace(str(10**6), str(last.figures["tick"])) + "&show=1")
    while not news.frames:
        assert news.figures is not None
        news = live(port, f"after={last.frames[0]['number']}&tick={news.figures['tick']}&show=1")
    assert news.frames[0]["number"] == last.frames[0]["number"] + 1
    assert 0.15 < time.monotonic() - began_s < 5


def test_a_frame_is_encoded_when_somebody_looks_and_once_for_all(
    sink: WebSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    monkeypatch.setattr("edgezoo.web.pictures.encode", lambda image, width: encoded.append(width) or b"jpeg")
    for index in range(20):
        sink.write(frame(index), found())
    assert encoded == []
    for _ in range(3):
        assert live(port_of(sink)).jpegs == [b"jpeg"]
    for width in (400, 480, 321):
        live(port_of(sink), f"width={width}")
    assert encoded == [960, 480]


def test_a_picture_is_no_larger_than_it_is_shown() -> None:
    image = frame(wide=1000).image
    for width, size in ((480, (360, 480)), (960, (720, 960)), (1920, (750, 1000))):
        assert cv2.imdecode(np.frombuffer(encode(image, width), np.uint8), 1).shape[:2] == size


def test_a_slow_page_holds_nobody_up(sink: WebSink) -> None:
    """Frames go on while a page has asked and does not read."""
    import socket

    sink.write(frame(), found())
    first = live(port_of(sink)).frames[0]["number"]
    with socket.create_connection(("127.0.0.1", port_of(sink))) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(50):
            connection.sendall(b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        began_s = time.monotonic()
        for index in range(200):
            sink.write(frame(index, wide=640), found(0.5))
        assert time.monotonic() - began_s < 2
        assert live(port_of(sink)).frames[0]["number"] == first + 200


def test_what_goes_on_a_track_is_shown_though_it_scores_less() -> None:
    """At the threshold that objects are followed from; a person who asks for more gets what scores more."""
    follower, hub = Follower(), Hub(Controls(threshold=0.25, least=0.25))
    for index, score in enumerate((0.8, 0.15)):
        hub.write(frame(index), follower(frame(index), found(score)))
    (shot,) = hub.newer(0).values()
    assert len(hub.shown(shot.result)) == 1
    hub.set_threshold(0.26)
    assert len(hub.shown(shot.result)) == 0


def test_frames_of_sources_that_are_told_no_more_are_let_go() -> None:
    hub = Hub()
    for index in range(3 * SOURCES):
        hub.write(frame(source=f"camera:{index}"), found())
    assert set(hub.newer(0)) == {f"camera:{index}" for index in range(2 * SOURCES, 3 * SOURCES)}


def test_lines_and_zones_come_with_their_places(sink: WebSink) -> None:
    line = LineCount("door", (0.0, 1.0), (2.0, 3.0), 4, 5, (Crossing(7, "in"),))
    zone = ZoneCount("desk", ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0)), 1, 2)
    tracked = replace(found(0.9), track_ids=np.array([7]), counts=(line, zone))
    sink.write(frame(), tracked)
    (row,) = live(port_of(sink)).frames
    assert row["result"]["detections"][0]["track"] == 7
    assert [(place["name"], place["line"]) for place in row["places"]] == [("door", True), ("desk", False)]
    assert row["places"][0]["points"] == [[0, 1], [2, 3]]
    assert row["places"][1]["told"] == {"inside": 1, "entered": 2}


@pytest.mark.parametrize("query", ["after=-1", "after=x", "tick=1.5", "width=" + "9" * 30, "show=a", "show=1,x"])
def test_a_question_that_is_none(sink: WebSink, query: str) -> None:
    answer = ask(port_of(sink), f"/live?{query}")
    assert (answer.status, "as a whole number" in answer.error) == (400, True)


# -- figures


def test_figures_of_a_minute() -> None:
    figures, profile = Figures(), Profile()
    profile.runs = {"model": "squares"}
    figures.watch(profile)
    figures.tick()
    for _ in range(10):
        figures.saw("a", frame())
        profile.count_grabbed("a")
        profile.count_delivered(5.0, source="a")
        profile.took("infer", time.perf_counter_ns() - 3_000_000)
    profile.count_grabbed("a")
    profile.count_dropped("too_old", source="a")
    figures.tick()
    told = figures.to_dict(since=0)
    assert (told["tick"], told["runs"]) == (2, {"model": "squares"})
    assert told["counts"] == {"grabbed": 11, "delivered": 10, "failed": 0, "dropped": {"too_old": 1}}
    assert told["stages"]["infer"]["mean_ms"] == pytest.approx(3, rel=0.3)
    (source,) = told["sources"]
    assert source["state"] == "live"
    fps, middle, highest = source["points"][-1]
    assert 5 <= middle <= highest < 5000
    assert fps == 0, "there is no rate before a second tick of it"
    time.sleep(0.05)
    figures.saw("a", frame())
    figures.tick()
    assert figures.to_dict(since=2)["sources"][0]["points"][0][0] > 1
    for _ in range(2 * POINTS):
        figures.tick()
    assert len(figures.to_dict(since=0)["sources"][0]["points"]) == POINTS
    assert figures.to_dict(since=figures.ticks)["sources"][0]["points"] == []
    assert figures.to_dict(since=figures.ticks + 5)["sources"][0]["points"], "of a program that ran before: all"


def test_states_and_events_are_told_and_bounded() -> None:
    figures = Figures()
    began_ns = time.monotonic_ns() - 4_000_000_000
    figures.heard(Event("a", "connecting", "being opened", at_ns=began_ns - 10**9))
    figures.heard(Event("a", "lost", "no frame for 2.0 s", at_ns=began_ns))
    figures.heard(Event("a", "lost", "refused", at_ns=began_ns + 2 * 10**9))
    (source,) = figures.to_dict(since=0)["sources"]
    assert (source["state"], source["reason"]) == ("lost", "refused")
    assert source["for_s"] == pytest.approx(4, abs=0.5), "since it was lost, not since the reason changed"
    for number in range(SOURCES + 10):
        figures.heard(Event(f"s{number}", "ended", "over"))
    told = figures.to_dict(since=0)
    assert len(told["events"]) == EVENTS
    assert [event["number"] for event in told["events"]] == [*range(3 + SOURCES + 11 - EVENTS, 3 + SOURCES + 11)]
    names = {source["name"] for source in told["sources"]}
    assert len(names) == SOURCES
    assert "a" in names, "those that ended make room first"


def test_prometheus_reads_the_streams(sink: WebSink) -> None:
    profile = Profile()
    sink.watch(profile)
    sink.event(Event('cam "1"\\', "lost", "gone"))
    sink.event(Event("b", "live", "x"))
    sink.write(frame(source="b"), found())
    profile.count_grabbed("b")
    profile.count_dropped("overwritten", source="b")
    text = ask(port_of(sink), "/metrics").body.decode()
    lines = text.splitlines()
    assert 'edgezoo_source_state{source="b",state="live"} 1.0' in lines
    assert 'edgezoo_source_state{source="cam \\"1\\"\\\\",state="lost"} 1.0' in lines
    assert 'edgezoo_frames_total{end="overwritten",source="b"} 1.0' in lines
    assert 'edgezoo_frames_grabbed_total{source="b"} 1.0' in lines
    assert len([line for line in lines if line.startswith("edgezoo_source_state{")]) == 10


# -- what a person may change


def order(port: int, path: str, what: Any, **headers: str) -> tuple[int, Any]:
    body = what if isinstance(what, bytes) else json.dumps(what).encode()
    answer = ask(port, path, body, **headers)
    return answer.status, answer.json


def test_a_threshold_is_for_what_is_shown(sink: WebSink) -> None:
    port = port_of(sink)
    sink.write(frame(), found(0.9, 0.4))
    assert order(port, "/live/threshold", {"threshold": 0.5})[0] == 200
    news = live(port)
    assert len(news.frames[0]["result"]["detections"]) == 1
    assert news.figures is not None
    assert news.figures["controls"]["threshold"] == 0.5
    for wrong in (
        {"threshold": 1.5},
        {"threshold": "a"},
        {"threshold": True},
        {"threshold": None},
        {},
        [],
        b"{",
        b"[" * 4000,
    ):
        status, told = order(port, "/live/threshold", wrong)
        assert (status, "expected" in told["error"]) == (400, True), wrong
    assert order(port, "/live/threshold", b" " * 5000)[0] == 413
    assert order(port, "/live/model", {"model": "x"}) == (400, {"error": "expected one of no models, got 'x'"})
    status, told = order(port, "/live/threshold", {"threshold": 0.1}, Origin="http://evil.example")
    assert (status, "another site" in told["error"]) == (403, True)


def test_frames_are_kept_where_the_operator_said(tmp_path: Path) -> None:
    sink = from_address(Address.parse(f"web:0#capture={tmp_path}/kept"), fps=None, overlay=None)
    try:
        port = port_of(sink)
        sink.hub.controls = replace(sink.hub.controls, threshold=0.5)
        sink.write(frame(), found(0.9, 0.4))
        number = live(port).frames[0]["source"]
        status, told = order(port, "/live/capture", {"source": number})
        assert status == 200
        rows = json.loads((tmp_path / "kept" / "annotations.json").read_text("utf-8"))
        assert [row["file_name"] for row in rows["images"]] == [told["saved"]]
        assert [row["score"] for row in rows["annotations"]] == [0.9], "what was shown"
        for wrong in ({"source": 99}, {"source": "../x"}, {}):
            assert order(port, "/live/capture", wrong)[0] == 400
    finally:
        sink.close()
    with pytest.raises(RequestError, match="none was named; try: --capture FOLDER"):
        Hub().keep("camera:0")
    with pytest.raises(RequestError, match="expected a source with a frame, got 'camera:9'"):
        Hub(Controls(capture=Capture(tmp_path / "kept"))).keep("camera:9")


# -- the sink


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("", ("127.0.0.1", 8080)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:81", ("::1", 81)),
        ("pi:", ("pi", 8080)),
    ],
)
def test_where_it_listens(text: str, place: tuple[str, int]) -> None:
    assert address_of(text) == place


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("web:http", r"expected \[HOST:\]PORT, such as 8080 or 0\.0\.0\.0:8080, got 'http'"),
        ("web:0.0.0.0:0", "expected a token for 0.0.0.0"),
        ("web:0.0.0.0:0#token=short", "expected a token of 16 letters or more"),
        ("web:0#tokn=x", "did you mean 'token'"),
        ("web:99999", "expected a port of 0 to 65535"),
    ],
)
def test_an_address_that_is_wrong(address: str, says: str) -> None:
    with pytest.raises((RequestError, SinkError), match=says) as raised:
        open_sink(address)
    assert "\n" not in str(raised.value)


def test_a_port_that_is_taken(sink: WebSink) -> None:
    with pytest.raises(SinkError, match="is taken by another program; try "):
        open_sink(f"web:{port_of(sink)}")


def test_it_ends_while_pages_wait() -> None:
    sink = open_sink("web:0")
    assert isinstance(sink, WebSink)
    port, waiting = port_of(sink), []
    for _ in range(4):
        thread = threading.Thread(target=lambda: waiting.append(ask(port, "/live?tick=999999999").status))
        thread.start()
    time.sleep(0.2)
    began_s = time.monotonic()
    sink.close()
    assert time.monotonic() - began_s < 4
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("edgezoo")]
    sink.write(frame(), found())  # a late one goes nowhere, and harms nobody


def test_run_shows_itself(
    bundle_of: Callable[..., Bundle],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[News] = []
    close = WebSink.close

    def look_first(sink: WebSink) -> None:
        seen.append(live(port_of(sink)))
        close(sink)

    monkeypatch.setattr(WebSink, "close", look_first)
    folder = str(bundle_of("squares", RECIPE).folder)
    assert main(["run", folder, "synthetic:#size=64x48&fps=50&frames=10", "--sink", "web:0", "--sink", "null"]) == 0
    assert "look at http://127.0.0.1:" in capsys.readouterr().err
    figures = seen[0].figures
    assert figures is not None
    assert figures["runs"]["model"] == "squares"
    assert figures["sources"][0]["state"] == "ended"
    counts = figures["counts"]
    assert 0 < counts["delivered"] == counts["grabbed"] - sum(counts["dropped"].values())
    assert seen[0].frames
    assert figures["controls"]["threshold"] == figures["controls"]["least"] == 0.25, "what the engine answers"


# -- the page of a server


def test_a_server_asks_its_model_anew(bundle_of: Callable[..., Bundle]) -> None:
    """Another threshold, another model: both for the pictures that come."""
    bundles = {"squares": bundle_of("squares", RECIPE), "colors": bundle_of("colors", RECIPE)}
    with Engine(bundles["squares"], threads=1) as squares, Engine(bundles["colors"], threads=1) as colors:
        engines, source = {"squares": squares, "colors": colors}, "synthetic:#size=64x48&fps=30"
        with serving(engines, sources=[source]) as service:
            port = service.server.port
            row = wait_for(lambda: _framed(port))
            assert "detections" in row["result"]
            engine = service._live._engine
            assert engine is not None
            assert order(port, "/live/threshold", {"threshold": 0.07})[0] == 200
            assert engine.ask.score == 0.07
            status, told = order(port, "/live/threshold", {"threshold": 0.01})
            assert (status, "expected a threshold of 0.05 to 1" in told["error"]) == (400, True)
            assert order(port, "/live/model", {"model": "colors"})[0] == 200
            row = wait_for(lambda: _framed(port, "labels"))
            figures = live(port).figures
            assert figures is not None
            assert (figures["controls"]["model"], figures["runs"]["model"]) == ("colors", "colors")
            assert order(port, "/live/model", {"model": "cars"})[0] == 400


def _framed(port: int, kind: str = "detections") -> Mapping[str, Any] | None:
    frames = live(port).frames
    return frames[0] if frames and kind in frames[0]["result"] else None


def test_a_server_follows_what_it_sees(bundle_of: Callable[..., Bundle]) -> None:
    options: dict[str, Any] = {"sources": ["synthetic:#size=64x48&fps=30&shapes=1&seed=6"]}
    options["follower"] = lambda: Follower([Line.parse("0.5,0,0.5,1,door")])
    bundles = {"squares": bundle_of("squares", RECIPE), "colors": bundle_of("colors", RECIPE)}
    with Engine(bundles["squares"], threads=1) as squares, Engine(bundles["colors"], threads=1) as colors:
        with serving({"squares": squares, "colors": colors}, **options) as service:
            port = service.server.port
            row = wait_for(lambda: _followed(port))
            figures = live(port).figures
            assert order(port, "/live/model", {"model": "colors"})[0] == 200
            wait_for(lambda: _framed(port, "labels"))
        with (
            pytest.raises(RequestError, match="expected a model that finds objects to track, got colors"),
            serving({"colors": colors}, **options),
        ):
            pass
    assert row["places"][0]["name"] == "door"
    assert set(row["places"][0]["told"]) == {"in", "out", "crossed"}
    assert figures is not None
    assert figures["controls"]["least"] == figures["controls"]["threshold"] == 0.25, "below, nothing is followed"


def _followed(port: int) -> Mapping[str, Any] | None:
    row = _framed(port)
    return row if row and [box for box in row["result"]["detections"] if box.get("track")] else None


def test_a_server_outlives_its_sources(bundle_of: Callable[..., Bundle]) -> None:
    with Engine(bundle_of("squares", RECIPE), threads=1) as engine:
        sources = ["synthetic:#size=64x48&fps=50&frames=5", "synthetic:#size=64x48&fps=50&frames=5&live=0"]
        with serving({"squares": engine}, sources=sources) as service:
            port = service.server.port
            wait_for(lambda: [source["state"] for source in live(port).figures["sources"]] == ["ended", "ended"])  # type: ignore[index]
            assert len(live(port).frames) == 2, "their last pictures"
            assert ask(port, "/readyz").status == 200


def test_a_login_is_never_told(
    bundle_of: Callable[..., Bundle], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A stream that nobody answers, with a password in its address: in no answer of the server, and in no log."""
    with Engine(bundle_of("squares", RECIPE), threads=1) as engine:
        source = f"rtsp://{SECRET}@127.0.0.1:1/live?password=hunter2"
        with serving({"squares": engine}, sources=[source]) as service:
            port = service.server.port
            figures = wait_for(lambda: _with_events(port))
            assert figures["sources"][0]["name"].startswith("rtsp://127.0.0.1:1/live")
            told = [ask(port, path).body for path in ("/live", "/metrics", "/v1/models", "/openapi.json", "/")]
    for text in (*told, "".join(capsys.readouterr()).encode(), caplog.text.encode()):
        assert b"hunter2" not in text
        assert b"somebody" not in text


def _with_events(port: int) -> dict[str, Any] | None:
    figures = live(port).figures
    return figures if figures is not None and len(figures["events"]) > 1 else None


def test_nobody_waits_in_a_loop_that_is_over() -> None:
    hub = Hub()

    async def over() -> None:
        hub.attach(asyncio.get_running_loop())
        waiting = asyncio.create_task(hub.wait(lambda: False, 10))
        await asyncio.sleep(0.01)
        hub.close()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(over())
    hub.write(frame(), found())
