"""The README keeps its word: its Python runs, its commands exist, its table is the one that was measured."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import graphs
import numpy as np
import pytest

from edgezoo.cli import VERBS
from edgezoo.cli.list_ import markdown
from edgezoo.convert import convert
from edgezoo.preprocess import Preprocess

cv2 = pytest.importorskip("cv2", reason="the README's programs need OpenCV")

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README's programs name; `yolox_nano` is really the square finder."""
    folder = tmp_path_factory.mktemp("readme")
    card = graphs.card_of("squares", folder / "net", Preprocess(size_wh=(96, 64), fit="letterbox"))
    (folder / "names.txt").write_text("person\ncar\nbus\n")
    convert(card, folder / "yolox_nano", labels=folder / "names.txt")
    image = np.full((128, 192, 3), 40, np.uint8)
    image[32:96, 48:112] = (0, 255, 0)
    cv2.imwrite(str(folder / "street.jpg"), image)
    writer = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (192, 128))
    for _ in range(3):
        writer.write(image)
    writer.release()
    return folder


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (0, [r"car 0\.99 at \(4\d\.\d+, .*\)"]),
        (1, [*[rf"{k} 0\.{k}0 s \d+ ms old .*1 car.*" for k in range(3)], "Profile.*"]),
    ],
    ids=["six lines", "pipeline"],
)
def test_its_python_runs(block: int, says: list[str], place: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[block]
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(says)
    for line, pattern in zip(lines, says):
        assert re.fullmatch(pattern, line), line


def test_its_verbs_exist() -> None:
    named = set(re.findall(r"^edgezoo (\w+)", README, re.MULTILINE))
    assert named
    assert named <= set(VERBS)


def test_its_files_exist() -> None:
    named = re.findall(r"\]\(([\w./]+)\)", README)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_its_table_is_the_measured_one() -> None:
    shown = re.search(r"<!-- zoo:.*?-->\n\n(.*?)\n<!-- /zoo -->", README, re.DOTALL)
    assert shown is not None
    assert shown[1] == markdown()
    assert (ROOT / "models" / "README.md").read_text("utf-8") == f"# The zoo\n\n{markdown()}"
