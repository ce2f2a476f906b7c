"""Sinks: the shelf's contract, what each one leaves behind, and how each one fails."""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgezoo import sinks
from edgezoo.address import Address
from edgezoo.errors import RequestError, SinkError, UnknownName
from edgezoo.frame import Event, Frame
from edgezoo.results import Detections, Labels, Result
from edgezoo.sinks import Sink, open_sink

cv2: Any = pytest.importorskip("cv2", reason="sinks draw with OpenCV")

BOX = (8, 20, 40, 44)
CAR = Detections(np.array([BOX], np.float32), np.array([0.87], np.float32), np.array([0]), ("car",))
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("car",))
CAT = Labels(np.array([0.9], np.float32), np.array([0]), ("cat",))


def frame(
    index: int = 0, *, source: str = "clip.mp4", size: tuple[int, int] = (64, 48), fps: float = 25, level: int = 90
) -> Frame:
    image = np.full((size[1], size[0], 3), level, np.uint8)
    return Frame(image, index, index / fps, time.monotonic_ns(), source)


def fill(sink: Sink, n: int, *, result: Result = NOTHING, **how: Any) -> None:
    for index in range(n):
        sink.write(frame(index, **how), result)
    sink.close()


def read_video(path: Path) -> tuple[float, list[Any]]:
    video = cv2.VideoCapture(str(path))
    fps, images = video.get(cv2.CAP_PROP_FPS), []
    while (got := video.read())[0]:
        images.append(got[1])
    video.release()
    return fps, images


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# The shelf: what every sink does.

