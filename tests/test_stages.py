"""`edgezoo profile --source`: where the time of a running pipeline goes, when it ends, and what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import mjpeg_server
import pytest
from rich.console import Console

from edgezoo.bundle import Bundle
from edgezoo.cli import main, show
from edgezoo.engine import Engine
from edgezoo.errors import RequestError, SourceError
from edgezoo.frame import Event, Frame
from edgezoo.latency import STAGES
from edgezoo.measure.stages import profile_stages
from edgezoo.preprocess import Preprocess
from edgezoo.results import Result

RECIPE = Preprocess(size_wh=(64, 48), fit="stretch")
CLIP = "synthetic:#size=96x64&live=0&frames=40"
CAMERA = "synthetic:#size=96x64&fps=50"


@pytest.fixture(scope="module")
def bundle(bundle_of: Callable[..., Bundle]) -> Bundle:
    return bundle_of("squares", RECIPE)


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Iterator[Engine]:
    with Engine(bundle, threads=1) as engine:
        yield engine


class Kept:
    """A sink that keeps everything, and has had enough after so many."""

    def __init__(self, enough: int = 10**9) -> None:
        self.frames: list[Frame] = []
        self.events: list[Event] = []
        self._enough = enough

    @property
    def done(self) -> bool:
        return len(self.frames) >= self._enough

    def write(self, frame: Frame, result: Result) -> None:
        self.frames.append(frame)

    def event(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


def test_a_clip_is_played_to_its_end(engine: Engine) -> None:
    sink, told = Kept(), []
    found = profile_stages(engine, [CLIP], sinks=[sink], progress=lambda done, total: told.append((done, total)))
    profile = found.profile
    assert profile.grabbed == profile.delivered == len(sink.frames) == len(told) == 40
    assert not found.live
    assert sink.events == [event for _, event in found.recording.events]
    assert {event.kind for event in sink.events} == {"connecting", "live", "ended"}
    assert all(total == 10.0 for _, total in told)
    shown = json.loads(json.dumps(found.to_dict()))
    assert set(shown["busy"]) == set(shown["stages"]) == set(STAGES)
    assert shown["addresses"] == [CLIP]
    assert {"cpu", "cores"} <= set(shown["machine"])
    assert {"edgezoo", "numpy", "python"} <= set(shown["versions"])
    assert sum(shown["way_ms"].values()) == pytest.approx(shown["age"]["mean_ms"], rel=0.01) or (
        shown["way_ms"]["between"] == 0
    )


def test_it_ends_after_its_seconds_or_frames_or_when_a_sink_has_enough(engine: Engine) -> None:
    found = profile_stages(engine, [CAMERA], seconds=0.4)
    assert 0.4 <= found.seconds < 3
    assert found.live
    assert profile_stages(engine, [CAMERA], frames=5).profile.delivered == 5
    assert profile_stages(engine, [CAMERA], sinks=[Kept(enough=7)]).profile.delivered == 7
    profile = found.profile
    assert profile.grabbed == profile.delivered + profile.dropped_in_all + profile.failed


def test_it_ends_though_a_camera_sends_nothing_any_more(engine: Engine) -> None:
    with mjpeg_server.Server(fps=50, size="320x160") as server:

        class Stall(Kept):
            def write(self, frame: Frame, result: Result) -> None:
                server.stall()

        found = profile_stages(engine, [f"{server.url}#timeout=0.6"], seconds=1.0, sinks=[Stall()])
    assert 1.0 <= found.seconds < 8
    assert found.profile.delivered > 0


def test_no_frame_at_all_is_an_error_that_says_why(engine: Engine) -> None:
    with mjpeg_server.Server(login="me:verysecret") as server:
        server.stall()
        dead = server.url_with_login.replace("/video", "/nothing")
        with pytest.raises(SourceError, match="404") as raised:
            profile_stages(engine, [dead, server.url_with_login.replace("/video", "/no")], seconds=5, retries=0)
    assert "verysecret" not in str(raised.value)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"seconds": 0.0}, "seconds above 0"),
        ({"seconds": 1e9}, "up to 86400"),
        ({"frames": 0}, "frames of 1 or more"),
        ({"batch": 0}, "batch of 1"),
    ],
)
def test_what_cannot_be_asked(engine: Engine, wanted: dict, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        profile_stages(engine, [CLIP], **wanted)


# The verb.


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "out", Console(width=160, highlight=False, emoji=False))


def test_the_verb_prints_and_writes(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], wide: None
) -> None:
    trace, report, lines = (tmp_path / name for name in ("trace.json", "report.html", "out.jsonl"))
    told = ["--trace", str(trace), "--report", str(report), "--sink", str(lines), "--threads", "1"]
    assert main(["profile", str(bundle.folder), "--source", CLIP, *told]) == 0
    shown = capsys.readouterr().out
    for word in (*STAGES, "frame age", "a frame's way", "40 frames delivered of 40", "squares fp32, onnxruntime", "✓"):
        assert word in shown
    assert {event["ph"] for event in json.loads(trace.read_text())["traceEvents"]} >= {"X", "M", "s", "f"}
    assert report.read_text().startswith("<!doctype html>")
    assert sum('"type"' not in line or '"result"' in line for line in lines.read_text().splitlines()) >= 40


def test_the_verb_as_json(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["--source", CLIP, "--source", CLIP + "&seed=1", "--frames", "30", "--json", "--threads", "1"]
    assert main(["profile", str(bundle.folder), *told]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["delivered"] == 30
    assert len(shown["addresses"]) == 2


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (["--trace", "t.json"], "--trace is for a pipeline: expected --source"),
        (["--seconds", "3"], "--seconds is for a pipeline"),
        (["--sink", "null"], "--sink is for a pipeline"),
        (["--retries", "0"], "--retries is for a pipeline"),
        (["--source", CLIP, "--layers"], "--layers is for layers, --source for a pipeline"),
        (["--source", CLIP, "--no-compare"], "--no-compare is for layers"),
        (["--source", CLIP, "--report", "/nowhere/at/all.html"], "expected a folder"),
        (["--source", "nothing.mp4"], "found none at nothing.mp4"),
        (["--source", CLIP, "--frames", "0"], "frames of 1 or more"),
    ],
)
def test_what_the_verb_refuses(
    bundle: Bundle, told: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["profile", str(bundle.folder), *told]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert [*tmp_path.iterdir()] == []
