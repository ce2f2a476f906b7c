"""Frames kept with their boxes: whole or not at all, in a form that training reads back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest

from edgezoo.bundle import Bundle
from edgezoo.capture import Capture
from edgezoo.cli import main
from edgezoo.errors import RequestError, SinkError
from edgezoo.frame import Frame
from edgezoo.preprocess import Preprocess
from edgezoo.results import Detections, Labels
from edgezoo.sinks import open_sink
from edgezoo.sinks import window as module
from edgezoo.sinks.window import WindowSink
from edgezoo.train import coco_json

cv2 = pytest.importorskip("cv2")
NAMES = ("cat", "dog", "horse")


def frame(index: int = 0, *, source: str = "camera:0") -> Frame:
    return Frame(graphs.scene((64, 48), (8, 8, 24, 32)), index, 0.0, 0, source)


def found(*boxes: Sequence[float], names: tuple[str, ...] = NAMES, classes: Sequence[int] = ()) -> Detections:
    ids = np.array(classes or [1] * len(boxes), np.int64)
    scores = np.full(len(boxes), 0.75, np.float32)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, ids, names)


def listed(folder: Path) -> dict[str, list[dict[str, object]]]:
    return json.loads((folder / "annotations.json").read_text("utf-8"))


def test_training_reads_it_back(tmp_path: Path) -> None:
    kept = Capture(tmp_path / "kept")
    first = kept.save(frame(), found((8, 8, 24, 32), (-5, 40, 30, 60), classes=[2, 0]))
    kept.save(frame(1), found())  # nothing is there: that is worth learning, too
    listing = coco_json.read(tmp_path / "kept", None)
    assert listing.names == NAMES
    assert not listing.problems
    assert [item.class_ids.tolist() for item in listing.items] == [[2, 0], []]
    assert listing.items[0].path == first
    assert listing.items[0].boxes_xyxy.tolist() == [[8, 8, 24, 32], [0, 40, 30, 48]]
    assert not any(item.faults for item in listing.items)
    rows = listed(tmp_path / "kept")
    assert rows["annotations"][1]["bbox"] == [0, 40, 30, 8]
    assert [rows["images"][0][key] for key in ("source", "width", "height")] == ["camera:0", 64, 48]


def test_a_folder_is_gone_on_with(tmp_path: Path) -> None:
    Capture(tmp_path).save(frame(), found((1, 1, 9, 9)))
    Capture(tmp_path).save(frame(), found((1, 1, 9, 9), names=("bird", "dog"), classes=[1]))
    rows = listed(tmp_path)
    assert [row["name"] for row in rows["categories"]] == ["cat", "dog", "horse", "bird"]
    assert [row["category_id"] for row in rows["annotations"]] == [2, 2], "one name, one id, whichever model found it"
    assert [row["id"] for row in rows["images"]] == [1, 2]
    assert len({row["file_name"] for row in rows["images"]}) == 2


def test_threads_add_one_after_the_other(tmp_path: Path) -> None:
    Capture(tmp_path)
    makers = [threading.Thread(target=Capture(tmp_path).save, args=(frame(), found((1, 1, 9, 9)))) for _ in range(8)]
    for thread in makers:
        thread.start()
    for thread in makers:
        thread.join()
    rows = listed(tmp_path)
    names = {str(row["file_name"]) for row in rows["images"]}
    assert len(rows["images"]) == len(rows["annotations"]) == len(names) == 8
    assert {path.name for path in (tmp_path / "images").iterdir()} == names


def test_a_frame_is_kept_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Capture(tmp_path)
    kept.save(frame(), found((1, 1, 9, 9)))
    before = listed(tmp_path), sorted((tmp_path / "images").iterdir())
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".json":
            raise OSError(28, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SinkError, match="No space left on device; try another folder"):
        kept.save(frame(), found())
    assert (listed(tmp_path), sorted((tmp_path / "images").iterdir())) == before


def test_what_is_no_place_for_it(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="try: mkdir -p"):
        Capture(tmp_path / "no" / "kept")
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="try another folder"):
        Capture(tmp_path / "file")
    for text in ("[1]", "{", '{"images": {}}', '{"annotations": [1]}'):
        (tmp_path / "annotations.json").write_text(text)
        with pytest.raises(SinkError, match=r"annotations\.json: expected annotations in COCO form"):
            Capture(tmp_path)
        assert (tmp_path / "annotations.json").read_text() == text


def test_labels_are_no_detections(tmp_path: Path) -> None:
    labels = Labels(np.array([0.5], np.float32), np.array([0]), NAMES)
    with pytest.raises(RequestError, match="expected detections to keep beside the frame, got labels"):
        Capture(tmp_path).save(frame(), labels)


# -- by a key in a window


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is pressed, one after another, in windows that nobody sees."""
    pressed: list[int] = []
    monkeypatch.setattr(module, "_check_screen", lambda: None)
    for name in ("namedWindow", "resizeWindow", "imshow", "setWindowTitle", "destroyWindow"):
        monkeypatch.setattr(cv2, name, lambda *_: None, raising=False)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0, raising=False)
    monkeypatch.setattr(cv2, "waitKey", lambda _: pressed.pop(0) if pressed else -1, raising=False)
    return pressed