ADDRESSES = {
    "image": ["out.jpg", "out.png", "pictures/"],
    "jsonl": ["out.jsonl", "-"],
    "null": ["null"],
    "video": ["out.mp4", "out.avi", "out.mkv", "out.mov"],
    "web": ["web:0"],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shelf() -> Iterator[Any]:
    for name in sinks.shelf():
        for address in ADDRESSES.get(name, []):
            yield pytest.param(address, id=f"{name} {address}")


@pytest.mark.parametrize("address", shelf())
def test_every_sink_takes_results_and_events_and_closes_twice(address: str, here: Path) -> None:
    sink = open_sink(address, fps=25)
    assert sink.done is False
    for index in range(3):
        sink.event(Event("clip.mp4", "live", "64x48"))
        for result in (CAR, NOTHING, CAT):
            sink.write(frame(index), result)
    assert sink.done is False
    sink.close()
    sink.close()
    assert not [name for name in files(here) if ".part" in name]


@pytest.mark.parametrize("address", shelf())
def test_every_sink_closes_without_a_write_and_leaves_nothing(address: str, here: Path) -> None:
    open_sink(address).close()
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("address", shelf())
def test_no_sink_changes_the_frame(address: str, here: Path) -> None:
    sink, seen = open_sink(address, fps=25, overlay=lambda frame: "12 ms"), frame()
    before = seen.image.copy()
    sink.write(seen, CAR)
    sink.close()
    assert np.array_equal(seen.image, before)


def test_every_address_belongs_to_one_sink() -> None:
    modules = {name: importlib.import_module(f"edgezoo.sinks.{name}") for name in sinks.shelf()}
    assert {"image", "jsonl", "null", "video", "window"} <= set(modules)
    for name, module in modules.items():
        for form in (*module.FORMS, *ADDRESSES.get(name, [])):
            takers = [other for other, taker in modules.items() if taker.takes(Address.parse(form))]
            assert takers == [name], form


# Addresses.


@pytest.mark.parametrize(
    ("address", "raises", "says"),
    [
        ("out.mp4", None, ""),
        ("OUT.MP4", None, ""),
        ("out.mp4#fps=12.5", None, ""),
        ("", RequestError, "expected an address"),
        ("windw", UnknownName, "did you mean 'window'"),
        ("out.mp5", UnknownName, "did you mean 'out.mp4'.*known: .*window"),
        ("film.mkw", UnknownName, "did you mean 'film.mkv'"),
        ("out.json", UnknownName, "did you mean 'out.jsonl'"),
        ("qqqqqqq", UnknownName, "known: .*null.*out.mp4.*window"),
        ("rtsp://me:secret@host/live", UnknownName, "rtsp://host/live"),
        ("out.mp4#fsp=3", RequestError, "did you mean 'fps'"),
        ("out.mp4#fps=0", RequestError, "expected fps"),
        ("out.mp4#fps=fast", RequestError, "expected fps=NUMBER"),
        ("out.jpg#fps=3", RequestError, "no option is called 'fps'"),
        ("null#fps=3", RequestError, "no option"),
        ("window#size=3x3", RequestError, "no option"),
        ("out-%06d.jpg", RequestError, "try a folder"),
        ("missing/out.mp4", SinkError, "try: mkdir -p missing"),
        ("missing/out.jpg", SinkError, "try: mkdir -p missing"),
        ("missing/out.jsonl", SinkError, "try: mkdir -p missing"),
        ("missing/pictures/", SinkError, "try: mkdir -p missing"),
        ("folder.mp4", SinkError, "is a folder"),
        ("folder.jsonl", SinkError, "is a folder"),
        ("/proc/out.mp4", SinkError, "expected to write into '/proc'"),
        ("/proc/out.jpg", SinkError, "expected to write into '/proc'"),
    ],
)
def test_addresses(address: str, raises: type[Exception] | None, says: str, here: Path) -> None:
    if address.startswith("/proc") and not sys.platform.startswith("linux"):
        pytest.skip("/proc is Linux's own")
    for name in ("folder.mp4", "folder.jsonl"):
        (here / name).mkdir()
    if raises is None:
        open_sink(address).close()
        return
    with pytest.raises(raises, match=says) as caught:
        open_sink(address)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


# Video.


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".mov"])
@pytest.mark.parametrize(
    ("given", "source_fps", "expected"),
    [
        (25, 25, 25),
        (12.5, 12.5, 12.5),
        (29.97, 30, 29.97),
        (None, 12.5, 12.5),
        (None, 29.97, 29.97),
        (None, 93.4579, 93.46),  # MPEG-4 has no room for more digits
        (239.9987, 240, 240),
        (None, np.inf, 30),
    ],
)
def test_a_video_reads_back(suffix: str, given: float | None, source_fps: float, expected: float, here: Path) -> None:
    path = here / f"out{suffix}"
    sink = open_sink(str(path), fps=given)
    for index in range(7):
        sink.write(frame(index, fps=source_fps, level=30 * index), CAR if index == 6 else NOTHING)
        assert not path.exists()
    sink.close()
    fps, images = read_video(path)
    assert fps == pytest.approx(expected, rel=1e-3)
    assert [image.shape for image in images] == [(48, 64, 3)] * 7
    assert [round(float(image.mean()) / 30) for image in images[:6]] == [0, 1, 2, 3, 4, 5]
    assert np.abs(images[6][30, 8].astype(int) - 180).max() > 40, "the box is in the picture"
    assert files(here) == [path.name]


def test_a_recording_keeps_the_time_of_a_source_that_dropped_frames(here: Path) -> None:
    sink = open_sink("out.mp4", fps=10)
    for index in (0, 1, 5, 6, 200):  # 0.1 s apart; four pictures' time is missing, then a silence of 19.4 s
        sink.write(frame(index, fps=10), NOTHING)
    sink.close()
    fps, images = read_video(here / "out.mp4")
    assert fps == 10
    assert len(images) == 7 + 50 + 1


@pytest.mark.parametrize("fps", [None, 10])
def test_a_video_of_one_frame(fps: float | None, here: Path) -> None:
    fill(open_sink("out.mp4", fps=fps), 1)
    rate, images = read_video(here / "out.mp4")
    assert rate == (fps or 30)
    assert len(images) == 1


