"""`edgezoo demo`: something to see on any machine, and one line that says what and why."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import graphs
import numpy as np
import onnx
import pytest

import edgezoo
from edgezoo import cards, weights
from edgezoo.address import Address
from edgezoo.bundle import Bundle
from edgezoo.cli import demo_, main, play
from edgezoo.errors import BundleError, ConvertError, RequestError, SinkError, SourceError
from edgezoo.frame import Frame, Image
from edgezoo.loading import find_bundle
from edgezoo.measure import devices
from edgezoo.preprocess import Preprocess
from edgezoo.results import Labels, Result
from edgezoo.sinks import open_sink
from edgezoo.sources import camera, open_source, paced
from edgezoo.sources.paced import Paced

cv2 = pytest.importorskip("cv2", reason="clips are made with OpenCV")
pytest.importorskip("onnxruntime", reason="bundles are run")

RECIPE = Preprocess(size_wh=(96, 64), fit="letterbox")
FRAMES = 12
PATIENCE_S = 0.6
ON_CLIP = "no camera: the built-in clip, and digits, the model for what is on it"


class Said(NamedTuple):
    code: int
    out: str
    err: str
    seconds: float

    @property
    def choice(self) -> str:
        """The line that says what runs and why."""
        return self.err.splitlines()[0]


Demo = Callable[..., Said]


# A zoo of two models that cost nothing, and a server that has one of them.


class Server(ThreadingHTTPServer):
    """Serves the detector for cameras in the way that a test asks for, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server_address[1]}"
        self.data = data
        self.how = "well"
        self.asked: list[str] = []
        self.over = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        how, data = self.server.how, self.server.data
        self.server.asked.append(self.path)
        if how == "silent":
            self.server.over.wait(20)
            return
        if not self.path.endswith("everyday.onnx") or how.isdecimal():
            self.send_error(int(how) if how.isdecimal() else 404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        step, pause_s = {"slow": (weights.CHUNK, PATIENCE_S / 4), "trickles": (100, 0.05)}.get(how, (len(data), 0.0))
        for start in range(0, len(data), step):
            if self.server.over.wait(pause_s) or (how == "stalls" and start):
                return
            part = data[start : start + step]
            self.wfile.write(part if how != "stalls" else part[: 2 * weights.CHUNK])
        if how == "stalls":
            self.server.over.wait(20)

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # nobody listens any more
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    model = graphs.square_finder(RECIPE)
    model.doc_string = "x" * (6 * weights.CHUNK)  # so that it takes a while
    with Server(model.SerializeToString()) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.over.set()
        made.shutdown()
        thread.join()


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle_of: Callable[..., Bundle], server: Server) -> Path:
    """A zoo with `digits` built in and `yolox_nano` on the server, an empty cache, and a folder to be in."""
    folder = tmp_path / "zoo"
    (folder / "digits").mkdir(parents=True)
    shutil.copytree(bundle_of("squares", RECIPE).folder, folder / "digits" / "bundle")
    (folder / "digits" / "digits.pth").write_bytes(b"a checkpoint")
    write_clip(folder / "digits" / "clip.mp4")
    (folder / "labels.txt").write_text("\n".join(graphs.COLORS))
    keys = 'file = "digits/digits.pth"\nbundle = "digits/bundle"'
    network = '[network]\nfamily = "yolox"\n\n[decoder]'
    text = graphs.card_text("digits", RECIPE).replace('file = "digits.onnx"', keys).replace("[decoder]", network)
    (folder / "digits.toml").write_text(text)
    digest = hashlib.sha256(server.data).hexdigest()
    remote = f'[onnx]\nurl = "{server.base}/official/everyday.onnx"\nsha256 = "{digest}"\n\n[decoder]'
    text = graphs.card_text("yolox_nano", RECIPE).replace('file = "yolox_nano.onnx"\n', "")
    (folder / "yolox_nano.toml").write_text(text.replace("[decoder]", remote))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(cards, "zoo_folder", lambda: folder)
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGEZOO_MIRROR", raising=False)
    monkeypatch.setattr(demo_, "PATIENCE_S", PATIENCE_S)
    return folder


def write_clip(path: Path, *, fps: int = 25) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (192, 128))
    for k in range(FRAMES):
        writer.write(graphs.scene((192, 128), (20 + 4 * k, 30, 80 + 4 * k, 90)))
    writer.release()


