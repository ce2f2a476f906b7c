"""The scenes that the digits model learns from: boxes hold what they say, and the test holds nothing seen before."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import need

for needed in ("cv2", "PIL", "sklearn", "skimage", "matplotlib"):
    pytest.importorskip(needed, reason=f"the renderer of the digits scenes needs {needed}")

FOLDER = Path(__file__).parents[1] / "models" / "digits"


@pytest.fixture(scope="module")
def room() -> Iterator[dict[str, ModuleType]]:
    """The renderer's modules, which are scripts beside each other and no package."""
    sys.path.insert(0, str(FOLDER))
    before = set(sys.modules)
    try:
        import backgrounds
        import clutter
        import fonts
        import handwriting
        import ink
        import legibility
        import scene
        import segments

        try:
            fonts.all_faces()
            for split in scene.SPLITS:
                backgrounds.photos(split)
        except (fonts.MissingFonts, backgrounds.MissingPhotos) as missing:
            need("fonts", False, str(missing))
        rooms = (backgrounds, clutter, fonts, handwriting, ink, legibility, scene, segments)
        yield {one.__name__: one for one in rooms}
    finally:
        sys.path.remove(str(FOLDER))
        for name in set(sys.modules) - before:
            if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


@pytest.fixture(scope="module")
def scenes(room: dict[str, ModuleType]) -> list[Any]:
    return [room["scene"].render((7, index), "train") for index in range(60)]


def test_a_scene_is_the_same_every_time(room: dict[str, ModuleType], scenes: list[Any]) -> None:
    again = room["scene"].render((7, 3), "train")
    assert np.array_equal(again.image, scenes[3].image)
    assert np.array_equal(again.boxes_xyxy, scenes[3].boxes_xyxy)
    assert not np.array_equal(room["scene"].render((7, 3), "val").image, scenes[3].image)


def test_boxes_lie_in_the_image_and_are_large_enough_to_read(room: dict[str, ModuleType], scenes: list[Any]) -> None:
    least = room["scene"].LEAST_HEIGHT * room["scene"].SCALE
    for scene in scenes:
        height, width = scene.image.shape[:2]
        assert max(height, width) == room["scene"].LONG_SIDE
        boxes = scene.boxes_xyxy
        assert len(boxes) == len(scene.class_ids) == len(scene.kinds)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= (width, height)).all()
        assert (boxes[:, 3] - boxes[:, 1] >= least - 1e-3).all()


def test_scenes_hold_every_digit_of_every_kind_and_some_hold_none(scenes: list[Any]) -> None:
    assert {int(c) for scene in scenes for c in scene.class_ids} == set(range(10))
    assert {kind for scene in scenes for kind in scene.kinds} == {"printed", "segments", "handwriting"}
    assert 6 <= sum(len(scene.boxes_xyxy) == 0 for scene in scenes) <= 27


def test_large_digits_are_no_rarity(room: dict[str, ModuleType], scenes: list[Any]) -> None:
    heights = np.concatenate([scene.boxes_xyxy[:, 3] - scene.boxes_xyxy[:, 1] for scene in scenes])
    assert (heights / room["scene"].SCALE > 60).mean() > 0.08


def test_some_scenes_are_a_photograph_and_nothing_else(
    room: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name, module in (("photograph", room["backgrounds"]), ("scatter", room["clutter"])):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, name=name, real=real: (asked.append(name), real(*args))[1])
    plain = 0
    for index in range(25):
        asked.clear()
        scene = room["scene"].render((7, index), "train")
        plain += asked == ["photograph"] and len(scene.boxes_xyxy) == 0
    assert 1 <= plain <= 8


@pytest.mark.parametrize(("ink_tone", "noise", "legible"), [(20, 3, True), (150, 3, False), (90, 90, False)])
def test_a_digit_is_legible_if_it_stands_out(
    room: dict[str, ModuleType], ink_tone: int, noise: float, legible: bool
) -> None:
    writing = np.zeros((60, 60), np.uint8)
    writing[10:50, 26:34] = 255
    tones = np.where(writing > 0, ink_tone, 170)[..., np.newaxis] + np.random.default_rng(0).normal(
        0, noise, (60, 60, 3)
    )
    photo = np.clip(tones, 0, 255).astype(np.uint8)
    boxes = np.array([[26, 10, 34, 50]], np.float32)
    assert room["legibility"].all_legible(photo, writing, boxes, 1.0) == legible


def test_a_box_is_tight_around_its_own_ink(room: dict[str, ModuleType]) -> None:
    alpha = np.zeros((40, 60), np.uint8)
    alpha[5:30, 12:20] = 255
    alpha[4, 12:20] = 100  # less than half covered: not the digit's
    digit = room["ink"].digit_of(alpha, 1, "printed")
    assert digit.box_xyxy().tolist() == [12, 5, 20, 30]
    twice = np.diag([2.0, 2.0, 1.0])
    assert digit.moved(1, -1).box_xyxy(twice).tolist() == [26, 8, 42, 58]


@pytest.mark.parametrize("text", ["0123456789", "12:45", "1.8"])
def test_lines_know_their_digits(room: dict[str, ModuleType], text: str) -> None:
    rng = np.random.default_rng(0)
    face = room["fonts"].pick(rng, "train", "print")
    wanted = [int(c) for c in text if c.isdigit()]
    for ink in (
        room["ink"].printed(face, text, 40),
        room["segments"].display(rng, text, 40, "train"),
        room["handwriting"].written(rng, text, 40, "train"),
    ):
        assert [digit.class_id for digit in ink.digits] == wanted
        for digit in ink.digits:
            x1, y1, x2, y2 = digit.box_xyxy().astype(int)
            inside = ink.alpha[y1:y2, x1:x2] > 127
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()  # noqa: PT018


def test_the_test_split_shares_no_font_and_no_sample_with_training(room: dict[str, ModuleType]) -> None:
    fonts, hands = room["fonts"], room["handwriting"].sample_ids
    for look in ("print", "script", "segments"):
        own, others = ({face.path for group in fonts.families(s, look) for face in group} for s in ("test", "train"))
        assert own
        assert others
        assert not own & others
    used = [{i for ids in hands(split) for i in ids} for split in ("train", "val", "test")]
    assert len(set.union(*used)) == sum(map(len, used))


def test_every_face_has_ten_digits(room: dict[str, ModuleType]) -> None:
    for face in room["fonts"].all_faces():
        shapes = {room["ink"].printed(face, c, 24).alpha.tobytes() for c in "0123456789"}
        assert len(shapes) == 10, face.path