@pytest.mark.parametrize(("size", "expected"), [((63, 47), (64, 48)), ((1, 1), (2, 2)), ((33, 48), (34, 48))])
def test_an_odd_side_is_continued(size: tuple[int, int], expected: tuple[int, int], here: Path) -> None:
    fill(open_sink("out.mp4", fps=25), 3, size=size, level=200)
    _, images = read_video(here / "out.mp4")
    assert [image.shape[1::-1] for image in images] == [expected] * 3
    assert images[0].min() > 180


def test_a_frame_of_another_size_is_letterboxed(here: Path) -> None:
    sink = open_sink("out.avi", fps=25)
    for size in ((64, 64), (128, 64), (16, 32)):
        sink.write(frame(size=size, level=200), NOTHING)
    sink.close()
    _, (same, wide, high) = read_video(here / "out.avi")
    assert same.min() > 180
    assert wide[20:44].min() > 180
    assert max(wide[:12].max(), wide[52:].max()) < 20
    assert high[:, 20:44].min() > 180
    assert max(high[:, :12].max(), high[:, 52:].max()) < 20


@pytest.mark.parametrize(
    ("address", "expected"), [("out.mp4", ["out-2.mp4", "out.mp4"]), ("out.jpg", ["out-2.jpg", "out.jpg"])]
)
def test_sources_are_not_mixed(address: str, expected: list[str], here: Path) -> None:
    sink = open_sink(address)
    for index in range(3):
        sink.write(frame(index, source="camera:0", level=200), NOTHING)
        sink.write(frame(index, source="camera:1", level=20), NOTHING)
    sink.close()
    assert files(here) == expected
    if address == "out.mp4":
        (_, second), (_, first) = (read_video(here / name) for name in expected)
        assert [len(first), len(second)] == [3, 3]
        assert first[0].mean() > 180 > 40 > second[0].mean()


def test_photos_are_one_slide_show(here: Path) -> None:
    for address in ("out.avi", "out.png"):
        sink = open_sink(address)
        for index in range(3):
            sink.write(frame(index, source=f"photos/{index}.JPG", fps=1, level=60 * index), NOTHING)
        sink.close()
    assert files(here) == ["out.avi", "out.png"]
    fps, images = read_video(here / "out.avi")
    assert (fps, len(images)) == (1, 3)
    assert cv2.imread("out.png").max() == 120


def test_a_full_disk_ends_the_recording_and_keeps_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = open_sink("out.mp4", fps=25)
    for index in range(3):
        sink.write(frame(index), NOTHING)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(SinkError, match="no space left after 3 frames"):
        sink.write(frame(3), NOTHING)
    sink.close()
    assert len(read_video(here / "out.mp4")[1]) == 3