def pictures(path: Path) -> list[Image]:
    return [frame.image for frame in open_source(str(path))]


@pytest.fixture
def demo(
    zoo: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, _signals_as_they_were: None
) -> Demo:
    """Runs the verb on a machine without a camera and without a display."""
    monkeypatch.setattr(demo_, "_cameras", list)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(play, "open_sink", without_display)

    def run(*arguments: object) -> Said:
        capfd.readouterr()
        began = time.monotonic()
        code = main(["demo", *map(str, arguments)])
        return Said(code, *capfd.readouterr(), time.monotonic() - began)

    return run


@pytest.fixture
def _signals_as_they_were() -> Iterator[None]:
    import signal

    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def without_display(text: str, **options: Any) -> Any:
    if text.startswith("window"):
        raise SinkError("expected a screen for a window, there is none")
    return open_sink(text, **options)


class Driver:
    """A `cv2.VideoCapture` of a camera that sees a red square, or that is held by its driver."""

    def __init__(self, gives: str = "frames") -> None:
        self.gives = gives
        self.let_go = threading.Event()
        self.grabs, self.released = 0, 0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, prop: int, value: float) -> bool:
        return True

    def get(self, prop: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 192.0, cv2.CAP_PROP_FRAME_HEIGHT: 128.0}.get(prop, 0.0)

    def grab(self) -> bool:
        if self.gives == "nothing, for long":
            self.let_go.wait(20)
        self.grabs += 1
        time.sleep(0.01)
        return self.gives != "nothing"

    def retrieve(self) -> tuple[bool, Image]:
        return True, graphs.scene((192, 128), (40, 30, 100, 90))

    def release(self) -> None:
        self.released += 1


Cameras = dict[int, Driver]


@pytest.fixture
def a_camera(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> Cameras:
    """Plugs it in, as number 0; others may be put beside it."""
    drivers = {0: Driver()}

    class FakeCv2:
        def VideoCapture(self, target: Any, *more: Any) -> Any:  # noqa: N802
            return drivers[target] if target in drivers else cv2.VideoCapture(target, *more)

        def __getattr__(self, name: str) -> Any:
            return getattr(cv2, name)

    fake = FakeCv2()
    monkeypatch.setattr(camera, "require", lambda _: fake)
    monkeypatch.setattr("edgezoo.sources._capture.require", lambda _: fake)
    monkeypatch.setattr(demo_, "_cameras", lambda: [f"camera:{number}" for number in sorted(drivers)])
    monkeypatch.setattr(demo_, "LIVE_S", 0.4)
    monkeypatch.setattr(demo_, "CAMERA_S", 0.3)
    return drivers


# What runs, and why.


def test_a_machine_with_nothing_at_all(demo: Demo, zoo: Path, server: Server) -> None:
    said = demo()
    assert said.code == 0
    assert said.choice == ON_CLIP
    assert "no display here: recording edgezoo-demo.mp4" in said.err
    assert f"{FRAMES} frames delivered of {FRAMES}" in said.err
    assert said.out == "✓ edgezoo-demo.mp4  look at it with any player\n"
    assert server.asked == []
    assert os.listdir() == ["edgezoo-demo.mp4"]
    shown, before = pictures(Path("edgezoo-demo.mp4")), pictures(zoo / "digits" / "clip.mp4")
    assert len(shown) == len(before) == FRAMES
    for k, (one, other) in enumerate(zip(shown, before)):
        square = np.s_[34:94, 17 + 4 * k : 84 + 4 * k]  # below the words in the corner
        assert not np.allclose(one[square], other[square], atol=60), "its box is drawn"


def test_a_camera_and_a_network(demo: Demo, a_camera: Cameras, server: Server) -> None:
    said = demo("--frames", 3)
    assert (said.code, said.choice) == (0, "camera:0, and yolox_nano, fetched just now")
    assert pictures(Path("edgezoo-demo.mp4"))
    asked = [*server.asked]
    assert demo("--frames", 3).choice == "camera:0, and yolox_nano, which is here already"
    assert server.asked == asked


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("there", ["bundle", "weights"])
def test_what_is_cached_needs_no_network(
    demo: Demo, a_camera: Cameras, server: Server, monkeypatch: pytest.MonkeyPatch, there: str, mirror: bool
) -> None:
    onnx_file = cards.read_card("yolox_nano").onnx
    assert onnx_file is not None
    find_bundle("yolox_nano") if there == "bundle" else weights.fetch(onnx_file)
    if there == "bundle":
        shutil.rmtree(weights.cache_folder() / "weights")
    asked = [*server.asked]
    if mirror:
        monkeypatch.setenv("EDGEZOO_MIRROR", f"{server.base}/mirror")
    server.how = "silent"
    said = demo("--frames", 3)
    assert (said.code, said.choice) == (0, "camera:0, and yolox_nano, which is here already")
    assert server.asked == asked


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("404", "is not there any more)"),
        ("403", "answered 403 Forbidden)"),
        ("500", "(it answered 500 Internal Server Error)"),
        ("silent", "(nothing came for 0.6 s)"),
        ("stalls", "(nothing came for 0.6 s)"),
        ("trickles", "(nothing came for 0.6 s)"),
    ],
)
@pytest.mark.parametrize("mirror", [False, True])
def test_a_network_that_is_none(
    demo: Demo, a_camera: Cameras, server: Server, monkeypatch: pytest.MonkeyPatch, how: str, reason: str, mirror: bool
) -> None:
    if mirror:
        monkeypatch.setenv("EDGEZOO_MIRROR", f"{server.base}/mirror")
    server.how = how
    said = demo("--frames", 3)
    assert said.code == 0
    assert said.choice.startswith("camera:0, and digits, built in: yolox_nano cannot be fetched (")
    assert reason in said.choice
    assert said.seconds < PATIENCE_S + 2
    server.over.set()
    assert no_more("edgezoo fetch")
    assert not [path for path in weights.cache_folder().rglob("*") if path.is_file()]


