"""Augmentation: a drawn thing must be where its box says, through every variation; chance is seeded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sets

from edgezoo.preprocess import Preprocess
from edgezoo.train.augment import Augmenter, Shown
from edgezoo.train.data import Example
from edgezoo.train.plan import Augment

cv2 = pytest.importorskip("cv2", reason="augmentation needs OpenCV")

NONE = Augment(flip=0, scale=(1, 1), hue=0, saturation=0, brightness=0)
RECIPE = Preprocess(size_wh=(96, 64), fit="letterbox")
GREEN = (0, 255, 0)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], list[Example]]:
    """Photos of 160x120 px with a green box each, of which one is told and one is a crowd."""
    folder = tmp_path_factory.mktemp("augment")

    def make() -> list[Example]:
        examples = []
        for k, (x1, y1, x2, y2) in enumerate(
            [(40, 30, 90, 80), (10, 60, 50, 110), (100, 8, 150, 70), (60, 40, 100, 60)]
        ):
            image = np.full((120, 160, 3), 40, np.uint8)
            image[y1:y2, x1:x2] = GREEN
            sets.write(folder / f"{k}.png", image)
            boxes = [[x1, y1, x2, y2], [0, 0, 5, 5]]
            examples.append(sets.example(folder / f"{k}.png", [k % 2, 1], boxes, crowd=[False, True]))
        return examples

    return make


def green_boxes(shown: Shown) -> list[list[float]]:
    """The boxes of what is green, largest first: of the picture itself, not of its labels."""
    b, g, r = (shown.pixels[..., k].astype(int) for k in range(3))
    mask = ((g > 110) & (g > 2 * b) & (g > 2 * r)).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    rows = sorted(stats[1:].tolist(), key=lambda row: -row[4])
    return [[x, y, x + w, y + h] for x, y, w, h, _ in rows]


VARIED = {
    "as it is": NONE,
    "flip": dataclasses.replace(NONE, flip=1.0),
    "enlarged and shifted": dataclasses.replace(NONE, scale=(1.2, 1.6)),
    "smaller and shifted": dataclasses.replace(NONE, scale=(0.5, 0.8)),
    "all but turning": dataclasses.replace(NONE, flip=0.5, scale=(0.5, 1.5), saturation=0.2, brightness=0.2),
}


@pytest.mark.parametrize("augment", VARIED.values(), ids=VARIED)
@pytest.mark.parametrize("fit", ["letterbox", "stretch", "crop"])
def test_boxes_are_where_things_are(one: Callable[[], list[Example]], augment: Augment, fit: str) -> None:
    recipe = dataclasses.replace(RECIPE, fit=fit)  # type: ignore[arg-type]
    augmenter = Augmenter(one(), recipe, augment, "detect")
    checked = 0
    for seed in range(24):
        shown = augmenter(seed % 4, np.random.default_rng(seed))
        assert shown.pixels.shape == (64, 96, 3)
        assert shown.pixels.dtype == np.uint8
        if len(shown.boxes_xyxy) == 1:
            checked += 1
            np.testing.assert_allclose(shown.boxes_xyxy[0], green_boxes(shown)[0], atol=1.01)
            assert shown.class_ids.tolist() == [seed % 4 % 2]
    assert checked >= 15


@pytest.mark.parametrize("fit", ["letterbox", "stretch", "crop"])
def test_plain_is_as_the_device_sees_it_or_its_mirror_image(one: Callable[[], list[Example]], fit: str) -> None:
    recipe = dataclasses.replace(RECIPE, fit=fit)  # type: ignore[arg-type]
    wild = Augment(flip=0.5, mosaic=1, mixup=1, degrees=30, shear=20, hue=0.5, contrast=0.9, scale=(0.3, 0.4))
    example = one()[0]
    placed, placement = recipe.place(cv2.imread(str(example.path)))
    box = np.clip(placement.to_network(example.boxes_xyxy[:1]), 0, (96, 64, 96, 64))
    turns = set()
    for seed in range(12):
        shown = Augmenter([example], recipe, wild, "detect")(0, np.random.default_rng(seed), plain=True)
        mirrored = not np.array_equal(shown.pixels, placed)
        turns.add(mirrored)
        np.testing.assert_array_equal(shown.pixels, placed[:, ::-1] if mirrored else placed)
        wanted = np.stack([96 - box[:, 2], box[:, 1], 96 - box[:, 0], box[:, 3]], 1) if mirrored else box
        np.testing.assert_allclose(shown.boxes_xyxy, wanted, atol=1e-3)
    assert turns == {False, True}


def test_as_it_is_is_as_the_device_sees_it(one: Callable[[], list[Example]]) -> None:
    """Without variation, and where the image fills the input, the picture is `Preprocess.place`'s own, bit for bit."""
    example = one()[0]
    recipe = dataclasses.replace(RECIPE, size_wh=(96, 72))
    shown = Augmenter([example], recipe, NONE, "detect")(0, np.random.default_rng(0))
    placed, placement = recipe.place(cv2.imread(str(example.path)))
    np.testing.assert_array_equal(shown.pixels, placed)
    np.testing.assert_allclose(shown.boxes_xyxy, placement.to_network(example.boxes_xyxy[:1]), atol=1e-4)


def test_a_detector_that_crops_sees_things_as_large_as_on_the_device(one: Callable[[], list[Example]]) -> None:
    recipe = dataclasses.replace(RECIPE, fit="crop", crop=0.8)
    example = one()[0]
    shown = [Augmenter([example], recipe, NONE, "detect")(0, np.random.default_rng(seed)) for seed in range(8)]
    _, placement = recipe.place(cv2.imread(str(example.path)))
    wanted = placement.to_network(example.boxes_xyxy[:1])[0]
    sizes = [box[2:] - box[:2] for each in shown for box in each.boxes_xyxy]
    assert any(np.abs(size - (wanted[2:] - wanted[:2])).max() < 1 for size in sizes)


