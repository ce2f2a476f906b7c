"""The wheel: all that the package needs, nothing that it does not, and a zoo that is found where it is installed."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgezoo import __version__
from edgezoo.cards import names
from edgezoo.optional import EXTRA_OF

pytest.importorskip("hatchling", reason="the wheel is built with hatchling; try: pip install hatchling")

ROOT = Path(__file__).parents[1]
DIGITS = "edgezoo/_zoo/models/digits/"
PAGE = "edgezoo/web/page/"
SCENES = "edgezoo/_zoo/calibration/digits/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made


def test_what_is_in_it(wheel: Path) -> None:
    assert wheel.name == f"edgezoo-{__version__}-py3-none-any.whl"
    there = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "edgezoo").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    zoo = {
        f"edgezoo/_zoo/{path.relative_to(ROOT)}"
        for shelf in ("models", "calibration")
        for path in (ROOT / shelf).rglob("*")
        if path.is_file() and not any(part == "__pycache__" or part[0] == "." for part in path.relative_to(ROOT).parts)
    }
    assert there == package | zoo
    assert {"edgezoo/py.typed", "edgezoo/_zoo/models/yolox_nano.toml", "edgezoo/_zoo/models/labels/coco80.txt"} <= there
    allowed = {".py", ".typed", ".toml", ".txt", ".json", ".md", ""}
    also = {DIGITS: {".mp4", ".npz", ".onnx", ".safetensors", ".png", ".svg"}, SCENES: {".jpg"}}
    also |= {PAGE: {".html", ".css", ".js"}, "edgezoo/measure/report/": {".html"}}
    strange = {name for name in there if Path(name).suffix not in allowed}
    assert strange == {
        name for name in strange for home in also if name.startswith(home) and Path(name).suffix in also[home]
    }
    assert {SCENES + "00.jpg", PAGE + "index.html", PAGE + "page.js"} <= there


def test_what_it_says_of_itself(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    info = f"edgezoo-{__version__}.dist-info"
    told = email.message_from_bytes(archive.read(f"{info}/METADATA"))
    assert told["Requires-Python"] == ">=3.10"
    assert set(EXTRA_OF.values()) <= set(told.get_all("Provides-Extra", []))
    always = [line for line in told.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert not [line for line in always if line.startswith(("torch", "opencv", "onnxruntime"))]
    assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert b"edgezoo = edgezoo.cli:main" in archive.read(f"{info}/entry_points.txt")


def test_the_zoo_is_found_in_it(wheel: Path, tmp_path: Path) -> None:
    script = "import edgezoo, json\nfrom edgezoo import cards\n" + (
        "told = {name: len(cards.read_card(name).label_names) for name in cards.names()}\n"
        "print(json.dumps([edgezoo.__file__, str(cards.zoo_folder()), told]))"
    )
    package, zoo, labels = json.loads(installed(wheel, tmp_path, script))
    assert Path(package).is_relative_to(tmp_path / "site")
    assert Path(zoo) == tmp_path / "site" / "edgezoo" / "_zoo" / "models"
    assert sorted(labels) == names()
    assert set(labels.values()) <= {10, 80, 1000}


def test_the_image_sets_are_found_in_it(wheel: Path, tmp_path: Path) -> None:
    script = "import json\nfrom edgezoo import imagesets\n" + (
        "drawn = imagesets.draw('digits', count=4)\n"
        "print(json.dumps([str(imagesets.sets_folder()), imagesets.names(), len(list(drawn))]))"
    )
    pytest.importorskip("cv2", reason="images are read with OpenCV")
    folder, sets, images = json.loads(installed(wheel, tmp_path, script))
    assert Path(folder) == tmp_path / "site" / "edgezoo" / "_zoo" / "calibration"
    assert (sets, images) == (["coco", "digits"], 4)


@pytest.mark.skipif(not (ROOT / "models" / "digits" / "bundle").is_dir(), reason="the zoo has no digits yet")
def test_the_demo_s_clip_and_bundle_are_found_in_it(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="the clip is read with OpenCV")
    script = "import json\nfrom edgezoo.cli import demo_\nfrom edgezoo.loading import find_bundle\n" + (
        "from edgezoo.sources import open_source\n"
        "frames = sum(1 for _ in open_source(str(demo_._clip())))\n"
        "print(json.dumps([str(demo_._clip()), str(find_bundle('digits').folder), frames]))"
    )
    clip, bundle, frames = json.loads(installed(wheel, tmp_path, script))
    for path in (clip, bundle):
        assert Path(path).is_relative_to(tmp_path / "site" / DIGITS)
    assert frames > 0


def installed(wheel: Path, folder: Path, script: str) -> str:
    """What `script` prints where only the wheel's files are."""
    zipfile.ZipFile(wheel).extractall(folder / "site")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
