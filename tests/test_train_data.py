"""Data sets to train on: every layout, every fault with its line, and a split that keeps its word."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgezoo.errors import DataError, EdgezooError, RequestError
from edgezoo.train.data import DataSet, Example, read

SIZE = (64, 48)
BOX = (8, 4, 40, 36)  # x1 y1 x2 y2; in YOLO form the row below
ROW = "0.375 0.416667 0.5 0.666667"
NAMES = ("cat", "dog")


def photo(path: Path, *, size_wh: tuple[int, int] = SIZE) -> Path:
    """A picture of its own for every name of a file and its folders, and always the same one for it."""
    seed = np.frombuffer(f"{path.parent.parent.name}/{path.parent.name}/{path.name}".encode(), np.uint8)
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.resize(noise, size_wh))
    return path


def photos(folder: Path, **counts: int) -> Path:
    """So many pictures a folder; `__` stands for a level of folders."""
    for name, count in counts.items():
        for k in range(count):
            photo(folder / name.replace("__", "/") / f"{k}.png")
    return folder


def coco(path: Path, count: int = 10, *, at: str = "images", first: int = 0, **changes: Any) -> Path:
    """A `.json` of images with a box each, cat and dog in turn; `changes` are put over it."""
    files = [photo(path.parent / at / f"{k}.png") for k in range(first, first + count)]
    content: dict[str, Any] = {
        "images": [{"id": k, "file_name": file.name, "width": 64, "height": 48} for k, file in enumerate(files)],
        "annotations": [box_in(k, k % 2) for k in range(count)],
        "categories": [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}],
    }
    path.write_text(json.dumps(content | changes))
    return path


def box_in(image: Any, class_id: int, box: tuple[float, ...] = BOX, **more: Any) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    return {"image_id": image, "category_id": (2, 5)[class_id], "bbox": [x1, y1, x2 - x1, y2 - y1], **more}


def yolo(folder: Path, *, images: int = 10, side: str = "", **rows: str) -> Path:
    """Images with a row each, their classes in turn, under `images/side`; `_3="…"` is put in place of a row."""
    for k in range(images):
        photo(folder / "images" / side / f"{k}.png")
        label = folder / "labels" / side / f"{k}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(rows.get(f"_{k}", f"{k % 2} {ROW}\n"))
    return folder


def files(examples: tuple[Example, ...]) -> set[str]:
    return {f"{example.path.parent.name}/{example.path.name}" for example in examples}


def fault(data: Path, task: str, **options: Any) -> str:
    """The line that `read` raises."""
    with pytest.raises(DataError) as caught:
        read(data, task, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_label_without_an_image_is_told(tmp_path: Path) -> None:
    data = yolo_plain(tmp_path)
    (data / "labels" / "train" / "gone.txt").write_text(f"0 {ROW}\n")
    assert "gone.txt: expected an image of that name, found none" in fault(data, "detect")
    told: list[str] = []
    read(data, "detect", leave_out=True, tell=told.append)
    assert [line for line in told if "gone.txt" in line]


# Layouts.


@pytest.mark.parametrize("val", ["val", "valid", "validation", "test"])
def test_folders_of_both_sides(tmp_path: Path, val: str) -> None:
    photos(tmp_path, train__b2=2, train__B10=3, train__a=2, **{f"{val}__a": 1, f"{val}__b2": 1})
    photo(tmp_path / "train" / "a" / ".hidden.png")
    photo(tmp_path / "train" / ".thumbnails" / "0.png")
    photo(tmp_path / "train" / "a" / "more" / "deep.PNG")
    (tmp_path / "train" / "a" / "notes.txt").write_text("nice ones")
    found = read(tmp_path, "classify")
    assert found.names == ("a", "b2", "B10")
    assert found.counts() == {"a": (3, 1), "b2": (2, 1), "B10": (3, 0)}
    assert files(found.val) == {"a/0.png", "b2/0.png"}
    one = found.train[0]
    assert (one.path, one.size_wh) == (tmp_path / "train/a/0.png", SIZE)
    assert (one.class_ids.tolist(), one.boxes_xyxy.shape, one.crowd.tolist()) == ([0], (0, 4), [False])
    assert (one.class_ids.dtype, one.boxes_xyxy.dtype, one.crowd.dtype) == (np.int64, np.float32, np.bool_)


def test_folders_of_classes_alone(tmp_path: Path) -> None:
    found = read(photos(tmp_path, ants=10, bees=5), "classify")
    assert found.counts() == {"ants": (8, 2), "bees": (4, 1)}


def test_folders_with_another_place_for_validation(tmp_path: Path) -> None:
    photos(tmp_path, ants=3, bees=3, mine__ants=1, mine__bees=2)
    found = read(tmp_path, "classify", val=tmp_path / "mine")
    assert found.counts() == {"ants": (3, 1), "bees": (3, 2)}
    photos(tmp_path / "set", train__ants=3, train__bees=3, val__ants=1)
    assert read(tmp_path / "set", "classify", val=tmp_path / "mine").counts() == {"ants": (3, 1), "bees": (3, 2)}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert read(photos(tmp_path, train=4, car=4), "classify").counts() == {"car": (3, 1), "train": (3, 1)}


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    photos(tmp_path, ants=2, bees=2)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "ants" / "turned.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    found = read(tmp_path, "classify")
    assert {one.size_wh for one in found.train + found.val if one.path.suffix == ".jpg"} == {(48, 64)}


def coco_alone(folder: Path) -> Path:
    coco(folder / "annotations.json")
    return folder


def coco_file(folder: Path) -> Path:
    return coco(folder / "mine.json", at=".")


def coco_sides(folder: Path) -> Path:
    for name, images in (("train", 8), ("val", 2)):
        (folder / name).mkdir()
        coco(folder / name / "annotations.json", images)
    return folder


def coco_roboflow(folder: Path) -> Path:
    for name, images in (("train", 8), ("valid", 2), ("test", 2)):
        (folder / name).mkdir()
        coco(folder / name / "_annotations.coco.json", images, at=".")
    return folder


def coco_own(folder: Path) -> Path:
    (folder / "annotations").mkdir()
    coco(folder / "annotations" / "instances_train2017.json", 8, at="../train2017")
    coco(folder / "annotations" / "instances_val2017.json", 2, at="../val2017")
    return folder


def yolo_plain(folder: Path) -> Path:
    (folder / "classes.txt").write_text("cat\ndog\n")
    return yolo(yolo(folder, side="train", images=8), side="val", images=2)


def yolo_alone(folder: Path) -> Path:
    yolo(folder)
    (folder / "labels" / "classes.txt").write_text("cat\ndog\n")
    return folder


def yolo_yaml(folder: Path) -> Path:
    yolo(yolo(folder / "set", side="train", images=8), side="val", images=2)
    (folder / "data.yaml").write_text("path: set\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n")
    return folder


def yolo_roboflow(folder: Path) -> Path:
    for name, images in (("train", 8), ("valid", 2)):
        yolo(folder / name, images=images)
    text = "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n"
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"


def yolo_lists(folder: Path) -> Path:
    yolo(folder)
    lines = [f"./images/{k}.png" for k in range(10)]
    (folder / "train.txt").write_text("\n".join(lines[:8]) + "\n\n")
    (folder / "val.txt").write_text("\n".join(str(folder / line) for line in lines[8:]))
    (folder / "data.yaml").write_text("train: [train.txt]\nval: val.txt\nnames: [cat, dog]\n")
    return folder


LAYOUTS: list[Callable[[Path], Path]] = [
    coco_alone,
    coco_file,
    coco_sides,
    coco_roboflow,
    coco_own,
    yolo_plain,
    yolo_alone,
    yolo_yaml,
    yolo_roboflow,
    yolo_lists,
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_layouts_of_detectors(tmp_path: Path, layout: Callable[[Path], Path]) -> None:
    if layout.__name__ in ("yolo_yaml", "yolo_roboflow", "yolo_lists"):
        pytest.importorskip("yaml", reason="data.yaml is read by PyYAML")
    told: list[str] = []
    seen: list[tuple[int, int]] = []
    found = read(layout(tmp_path), "detect", tell=told.append, progress=lambda done, total: seen.append((done, total)))
    assert (found.task, found.names, told) == ("detect", NAMES, [])
    assert (len(found.train), len(found.val)) == (8, 2)
    assert sum(map(sum, found.counts().values())) == 10
    assert seen == [(done, 10) for done in range(11)]
    for one in found.train + found.val:
        assert one.path.is_file()
        assert one.class_ids.tolist() == [int(one.path.stem) % 2]
        assert one.boxes_xyxy == pytest.approx(np.array([BOX], np.float32), abs=1e-3)
        assert one.boxes_xyxy.dtype == np.float32


def test_detectors_with_another_place_for_validation(tmp_path: Path) -> None:
    data = coco_sides(tmp_path)
    (tmp_path / "mine").mkdir()
    other = coco(tmp_path / "mine" / "mine.json", 3, first=20)
    assert files(read(data, "detect", val=other).val) == {f"images/{k}.png" for k in (20, 21, 22)}
    one_side = read(data / "train" / "annotations.json", "detect", val=data / "val")
    assert (len(one_side.train), files(one_side.val)) == (8, {"images/0.png", "images/1.png"})
    folder = tmp_path / "yolo"
    folder.mkdir()
    yolo(yolo_plain(folder), side="more", images=3)
    assert len(read(folder, "detect", val=folder / "images" / "more").val) == 3


def test_a_heading_of_roboflow_is_no_class(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 2, "name": "cat", "supercategory": "pets"},
        {"id": 5, "name": "dog", "supercategory": "pets"},
    ]
    told: list[str] = []
    assert read(coco(tmp_path / "a.json", categories=categories), "detect", tell=told.append).names == NAMES
    assert told == [f"category 'pets' of {tmp_path / 'a.json'}: a heading over the others, without boxes"]


def test_crowds_images_without_objects_and_polygons(tmp_path: Path) -> None:
    boxes = [box_in(k, k % 2) for k in range(9)] + [box_in(0, 1, (0, 0, 64.9, 48.5), iscrowd=1)]
    found = read(coco(tmp_path / "a.json", annotations=boxes), "detect", val_share=0.3)
    by_name = {one.path.stem: one for one in found.train + found.val}
    assert by_name["0"].crowd.tolist() == [False, True]
    assert by_name["0"].boxes_xyxy[1].tolist() == [0, 0, 64, 48]  # rounding is clipped
    assert by_name["9"].boxes_xyxy.shape == (0, 4)
    assert found.counts()["dog"] == (3, 1)
    folder = yolo(tmp_path / "yolo", _0="1 0.25 0.25 0.75 0.5 0.5 0.75\n\n", _1="")
    (folder / "labels" / "2.txt").unlink()
    (folder / "classes.txt").write_text("cat\ndog\n")
    by_name = {one.path.stem: one for side in [read(folder, "detect")] for one in side.train + side.val}
    assert by_name["0"].boxes_xyxy.tolist() == [[16, 12, 48, 36]]
    assert len(by_name["1"].class_ids) == len(by_name["2"].class_ids) == 0


# The split.


def test_the_split_is_by_seed_and_class(tmp_path: Path) -> None:
    photos(tmp_path, ants=20, bees=10)
    first, again, other = (read(tmp_path, "classify", seed=seed) for seed in (1, 1, 2))
    assert files(first.val) == files(again.val) != files(other.val)
    assert first.digest == again.digest != other.digest
    assert first.counts() == other.counts() == {"ants": (16, 4), "bees": (8, 2)}
    assert read(tmp_path, "classify", val_share=0.5).counts() == {"ants": (10, 10), "bees": (5, 5)}
    assert not files(first.train) & files(first.val)


@pytest.mark.parametrize("seed", range(8))
def test_copies_stay_on_one_side(tmp_path: Path, seed: int) -> None:
    photos(tmp_path, ants=6, bees=6)
    for k in range(6):
        shutil.copy(tmp_path / "ants" / f"{k}.png", tmp_path / "ants" / f"copy-{k}.png")
    found = read(tmp_path, "classify", seed=seed)
    sides = [{one.path.read_bytes() for one in side} for side in (found.train, found.val)]
    assert not sides[0] & sides[1]
    assert len(found.train) + len(found.val) == 18
    assert found.counts()["ants"][1] == 2


@pytest.mark.parametrize("seed", range(8))
def test_no_class_loses_its_last_box_to_validation(tmp_path: Path, seed: int) -> None:
    boxes = [box_in(k, k == 3) for k in range(6)]
    found = read(coco(tmp_path / "a.json", annotations=boxes), "detect", seed=seed, val_share=0.5)
    assert found.counts() == {"cat": (2, 3), "dog": (1, 0)}
    assert len(found.val) == 5  # and half of the four without objects


def test_the_digest_is_of_bytes_labels_and_sides(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    coco_sides(folder)
    digests = [read(folder, "detect").digest]
    folder = folder.rename(tmp_path / "moved")
    assert read(folder, "detect").digest == digests[0]
    shutil.copy(photo(tmp_path / "other.png"), folder / "train" / "images" / "0.png")
    digests.append(read(folder, "detect").digest)
    coco(folder / "train" / "annotations.json", 8, annotations=[box_in(k, k % 2, (8, 4, 40, 35)) for k in range(8)])
    digests.append(read(folder, "detect").digest)
    for side, count in (("train", 8), ("val", 2)):
        categories = [{"id": 5, "name": "Dog"}, {"id": 2, "name": "cat"}]
        coco(folder / side / "annotations.json", count, categories=categories)
    digests.append(read(folder, "detect").digest)
    for here, there in (("train", "was"), ("val", "train"), ("was", "val")):
        (folder / here).rename(folder / there)
    digests.append(read(folder, "detect").digest)
    assert len(set(digests)) == len(digests)


# Faults: of images, which can be left out; then of sets, which cannot.


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def as_jpeg(path: Path, *, preview: bool = False) -> Path:
    """`path`, a .png, as a .jpg, with a preview in its header where asked for."""
    jpeg = cv2.imencode(".jpg", cv2.imread(str(path)))[1].tobytes()
    if preview:
        jpeg = jpeg[:2] + b"\xff\xe1" + (len(jpeg) + 2).to_bytes(2, "big") + jpeg + jpeg[2:]
    path.unlink()
    path = path.with_suffix(".jpg")
    path.write_bytes(jpeg)
    return path


def break_folders(folder: Path, what: str) -> None:
    image = folder / "train" / "ants" / "0.png"
    match what:
        case "empty file":
            image.write_bytes(b"")
        case "no image":
            image.write_bytes(b"no image")
        case "png cut off":
            cut(image)
        case "jpeg cut off":
            cut(as_jpeg(image))
        case "jpeg with a preview cut off":
            cut(as_jpeg(image, preview=True))
        case "copy on both sides":
            shutil.copy(image, folder / "val" / "ants" / "copy.png")
        case "copy of another class":
            shutil.copy(image, folder / "train" / "bees" / "copy.png")
        case "beside the classes":
            photo(folder / "train" / "one.png")
        case "kind that cannot be read":
            (folder / "train" / "ants" / "one.HEIC").write_bytes(b"")


@pytest.mark.parametrize(
    ("what", "raises", "gone"),
    [
        ("empty file", r"ants/0\.png: expected an image, got a file", {"ants/0.png"}),
        ("no image", r"ants/0\.png: expected an image, got a file", {"ants/0.png"}),
        ("png cut off", r"ants/0\.png: expected a whole image, got a PNG without its end", {"ants/0.png"}),
        ("jpeg cut off", r"ants/0\.jpg: expected a whole image, got a JPEG without its end", {"ants/0.jpg"}),
        ("jpeg with a preview cut off", r"ants/0\.jpg: expected a whole image, got a JPEG", {"ants/0.jpg"}),
        (
            "copy on both sides",
            r"val/ants/copy\.png: expected to validate with images not trained on, got a copy of .*ants/0\.png",
            {"ants/copy.png"},
        ),
        (
            "copy of another class",
            r"ants/0\.png: expected one label for one image, got .*bees/copy\.png, the same image, with another label",
            {"ants/0.png", "bees/copy.png"},
        ),
        ("beside the classes", r"train/one\.png: expected images in folders named by class", {"train/one.png"}),
        ("kind that cannot be read", r"ants/one\.HEIC: expected a photo that can be read", {"ants/one.HEIC"}),
    ],
)
def test_faults_of_photos(tmp_path: Path, what: str, raises: str, gone: set[str]) -> None:
    photos(tmp_path, train__ants=3, train__bees=3, val__ants=2, val__bees=2)
    break_folders(tmp_path, what)
    count = f"{len(gone)} problem" + "s" * (len(gone) > 1)
    with pytest.raises(DataError, match=f"got {count}: .*{raises}.*; mend them, or --leave-out to go on without them$"):
        read(tmp_path, "classify")
    check_left_out(tmp_path, "classify", gone)


def check_left_out(data: Path, task: str, gone: set[str]) -> DataSet:
    """What is left out is told, each by a line that begins with its path; the rest is there."""
    told: list[str] = []
    found = read(data, task, leave_out=True, tell=told.append)
    assert {"/".join(Path(line.partition(": ")[0]).parts[-2:]) for line in told} == gone
    assert len(told) == len(gone)
    root = data if data.is_dir() else data.parent
    there = {path for path in root.rglob("*") if path.suffix in (".png", ".jpg")}
    left = {one.path for one in found.train + found.val}
    assert {f"{path.parent.name}/{path.name}" for path in there - left} == {name for name in gone if "HEIC" not in name}
    return found


BAD: dict[str, Any] = {"image_id": 0, "category_id": 2}
LISTED = [{"id": k, "file_name": f"{k}.png", "width": 64, "height": 48} for k in range(10)]
BOXES = [box_in(k, k % 2) for k in range(1, 10)]


@pytest.mark.parametrize(
    ("changes", "raises"),
    [
        (
            {"annotations": [*BOXES, box_in(0, 0, (8, 4, 8, 36))]},
            "boxes with a width and a height, got .* = 8, 4, 8, 36",
        ),
        ({"annotations": [*BOXES, box_in(0, 0, (8, 9, 20, 4))]}, "boxes with a width and a height"),
        ({"annotations": [*BOXES, box_in(0, 0, (64.2, 4, 64.9, 36))]}, "boxes with a width and a height"),
        (
            {"annotations": [*BOXES, box_in(0, 0, (8, 4, 65.5, 36))]},
            "boxes within its 64x48 px, got .* = 8, 4, 65.5, 36",
        ),
        ({"annotations": [*BOXES, *[box_in(0, 0, (-2, 4, 9, 36))] * 3]}, "boxes within .* = -2, 4, 9, 36 and 2 more"),
        ({"annotations": [*BOXES, box_in(0, 0, (8, float("nan"), 9, 36))]}, "boxes of finite numbers, got .* 8, nan"),
        ({"annotations": [*BOXES, box_in(0, 0, (8, 4, float("inf"), 36))]}, "boxes of finite numbers"),
        (
            {"annotations": [*BOXES, BAD | {"bbox": [1, 2, 3]}]},
            r"expected bbox as \[x, y, width, height\], got \[1, 2, 3\]",
        ),
        ({"annotations": [*BOXES, BAD]}, r"expected bbox as .*, got None"),
        ({"annotations": [*BOXES, BAD | {"bbox": [1, 2, 10**400, 3]}]}, "boxes of finite numbers, got .* inf"),
        (
            {"annotations": [*BOXES, BAD | {"bbox": [1, 2, 3, 4], "iscrowd": "0"}]},
            "expected iscrowd as 0 or 1, got '0'",
        ),
        ({"annotations": [*BOXES, BAD | {"bbox": [1, 2, 3, 4], "iscrowd": [1]}]}, "expected iscrowd as 0 or 1"),
        (
            {"annotations": [*BOXES, BAD | {"category_id": 7}]},
            "expected one of the 2 categories of annotations.json, got 7",
        ),
        ({"annotations": [*BOXES, BAD | {"category_id": [7]}]}, "expected one of the 2 categories"),
        ({"images": [LISTED[0] | {"width": 640}, *LISTED[1:]]}, "expected 640x48 px as annotated, got 64x48; annotate"),
        (
            {"images": [LISTED[0] | {"width": 48, "height": 64}, *LISTED[1:]]},
            r"got 64x48 \(turned by its EXIF data\?\)",
        ),
    ],
)
def test_faults_of_boxes(tmp_path: Path, changes: dict[str, Any], raises: str) -> None:
    coco(tmp_path / "annotations.json", **changes)
    with pytest.raises(DataError, match=rf"got 1 problem: .*images/0\.png: .*{raises}.*; mend them, or --leave-out"):
        read(tmp_path, "detect")
    assert len(check_left_out(tmp_path, "detect", {"images/0.png"}).train) == 7


@pytest.mark.parametrize(
    ("row", "raises"),
    [
        ("2 " + ROW, r"expected a class from 0 to 1, got 2 \(labels/0\.txt:2\)"),
        ("-1 " + ROW, "expected a class from 0 to 1, got -1"),
        ("0.5 " + ROW, "expected a class from 0 to 1, got 0.5"),
        ("nan " + ROW, "expected a class from 0 to 1, got nan"),
        ("cat " + ROW, "expected 'class cx cy w h', got 'cat 0.375"),
        ("0 0.5 0.5 0.1", "expected 'class cx cy w h' or a polygon, got 4 numbers"),
        (f"0 {ROW} 0.9", "or a polygon, got 6 numbers"),
        ("0 0.5 nan 0.1 0.1", "expected finite numbers"),
        ("0 24 20 32 32", "expected parts of the image's sides, from 0 to 1, got '0 24 20 32 32'"),
        ("0 0.5 0.5 0 0.1", "expected boxes with a width and a height"),
        ("0 0.9 0.5 0.5 0.5", "expected boxes within its 64x48 px, got x1 y1 x2 y2 = 41.6, 12, 73.6, 36"),
    ],
)
def test_faults_of_rows(tmp_path: Path, row: str, raises: str) -> None:
    yolo(tmp_path, _0=f"0 {ROW}\n{row}\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=rf"got 1 problem: .*images/0\.png: .*{raises}.*; mend them, or --leave-out"):
        read(tmp_path, "detect")
    check_left_out(tmp_path, "detect", {"images/0.png"})


def test_images_listed_twice_or_not_there(tmp_path: Path) -> None:
    coco(tmp_path / "a.json", images=[*LISTED, LISTED[4] | {"id": "again"}], annotations=[*BOXES, box_in("again", 0)])
    assert "4.png: expected every image once, got it listed twice;" in fault(tmp_path / "a.json", "detect")
    coco(tmp_path / "a.json", images=[*LISTED, LISTED[4] | {"id": "again"}])  # its box is in one of the two
    assert "got 2 problems" in (line := fault(tmp_path / "a.json", "detect"))
    assert "4.png: expected one label for one image, got it listed twice with another label" in line
    told: list[str] = []
    coco(tmp_path / "a.json", annotations=[*BOXES, box_in("nowhere", 0), box_in("nowhere", 0)])
    (tmp_path / "images" / "7.png").unlink()
    found = read(tmp_path / "a.json", "detect", leave_out=True, tell=told.append)
    assert told == [
        f"{tmp_path / 'a.json'}: expected boxes in its images, got 2 boxes in images it does not list, as 'nowhere'",
        f"{tmp_path / 'images' / '7.png'}: expected an image: no such file",
    ]
    assert len(found.train) + len(found.val) == 9


LONG = "x" * 300 + ".png"


@pytest.mark.parametrize(
    "name", ["a\0b.png", "a\nb.png", "\ud800.png", LONG, f"{LONG}/0.png", "/", "/dev/zero", "pipe"]
)
def test_names_that_are_no_file(tmp_path: Path, name: str) -> None:
    if name == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("a pipe has no name here")
        os.mkfifo(tmp_path / name)
        name = str(tmp_path / name)
    coco(tmp_path / "a.json", images=[LISTED[0] | {"file_name": name}, *LISTED[1:]])
    assert "got 1 problem: " in (line := fault(tmp_path / "a.json", "detect"))
    assert ": expected an image: no such file;" in line
    assert line.isprintable()


@pytest.mark.parametrize("name", ["a\0b.png", LONG, f"{LONG}/0.png", f"images/{LONG}/0.png", "/", ".", "/dev/zero"])
def test_lines_that_are_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pytest.importorskip("yaml", reason="data.yaml is read by PyYAML")
    yolo_lists(tmp_path)
    with (tmp_path / "train.txt").open("a") as file:
        file.write(f"{name}\n")
    monkeypatch.chdir(tmp_path)
    for data in (tmp_path, Path("data.yaml")):
        assert "got 1 problem: " in (line := fault(data, "detect"))
        assert ": expected an image: no such file;" in line
        assert line.isprintable()


def test_labels_that_are_no_file(tmp_path: Path) -> None:
    data = yolo_plain(tmp_path)
    label = data / "labels" / "train" / "0.txt"
    label.unlink()
    label.mkdir()
    assert "0.txt: it is no file;" in fault(data, "detect")
    label.rmdir()
    label.symlink_to(label)  # there, and not to be read: no image without objects
    told: list[str] = []
    assert "got 1 problem: " in (line := fault(data, "detect", tell=told.append))
    assert "0.png: expected rows of 'class cx cy w h' in " in line
    assert told == []


def test_images_without_labels_are_counted(tmp_path: Path) -> None:
    data = yolo_plain(tmp_path)
    for k in (3, 5):
        (data / "labels" / "train" / f"{k}.txt").unlink()
    (data / "labels" / "train" / "7.txt").write_text("")
    told: list[str] = []
    read(data, "detect", tell=told.append)
    assert told == ["2 of 10 images have no label file: taken as images without objects"]


@pytest.mark.parametrize(("stated", "crowd"), [(0, False), (False, False), (1, True), (True, True)])
def test_what_a_crowd_is(tmp_path: Path, stated: Any, crowd: bool) -> None:
    boxes = [*BOXES, box_in(0, 0, iscrowd=stated)]
    found = read(coco(tmp_path / "a.json", annotations=boxes), "detect")
    assert sum(int(one.crowd.sum()) for one in found.train + found.val) == crowd


def test_an_image_on_both_sides(tmp_path: Path) -> None:
    coco_sides(tmp_path)
    shutil.copy(tmp_path / "train" / "images" / "0.png", tmp_path / "val" / "images" / "0.png")
    assert "validate with images not trained on, got a copy of" in fault(tmp_path, "detect")
    found = read(tmp_path, "detect", leave_out=True)
    assert (len(found.train), files(found.val)) == (8, {"images/1.png"})
    pytest.importorskip("yaml", reason="data.yaml is read by PyYAML")
    folder = tmp_path / "lists"
    folder.mkdir()
    yolo_lists(folder)
    (folder / "val.txt").write_text("images/7.png\nimages/8.png\n")
    assert "7.png: expected every image once, got it listed twice" in fault(folder, "detect")
    assert files(read(folder, "detect", leave_out=True).val) == {"images/8.png"}


def test_problems_are_counted_and_three_shown(tmp_path: Path) -> None:
    photos(tmp_path, ants=9, bees=9)
    for k in range(5):
        cut(tmp_path / "ants" / f"{k}.png")
    told: list[str] = []
    line = fault(tmp_path, "classify", tell=told.append)
    assert "expected data without faults, got 5 problems: " in line
    assert [each.partition(": ")[0] for each in told] == [str(tmp_path / "ants" / f"{k}.png") for k in range(5)]
    assert [name in line for name in ("0.png", "1.png", "2.png", "3.png")] == [True, True, True, False]
    assert line.endswith("; and 2 more; mend them, or --leave-out to go on without them")
    told.clear()
    for k in (3, 4):
        (tmp_path / "ants" / f"{k}.png").unlink()
    assert "got 3 problems: " in fault(tmp_path, "classify", tell=told.append)
    assert told == []  # the line has said it all


def test_a_class_without_anything_to_train_on(tmp_path: Path) -> None:
    photos(tmp_path, ants=3, bees=3)
    (tmp_path / "wasps").mkdir()
    assert "class 'wasps': expected an image to train on, got none;" in fault(tmp_path, "classify")
    (tmp_path / "wasps" / "list.txt").write_text("none yet")
    assert "class 'wasps': expected an image to train on, got none (list.txt there);" in fault(tmp_path, "classify")
    told: list[str] = []
    found = read(tmp_path, "classify", leave_out=True, tell=told.append)
    assert (found.names, len(told)) == (("ants", "bees", "wasps"), 1)
    categories = [{"id": 2, "name": "cat"}, {"id": 3, "name": "mouse"}, {"id": 5, "name": "dog"}]
    coco(tmp_path / "a.json", categories=categories)
    assert "class 'mouse': expected a box to train on, got none;" in fault(tmp_path / "a.json", "detect")
    assert read(tmp_path / "a.json", "detect", leave_out=True).names == ("cat", "mouse", "dog")


def test_what_leaving_out_cannot_cure(tmp_path: Path) -> None:
    photos(tmp_path, ants=3, bees=1)
    cut(tmp_path / "bees" / "0.png")
    line = fault(tmp_path, "classify")
    assert "bees/0.png: expected a whole image" in line
    assert "; mend them, for what is left is not enough: expected two classes or more" in line
    assert "--leave-out" not in line
    told: list[str] = []
    assert "got 1 (ants)" in fault(tmp_path, "classify", leave_out=True, tell=told.append)
    assert len(told) == 2


@pytest.mark.parametrize(
    ("make", "task", "raises"),
    [
        (lambda folder: None, "classify", "expected images, got none; known are .*jpg"),
        (lambda folder: photos(folder, ants=3), "classify", r"two classes or more, .*, got 1 \(ants\)"),
        (
            lambda folder: photos(folder, train=3, val=3),
            "classify",
            "train: expected a folder of images for every class",
        ),
        (lambda folder: photos(folder, ants=1, bees=1), "classify", "expected images to validate with, got none; add"),
        (lambda folder: photo(folder / "bees.png"), "detect", "expected COCO form .* or YOLO form .*, got neither"),
        (lambda folder: yolo_plain(coco_alone(folder)), "detect", "in one form, got COCO's and YOLO's"),
        (lambda folder: coco(folder / "annotations.json", annotations=[]), "detect", "got 10 images and 0 boxes"),
        (lambda folder: coco(folder / "annotations.json", 0), "detect", "got 0 images"),
        (lambda folder: (folder / "annotations.json").write_text("{"), "detect", "annotations in COCO form"),
        (lambda folder: coco(folder / "annotations.json", categories=[{"id": 2}]), "detect", "a name of its own"),
        (
            lambda folder: coco(folder / "annotations.json", 2),
            "detect",
            "expected boxes to validate with, got none in 0",
        ),
        (lambda folder: yolo(folder), "detect", "expected data.yaml or classes.txt"),
        (
            lambda folder: (folder / "annotations.json").write_text("[" + "1" * 5000 + "]"),
            "detect",
            "annotations.json: expected annotations in COCO form",
        ),
        (
            lambda folder: coco(folder / "annotations.json", categories=[{"id": 2, "name": "a\nb"}, {"id": 5}]),
            "detect",
            "a name of its own",
        ),
        (
            lambda folder: coco(
                folder / "annotations.json", categories=[{"id": 2, "name": "a\nb"}, {"id": 5, "name": "dog"}]
            ),
            "detect",
            r"expected names of classes that fit on a line, got 'a\\nb'; rename the class",
        ),
        (lambda folder: photos(folder, **{"ants ": 2, "bees": 2}), "classify", "fit on a line, got 'ants '; rename"),
    ],
)
def test_sets_that_are_refused(tmp_path: Path, make: Callable[[Path], Any], task: str, raises: str) -> None:
    make(tmp_path)
    for leave_out in (False, True):
        with pytest.raises(DataError, match=raises) as caught:
            read(tmp_path, task, leave_out=leave_out)
        assert "\n" not in str(caught.value)


def test_folders_named_in_bytes_that_are_no_text(tmp_path: Path) -> None:
    photos(tmp_path, ants=2, bees=2)
    try:
        (tmp_path / "ants").rename(tmp_path / os.fsdecode(b"fourmis \xe9"))
    except OSError:
        pytest.skip("file names are UTF-8 here")
    assert r"fit on a line, got 'fourmis \udce9'; rename the class" in fault(tmp_path, "classify")


def test_names_in_any_script(tmp_path: Path) -> None:
    photos(tmp_path, **{"می\u200cخواهم": 2, "gris\u00a0clair": 2, "蚂蚁": 2})  # with characters that have no shape
    assert len(read(tmp_path, "classify").names) == 3


def test_sides_of_other_categories(tmp_path: Path) -> None:
    coco_sides(tmp_path)
    coco(tmp_path / "val" / "annotations.json", 2, categories=[{"id": 2, "name": "cat"}, {"id": 5, "name": "cow"}])
    assert "expected the categories of" in fault(tmp_path, "detect")
    coco(tmp_path / "val" / "annotations.json", 2, categories=[{"id": 5, "name": "cat"}, {"id": 2, "name": "dog"}])
    assert [one.class_ids.tolist() for one in read(tmp_path, "detect").val] == [[1], [0]]  # by name, not by id


def test_labels_that_are_not_where_they_should_be(tmp_path: Path) -> None:
    yolo_plain(tmp_path)
    (tmp_path / "labels").rename(tmp_path / "lables")
    assert "labels were looked for as" in fault(tmp_path, "detect", leave_out=True)


@pytest.mark.parametrize(
    ("text", "raises"),
    [
        ("names: [cat", "expected a data.yaml of YOLO: "),
        ("[]", "with names and train"),
        ("names: [cat, dog]", "with names and train"),
        ("train: images", "expected names as a list, or as a mapping from 0, 1, …, got None"),
        ("train: images\nnames: {1: cat, 2: dog}", "expected names as a list"),
        ("train: images\nnames: [yes, no]", "expected names as texts, got True; try it in quotation marks"),
        ("train: images\nnames: [cat, cat]", "every class under a name of its own"),
        ("train: nowhere\nnames: [cat, dog]", "nowhere, there is no such path"),
        ("train: 7\nnames: [cat, dog]", "folders or lists of images, got 7"),
        ("train: data.yaml\nnames: [cat, dog]", r"expected a folder of images, or a \.txt list"),
        (f"train: {'x' * 300}\nnames: [cat, dog]", "x, there is no such path"),
        ('train: "a\\0b"\nnames: [cat, dog]', "there is no such path"),
        ("train: images\nnames: [cat, dog]\nkpt_shape: [4, 3]", r"expected boxes, got pose labels \(kpt_shape\)"),
    ],
)
def test_descriptions_that_are_refused(tmp_path: Path, text: str, raises: str) -> None:
    pytest.importorskip("yaml", reason="data.yaml is read by PyYAML")
    yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=raises) as caught:
        read(tmp_path, "detect")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "kind", "raises"),
    [
        ({"task": "segment"}, RequestError, "a task that can be trained, classify or detect, got 'segment'"),
        ({"val_share": 1.0}, RequestError, "between 0 and 1, got 1"),
        ({"data": Path("nowhere")}, DataError, "nowhere: expected a data set, there is no such path"),
        ({"data": Path("x" * 300)}, DataError, "x: expected a data set, there is no such path"),
        ({"val": Path("nowhere")}, DataError, "nowhere: expected a data set, there is no such path"),
        ({"data": Path(__file__)}, DataError, "a folder of images for every class, got a file"),
    ],
)
def test_requests_that_are_refused(
    tmp_path: Path, options: dict[str, Any], kind: type[EdgezooError], raises: str
) -> None:
    asked: dict[str, Any] = {"data": photos(tmp_path, ants=3, bees=3), "task": "classify"} | options
    with pytest.raises(kind, match=raises):
        read(asked.pop("data"), asked.pop("task"), **asked)


def test_reading_can_be_stopped(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(photos(tmp_path, ants=20, bees=20), "classify", progress=stop)


# Real sets.


def test_photos_of_ants_and_bees(test_data: Path) -> None:
    found = read(test_data / "data" / "ants-bees", "classify")
    assert found.counts() == {"ants": (124, 70), "bees": (121, 83)}


def test_a_part_of_coco(test_data: Path) -> None:
    data = test_data / "data" / "coco-val-128"
    assert "got 7 problems: class 'parking meter': expected a box to train on, got none" in fault(data, "detect")
    told: list[str] = []
    found = read(data, "detect", leave_out=True, tell=told.append)
    assert (len(found.names), len(found.train), len(found.val), len(told)) == (80, 102, 26, 7)
    assert sum(map(sum, found.counts().values())) == 898