def test_turning_and_slanting_take_the_corners_along(one: Callable[[], list[Example]]) -> None:
    augmenter = Augmenter(one(), RECIPE, dataclasses.replace(NONE, degrees=20, shear=15), "detect")
    for seed in range(12):
        shown = augmenter(0, np.random.default_rng(seed))
        np.testing.assert_allclose(shown.boxes_xyxy[0], green_boxes(shown)[0], atol=1.6)


def test_a_mosaic_holds_four_with_their_boxes(one: Callable[[], list[Example]]) -> None:
    augmenter = Augmenter(one(), RECIPE, dataclasses.replace(NONE, mosaic=1.0, scale=(0.5, 0.7)), "detect")
    most = 0
    for seed in range(20):
        shown = augmenter(0, np.random.default_rng(seed))
        seen = green_boxes(shown)
        for box in shown.boxes_xyxy:
            # Its left part may touch another tile's green; each box has a green thing with its four sides.
            assert min(np.abs(np.array(box) - other).max() for other in seen) <= 1.6 or len(seen) < len(
                shown.boxes_xyxy
            )
        most = max(most, len(shown.boxes_xyxy))
    assert most == 4
    alone = augmenter(0, np.random.default_rng(0), plain=True)
    assert len(alone.boxes_xyxy) == 1


def test_what_is_hardly_to_be_seen_is_no_object(one: Callable[[], list[Example]]) -> None:
    augmenter = Augmenter(one(), RECIPE, dataclasses.replace(NONE, scale=(3, 4)), "detect")
    counts = {len(augmenter(0, np.random.default_rng(seed)).boxes_xyxy) for seed in range(40)}
    assert counts == {0, 1}


def test_mixup_shows_the_objects_of_both(one: Callable[[], list[Example]]) -> None:
    augmenter = Augmenter(one(), RECIPE, dataclasses.replace(NONE, mixup=1.0), "detect")
    shown = augmenter(0, np.random.default_rng(1))
    assert len(shown.boxes_xyxy) == len(shown.class_ids) == 2
    assert len(augmenter(0, np.random.default_rng(1), plain=True).boxes_xyxy) == 1


def test_mixup_shares_the_classes_of_pictures(one: Callable[[], list[Example]]) -> None:
    examples = [
        dataclasses.replace(each, class_ids=each.class_ids[:1], boxes_xyxy=each.boxes_xyxy[:0]) for each in one()
    ]
    shown = Augmenter(examples, RECIPE, dataclasses.replace(NONE, mixup=1.0), "classify")(0, np.random.default_rng(2))
    assert len(shown.shares) == 2
    assert shown.shares.sum() == pytest.approx(1)
    assert shown.boxes_xyxy.shape == (0, 4)


def test_a_classifier_sees_a_part_of_the_area_it_is_told(one: Callable[[], list[Example]]) -> None:
    example = dataclasses.replace(one()[0], class_ids=np.array([1]), boxes_xyxy=np.zeros((0, 4), np.float32))
    augmenter = Augmenter([example], RECIPE, dataclasses.replace(NONE, scale=(0.2, 0.3)), "classify")
    greens = [(augmenter(0, np.random.default_rng(seed)).pixels[..., 1] > 200).mean() for seed in range(30)]
    # The green box is 13 % of the photo: in a quarter of it, it is anything from none to half.
    assert min(greens) < 0.05
    assert max(greens) > 0.3


def test_colours_vary_within_their_limits(one: Callable[[], list[Example]]) -> None:
    plain = Augmenter(one(), RECIPE, NONE, "detect")(0, np.random.default_rng(0)).pixels
    for change in ({"hue": 0.5}, {"saturation": 0.9}, {"brightness": 0.9}, {"contrast": 0.9}):
        augmenter = Augmenter(one(), RECIPE, dataclasses.replace(NONE, **change), "detect")
        pictures = [augmenter(0, np.random.default_rng(seed)).pixels for seed in range(8)]
        assert max(np.abs(picture.astype(int) - plain).max() for picture in pictures) > 40, change


def test_the_same_chance_makes_the_same_picture(one: Callable[[], list[Example]]) -> None:
    augment = Augment(mosaic=0.5, mixup=0.5, degrees=5, contrast=0.2)
    augmenter = Augmenter(one(), RECIPE, augment, "detect")
    first, again, other = (augmenter(1, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.boxes_xyxy, again.boxes_xyxy)
    assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"flip": 1.5}, "augment.flip within 0..1, got 1.5"),
        ({"scale": (0.0, 1.0)}, "augment.scale as a range above 0"),
        ({"scale": (1.5, 1.0)}, "augment.scale as a range above 0"),
        ({"degrees": 90}, "augment.degrees within 0..45"),
        ({"mosaic": float("nan")}, "augment.mosaic within 0..1, got nan"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Augment(**values)  # type: ignore[arg-type]


def test_paths_are_read_when_they_are_shown(tmp_path: Path) -> None:
    from edgezoo.errors import SourceError

    sets.write(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    example = sets.example(tmp_path / "a.png", [0], [[1, 1, 5, 5]])
    (tmp_path / "a.png").unlink()
    with pytest.raises(SourceError, match=r"a\.png"):
        Augmenter([example], RECIPE, NONE, "detect")(0, np.random.default_rng(0))
