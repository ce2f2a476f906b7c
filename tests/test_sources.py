from __future__ import annotations

import itertools
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_pipeline import Echo

import edgezoo
from edgezoo.address import Address
from edgezoo.errors import EdgezooError, MissingDependency, RequestError, ShapeError, SourceError, UnknownName
from edgezoo.frame import Event, Frame, Image
from edgezoo.pipeline import Pipeline
from edgezoo.sources import barcode, camera, is_live, open_source
from edgezoo.sources.images import Images
from edgezoo.sources.synthetic import COLORS_BGR, Synthetic

cv2: Any = pytest.importorskip("cv2")

FRAMES = 40


def picture(index: int = 0) -> Image:
    """Frame `index` of the clips: its number can be read from it."""
    image = np.full((240, 320, 3), 90, np.uint8)
    barcode.burn(image, index=index, time_ns=0)
    return image


def number(image: Image) -> int:
    code = barcode.read(image)
    assert code is not None
    return code[0]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos and photos, good and bad."""
    folder = tmp_path_factory.mktemp("clips")
    for name, codec in (
        ("clip.mp4", "mp4v"),
        ("clip.avi", "MJPG"),
        ("clip.mkv", "mp4v"),
        ("recording-10:30.mp4", "mp4v"),
    ):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter_fourcc(*codec), 25, (320, 240))
        for index in range(FRAMES):
            writer.write(picture(index))
        writer.release()
    shutil.copy(folder / "clip.mp4", folder / "clip.unheard")
    index_first(folder / "clip.mp4", folder / "front.mp4")
    leave_out(folder / "clip.mp4", folder / "trimmed.mp4", 10)
    for name in ("clip.mp4", "clip.avi", "clip.mkv", "front.mp4"):
        data = (folder / name).read_bytes()
        (folder / f"half {name}").write_bytes(data[: len(data) // 2])
    (folder / "text.mp4").write_text("not a video\n" * 100)
    (folder / "empty.mp4").touch()

    photos = folder / "photos"
    photos.mkdir()
    for name in ("a10.png", "A2.PNG", "b.jpg", "größe 日本.jpg", ".hidden.png"):
        photos.joinpath(name).write_bytes(cv2.imencode(Path(name).suffix.lower() or ".png", picture(7))[1].tobytes())
    (photos / "notes.txt").write_text("not a photo")
    (photos / "folder.png").mkdir()
    (folder / "empty").mkdir()
    (folder / "text.jpg").write_text("not a photo")
    mixed = folder / "mixed"
    mixed.mkdir()
    for index in range(8):
        (mixed / f"{index}.png").write_bytes(
            cv2.imencode(".png", picture(index))[1].tobytes() if index % 2 else b"broken"
        )
    return folder


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at : at + length]
        at += length


def index_first(path: Path, out: Path) -> None:
    """The same MP4 with its index before the frames, as a file for streaming has it."""
    parts = list(boxes(path.read_bytes()))
    moov = bytearray(next(part for kind, part in parts if kind == b"moov"))
    at = moov.index(b"stco") + 8
    for entry in range(int.from_bytes(moov[at : at + 4], "big")):
        place = at + 4 + 4 * entry
        moov[place : place + 4] = (int.from_bytes(moov[place : place + 4], "big") + len(moov)).to_bytes(4, "big")
    others = [part for kind, part in parts if kind not in (b"ftyp", b"moov")]
    out.write_bytes(parts[0][1] + bytes(moov) + b"".join(others))


def leave_out(path: Path, out: Path, frames: int) -> None:
    """The same MP4 with an edit list that begins `frames` later, as cutting without encoding leaves it."""
    data = bytearray(path.read_bytes())
    media = data.index(b"mdhd")
    ticks = int.from_bytes(data[media + 16 : media + 20], "big") * frames // 25
    edit = data.index(b"elst") + 12
    data[edit + 4 : edit + 8] = struct.pack(">i", ticks)
    out.write_bytes(data)


def read(source: Any) -> tuple[list[Frame], str]:
    """All frames, and the error at the end or nothing."""
    frames: list[Frame] = []
    try:
        for frame in source:
            frames.append(frame)
    except SourceError as error:
        return frames, str(error)
    return frames, ""


# -- addresses


@pytest.mark.parametrize(
    ("address", "raises", "says"),
    [
        ("nowhere.mp4", SourceError, "found none at nowhere.mp4"),
        ("nowhere.jpg", SourceError, "no file at nowhere.jpg"),
        ("0", SourceError, "try camera:0"),
        ("text.mp4", SourceError, "text.mp4: expected a video"),
        ("empty.mp4", SourceError, "empty.mp4: expected a video"),
        ("half clip.mp4", SourceError, "half clip.mp4: expected a video"),
        ("empty", SourceError, "expected images in the folder empty, found none"),
        ("*.tiff", SourceError, r"match \*.tiff, found none"),
        ("clip.mp4#fps=3", RequestError, "no option is called 'fps'"),
        ("photos#fps=3", RequestError, "no option is called 'fps'"),
        ("rstp://somewhere", UnknownName, "did you mean 'rtsp'"),
        ("camera:999", SourceError, "camera:999: expected a camera, found no /dev/video999"),
        ("camera:/dev/nothing", SourceError, "found no /dev/nothing"),
        ("camera:front", RequestError, "expected camera:NUMBER"),
        ("camera:0#fourcc=MJPEG", RequestError, "fourcc of 4 letters"),
        ("camera:0#size=big", RequestError, "WIDTHxHEIGHT"),
        ("camera:0#sise=640x480", RequestError, "did you mean 'size'"),
        ("synthetic:#fsp=3", RequestError, "did you mean 'fps'"),
        ("synthetic:#fps=0", RequestError, "fps above 0"),
        ("synthetic:#frames=1.5", RequestError, "whole number for frames"),
        ("synthetic:#live=2", RequestError, "live=0 or live=1"),
        ("synthetic:#shapes=9", RequestError, "at most shapes=8"),
        ("synthetic:#shapes=8&size=64x64", RequestError, "lane"),
        ("synthetic:#code=1&size=100x100", ShapeError, "at least 320x160"),
        ("synthetic:somewhere", RequestError, "expected synthetic:#OPTIONS"),
        ("gstreamer:videotestsrc", RequestError, "appsink"),
        ("  ", RequestError, "empty"),
    ],
)
def test_what_cannot_be_opened_says_so_at_once(
    address: str,
    raises: type[EdgezooError],
    says: str,
    clips: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "/dev/" in says and not sys.platform.startswith("linux"):
        pytest.skip("only Linux lists its cameras")
    monkeypatch.chdir(clips)
    with pytest.raises(raises, match=says) as raised:
        open_source(address)
    assert "\n" not in str(raised.value)


def test_opencv_and_ffmpeg_stay_silent(clips: Path) -> None:
    """In a process of its own: OpenCV 5 sets FFmpeg's level once, when it is first used."""
    script = """
import sys
from edgezoo.errors import SourceError
from edgezoo.sources import open_source
for address in sys.argv[1:]:
    try:
        list(open_source(address))
    except SourceError as error:
        print(error)
"""
    addresses = ["camera:999", "text.mp4", "empty.mp4", "half clip.mp4", "half front.mp4", "half clip.mkv", "clip.mp4"]
    addresses += ["rtsp://127.0.0.1:1/x", "http://127.0.0.1:1/x", "rtsp://127.0.0.1:1/x#relay=0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV")}
    done = subprocess.run(
        [sys.executable, "-c", script, *addresses],
        cwd=clips,
        env={**environment, "PYTHONPATH": str(Path(edgezoo.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == len(addresses) - 1, "a line for each but the good one"


def test_the_log_level_comes_back(clips: Path) -> None:
    logging = getattr(cv2.utils, "logging", cv2)
    before = logging.getLogLevel()
    first, second = open_source(str(clips / "clip.mp4")), open_source(str(clips / "clip.avi"))
    first.close()
    assert logging.getLogLevel() != before
    list(second)
    assert logging.getLogLevel() == before
    assert "OPENCV_FFMPEG_LOGLEVEL" not in os.environ


@pytest.mark.parametrize(
    ("text", "live"),
    [
        ("camera:0", True),
        ("rtsp://me:secret@door/1", True),
        ("synthetic:", True),
        ("synthetic:#live=0", False),
        ("videotestsrc ! appsink", True),
        ("clip.mp4", False),
        ("photos/", False),
    ],
)
def test_what_is_live(text: str, live: bool) -> None:
    assert is_live(text) is live


@pytest.mark.parametrize("prefix", ["", "gstreamer:"])
def test_gstreamer_hides_logins(prefix: str) -> None:
    with pytest.raises((MissingDependency, SourceError)) as raised:
        open_source(f"{prefix}rtspsrc location=rtsp://me:secret@127.0.0.1:1/x user-id=me user-pw=hidden ! appsink")
    assert "secret" not in str(raised.value)
    assert "hidden" not in str(raised.value)
    assert "rtsp://127.0.0.1:1/x" in str(raised.value)


# -- videos


@pytest.mark.parametrize(
    "name", ["clip.mp4", "clip.avi", "clip.mkv", "front.mp4", "clip.unheard", "recording-10:30.mp4"]
)
def test_every_frame_of_a_video_comes_with_its_time(name: str, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clips)
    source = open_source(name)
    assert (source.live, source.fps, source.size_wh, source.address) == (False, 25, (320, 240), name)
    frames, error = read(source)
    assert not error
    assert [number(frame.image) for frame in frames] == [frame.index for frame in frames] == list(range(FRAMES))
    assert [frame.pts_s for frame in frames] == pytest.approx([index / 25 for index in range(FRAMES)], abs=1e-3)
    assert all(earlier.grabbed_ns < later.grabbed_ns for earlier, later in itertools.pairwise(frames))
    assert {frame.source for frame in frames} == {name}


@pytest.mark.parametrize("name", ["half front.mp4", "half clip.avi", "half clip.mkv"])
def test_a_truncated_video_gives_its_frames_and_then_the_error(name: str, clips: Path) -> None:
    frames, error = read(open_source(str(clips / name)))
    assert 5 < len(frames) < FRAMES
    assert f"{name}: expected 40 frames, got {len(frames)}: the file is truncated" in error


def test_an_edit_list_that_leaves_frames_out_is_no_damage(clips: Path) -> None:
    frames, error = read(open_source(str(clips / "trimmed.mp4")))
    assert not error
    assert len(frames) == FRAMES - 10
    assert frames[0].pts_s == 0.0


def test_half_a_real_clip(test_data: Path, tmp_path: Path) -> None:
    data = (test_data / "media" / "car-detection.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "its index comes first, so that half of it can be read"
    (tmp_path / "clip.mp4").write_bytes(data[: len(data) // 2])
    frames, error = read(open_source(str(tmp_path / "clip.mp4")))
    assert f"clip.mp4: expected 377 frames, got {len(frames)}: the file is truncated" in error
    assert 100 < len(frames) < 250
    hole = bytearray(data)
    middle = len(data) // 3
    hole[middle : middle + 60_000] = np.random.default_rng(0).bytes(60_000)
    (tmp_path / "hole.mp4").write_bytes(hole)
    frames, _ = read(open_source(str(tmp_path / "hole.mp4")))
    assert len(frames) > 330, "what comes after the damage is read"


def test_a_source_is_iterated_once_and_closed_any_number_of_times(clips: Path) -> None:
    source = open_source(str(clips / "clip.mp4"))
    frames = iter(source)
    next(frames)
    with pytest.raises(RequestError, match="iterated once"):
        next(iter(source))
    source.close()
    source.close()
    assert list(frames) == []

    unread = open_source(str(clips / "clip.mp4"))
    unread.close()
    assert list(unread) == []


# -- photos


def test_a_folder_comes_in_natural_order(clips: Path) -> None:
    source = open_source(str(clips / "photos"))
    frames, error = read(source)
    assert not error
    assert not source.live
    assert [Path(frame.source).name for frame in frames] == ["A2.PNG", "a10.png", "b.jpg", "größe 日本.jpg"]
    assert [(frame.index, frame.pts_s) for frame in frames] == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]
    assert all(number(frame.image) == 7 for frame in frames)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("photos/*.jpg", ["b.jpg", "größe 日本.jpg"]),
        ("photos/*", ["A2.PNG", "a10.png", "b.jpg", "größe 日本.jpg"]),
        ("photos/b.[jp]*", ["b.jpg"]),
        ("**/b.jpg", ["b.jpg"]),
        ("photos/größe 日本.jpg", ["größe 日本.jpg"]),
    ],
)
def test_patterns_and_single_photos(
    pattern: str, names: list[str], clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clips)
    assert [Path(frame.source).name for frame in open_source(pattern)] == names


def test_numbers_sort_by_value(tmp_path: Path) -> None:
    names = ["2.png", "10.png", "frame 9 of 10.png", "frame 10 of 10.png", "x.png"]
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [Path(path).name for path in Images(Address.parse(str(tmp_path))).paths] == names


def test_unreadable_photos_do_not_stop_the_others(clips: Path) -> None:
    frames, error = read(open_source(str(clips / "mixed")))
    assert [number(frame.image) for frame in frames] == [1, 3, 5, 7]
    assert [frame.index for frame in frames] == [1, 3, 5, 7]
    assert "expected 8 images, could not read 4 of them: " in error
    assert all(f"mixed{os.sep}{index}.png" in error for index in (0, 2, 4, 6))
    assert "text.jpg: expected an image" in read(open_source(str(clips / "text.jpg")))[1]


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    orientation = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # 6: to be turned
    segment = b"\xff\xe1" + struct.pack(">H", len(orientation) + 2) + orientation
    (tmp_path / "turned.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    (frame,) = open_source(str(tmp_path / "turned.jpg"))
    assert frame.image.shape == (80, 40, 3)


# -- synthetic


@pytest.mark.parametrize(
    "options", ["", "size=320x240&shapes=1", "size=641x363&shapes=8&code=1&seed=5", "seed=9&shapes=5"]
)
def test_answers_are_the_pixels(options: str) -> None:
    source = Synthetic(Address.parse(f"synthetic:#{options}&live=0&frames=12".replace("#&", "#")))
    kinds = set()
    for frame in source:
        for name, (x1, y1, x2, y2) in source.answers(frame.index):
            color, _, kind = name.partition(" ")
            kinds.add(kind)
            same = (frame.image == COLORS_BGR[color]).all(axis=2)
            rows, columns = np.flatnonzero(same.any(axis=1)), np.flatnonzero(same.any(axis=0))
            assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (x1, y1, x2, y2)
            area = same.sum() / ((x2 - x1) * (y2 - y1))
            assert area == 1 if kind == "square" else 0.75 < area < 0.82
        if "code" in options:
            assert number(frame.image) == frame.index
    assert frame.index == 11
    assert kinds <= {"square", "disc"}


def test_shapes_move_and_seeds_differ() -> None:
    def frames(seed: int) -> list[Image]:
        return [frame.image for frame in open_source(f"synthetic:#live=0&frames=5&seed={seed}")]

    first = frames(0)
    assert all(np.array_equal(one, other) for one, other in zip(first, frames(0), strict=True))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], frames(1)[0])
    assert len(np.unique(first[0].reshape(-1, 3), axis=0)) > 30, "the ground is not flat"


def test_a_live_source_keeps_to_its_grid() -> None:
    """The burnt times are the grid: equal steps to the nanosecond, however late a frame was handed over."""
    source = open_source("synthetic:#fps=200&frames=100&code=1")
    assert source.live
    taken = []
    for frame in source:
        code = barcode.read(frame.image)
        assert code is not None
        assert code[0] == frame.index
        assert frame.pts_s == pytest.approx(frame.index / 200)
        assert frame.grabbed_ns >= code[1]
        taken.append(code)
    start_ns = taken[0][1] - taken[0][0] * 5_000_000
    assert all(time_ns == start_ns + index * 5_000_000 for index, time_ns in taken)
    assert taken[-1][0] == 99


def test_a_slow_reader_of_a_live_source_gets_the_newest_frame() -> None:
    ages_ms, indices = [], []
    for frame in open_source("synthetic:#fps=100&frames=60&code=1"):
        code = barcode.read(frame.image)
        assert code is not None
        ages_ms.append((time.monotonic_ns() - code[1]) / 1e6)
        indices.append(frame.index)
        time.sleep(0.045)
    assert indices[-1] == 59, "the last one is never skipped"
    assert len(indices) < 20
    assert all(later > earlier for earlier, later in itertools.pairwise(indices))
    assert sorted(ages_ms)[len(ages_ms) // 2] < 15


def test_close_from_another_thread_ends_a_live_source() -> None:
    source = open_source("synthetic:#fps=0.1")
    began = time.monotonic()
    threading.Timer(0.2, source.close).start()
    assert len(list(source)) == 1
    assert time.monotonic() - began < 5


# -- cameras, on a driver of our own


class Driver:
    """A `cv2.VideoCapture` that does what the test says."""

    def __init__(self, says: dict[str, float], frames: int) -> None:
        self.says = says
        self.frames = frames
        self.asked: dict[str, float] = {}
        self.released = 0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, prop: str, value: float) -> bool:
        self.asked[prop] = value
        self.says.setdefault(prop, value)
        return True

    def get(self, prop: str) -> float:
        return self.says.get(prop, 0.0)

    def grab(self) -> bool:
        return self.grabs()

    def grabs(self) -> bool:
        self.frames -= 1
        return self.frames >= 0

    def retrieve(self) -> tuple[bool, Image]:
        return True, np.zeros((480, 640, 3), np.uint8)

    def release(self) -> None:
        self.released += 1


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Driver]:
    def plug_in(says: dict[str, float], frames: int = 3) -> Driver:
        driver = Driver(says, frames)

        class FakeCv2(SimpleNamespace):
            utils = cv2.utils
            VideoWriter_fourcc = cv2.VideoWriter_fourcc

            def VideoCapture(self, *_: Any) -> Driver:  # noqa: N802
                return driver

            def __getattr__(self, name: str) -> str:
                return name.removeprefix("CAP_PROP_")

        fake = FakeCv2(getLogLevel=lambda: 0, setLogLevel=lambda _: None)
        monkeypatch.setattr(camera, "require", lambda _: fake)
        monkeypatch.setattr("edgezoo.sources._capture.require", lambda _: fake)
        return driver

    return plug_in


MJPG = float(int.from_bytes(b"MJPG", "little"))
YUYV = float(int.from_bytes(b"YUYV", "little"))


@pytest.mark.parametrize(
    ("options", "says", "raises"),
    [
        ("", {"FRAME_WIDTH": 640, "FRAME_HEIGHT": 480, "FPS": 30}, None),
        ("#size=1280x720&fps=30&fourcc=MJPG", {}, None),
        ("#size=1280x720", {"FRAME_WIDTH": 640, "FRAME_HEIGHT": 480}, "expected size=1280x720, got 640x480"),
        ("#fps=60", {"FPS": 30}, "expected fps=60, got 30"),
        ("#fps=15", {"FPS": 30}, None),  # a pipeline leaves out what is too much
        ("#fps=30", {"FPS": 29.97}, None),
        ("#fps=30", {"FPS": 0}, None),
        ("#fourcc=MJPG", {"FOURCC": YUYV}, "expected fourcc=MJPG, got YUYV"),
        ("#fourcc=mjpg", {"FOURCC": MJPG}, None),
        ("#fourcc=MJPG", {"FOURCC": 0}, None),
    ],
)
def test_a_camera_does_what_was_asked_or_is_refused(
    options: str, says: dict[str, float], raises: str | None, plug_in: Callable[..., Driver]
) -> None:
    driver = plug_in(says)
    if raises is None:
        source = open_source("camera:0" + options)
        assert source.live
        source.close()
    else:
        with pytest.raises(SourceError, match=raises):
            open_source("camera:0" + options)
    assert driver.released == 1
    assert list(driver.asked)[-1] == "BUFFERSIZE"


def test_a_camera_that_stops_is_an_error(plug_in: Callable[..., Driver]) -> None:
    driver = plug_in({"FRAME_WIDTH": 640, "FRAME_HEIGHT": 480, "FPS": 30}, frames=3)
    source = open_source("camera:0")
    assert (source.fps, source.size_wh) == (30, (640, 480))
    frames, error = read(source)
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert error.startswith("camera:0: no more frames after 3")
    assert driver.released == 1


def test_a_camera_that_was_unplugged_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a pipeline sees it: a driver that breaks off, then no device, then one again, of another size."""
    large, small = {"FRAME_WIDTH": 640.0, "FRAME_HEIGHT": 480.0}, {"FRAME_WIDTH": 320.0, "FRAME_HEIGHT": 240.0}
    there = [Driver(large, 3), None, None, Driver(small, 10**9)]
    opened: list[Driver | None] = []

    class Closed(Driver):
        def isOpened(self) -> bool:  # noqa: N802
            return False

    class FakeCv2(SimpleNamespace):
        utils = cv2.utils

        def VideoCapture(self, *_: Any) -> Driver:  # noqa: N802
            opened.append(there[min(len(opened), 3)])
            return opened[-1] or Closed({}, 0)

        def __getattr__(self, name: str) -> str:
            return name.removeprefix("CAP_PROP_")

    fake = FakeCv2(getLogLevel=lambda: 0, setLogLevel=lambda _: None)
    monkeypatch.setattr(camera, "require", lambda _: fake)
    monkeypatch.setattr("edgezoo.sources._capture.require", lambda _: fake)
    monkeypatch.setattr(Driver, "grab", lambda self: not time.sleep(0.002 * (self.frames > 0)) and Driver.grabs(self))
    events: list[Event] = []
    with Pipeline("camera:/dev/video97", Echo(), on_event=events.append) as pipeline:
        for frame, _ in pipeline:
            if pipeline.profile.reconnects and frame.index > 10:
                break
    assert [event.kind for event in events] == ["connecting", "live", "lost", "lost", "live"]
    assert "is it still plugged in" in events[2].message
    assert "found no /dev/video97" in events[3].message
    assert [driver.released for driver in there if driver is not None] == [1, 1]


def test_a_device_is_never_released_under_its_reader(plug_in: Callable[..., Driver]) -> None:
    driver = plug_in({}, frames=10**9)
    source = open_source("camera:0")
    frames = iter(source)
    next(frames)
    source.close()
    assert driver.released == 0, "the iterating thread does that"
    assert list(frames) == []
    assert driver.released == 1


# -- a stream over HTTP


class Mjpeg(BaseHTTPRequestHandler):
    """Five pictures, as web cameras send them; then the end."""

    def do_GET(self) -> None:
        if self.path != "/video":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(30):
            data = cv2.imencode(".jpg", picture(index))[1].tobytes()
            self.wfile.write(
                b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"
            )
            time.sleep(0.01)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def test_a_stream_over_http() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Mjpeg) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"127.0.0.1:{server.server_address[1]}"
        source = open_source(f"http://me:secret@{url}/video#timeout=2")
        assert source.live
        frames, error = read(source)
        with pytest.raises(SourceError, match=r"got '404 Not Found' from the server; is the path right"):
            open_source(f"http://{url}/nothing#timeout=2")
        server.shutdown()
    assert frames
    assert all(number(frame.image) == frame.index for frame in frames)
    assert error.startswith(f"http://{url}/video: the stream ended after frame ")