LIMITED = """
import resource, sys
from tests.test_sinks import *
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
sink = open_sink(sys.argv[1], fps=25)
try:
    fill(sink, 40)
except SinkError as error:
    print("SinkError:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
@pytest.mark.parametrize(("name", "says"), [("out.mp4", "unreadable after 40 frames"), ("out.jsonl", "File too large")])
def test_a_write_that_fails_is_told(name: str, says: str, here: Path) -> None:
    done = python(LIMITED, str(here / name))
    assert done.stdout.startswith("SinkError:"), done.stderr
    assert says in done.stdout
    assert not (here / name).exists()


def test_a_writer_that_does_not_open_is_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoWriter", lambda *_: SimpleNamespace(isOpened=lambda: False))
    sink = open_sink("out.mp4", fps=25)
    with pytest.raises(SinkError, match=r"cannot write 64x48 video as mp4v.*try out\.avi"):
        sink.write(frame(), NOTHING)
    sink.close()
    assert files(here) == []


# Pictures.


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif"])
def test_a_picture_is_the_newest_result(suffix: str, here: Path) -> None:
    path = here / f"Ergebnis-ü{suffix}"
    sink = open_sink(str(path))
    sink.write(frame(0, level=10), NOTHING)
    first = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    sink.write(frame(1, level=200), CAR)
    sink.close()
    last = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert first.max() < 20
    assert last.shape == (48, 64, 3)
    assert abs(int(last[35, 60].max()) - 200) < 10
    assert last[30, 8].min() < 160, "the box is in the picture"
    assert files(here) == [path.name]


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["photos/bus.png"], ["bus.jpg"]),
        (["a/bus.png", "b/bus.jpg"], ["bus-2.jpg", "bus.jpg"]),
        (["clip.mp4", "clip.mp4"], ["clip-000000.jpg", "clip-000001.jpg"]),
        (["camera:0"], ["camera-0-000000.jpg"]),
        (["rtsp://host:554/live?channel=1"], ["rtsp-host-554-live-channel-1-000000.jpg"]),
        (["../..", "/"], ["frame-000000.jpg", "frame-2-000001.jpg"]),
    ],
)
@pytest.mark.parametrize("folder", ["results/", "there"])
def test_a_folder_holds_one_picture_per_frame(folder: str, sources: list[str], expected: list[str], here: Path) -> None:
    (here / "there").mkdir()
    sink = open_sink(folder)
    for index, source in enumerate(sources):
        sink.write(frame(index, source=source), CAR)
    sink.close()
    assert files(here / folder) == expected


def test_a_picture_that_cannot_be_written_is_told(here: Path) -> None:
    (here / "gone").mkdir()
    sink = open_sink("gone/out.png")
    (here / "gone").rmdir()
    with pytest.raises(SinkError, match=r"expected to write 'gone/out\.png'"):
        sink.write(frame(), CAR)


@pytest.mark.parametrize("address", ["out.png", "out.avi"])
def test_the_overlay_is_asked_for_every_frame_and_drawn(address: str, here: Path) -> None:
    asked: list[int] = []

    def overlay(seen: Frame) -> str:
        asked.append(seen.index)
        return "12 ms"

    fill(open_sink(address, fps=25, overlay=overlay), 3, size=(160, 120))
    image = cv2.imread(address) if address == "out.png" else read_video(here / address)[1][0]
    assert asked == [0, 1, 2]
    assert image[:30, :60].max() > 200
    assert image[60:, 80:].max() < 110


# Lines.


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_say_what_was_seen(here: Path) -> None:
    sink = open_sink("out.jsonl")
    sink.event(Event("clip.mp4", "live", "64x48 at 25 fps"))
    sink.write(frame(3), CAR)
    sink.write(frame(4), CAT)
    assert not (here / "out.jsonl").exists()
    assert len(lines(here / "out.part.jsonl")) == 3, "a reader can follow"
    sink.close()
    event, car, cat = lines(here / "out.jsonl")
    assert event.pop("time").startswith("20")
    assert event == {"type": "event", "source": "clip.mp4", "event": "live", "message": "64x48 at 25 fps"}
    assert list(car) == ["type", "source", "index", "pts_s", "age_ms", "detections"]
    assert car["type"] == "result"
    assert (car["source"], car["index"], car["pts_s"]) == ("clip.mp4", 3, 0.12)
    assert 0 <= car["age_ms"] < 10_000
    assert car["age_ms"] == round(car["age_ms"], 3)
    assert car["detections"] == [{"label": "car", "score": 0.87, "box_xyxy": [8.0, 20.0, 40.0, 44.0]}]
    assert cat["labels"] == [{"label": "cat", "score": 0.9}]


def test_numbers_that_are_not_finite_become_null(here: Path) -> None:
    boxes = np.array([[np.nan, 0, np.inf, 1]], np.float32)
    wild = Detections(boxes, np.array([np.nan], np.float32), np.array([0]), ("car",))
    sink = open_sink("out.jsonl")
    sink.write(Frame(frame().image, 0, float("nan"), time.monotonic_ns(), "a\udcffb\nc"), wild)
    sink.close()
    [line] = lines(here / "out.jsonl")
    assert line["pts_s"] is None
    assert line["detections"] == [{"label": "car", "score": None, "box_xyxy": [None, 0.0, None, 1.0]}]


def test_lines_on_standard_output_come_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    sink = open_sink("-")
    sink.write(frame(), CAR)
    assert json.loads(capsys.readouterr().out)["detections"][0]["label"] == "car"
    sink.close()
    print("still open")
    assert capsys.readouterr().out == "still open\n"


PIPED = """
from tests.test_sinks import *
sink = open_sink("-")
for index in range(100_000):
    sink.write(frame(index), CAR)
    if sink.done:
        break
