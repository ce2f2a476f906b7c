"""Every demo runs, on a clip whose answer is known, and is short enough to read at a glance."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import graphs
import numpy as np
import pytest

from edgezoo.convert import convert
from edgezoo.preprocess import Preprocess

cv2 = pytest.importorskip("cv2", reason="demos need OpenCV")

DEMOS = Path(__file__).parents[1] / "demos"
FRAMES = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `yolox_nano`, really the square finder, and `clip.mp4`, in which a red square appears half-way."""
    folder = tmp_path_factory.mktemp("demos")
    card = graphs.card_of("squares", folder / "net", Preprocess(size_wh=(96, 64), fit="letterbox"))
    (folder / "names.txt").write_text("car\ntruck\nbus\n")
    convert(card, folder / "yolox_nano", labels=folder / "names.txt")
    writer = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (192, 128))
    for index in range(FRAMES):
        image = np.full((128, 192, 3), 40, np.uint8)
        if index >= FRAMES // 2:
            image[32:96, 48:112] = (0, 0, 255)
        writer.write(image)
    writer.release()
    return folder


def run(place: Path, name: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(DEMOS / name), *arguments], cwd=place, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_webcam_demo_records_what_it_sees(place: Path) -> None:
    lines = run(place, "webcam.py", "clip.mp4", "out.mp4")
    assert f"{FRAMES} delivered, 0 dropped, 0 failed" in lines[-1]
    recording = cv2.VideoCapture(str(place / "out.mp4"))
    assert recording.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    recording.release()


def test_the_embedding_demo_tells_when_the_number_changes(place: Path) -> None:
    assert [line.split()[2:] for line in run(place, "embed.py", "clip.mp4")] == [["0", "vehicles"], ["1", "vehicles"]]


def test_the_two_camera_demo_serves_both(place: Path) -> None:
    (place / "other.mp4").write_bytes((place / "clip.mp4").read_bytes())
    lines = run(place, "two_cameras.py", "clip.mp4", "other.mp4")
    for clip in ("clip.mp4", "other.mp4"):
        told = [line for line in lines if line.startswith(clip)]
        assert [line.split()[1] for line in told] == [f"#{index}" for index in range(FRAMES)]
        assert [line.endswith("Detections(1 bus)") for line in told] == [
            index >= FRAMES // 2 for index in range(FRAMES)
        ]


def test_demos_are_short() -> None:
    demos = sorted(DEMOS.glob("*.py"))
    assert [demo.name for demo in demos] == ["embed.py", "two_cameras.py", "webcam.py"]
    assert all(len(demo.read_text("utf-8").splitlines()) < 40 for demo in demos)
