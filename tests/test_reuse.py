"""A calibration that is used again was made with the same images, recipe, weights and method; else it says which."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgezoo.errors import ConvertError
from edgezoo.imagesets import draw
from edgezoo.preprocess import Preprocess
from edgezoo.reduce.reuse import CalibrationRecord, check_reuse, load, save

cv2 = pytest.importorskip("cv2", reason="images are read with OpenCV")

RECIPE = Preprocess(size_wh=(320, 320), fit="letterbox")
A, B, C = "a" * 64, "b" * 64, "c" * 64
NOW: dict[str, Any] = {"method": "minmax", "images": {"1.png": A, "2.png": B}, "recipe": RECIPE, "weights": C}
RECORD = CalibrationRecord(**NOW, ranges={"images": (0.0, 255.0), "x": (-1.5, 1 / 3)}, source="photos/")


def changed(**changes: object) -> str:
    with pytest.raises(ConvertError) as caught:
        check_reuse(RECORD, **{**NOW, **changes})
    text = str(caught.value)
    assert text.startswith("the calibration was made ")
    assert text.endswith(": calibrate again")
    assert "\n" not in text
    return text


def test_the_same_things_may_be_used_again() -> None:
    check_reuse(RECORD, **NOW)
    check_reuse(RECORD, **{**NOW, "images": {"2.png": B, "1.png": A}})
    check_reuse(RECORD, **{**NOW, "recipe": dataclasses.replace(RECIPE, mean=(0, 0, 0))})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mean": (123.7, 116.3, 103.5)}, "with mean (0.0, 0.0, 0.0), the recipe now says (123.7, 116.3, 103.5)"),
        ({"std": (58.0, 57.0, 57.0)}, "with std (1.0, 1.0, 1.0), the recipe now says (58.0, 57.0, 57.0)"),
        ({"size_wh": (416, 416)}, "with size_wh (320, 320), the recipe now says (416, 416)"),
        ({"color": "RGB"}, "with color BGR, the recipe now says RGB"),
        ({"fit": "stretch"}, "with fit letterbox, the recipe now says stretch"),
        ({"pad": 0, "align": "center"}, "with align top-left, the recipe now says center; and with pad 114"),
    ],
)
def test_another_recipe_is_refused_and_the_field_named(changes: dict[str, Any], says: str) -> None:
    recipe = dataclasses.replace(RECIPE, **changes)
    assert says in changed(recipe=recipe)
    assert dataclasses.replace(RECORD, recipe=recipe).recipe_sha256 != RECORD.recipe_sha256


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": {"1.png": A, "2.png": C}}, "with other bytes of the image 2.png"),
        ({"images": {"1.png": B, "2.png": C}}, "with other bytes of the image 1.png (and 1 more)"),
        ({"images": {"1.png": A}}, "with the image 2.png, which is not there now"),
        ({"images": {"1.png": A, "2.png": B, "3.png": C}}, "without the image 3.png, which is there now"),
        ({"weights": A}, "with weights cccccccccccccccc…, they are now aaaaaaaaaaaaaaaa…"),
        ({"method": "entropy"}, "by the method minmax, asked for is now entropy"),
        ({"method": "entropy", "weights": A}, "…; and by the method minmax"),
    ],
)
def test_other_images_weights_or_method_are_refused_and_named(changes: dict[str, Any], says: str) -> None:
    assert says in changed(**changes)


def test_one_byte_of_an_image(tmp_path: Path) -> None:
    """From the file to the refusal: what a folder is drawn as before and after."""
    for number in range(4):
        data = cv2.imencode(".png", np.full((8, 8, 3), number, np.uint8))[1].tobytes()
        (tmp_path / f"{number}.png").write_bytes(data)
    record = dataclasses.replace(RECORD, images=draw(tmp_path, count=4).hashes)
    save(tmp_path / "calibration.json", record)
    check_reuse(load(tmp_path / "calibration.json"), **{**NOW, "images": draw(tmp_path, count=4).hashes})
    data = bytearray((tmp_path / "2.png").read_bytes())
    data[-1] ^= 1
    (tmp_path / "2.png").write_bytes(data)
    with pytest.raises(ConvertError, match=r"made with other bytes of the image 2\.png: calibrate again"):
        check_reuse(load(tmp_path / "calibration.json"), **{**NOW, "images": draw(tmp_path, count=4).hashes})


# The file.


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    for record in (
        RECORD,
        dataclasses.replace(RECORD, recipe=dataclasses.replace(RECIPE, mean=(1, 2, 3))),
        dataclasses.replace(RECORD, ranges={"größe": (np.float32(-0.1), np.float32(0.1))}),
    ):
        save(path, record)
        assert load(path) == record
    assert [each.name for each in tmp_path.iterdir()] == ["calibration.json"]


def test_what_an_artifact_keeps() -> None:
    kept = RECORD.to_artifact()
    assert kept == {
        "source": "photos/",
        "method": "minmax",
        "images": {"1.png": A, "2.png": B},
        "recipe_sha256": RECORD.recipe_sha256,
        "weights_sha256": C,
    }
    json.dumps(kept)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda data: data["recipe"].update(mean=[1.0, 0.0, 0.0]), "is not as it was written; calibrate again"),
        (lambda data: data["ranges"].update(x=[0.0, 1.0]), "is not as it was written"),
        (lambda data: data.update(format=2), "expected calibration format 1, got 2; calibrate again"),
        (lambda data: data.clear(), "expected calibration format 1, got None"),
    ],
)
def test_an_edited_file_is_refused(tmp_path: Path, edit: Any, says: str) -> None:
    path = tmp_path / "calibration.json"
    save(path, RECORD)
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ConvertError) as caught:
        load(path)
    assert f"{path}: expected a calibration: {says}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "Expecting value"),
        (b"\xff\xfe", "decode"),
        (b"[1]", "no table but a list"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_file_that_is_no_calibration(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "calibration.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConvertError) as caught:
        load(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weights": "abc"}, "weights: expected a SHA-256"),
        ({"images": {"1.png": ""}}, r"1\.png: expected a SHA-256"),
        ({"images": {}}, "expected a method, images and ranges"),
        ({"ranges": {"x": (1.0, 0.0)}}, "ranges: x: expected two finite numbers that rise"),
        ({"ranges": {"x": (0.0, float("inf"))}}, "ranges: x: expected two finite numbers"),
        ({"ranges": {"x": (float("nan"), 1.0)}}, "ranges: x: expected two finite numbers"),
    ],
)
def test_a_record_that_cannot_be(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(RECORD, **changes)


def test_only_a_calibration_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a graph")
    with pytest.raises(ConvertError, match="expected a new name for a calibration, got a file that is none"):
        save(path, RECORD)
    assert path.read_bytes() == b"a graph"
    with pytest.raises(ConvertError, match="could not write the calibration: No such file"):
        save(tmp_path / "nowhere" / "calibration.json", RECORD)


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "calibration.json"
    save(path, RECORD)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgezoo.reduce.reuse.os.fsync", full)
    with pytest.raises(ConvertError, match="No space left on device"):
        save(path, dataclasses.replace(RECORD, method="entropy"))
    assert load(path) == RECORD
    assert [each.name for each in tmp_path.iterdir()] == ["calibration.json"]