def test_a_key_keeps_what_the_windows_show(keys: list[int], tmp_path: Path) -> None:
    sink = open_sink(f"window#capture={tmp_path}/kept")
    assert isinstance(sink, WindowSink)
    told: list[str] = []
    sink.tell = told.append
    keys.extend([-1, ord("s")])
    for source in ("camera:0", "camera:1"):
        sink.write(frame(7, source=source), found((1, 1, 9, 9)))
    assert not sink.done
    rows = listed(tmp_path / "kept")
    assert [row["source"] for row in rows["images"]] == ["camera:0", "camera:1"]
    assert len(rows["annotations"]) == 2
    assert [line.partition(" as ")[0] for line in told] == [f"camera:{k}: kept frame 7" for k in (0, 1)]
    keys.extend([ord("S"), ord("q")])
    sink.idle()
    assert len(listed(tmp_path / "kept")["images"]) == 4, "though no frame comes"
    sink.idle()
    assert sink.done


def test_a_photo_stays_when_it_is_kept(keys: list[int], tmp_path: Path) -> None:
    sink = WindowSink(capture=Capture(tmp_path))
    keys.extend([-1, ord("s"), -1, ord(" "), ord("x")])
    sink.write(frame(source="a.jpg"), found())
    assert keys == [ord("x")], "another key goes on"
    assert len(listed(tmp_path)["images"]) == 1


def test_what_cannot_be_kept_does_not_end_the_show(keys: list[int], tmp_path: Path) -> None:
    sink = WindowSink(capture=Capture(tmp_path))
    told: list[str] = []
    sink.tell = told.append
    keys.append(ord("s"))
    sink.write(frame(), Labels(np.array([0.5], np.float32), np.array([0]), NAMES))
    assert not sink.done
    assert told == ["camera:0: expected detections to keep beside the frame, got labels"]


def test_run_says_what_it_kept(
    keys: list[int],
    bundle_of: Callable[..., Bundle],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = str(bundle_of("squares", Preprocess(size_wh=(64, 48), fit="letterbox")).folder)
    clip: list[Any] = ["run", model, "synthetic:#size=64x48&live=0&frames=3", "--capture", str(tmp_path / "kept")]
    keys.extend([-1, ord("s")])
    assert main([*clip, "--sink", "window"]) == 0
    (row,) = listed(tmp_path / "kept")["images"]
    assert f"synthetic:: kept frame 1 as {tmp_path}/kept/images/{row['file_name']}" in capsys.readouterr().err
    assert main([*clip, "--sink", "null"]) == 2
    assert "expected a window or a page for --capture, there is none" in capsys.readouterr().err