sink.write(frame(), CAR)
sink.close()
print(f"done={sink.done} after {index < 99_999}", file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="pipes as POSIX has them")
def test_a_reader_that_leaves_ends_the_run_quietly() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PIPED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["index"] == 0
        process.stdout.close()
        said = process.stderr.read()
    assert said == "done=True after True\n"
    assert process.returncode == 0


def test_a_process_without_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SinkError, match=r"try out\.jsonl"):
        open_sink("-")


def test_a_stream_without_a_number_may_break_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Broken())
    sink = open_sink("-")
    sink.write(frame(), CAR)
    assert sink.done


# Windows.

ROOT = Path(__file__).parent.parent


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def python(code: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment(**more), timeout=60)


def has_windows() -> bool:
    return "GUI:                           NONE" not in cv2.getBuildInformation()


OPENS = """
from edgezoo.sinks import open_sink
from edgezoo.errors import SinkError
try:
    open_sink("window")
except SinkError as error:
    print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is a screen, or OpenCV raises")
@pytest.mark.parametrize(
    ("display", "says"),
    [
        ({}, "neither DISPLAY nor WAYLAND_DISPLAY is set"),
        ({"DISPLAY": ":987"}, "expected a window on display :987"),
    ],
)
def test_a_window_without_a_screen_is_told(display: dict[str, str], says: str) -> None:
    done = python(OPENS, **display)
    assert done.returncode == 0, done.stderr
    assert (says if has_windows() else "built without") in done.stdout
    assert "--sink out.mp4" in done.stdout
    assert len(done.stdout.splitlines()) == 1


class Screen:
    """Stands in for OpenCV's windows; `keys` are pressed one after another."""

    def __init__(self, keys: list[int]) -> None:
        self.keys, self.open = keys, set[str]()
        self.shown, self.titles, self.closes_after = list[str](), list[str](), 1000

    def namedWindow(self, title: str, flags: int) -> None:  # noqa: N802
        self.open.add(title)

    def resizeWindow(self, title: str, width: int, height: int) -> None:  # noqa: N802
        assert (width, height) <= (1280, 720)

    def imshow(self, title: str, image: Any) -> None:
        assert title in self.open
        self.shown.append(title)

    def setWindowTitle(self, window: str, title: str) -> None:  # noqa: N802
        assert window in self.open
        self.titles.append(title)

    def waitKey(self, ms: int) -> int:  # noqa: N802
        self.closes_after -= 1
        if self.closes_after == 0:
            self.open.clear()
        return self.keys.pop(0) if self.keys else -1

    def getWindowProperty(self, title: str, which: int) -> float:  # noqa: N802
        if not self.open:
            raise cv2.error("NULL guiReceiver")
        return float(title in self.open)

    def destroyWindow(self, title: str) -> None:  # noqa: N802
        if title not in self.open:
            raise cv2.error("no such window")
        self.open.remove(title)


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Any:
    from edgezoo.sinks import window as module

    def make(*keys: int) -> tuple[Any, Screen]:
        screen = Screen(list(keys))
        for name in (name for name in vars(Screen) if not name.startswith("_")):
            monkeypatch.setattr(cv2, name, getattr(screen, name), raising=False)
        monkeypatch.setattr(module, "_check_screen", lambda: None)
        return open_sink("window"), screen

    return make


