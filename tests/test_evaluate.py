"""Evaluation, held against figures worked by hand, and sets that are not what they should be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from graphs import COLORS, scene

from edgezoo.bundle import Bundle
from edgezoo.engine import Engine
from edgezoo.errors import DataError, RequestError
from edgezoo.measure.evaluate import evaluate
from edgezoo.preprocess import Preprocess

pytest.importorskip("pycocotools", reason="the metric is computed by pycocotools")

RECIPE = Preprocess(size_wh=(64, 64), fit="letterbox")
SIZE = (128, 128)  # half of it is the network's: boxes of even corners come home exact
BOXES = [(10, 20, 50, 60), (4, 4, 124, 24), (64, 64, 100, 120), (30, 2, 70, 90)]
BundleOf = Callable[..., Bundle]


@pytest.fixture(scope="module")
def detector(bundle_of: BundleOf) -> Iterator[Engine]:
    """Opened with thresholds that let nothing through: evaluation reads with its own."""
    with Engine(bundle_of("squares", RECIPE), threads=1, score=1.0, iou=0.0, classes=["blue"]) as engine:
        yield engine


@pytest.fixture(scope="module")
def classifier(bundle_of: BundleOf) -> Iterator[Engine]:
    with Engine(bundle_of("colors", RECIPE), threads=1, classes=["blue"]) as engine:
        yield engine


def coco(folder: Path, *, at: str = "images", **changes: Any) -> Path:
    """A set of four images with a square each, its colours in turn; `changes` are put over the annotations."""
    (folder / at).mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 128, "height": 128} for k in range(4)],
        "annotations": [annotation(k, k % 3, box) for k, box in enumerate(BOXES)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(COLORS)],
    }
    for k, box in enumerate(BOXES):
        cv2.imwrite(str(folder / at / f"{k}.png"), scene(SIZE, box, COLORS[k % 3]))
    (folder / "annotations.json").write_text(json.dumps(content | changes))
    return folder


def annotation(image: Any, category: Any, box: tuple[int, int, int, int], **more: Any) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    sides = [x1, y1, x2 - x1, y2 - y1]
    return {"id": 0, "image_id": image, "category_id": category, "bbox": sides, **more}


def test_perfect_answers_are_worth_one(detector: Engine, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    found = evaluate(detector, coco(tmp_path), progress=lambda done, total: told.append((done, total)))
    assert (found.metrics["map"], found.metrics["map50"]) == (pytest.approx(1), pytest.approx(1))
    assert found.by_class == dict.fromkeys(COLORS, pytest.approx(1))
    assert told == [(done, 4) for done in range(5)]
    shown = json.loads(json.dumps(found.to_dict()))
    assert (shown["map"], shown["images"], shown["runs"]["precision"]) == (1.0, 4, "fp32")
    assert shown["protocol"] == {"score": 0.01, "iou": 0.65, "max_detections": 100}
    assert detector.ask.score == 1.0


def test_half_of_the_boxes_missed(detector: Engine, tmp_path: Path) -> None:
    # Every box once more where nothing is: precision 1 up to a recall of one half, then 0; 51 of COCO's 101 recalls.
    nothing = [annotation(k, k % 3, (100, 2, 126, 20) if k != 1 else (2, 100, 60, 126)) for k in range(4)]
    real = [annotation(k, k % 3, box) for k, box in enumerate(BOXES)]
    found = evaluate(detector, coco(tmp_path, annotations=real + nothing))
    assert found.metrics["map"] == found.metrics["map50"] == pytest.approx(51 / 101)


def test_boxes_that_overlap_by_seven_tenths(detector: Engine, tmp_path: Path) -> None:
    # IoU 0.72: found at the thresholds 0.50, 0.55, …, 0.70, which are five of ten.
    wide = [
        annotation(k, k % 3, (x1, y1, x1 + round((x2 - x1) * 0.72), y2)) for k, (x1, y1, x2, y2) in enumerate(BOXES)
    ]
    found = evaluate(detector, coco(tmp_path, annotations=wide))
    assert found.metrics["map50"] == 1.0
    assert found.metrics["map"] == pytest.approx(0.5)


def test_a_crowd_neither_helps_nor_harms(detector: Engine, tmp_path: Path) -> None:
    boxes = [annotation(k, k % 3, box) for k, box in enumerate(BOXES)]
    boxes[3] = annotation(3, 0, BOXES[3], iscrowd=1)
    found = evaluate(detector, coco(tmp_path, annotations=boxes))
    assert found.metrics["map"] == pytest.approx(1)


def test_nothing_found_is_worth_nothing(detector: Engine, tmp_path: Path) -> None:
    folder = coco(tmp_path)
    for path in (folder / "images").iterdir():
        cv2.imwrite(str(path), scene(SIZE, (0, 0, 0, 0)))
    assert evaluate(detector, folder).metrics["map"] == 0.0


@pytest.mark.parametrize(
    ("categories", "ids"),
    [
        ([{"id": 1, "name": "Blue"}, {"id": 44, "name": " GREEN "}, {"id": 90, "name": "red"}], (1, 44, 90)),
        ([{"id": 90, "name": "red"}, {"id": 44, "name": "green"}, {"id": 1, "name": "blue"}], (1, 44, 90)),
        ([{"id": k, "name": str(k)} for k in (1, 2, 3)], (1, 2, 3)),
        ([{"id": 3}, {"id": 1}, {"id": 2, "name": ""}], (1, 2, 3)),
        ([{"id": f"c{k}", "name": f"class {k}"} for k in range(3)], ("c0", "c1", "c2")),
        ([{"id": 9, "name": "things"}] + [{"id": k, "name": COLORS[k]} for k in range(3)], (0, 1, 2)),
    ],
    ids=["any case", "any order", "numbers", "no names", "class k", "one without boxes"],
)
def test_categories_find_their_classes(detector: Engine, tmp_path: Path, categories: Any, ids: Any) -> None:
    boxes = [annotation(k, ids[k % 3], box) for k, box in enumerate(BOXES)]
    assert evaluate(detector, coco(tmp_path, categories=categories, annotations=boxes)).metrics["map"] == pytest.approx(
        1
    )


def test_a_bundle_that_knows_more_classes_than_the_set(detector: Engine, tmp_path: Path) -> None:
    only_blue = [annotation(k, 7, BOXES[k]) for k in (0, 3)]
    found = evaluate(detector, coco(tmp_path, categories=[{"id": 7, "name": "blue"}], annotations=only_blue))
    assert (found.metrics["map"], found.by_class) == (pytest.approx(1), {"blue": pytest.approx(1)})


@pytest.mark.parametrize("place", ["beside", "images", "val2017", "the file itself"])
def test_where_a_set_may_lie(detector: Engine, tmp_path: Path, place: str) -> None:
    coco(tmp_path, at={"beside": ".", "val2017": "val2017"}.get(place, "images"))
    data = tmp_path
    if place == "val2017":
        (tmp_path / "annotations").mkdir()
        (tmp_path / "annotations.json").rename(tmp_path / "annotations" / "instances_val2017.json")
    elif place == "the file itself":
        data = (tmp_path / "annotations.json").rename(tmp_path / "mine.json")
    assert evaluate(detector, data).metrics["map"] == pytest.approx(1)


def test_a_limit_takes_images_from_all_over_the_set(detector: Engine, tmp_path: Path) -> None:
    found = evaluate(detector, coco(tmp_path), limit=2)
    assert (found.images, found.metrics["map"], set(found.by_class)) == (
        2,
        pytest.approx(1),
        {"blue", "red"},
    )  # images 0 and 2
    with pytest.raises(RequestError, match="limit of 1"):
        evaluate(detector, tmp_path, limit=0)


def test_a_bundle_of_fixed_batch(bundle_of: BundleOf, tmp_path: Path) -> None:
    with Engine(bundle_of("squares", RECIPE, batch=3), threads=1) as engine:
        assert evaluate(engine, coco(tmp_path)).metrics["map"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, "got 0 images and 4 boxes"),
        ({"annotations": []}, "got 4 images and 0 boxes"),
        ({"images": {"a": 1}}, "expected images as a list"),
        ({"images": [{"id": 0}]}, "expected file_name"),
        ({"images": [{"id": 0, "file_name": "0.png"}] * 2}, "every image once"),
        ({"images": [{"id": k, "file_name": f"{k}.jpg"} for k in range(4)]}, "4 are missing, the first is .*0.jpg"),
        ({"images": [{"id": k, "file_name": f"{k}.png", "width": 64, "height": 64} for k in range(4)]}, "64x64 px"),
        ({"annotations": [annotation(9, 0, BOXES[0])]}, "image 9, which is not among"),
        ({"annotations": [annotation(0, 9, BOXES[0])]}, "category 9, which is not among its 3"),
        ({"annotations": [annotation(0, 0, BOXES[0], bbox=[1, 2, 3])]}, r"expected bbox as \[x, y, width, height\]"),
        ({"annotations": [annotation(0, 0, (50, 2, 20, 20))]}, "expected bbox"),
        ({"annotations": [annotation(0, 0, BOXES[0], bbox=[1, 2, 10**400, 3])]}, "expected bbox"),
        ({"annotations": [annotation(0, 0, BOXES[0], area=10**400)]}, "expected a finite area, got 1000"),
        ({"annotations": [annotation(0, 0, BOXES[0], iscrowd="0")]}, "expected iscrowd as 0 or 1, got '0' in image 0"),
        ({"images": [{"id": k, "file_name": f"{k}\0.png"} for k in range(4)]}, "4 are missing"),
        ({"images": [{"id": k, "file_name": f"{k}" * 300} for k in range(4)]}, "4 are missing"),
        ({"categories": [{"id": k, "name": f"animal{k}s"} for k in range(3)]}, "'animal0s' and 2 others, expected"),
        ({"categories": [{"id": k, "name": str(k)} for k in range(4)]}, "as many as the bundle's 3 classes, got 4"),
        ({"categories": [{"id": k, "name": "red"} for k in range(3)]}, "got one twice"),
        ({"categories": []}, "not among its 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sets_that_are_refused(detector: Engine, tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        evaluate(detector, coco(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_files_that_are_refused(detector: Engine, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such path"):
        evaluate(detector, tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"one of annotations\.json"):
        evaluate(detector, tmp_path)
    for name in ("instances_a.json", "instances_b.json"):
        (tmp_path / name).write_text("[]")
    with pytest.raises(DataError, match=r"expected one instances\*\.json, got 2"):
        evaluate(detector, tmp_path)
    with pytest.raises(DataError, match="an object with images"):
        evaluate(detector, tmp_path / "instances_a.json")
    for text in ("{", "1" * 5000):
        (tmp_path / "instances_a.json").write_text(text)
        with pytest.raises(DataError, match="COCO form"):
            evaluate(detector, tmp_path / "instances_a.json")


def test_an_image_that_is_none(detector: Engine, tmp_path: Path) -> None:
    folder = coco(tmp_path)
    (folder / "images" / "2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2\.png: expected an image"):
        evaluate(detector, folder)


def photos(folder: Path, **files: str) -> Path:
    """One-coloured images `file=colour`; `__` stands for a folder."""
    for name, color in files.items():
        path = folder / (name.replace("__", "/") + ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), scene(SIZE, (0, 0, 128, 128), color))
    return folder


def table(folder: Path, text: str) -> Path:
    (folder / "labels.csv").write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize("images", ["", "images__"])
@pytest.mark.parametrize("named", ["folder", "table"])
def test_three_of_four_right(classifier: Engine, tmp_path: Path, images: str, named: str) -> None:
    photos(tmp_path, **{f"{images}a": "blue", f"{images}b": "green", f"{images}c": "red", f"{images}d": "red"})
    table(tmp_path, "file,class_index\na.png,0\nb.png,1\nc.png,2\nd.png,1\n")
    found = evaluate(classifier, tmp_path if named == "folder" else tmp_path / "labels.csv")
    assert found.metrics == {"top1": 0.75, "top5": 1.0}
    assert json.loads(json.dumps(found.to_dict()))["images"] == 4


@pytest.mark.parametrize("folders", [("blue", "green", "red"), ("BLUE", "Green", "2"), ("0", "1", "2")])
def test_folders_named_by_class(classifier: Engine, tmp_path: Path, folders: tuple[str, ...]) -> None:
    blue, green, red = folders
    photos(tmp_path, **{f"{blue}__a": "blue", f"{green}__b": "green", f"{red}__c": "red", f"{red}__deep__d": "blue"})
    assert evaluate(classifier, tmp_path).metrics == {"top1": 0.75, "top5": 1.0}
    assert evaluate(classifier, tmp_path, limit=2).images == 2


def test_folders_of_imagenet_go_by_order(classifier: Engine, tmp_path: Path) -> None:
    photos(tmp_path, n01440764__a="blue", n01443537__b="green", n02123045__c="red")
    assert evaluate(classifier, tmp_path).metrics["top1"] == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class_index\n", "expected labelled images, got none"),
        ("name,label\na.png,1\n", r"labels.csv:2: expected columns file,class_index, got a\.png,1"),
        ("file,class_index\na.png,red\n", "expected columns file,class_index"),
        ("file,class_index\na.png\n", "expected columns file,class_index"),
        ("file,class_index\na.png,3\n", "class_index below 3"),
        ("file,class_index\na.png,1\nb.png,1\n", r"labels.csv:3: expected the image b\.png"),
    ],
)
def test_tables_that_are_refused(classifier: Engine, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(classifier, table(photos(tmp_path, a="red"), text))


def test_folders_that_are_refused(classifier: Engine, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such path"):
        evaluate(classifier, tmp_path / "nowhere")
    with pytest.raises(DataError, match="got neither"):
        evaluate(classifier, tmp_path)
    (tmp_path / "red").mkdir()
    with pytest.raises(DataError, match="got none"):
        evaluate(classifier, tmp_path)
    photos(tmp_path, cats__a="red")
    with pytest.raises(DataError, match="got 'cats'"):
        evaluate(classifier, tmp_path)


def test_the_official_detector_keeps_its_promise(test_data: Path, official: Callable[[str], Bundle]) -> None:
    with Engine(official("yolox_nano")) as engine:
        found = evaluate(engine, test_data / "data" / "coco-val-128")
    assert found.images == 128
    assert found.metrics["map"] >= 0.335  # type: ignore[operator]
    assert found.metrics["map50"] >= 0.495  # type: ignore[operator]


def test_the_official_classifier_keeps_its_promise(test_data: Path, official: Callable[[str], Bundle]) -> None:
    pytest.importorskip("torch", reason="the official weights are a checkpoint of torch")
    with Engine(official("mobilenet_v2")) as engine:
        found = evaluate(engine, test_data / "data" / "imagenet-sample-250")
    assert found.images == 250
    assert found.metrics["top1"] >= 0.82  # type: ignore[operator]
