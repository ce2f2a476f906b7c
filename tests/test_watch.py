"""`edgezoo run` on streams that come and go: what a person is told, what is written down, and when it ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mjpeg_server
import pytest

from edgezoo.bundle import Bundle
from edgezoo.cli import main, play
from edgezoo.preprocess import Preprocess
from edgezoo.sources.chaos import forget

pytest.importorskip("cv2")
pytest.importorskip("onnxruntime", reason="bundles are run")

DIES = "chaos:synthetic:#size=64x48&fps=40&shapes=1&seed=4&die=0.1&die_s=0.2"


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


Run = Callable[..., Said]


@pytest.fixture
def run(
    bundle_of: Callable[..., Bundle],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Run]:
    """`edgezoo run` of the square finder, in a folder of its own."""
    import signal

    model = str(bundle_of("squares", Preprocess(size_wh=(96, 64), fit="letterbox")).folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments: object) -> Said:
        capfd.readouterr()
        code = main(["run", model, *map(str, arguments)])
        return Said(code, *capfd.readouterr())

    yield call
    signal.signal(signal.SIGTERM, before)


def test_a_camera_that_dies_and_comes_back_is_told_and_written_down(run: Run) -> None:
    forget(DIES)  # whoever opened it before left it where its clock is now, and that may be unplugged
    said = run(DIES, "--sink", "out.jsonl", "--frames", 15)
    assert said.code == 0
    lost = [line for line in said.lines if line.endswith("lost, and opened again when it is there")]
    back = [line for line in said.lines if "back after" in line]
    assert lost
    assert len(lost) - len(back) in (0, 1)
    assert lost[0].startswith("chaos:synthetic:: the camera was unplugged, at frame ")
    records = [json.loads(line) for line in Path("out.jsonl").read_text("utf-8").splitlines()]
    kinds = [record["event"] for record in records if record["type"] == "event"]
    assert kinds[:3] == ["connecting", "live", "lost"]
    assert kinds.count("live") >= 2
    assert sum(record["type"] == "result" for record in records) == 15


def test_without_retries_the_loss_is_the_end(run: Run) -> None:
    said = run(DIES.replace("seed=4", "seed=5"), "--sink", "null", "--retries", 0)
    assert said.code == 2
    assert said.lines[-1].startswith("edgezoo: chaos:synthetic:: the camera was unplugged")


@pytest.mark.parametrize(
    "sources", [["camera:997"], ["camera:997", "camera:998"], ["camera:997", "rtsp://127.0.0.1:9/x"]]
)
def test_where_nothing_can_be_opened_at_the_start_it_ends_at_once(sources: list[str], run: Run) -> None:
    said = run(*sources, "--sink", "null")
    assert said.code == 2
    assert [line for line in said.lines if line.startswith("edgezoo:")] == [said.lines[-1]]
    assert any(said.lines[-1].startswith(f"edgezoo: {source}") for source in sources)


@pytest.mark.parametrize("count", [1, 2])
def test_cameras_that_are_not_there_yet_are_waited_for_where_one_says_so(count: int, run: Run) -> None:
    servers = [mjpeg_server.Server(fps=30) for _ in range(count)]
    urls = [server.url for server in servers]
    for server in servers:
        server.kill()
    later = threading.Timer(0.7, servers[0].start)
    later.start()
    try:
        said = run(*urls, "--sink", "null", "--frames", 3, "--retries", "forever")
    finally:
        later.join()
        for server in servers:
            server.kill()
    assert said.code == 0, said.err
    assert any(line.endswith("lost, and opened again when it is there") for line in said.lines)


def test_cameras_that_never_come_are_given_up_after_so_many_tries(run: Run) -> None:
    said = run("camera:997", "--sink", "null", "--retries", 2)
    assert said.code == 2
    assert said.lines[-1].startswith("edgezoo: camera:997: expected a camera")
    assert "expected a whole number or forever, got 'often'" in run("camera:997", "--retries", "often").err


def test_one_wrong_source_beside_a_good_one_is_told_and_waited_for(run: Run) -> None:
    said = run("camera:997", "synthetic:#fps=40&size=64x48&shapes=1", "--sink", "null", "--frames", 5)
    assert said.code == 0
    assert any(line.startswith("camera:997: expected a camera") for line in said.lines)


def test_options_of_every_source(run: Run) -> None:
    said = run("synthetic:#live=0&frames=20&size=64x48&shapes=1&roi=0,0,0.5,1", "--sink", "null", "--json")
    assert json.loads(said.out)["delivered"] == 20
    assert json.loads(said.out)["sources"]["synthetic:"]["grabbed"] == 20
    assert run("synthetic:#roi=5", "--sink", "null").lines[-1].startswith("edgezoo: synthetic:: expected roi=X,Y,")
    assert run("synthetic:#live=0&roi=900,0,5,5", "--sink", "null").code == 2


def test_tracks_and_counts(run: Run) -> None:
    source = "synthetic:#live=0&frames=20&size=192x128&shapes=1"
    said = run(source, "--sink", "out.jsonl", "--line", "0.5,0,0.5,1,middle", "--json")
    assert said.code == 0
    assert set(json.loads(said.out)["counts"]["synthetic:"]) == {"middle"}
    assert "middle" in run(source, "--sink", "null", "--line", "0.5,0,0.5,1,middle").err
    assert run(source, "--sink", "null", "--line", "1,2").code == 2


def test_several_sources_have_a_table_of_their_own(run: Run) -> None:
    said = run("synthetic:#live=0&frames=3", "synthetic:#live=0&frames=4&seed=1", "--sink", "null")
    rows = [line.split() for line in said.lines]
    assert ["synthetic:", "3", "3", "0"] in [row[:4] for row in rows]
    assert ["synthetic:", "(2)", "4", "4", "0"] in [row[:5] for row in rows]


def test_a_window_is_looked_after_while_no_frame_comes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Window:
        done = False
        idled = 0

        def write(self, *_: Any) -> None:
            pass

        def event(self, event: Any) -> None:
            pass

        def idle(self) -> None:
            self.idled += 1
            self.done = self.idled == 3  # `q`, though the picture stands still

        def close(self) -> None:
            pass

    shown = Window()
    monkeypatch.setattr(play, "WindowSink", Window)
    monkeypatch.setattr(play, "open_sink", lambda *_, **__: shown)
    said = run("chaos:synthetic:#size=64x48&fps=40&shapes=1&seed=6&die=0.05&die_s=60", "--sink", "null")
    assert said.code == 0
    assert shown.idled == 3