@pytest.mark.parametrize(
    ("key", "done"), [(ord("q"), True), (ord("Q"), True), (27, True), (-1, False), (ord("x"), False)]
)
def test_keys_end_the_show(key: int, done: bool, window: Any) -> None:
    sink, screen = window(-1, key)
    for index in range(4):
        sink.write(frame(index), CAR)
        assert sink.done is (done and index >= 1)
    assert len(screen.shown) == (2 if done else 4)
    sink.close()
    sink.close()
    assert screen.open == set()


def test_a_window_without_frames_is_looked_after(window: Any) -> None:
    sink, screen = window(-1, -1, ord("q"))
    sink.idle()
    assert not sink.done, "nothing is shown yet"
    sink.write(frame(source="a"), CAR)
    sink.event(Event("a", "lost", "unplugged"))
    sink.event(Event("b", "lost", "not shown"))
    sink.event(Event("a", "live", "back after 2 s"))
    assert screen.titles == ["a: lost: unplugged", "a"]
    sink.idle()
    assert not sink.done
    sink.idle()
    assert sink.done
    sink.event(Event("a", "lost", "nobody looks"))
    sink.close()
    sink, screen = window()
    sink.write(frame(source="a"), CAR)
    screen.open.clear()
    sink.idle()
    assert sink.done, "it was closed"


@pytest.mark.parametrize("closed", [{"a"}, {"a", "b"}])
def test_closing_a_window_ends_the_show(closed: set[str], window: Any) -> None:
    sink, screen = window()
    for source in ("a", "b"):
        sink.write(frame(source=source, size=(1920, 1080)), CAR)
    assert screen.open == {"a", "b"}
    screen.open -= closed
    sink.write(frame(source="b"), CAR)
    assert sink.done
    assert screen.shown == ["a", "b"], "a closed window is not opened again"
    sink.close()


@pytest.mark.parametrize(
    ("keys", "shown", "done"), [([-1, -1, 32, -1, 32, -1, 32], 3, False), ([-1, 32, -1, 27], 2, True)]
)
def test_a_photo_stays_until_a_key(keys: list[int], shown: int, done: bool, window: Any) -> None:
    sink, screen = window(*keys)
    for source in ("a.jpg", "b.jpg", "c.jpg"):
        sink.write(frame(source=source), CAR)
    assert screen.keys == []
    assert screen.open == {"photos"}
    assert screen.titles == ["a.jpg", "b.jpg", "c.jpg"][:shown]
    assert sink.done is done


def test_a_photo_whose_window_is_closed_ends_the_show(window: Any) -> None:
    sink, screen = window()
    screen.closes_after = 3
    sink.write(frame(source="a.jpg"), CAR)
    assert sink.done


SHOWS = """
from tests.test_sinks import *
sink = open_sink("window", overlay=lambda frame: "12 ms")
for index in range(5):
    for source in ("camera:0", "größe.mp4"):
        sink.write(frame(index, source=source), CAR)
assert not sink.done
cv2.destroyWindow("camera:0")
cv2.waitKey(1)
sink.write(frame(5), CAR)
print("done", sink.done)
sink.close()
"""


@pytest.fixture
def display() -> Iterator[str]:
    if shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb: apt install xvfb")
    if not has_windows():
        pytest.skip("this OpenCV is built without windows")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-nolisten", "tcp"], pass_fds=[write], stderr=subprocess.DEVNULL
    )
    os.close(write)
    try:
        with os.fdopen(read) as numbers:
            yield f":{numbers.readline().strip()}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


def test_windows_on_a_real_screen(display: str) -> None:
    done = python(SHOWS, DISPLAY=display)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done True\n"
