"""Frames kept with their boxes: whole or not at all, in a form that training reads back."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import graphs
import numpy as np
import pytest

from edgezoo.capture import Capture
from edgezoo.errors import RequestError, SinkError
from edgezoo.frame import Frame
from edgezoo.results import Detections, Labels
from edgezoo.train import coco_json

pytest.importorskip("cv2")
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