def no_more(named: str) -> bool:
    """Whether the threads that were left behind end."""
    for thread in threading.enumerate():
        if thread.name.startswith(named):
            thread.join(5)
    return not any(thread.name.startswith(named) for thread in threading.enumerate())


def test_a_name_server_that_never_answers(demo: Demo, a_camera: Cameras, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        over.wait(20)
        raise socket.gaierror("late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    said = demo("--frames", 3)
    reason = "yolox_nano cannot be fetched (nothing came for 0.6 s)"
    assert said.choice == f"camera:0, and digits, built in: {reason}; show it a digit"
    assert said.seconds < PATIENCE_S + 2
    assert not [path for path in weights.cache_folder().rglob("*") if path.is_file()]  # though it still hangs
    over.set()
    assert no_more("edgezoo fetch")


def test_nobody_there(demo: Demo, a_camera: Cameras, server: Server) -> None:
    server.shutdown()
    server.server_close()
    assert "digits, built in: yolox_nano cannot be fetched ([Errno" in demo("--frames", 3).choice


def test_a_slow_download_goes_on(demo: Demo, a_camera: Cameras, server: Server) -> None:
    server.how = "slow"
    said = demo("--frames", 3)
    assert said.choice == "camera:0, and yolox_nano, fetched just now"
    assert said.seconds > 1.5 * PATIENCE_S


def test_the_wrong_bytes(demo: Demo, a_camera: Cameras, server: Server) -> None:
    server.data = server.data[:-1] + b"?"
    said = demo("--frames", 3)
    assert "and digits, built in: yolox_nano cannot be fetched (everyday.onnx from " in said.choice
    assert "expected SHA-256" in said.choice


@pytest.mark.parametrize("trouble", ["no place", "damaged"])
def test_a_bundle_that_cannot_be_made(demo: Demo, a_camera: Cameras, trouble: str) -> None:
    if trouble == "no place":
        weights.cache_folder().mkdir()
        (weights.cache_folder() / "bundles").write_text("no folder")
    else:
        folder = find_bundle("yolox_nano").folder
        (folder / "NOTICE").write_text("changed")
        (folder / "mine.txt").write_text("so it is not replaced")
    said = demo("--frames", 3)
    assert said.code == 0
    assert said.choice.startswith("camera:0, and digits, built in: yolox_nano cannot be made ready (")
    assert said.choice.endswith("); show it a digit")


@pytest.mark.parametrize("wanted", ["--classes red", "--size 96x64"])
@pytest.mark.parametrize("plugged_in", [False, True])
def test_what_is_asked_of_the_everyday_model(
    demo: Demo, a_camera: Cameras, server: Server, wanted: str, plugged_in: bool
) -> None:
    if not plugged_in:
        a_camera.clear()
    said = demo(*wanted.split(), "--frames", 3)
    where = "camera:0" if plugged_in else "no camera: the built-in clip"
    assert (said.code, said.choice) == (0, f"{where}, and yolox_nano, fetched just now")
    shutil.rmtree(weights.cache_folder())
    server.how = "404"
    said = demo(*wanted.split())
    assert (said.code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("edgezoo: --classes and --size are for yolox_nano, which cannot be had: everyday.onnx: ")
    assert "EDGEZOO_MIRROR" in said.err
    assert demo(*wanted.split(), "--model", "digits", "--frames", 3).choice.endswith("and digits, as asked")


def test_patience_is_five_seconds() -> None:
    assert demo_.PATIENCE_S == 5


def test_a_source_is_obeyed(demo: Demo, a_camera: Cameras, zoo: Path, server: Server) -> None:
    shutil.copy(zoo / "digits" / "clip.mp4", "mine.mp4")
    assert demo("mine.mp4").choice == "mine.mp4, and yolox_nano, fetched just now"
    shutil.rmtree(weights.cache_folder())
    server.how = "404"
    said = demo("mine.mp4")
    assert said.choice.startswith("mine.mp4, and digits, built in: yolox_nano cannot be fetched (")
    assert f"{FRAMES} frames delivered of {FRAMES}" in said.err
    shutil.copy("mine.mp4", "yours.mp4")
    said = demo("mine.mp4", "yours.mp4")
    assert said.choice.startswith("2 sources, and digits")
    assert [line.split()[1] for line in said.out.splitlines()] == ["edgezoo-demo-3.mp4", "edgezoo-demo-3-2.mp4"]


def test_a_model_is_obeyed(demo: Demo, a_camera: Cameras, zoo: Path, server: Server) -> None:
    said = demo("--model", "digits", "--frames", 3)
    assert (said.code, said.choice) == (0, "camera:0, and digits, as asked")
    said = demo("--model", zoo / "digits" / "bundle", zoo / "digits" / "clip.mp4")
    assert said.code == 0
    assert said.choice.startswith("squares fp32")  # all was asked for: there is nothing to explain
    assert server.asked == []


def test_a_model_without_a_camera(demo: Demo) -> None:
    said = demo("--model", "yolox_nano")
    assert (said.code, said.choice) == (0, "no camera: the built-in clip, and yolox_nano, as asked")


@pytest.mark.parametrize("wrong", ["gone.mp4", "synthetic: --sink out.mp5", "synthetic: --sink no/out.mp4"])
def test_what_is_wrong_is_said_before_anything_is_fetched(demo: Demo, server: Server, wrong: str) -> None:
    said = demo(*wrong.split())
    assert (said.code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    assert server.asked == []


# Cameras.


@pytest.mark.skipif(sys.platform != "linux", reason="cameras are listed on Linux only")
def test_the_first_camera_that_opens(demo: Demo, a_camera: Cameras, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    there = [devices.Device(path="/dev/video7", trouble="busy"), devices.Device(path="/dev/video0", name="a camera")]
    monkeypatch.setattr(devices, "cameras", lambda: iter(there))
    assert demo_._cameras() == ["camera:7", "camera:0"]


def test_a_camera_that_does_not_open(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_, "_cameras", lambda: ["camera:97", "camera:98"])
    monkeypatch.setattr(camera, "_why_not", lambda target: f"may not open /dev/video{target}; try: sudo")
    said = demo()
    assert said.code == 0
    assert said.choice == f"no camera (may not open /dev/video97){ON_CLIP.removeprefix('no camera')}"
    assert said.seconds < 3
    assert "VIDEOIO" not in said.err


def test_a_second_camera_takes_the_place_of_one_that_does_not_open(
    demo: Demo, a_camera: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_, "_cameras", lambda: ["camera:/dev/nothing", "camera:0"])
    monkeypatch.setattr(camera, "Capture", lambda name, target, *_, **__: opened(name, target))
    assert demo("--model", "digits", "--frames", 2).choice == "camera:0, and digits, as asked"


def opened(name: str, target: int | str) -> Any:
    from edgezoo.sources._capture import Capture

    return Capture(name, target, "ANY") if target == 0 else SimpleNamespace(is_open=False)


@pytest.mark.parametrize("gives", ["nothing", "nothing, for long"])
def test_a_camera_without_frames_is_passed_over(demo: Demo, a_camera: Cameras, gives: str) -> None:
    a_camera[0].gives = gives
    a_camera[1] = Driver()
    said = demo("--model", "digits", "--frames", 2)
    assert (said.code, said.choice) == (0, "camera:1, and digits, as asked")
    del a_camera[1]
    said = demo("--model", "digits")
    reason = "no camera (camera:0 gives no frames): the built-in clip"
    assert (said.code, said.choice) == (0, f"{reason}, and digits, as asked")
    assert said.seconds < 8
    if gives == "nothing, for long":
        assert a_camera[0].released == 0, "its driver is in it"
    a_camera[0].let_go.set()
    assert no_more("edgezoo first")
    assert a_camera[0].released == 2


def test_many_cameras_without_frames(demo: Demo, a_camera: Cameras, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_, "CAMERAS_S", 0.5)
    a_camera |= {number: Driver("nothing, for long") for number in range(20)}
    said = demo()
    assert said.code == 0
    assert said.choice.startswith("no camera (camera:0 gives no frames): the built-in clip, and digits")
    assert said.seconds < 4
    for driver in a_camera.values():
        driver.let_go.set()
    assert no_more("edgezoo first")


def test_a_camera_that_was_tried_shows_what_is_new(a_camera: Cameras) -> None:
    tried = camera.Camera(Address.parse("camera:0"))
    tried.begin(patience_s=5)
    assert a_camera[0].grabs == 1
    began_ns = time.monotonic_ns()
    first = next(iter(tried))
    assert a_camera[0].grabs == 4, "two may have waited in buffers"
    assert first.grabbed_ns > began_ns
    tried.close()
    tried.close()
    assert a_camera[0].released == 1
    untouched = camera.Camera(Address.parse("camera:0"))
    untouched.begin(patience_s=5)
    untouched.close()
    assert a_camera[0].released == 2
    assert list(untouched) == []


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_the_reason_for_no_camera_is_short(demo: Demo, monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(demo_, "_cameras", lambda: ["camera:0"])
    monkeypatch.setattr(camera, "Capture", lambda *_: SimpleNamespace(is_open=False))
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(SourceError, match=r"hold it\?"):
        camera.Camera(Address.parse("camera:0"))
    assert demo_._camera() == (None, "no camera (could not open one): the built-in clip")


def test_a_camera_without_a_display_ends_by_itself(demo: Demo, a_camera: Cameras) -> None:
    said = demo("--model", "digits")
    assert said.code == 0
    assert "no display here: recording 0.4 s as edgezoo-demo.mp4" in said.err
    assert said.seconds < 5
    assert len(pictures(Path("edgezoo-demo.mp4"))) > 5


# Where it is seen.


class Window:
    """A window that nobody closes."""

    def __init__(self, until: int | None = None) -> None:
        self.done = False
        self.seen: list[tuple[int, float, float]] = []
        self._until = until

    def write(self, frame: Frame, result: Result) -> None:
        self.seen.append((frame.index, time.monotonic(), frame.age_ms))
        self.done = len(self.seen) == self._until

    def event(self, event: object) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("asked", ["", "--sink window", "mine.mp4 --sink window", "mine.mp4 yours.mp4"])
def test_a_clip_is_shown_in_a_window_by_its_own_clock(
    demo: Demo, zoo: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    for clip in (zoo / "digits" / "clip.mp4", Path("mine.mp4"), Path("yours.mp4")):
        write_clip(clip, fps=8)
    window = Window()
    monkeypatch.setattr(play, "open_sink", lambda text, **_: window)
    said = demo(*asked.split(), *(["--model", "digits"] if "mp4" in asked else []))
    assert (said.code, said.out) == (0, "")
    assert sorted(os.listdir()) == ["mine.mp4", "yours.mp4"]
    assert window.seen[-1][0] == FRAMES - 1
    assert said.seconds > (FRAMES - 1) / 8


def test_a_recording_is_as_fast_as_it_can_be(demo: Demo, zoo: Path) -> None:
    write_clip(zoo / "digits" / "clip.mp4", fps=1)
    assert demo("--sink", "null").seconds < FRAMES - 1


def test_closing_the_window_ends_it(demo: Demo, a_camera: Cameras, monkeypatch: pytest.MonkeyPatch) -> None:
    window = Window(until=4)
    monkeypatch.setattr(play, "open_sink", lambda text, **_: window)
    assert demo("--model", "digits").code == 0
    assert len(window.seen) == 4


def test_a_paced_clip_ends_when_it_is_closed(zoo: Path) -> None:
    clip = Paced(open_source(str(zoo / "digits" / "clip.mp4")))
    assert (clip.live, clip.fps, clip.frames, clip.size_wh) == (True, 25, FRAMES, (192, 128))
    frames = iter(clip)
    next(frames)
    threading.Timer(0.1, clip.close).start()
    assert len(list(frames)) < FRAMES - 1


def test_a_paced_clip_takes_its_time(zoo: Path) -> None:
    began = time.monotonic()
    frames = list(Paced(open_source(str(zoo / "digits" / "clip.mp4"))))
    assert [frame.index for frame in frames] == [*range(FRAMES)]
    assert time.monotonic() - began > (FRAMES - 1) / 25 - 0.01


@pytest.mark.parametrize("gap_s", [40.0, -40.0])
def test_a_gap_in_a_clip_is_no_pause(monkeypatch: pytest.MonkeyPatch, gap_s: float) -> None:
    monkeypatch.setattr(paced, "LONGEST_S", 0.4)
    image = graphs.scene((32, 32), (2, 2, 9, 9))
    pts_s = [0.0, 0.1, 0.1 + gap_s, 0.4 + gap_s]

    class Clip:
        address, live, fps, size_wh, frames = "a clip", False, 10.0, (32, 32), 4

        def __iter__(self) -> Iterator[Frame]:
            return iter([Frame(image, k, at_s, 0, self.address) for k, at_s in enumerate(pts_s)])

        def close(self) -> None: ...

    began = time.monotonic()
    taken_s = [frame.grabbed_ns / 1e9 - began for frame in Paced(Clip())]
    assert taken_s[-1] < 30
    assert taken_s[3] - taken_s[0] > 0.1 + 0.3 - 0.01 + (0.4 if gap_s > 0 else 0), "it goes on by its clock"


@pytest.mark.parametrize("photos", [["bus.jpg"], ["bus.jpg", "car.jpg"]])
def test_photos_without_a_display(demo: Demo, photos: list[str]) -> None:
    before = graphs.scene((192, 128), (40, 30, 100, 90))
    for name in photos:
        cv2.imwrite(name, before)
    for taken in ("", "-2"):
        said = demo("--model", "digits", *photos)
        assert said.code == 0
        name = f"edgezoo-demo{taken}.jpg" if len(photos) == 1 else f"edgezoo-demo{taken}"
        assert f"no display here: recording {name}\n" in said.err
        assert [line.partition("  ")[0] for line in said.out.splitlines()] == [*photos, f"✓ {name}"]
        assert said.out.endswith("look at it with any viewer\n")
        shown = pictures(Path(name))
        assert len(shown) == len(photos)
        assert not any(np.allclose(image[26:94, 36:104], before[26:94, 36:104], atol=60) for image in shown)
        assert all(np.allclose(image[100:, 110:], before[100:, 110:], atol=60) for image in shown)


def test_photos_in_a_window(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    window, opened = Window(), []
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        cv2.imwrite(name, graphs.scene((192, 128), (40, 30, 100, 90)))
    monkeypatch.setattr(play, "open_sink", lambda text, **_: opened.append(text) or window)
    for asked in (["a.jpg"], ["a.jpg", "b.jpg", "c.jpg"], ["."], [".", "--sink", "window"]):
        window.seen.clear()
        assert demo("--model", "digits", *asked).code == 0
        assert len(window.seen) == (1 if asked == ["a.jpg"] else 3), "each of them, however long one stays"
    assert opened == ["window#hold=5"] * 3 + ["window"]
    assert sorted(os.listdir()) == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_photo_stays_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgezoo.sinks import window as module

    waits: list[int] = []
    for name in ("namedWindow", "resizeWindow", "imshow", "setWindowTitle", "destroyWindow"):
        monkeypatch.setattr(cv2, name, lambda *_: None, raising=False)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0, raising=False)
    monkeypatch.setattr(cv2, "waitKey", lambda ms: (waits.append(ms), time.sleep(ms / 1000), -1)[-1], raising=False)
    monkeypatch.setattr(module, "_check_screen", lambda: None)
    sink = open_sink("window#hold=0.3")
    cat = Labels(np.array([0.9], np.float32), np.array([0]), ("cat",))
    image = graphs.scene((32, 32), (2, 2, 9, 9))
    began = time.monotonic()
    sink.write(Frame(image, 0, 0.0, 0, "a.jpg"), cat)
    assert time.monotonic() - began > 0.3
    assert len(waits) > 1
    assert not sink.done, "the next one comes"


@pytest.mark.parametrize(
    ("there", "streams", "name"),
    [
        ([], 1, "edgezoo-demo.mp4"),
        (["edgezoo-demo.mp4"], 1, "edgezoo-demo-2.mp4"),
        (["edgezoo-demo.mp4", "edgezoo-demo-2.mp4", "edgezoo-demo-4.mp4"], 1, "edgezoo-demo-3.mp4"),
        (["edgezoo-demo.part.mp4"], 1, "edgezoo-demo-2.mp4"),  # somebody else is at it
        (["edgezoo-demo-2.mp4"], 2, "edgezoo-demo-3.mp4"),
    ],
)
def test_a_recording_takes_nobody_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: list[str], streams: int, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for taken in there:
        Path(taken).write_text("mine")
    assert demo_._new_name(".mp4", streams=streams) == Path(name)


def test_a_second_demo(demo: Demo) -> None:
    Path("edgezoo-demo.mp4").write_text("mine")
    assert demo().out == "✓ edgezoo-demo-2.mp4  look at it with any player\n"
    assert Path("edgezoo-demo.mp4").read_text() == "mine"


def test_a_folder_that_cannot_be_written_to(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("edgezoo.sinks.tempfile.TemporaryFile", refuse)
    said = demo()
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines() == [
        "edgezoo: no display here, and no place for a recording: expected to write into '.', got: Permission denied; "
        "try another folder"
    ]


def test_sinks_are_obeyed(demo: Demo) -> None:
    said = demo("--sink", "out.jsonl")
    assert (said.code, said.out) == (0, "")
    assert os.listdir() == ["out.jsonl"]


def test_as_json(demo: Demo) -> None:
    said = demo("--json")
    assert json.loads(said.out)["delivered"] == FRAMES
    assert said.err.splitlines()[-1] == "✓ edgezoo-demo.mp4  look at it with any player"


# A bundle that ships beside its card.


def test_a_built_in_bundle_is_opened_where_it_is(zoo: Path) -> None:
    folder = zoo / "digits" / "bundle"
    assert find_bundle("digits").folder == folder
    assert find_bundle("digits", size_wh=(96, 64)).folder == folder
    assert find_bundle(zoo / "digits.toml").folder == folder
    Path("digits").mkdir()  # a folder of that name here is not what was meant
    assert find_bundle("digits").folder == folder
    with edgezoo.load("digits") as engine:
        assert [name for name, _, _ in engine(graphs.scene((192, 128), (40, 30, 100, 90)))] == ["red"]


def test_another_size_of_it_is_made_from_its_checkpoint(zoo: Path) -> None:
    with pytest.raises(RequestError) as caught:
        find_bundle("digits", size_wh=(64, 64))
    assert str(caught.value) == (
        "digits comes as a checkpoint, digits/digits.pth; make its bundle once with `edgezoo convert digits --size "
        '64x64 -o digits` in an environment with "edgezoo[cpu,export]", then give that folder'
    )


def test_another_size_of_it_is_made_from_its_graph(zoo: Path) -> None:
    onnx.save(graphs.color_classifier(RECIPE, free_size=True), zoo / "digits" / "digits.onnx")
    text = (zoo / "digits.toml").read_text().replace("digits.pth", "digits.onnx").replace("detect", "classify")
    (zoo / "digits.toml").write_text(text.replace("boxes-scores", "logits"))
    assert find_bundle("digits").folder == zoo / "digits" / "bundle"
    other = find_bundle("digits", size_wh=(64, 64))
    assert other.manifest.input.size_wh == (64, 64)
    assert other.folder.is_relative_to(weights.cache_folder())


def test_a_built_in_bundle_that_is_damaged_is_not_run(zoo: Path) -> None:
    (zoo / "digits" / "bundle" / "NOTICE").write_text("changed")
    with pytest.raises(BundleError, match="SHA-256"):
        find_bundle("digits")


def test_a_checkpoint_beside_its_card_needs_to_be_converted_once(zoo: Path) -> None:
    card = zoo / "digits.toml"
    card.write_text(card.read_text().replace('bundle = "digits/bundle"\n', ""))
    with pytest.raises(RequestError, match=r"comes as a checkpoint, digits/digits\.pth; make its bundle once"):
        find_bundle("digits")


def test_a_checkpoint_beside_its_card_is_what_convert_takes(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgezoo.convert import convert, raw

    def load(card: cards.Card, path: Path, *, key: str | None) -> Any:
        raise ConvertError(f"took {path.relative_to(zoo)}, {key}")

    monkeypatch.setattr(raw, "load_network", load)
    with pytest.raises(ConvertError, match=r"took digits/digits\.pth, None"):
        convert("digits", "out")


@pytest.mark.usefixtures("_signals_as_they_were")
def test_what_list_info_and_pull_say_of_it(
    zoo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for verb in (["list"], ["info", "digits"], ["pull", "digits"]):
        assert main(verb) == 0
    said = capsys.readouterr().out
    assert " digits*  " in said
    assert "* built in: nothing to fetch" in said
    assert f"built in: {zoo / 'digits' / 'bundle'}" in said
    assert "digits/digits.pth, beside the card" in said
    assert "✓ digits  nothing to fetch: it is built in" in said
    assert main(["list", "--json"]) == main(["pull", "digits", "--json"]) == 0
    listed, pulled = capsys.readouterr().out.replace("}\n{", "}\n\0{").split("\0")
    assert {model["name"]: model["built_in"] for model in json.loads(listed)["models"]} == {
        "digits": True,
        "yolox_nano": False,
    }
    assert json.loads(pulled) == {"files": []}


# The zoo's own.


@pytest.mark.skipif(not (cards.zoo_folder() / "digits" / "bundle").is_dir(), reason="the zoo has no digits yet")
def test_the_demo_of_a_fresh_machine(tmp_path: Path) -> None:
    """In a process of its own: nothing cached, no mirror, no camera, no network, no display."""
    code = "import socket\nfrom edgezoo.cli import demo_, main\n"
    code += "def refuse(*a, **k): raise AssertionError('asked the network')\n"
    code += "socket.getaddrinfo = socket.socket.connect = refuse\ndemo_._cameras = list\nraise SystemExit(main())"
    lacking = ("DISPLAY", "WAYLAND_DISPLAY", "EDGEZOO_MIRROR")
    environment = {name: value for name, value in os.environ.items() if name not in lacking}
    environment["EDGEZOO_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(
        [sys.executable, "-c", code, "demo"],
        capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(ON_CLIP + "\n")
    assert done.stdout == "✓ edgezoo-demo.mp4  look at it with any player\n"
    assert [path.name for path in tmp_path.iterdir()] == ["edgezoo-demo.mp4"]
    before, shown = pictures(cards.zoo_folder() / "digits" / "clip.mp4"), pictures(tmp_path / "edgezoo-demo.mp4")
    assert len(shown) == len(before) > 0
    with edgezoo.load("digits") as engine:
        found = [engine(image) for image in before]
    assert sum(len(result) > 0 for result in found) > 0.8 * len(found)
    assert len({name for result in found for name, _, _ in result}) >= 5
    middle = len(before) // 2
    changed = np.abs(shown[middle].astype(int) - before[middle].astype(int)).max(axis=2) > 60
    for _, _, (x1, y1, x2, y2) in found[middle]:
        assert changed[int(y1) - 2 : int(y2) + 3, int(x1) - 2 : int(x2) + 3].any()
