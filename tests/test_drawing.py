"""Drawing: pixels change where something was found and nowhere else, at every size."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgezoo.drawing import _chip_rect, _label, _visible, color_of, draw, ink_on
from edgezoo.drawing.pen import Pen, overlap, text_px
from edgezoo.drawing.places import Places
from edgezoo.errors import ShapeError
from edgezoo.frame import Image
from edgezoo.results import UNTRACKED, Count, Detections, Labels, LineCount, ZoneCount

pytest.importorskip("cv2", reason="drawing needs OpenCV")

NAMES = ("car", "traffic light", "Käfer\nłódź", "машина", "x" * 300, "")
SIZES = [(160, 120), (768, 432), (375, 500), (1920, 1080), (3840, 2160)]


def grey(width: int, height: int) -> Image:
    return np.full((height, width, 3), 90, np.uint8)


def found(*boxes: tuple[float, float, float, float], score: float = 0.87, class_id: int = 0) -> Detections:
    n = len(boxes)
    scores = np.full(n, score, np.float32)
    return Detections(np.array(boxes, np.float32).reshape(n, 4), scores, np.full(n, class_id, np.int64), NAMES)


def changed(before: Image, after: Image) -> npt.NDArray[np.bool_]:
    return np.asarray((before != after).any(axis=2))


def extent(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The smallest x1, y1, x2, y2 around what is set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.fixture(params=["own font", "strokes"])
def font(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """OpenCV 5's own font where it is here, and always the strokes that OpenCV 4 has."""
    import cv2

    if request.param == "strokes":
        monkeypatch.delattr(cv2, "FontFace", raising=False)
    elif not hasattr(cv2, "FontFace"):
        pytest.skip("OpenCV 4 has no font of its own")
    return str(request.param)


@pytest.mark.parametrize("size", SIZES)
def test_pixels_change_at_the_box_and_nowhere_far_away(size: tuple[int, int], font: str) -> None:
    width, height = size
    image = grey(width, height)
    box = (round(width * 0.3), round(height * 0.4), round(width * 0.6), round(height * 0.8))
    mask = changed(image, draw(image, found(box)))
    x1, y1, x2, y2 = box
    line = max(2, width // 200)
    for side in (mask[y1 : y2 - 1, x1], mask[y1 : y2 - 1, x2 - 1], mask[y1, x1 : x2 - 1], mask[y2 - 1, x1 : x2 - 1]):
        assert side.mean() > 0.9
    assert not mask[y1 + 4 * line : y2 - 4 * line, x1 + 4 * line : x2 - 4 * line].any(), "the object is covered"
    left, top, right, bottom = extent(mask)
    label_px = max(20, height // 10)
    assert left >= x1 - 2 * line
    assert top >= y1 - label_px
    assert bottom <= y2 + 2 * line
    assert right <= max(x2, x1 + 8 * label_px) + 2 * line


def test_the_image_itself_is_left_alone() -> None:
    image = grey(320, 240)
    view = image[:, ::-1]
    before = view.copy()
    after = draw(view, found((20, 60, 100, 160)), corner="12.3 ms")
    assert np.array_equal(view, before)
    assert after.flags.c_contiguous
    assert not np.shares_memory(after, image)


@pytest.mark.parametrize("class_id", range(len(NAMES) + 1))
@pytest.mark.parametrize(
    "box",
    [
        (100, 100, 200, 180),
        (0, 0, 320, 240),
        (-50, -50, 40, 40),
        (310, 0, 320, 10),
        (310, 230, 400, 300),
        (0, 235, 5, 240),
        (150, 120, 150, 120),
        (319, 239, 320, 240),
    ],
)
def test_a_label_is_whole_wherever_the_box_is(box: tuple[float, float, float, float], class_id: int, font: str) -> None:
    image = grey(320, 240)
    pen = Pen(text_px(image))
    detections = found(box, class_id=class_id)
    [rect] = [_chip_rect(image, pen, label(pen, detections), as_box(image, pen, detections), [])]
    x1, y1, x2, y2 = rect
    assert 0 <= x1 < x2 <= 320
    assert 0 <= y1 < y2 <= 240
    assert pen.width(label(pen, detections)) + 2 * pen.pad_px <= x2 - x1
    assert changed(image, draw(image, detections))[y1:y2, x1:x2].mean() > 0.9


def label(pen: Pen, detections: Detections) -> str:
    (name, score, _), *_ = detections
    text = _label(pen, name, f"{score:.0%}", 320)
    assert text.endswith("87%")
    return text


def as_box(image: Image, pen: Pen, detections: Detections) -> tuple[int, int, int, int]:
    return _visible(image, detections, pen)[0]


def test_labels_of_neighbours_keep_clear_of_each_other() -> None:
    image = grey(640, 480)
    pen = Pen(text_px(image))
    taken: list[tuple[int, int, int, int]] = []
    for shift in (0, 5, 10):
        box = (200 + shift, 200 + shift, 240 + shift, 240 + shift)
        x1, y1, x2, y2 = _chip_rect(image, pen, "car 87%", box, taken)
        assert not any(x1 < right and left < x2 and y1 < bottom and top < y2 for left, top, right, bottom in taken)
        taken.append((x1, y1, x2, y2))


def test_the_best_score_lies_on_top_whatever_the_order() -> None:
    image = grey(320, 240)
    boxes = np.array([[60, 60, 200, 200]] * 8, np.float32)
    scores, ids = np.linspace(0.2, 0.9, 8, dtype=np.float32), np.arange(8)
    names = tuple("abcdefgh")
    ahead = draw(image, Detections(boxes, scores, ids, names))
    behind = draw(image, Detections(boxes, scores[::-1].copy(), ids[::-1].copy(), names))
    assert np.array_equal(ahead, behind)
    assert tuple(ahead[130, 60]) == color_of(7)


@pytest.mark.parametrize(
    ("result", "corner"),
    [
        (found(), None),
        (found(), ""),
        (found(), " \n "),
        (Labels(np.zeros(0, np.float32), np.zeros(0, np.int64), NAMES), None),
        (found((np.nan, 0, 10, 10)), None),
        (found((500, 500, 600, 600), (-9, -9, -1, -1)), None),
    ],
    ids=["none", "no text", "blank text", "no labels", "not a number", "outside"],
)
def test_nothing_to_draw_changes_nothing(result: Any, corner: str | None) -> None:
    image = grey(320, 240)
    assert not changed(image, draw(image, result, corner=corner)).any()


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 50), (50, 3), (8, 8), (20, 12), (3000, 10)])
def test_no_size_and_no_box_is_too_odd(size: tuple[int, int], font: str) -> None:
    width, height = size
    image = grey(width, height)
    whole, huge = (0, 0, width, height), (-np.inf, -1e9, np.inf, 1e9)
    labels = Labels(np.array([0.9, np.nan, -1, 7], np.float32), np.arange(4), NAMES)
    for result in (found(whole), found(huge), found((5, 5, 1, 1)), labels):
        assert draw(image, result, corner="12.3 ms\nage").shape == image.shape


@pytest.mark.parametrize(
    ("image", "raises"),
    [
        (grey(8, 8), None),
        (np.zeros((8, 8), np.uint8), ShapeError),
        (np.zeros((8, 8, 4), np.uint8), ShapeError),
        (np.zeros((8, 8, 3), np.float32), ShapeError),
    ],
)
def test_images_are_checked(image: Any, raises: type[Exception] | None) -> None:
    if raises is None:
        draw(image, found())
        return
    with pytest.raises(raises, match="expected"):
        draw(image, found())


@pytest.mark.parametrize("size", SIZES)
def test_corner_text_lies_on_a_panel_in_the_corner(size: tuple[int, int], font: str) -> None:
    width, height = size
    image = grey(width, height)
    one = extent(changed(image, draw(image, found(), corner="12.3 ms  31 fps")))
    two = extent(changed(image, draw(image, found(), corner="12.3 ms  31 fps\nage 18 ms")))
    assert one[2] <= width * 0.75
    assert one[3] <= height * 0.3
    assert one[:3] == two[:3]
    assert one[3] < two[3] < height / 2
    assert draw(image, found(), corner="12.3 ms").max() > 230, "the text is light"


def test_the_corner_panel_does_not_tremble() -> None:
    image = grey(768, 432)
    widths = {extent(changed(image, draw(image, found(), corner=f"{ms:.1f} ms"))) for ms in (11.1, 28.8, 30.4)}
    assert len(widths) == 1


@pytest.mark.parametrize("size", SIZES)
def test_labels_stand_in_a_panel_at_the_bottom(size: tuple[int, int], font: str) -> None:
    width, height = size
    image = grey(width, height)
    scores = np.array([0.6, 0.3, 0.05, 0.03, 0.02, 0.01], np.float32)
    labels = Labels(scores, np.arange(6), ("golden retriever", *NAMES))
    after = draw(image, labels)
    x1, y1, x2, y2 = extent(changed(image, after))
    assert 0 < x1 < x2 < width
    assert height * 0.15 < y1 < y2 < height
    bars = [(after == color_of(class_id)).all(axis=2).sum() for class_id in range(2)]
    assert bars[0] > 1.5 * bars[1] > 0, "bars are as long as scores are high"


def test_colors_are_stable_and_distinct() -> None:
    assert [color_of(0), color_of(1), color_of(19)] == [(0x59, 0x7A, 0xFF), (0xF4, 0xC7, 0x41), (0x2D, 0x52, 0xA2)]
    assert len({color_of(class_id) for class_id in range(1000)}) > 950
    near = np.array([color_of(class_id) for class_id in range(20)], np.int64)
    apart = np.linalg.norm(near[:, None] - near[None], axis=2) + 999 * np.eye(20)
    assert apart.min() > 50


@pytest.mark.parametrize("class_id", [*range(60), 999, -1])
def test_text_can_be_read_on_every_color(class_id: int) -> None:
    def luminance(color: tuple[int, int, int]) -> float:
        blue, green, red = (
            part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in color
        )
        return 0.0722 * blue + 0.7152 * green + 0.2126 * red

    bright, dark = sorted((luminance(color_of(class_id)), luminance(ink_on(color_of(class_id)))), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) > 3.9


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("traffic light", "traffic light"),
        ("Käfer łódź Straße", "Kafer lodz Strasse"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("машина", "??????"),
        ("bell\x07", "bell"),
    ],
)
def test_names_become_letters_that_the_font_has(text: str, plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    if hasattr(cv2, "FontFace"):
        kept = Pen(14).clean(text)
        assert kept == text.replace("\n", " ").replace("\t", " ").replace("\x07", "")
        monkeypatch.delattr(cv2, "FontFace")
    assert Pen(14).clean(text) == plain


# Ids, lines and zones.


@pytest.mark.parametrize(("track_id", "longer"), [(3, True), (123456, True), (UNTRACKED, False)])
def test_an_id_stands_beside_the_name(track_id: int, longer: bool, font: str) -> None:
    image = grey(640, 480)
    plain = found((200, 200, 220, 400))
    plates = [
        extent(changed(image, draw(image, result))[:199])
        for result in (plain, replace(plain, track_ids=np.array([track_id])))
    ]
    assert plates[0][:2] == plates[1][:2]
    assert (plates[1][2] > plates[0][2] + 10) == longer


def test_an_id_is_kept_where_a_name_is_cut() -> None:
    pen = Pen(14)
    text = _label(pen, "x" * 300, "#12 87%", 120)
    assert text.startswith("x")
    assert text.endswith("#12 87%")
    assert pen.width(text) <= 120


def with_counts(*counts: Count) -> Detections:
    return replace(found(), counts=counts)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("ends", "arrow"),
    [
        (((0.1, 0.5), (0.9, 0.5)), (0, 1)),
        (((0.9, 0.5), (0.1, 0.5)), (0, -1)),
        (((0.5, 0.9), (0.5, 0.1)), (1, 0)),
        (((0.5, 0.1), (0.5, 0.9)), (-1, 0)),
    ],
)
def test_a_line_has_an_arrow_that_points_in(
    size: tuple[int, int], ends: tuple[tuple[float, float], ...], arrow: tuple[int, int], font: str
) -> None:
    width, height = size
    image = grey(width, height)
    a, b = ((x * width, y * height) for x, y in ends)
    after = draw(image, with_counts(LineCount("", a, b, 0, 0)))
    bright = (after > 200).all(axis=2)
    (ax, ay), (bx, by) = a, b
    for share in (0.05, 0.3, 0.7, 0.95):  # the line itself
        x, y = round(ax + (bx - ax) * share), round(ay + (by - ay) * share)
        assert bright[y - 1 : y + 2, x - 1 : x + 2].any()
    reach, x, y = round(0.8 * text_px(image)), round((ax + bx) / 2), round((ay + by) / 2)
    there, behind = (
        bright[y + k * arrow[1] - 1 : y + k * arrow[1] + 2, x + k * arrow[0] - 1 : x + k * arrow[0] + 2].any()
        for k in (reach, -reach)
    )
    assert there
    assert not behind


def test_a_zone_is_lighter_while_something_is_inside() -> None:
    image, corners = grey(640, 480), ((200.0, 200.0), (400.0, 200.0), (300.0, 400.0))
    empty, taken = (draw(image, with_counts(ZoneCount("z", corners, inside, 5))) for inside in (0, 2))
    assert 90 < empty[300, 300, 0] < taken[300, 300, 0] < 160
    assert not changed(image, taken)[300, :220].any()
    assert not changed(image, taken)[420:].any()


def test_numbers_lie_on_boxes_and_labels_keep_clear_of_them(font: str) -> None:
    image = grey(640, 480)
    line = LineCount("door", (0, 240), (640, 240), 12, 3)
    empty, over = draw(image, with_counts(line)), draw(image, replace(found((250, 150, 450, 350)), counts=(line,)))
    plate = extent((empty.astype(int) < 70).all(axis=2)[244:])
    x1, y1, x2, y2 = plate[0], plate[1] + 244, plate[2], plate[3] + 244
    assert x2 - x1 > 60
    assert (
        np.abs(over[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3].astype(int) - empty[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3]).max() < 40
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (20, 12), (3000, 10), (640, 480)])
def test_no_line_and_no_zone_is_too_odd(size: tuple[int, int], font: str) -> None:
    image = grey(*size)
    places = [
        LineCount("x" * 300, (0, 0), (0, 0), 10**9, 0),
        LineCount("out", (-500, 1e5), (1e5, -500), 1, 0),
        ZoneCount("Käfer", ((0, 0), (1e5, 0), (0, 1e5)), 3, 3),
        ZoneCount("", ((900, 900), (950, 900), (900, 950)), 0, 0),
    ]
    for count in (*places[:1], *places):
        assert draw(image, with_counts(count)).shape == image.shape
    assert draw(image, with_counts(*places), corner="12 ms").shape == image.shape


def test_numbers_of_several_places_keep_clear_of_each_other() -> None:
    image, pen, taken = grey(640, 480), Pen(14), [(0, 0, 60, 30)]
    zones = [ZoneCount(f"zone {k}", ((10, 10), (300, 10), (10, 200)), 0, 0) for k in range(6)]
    Places(image, zones, pen, taken)
    assert len(taken) == 7
    assert not any(overlap(a, b) for a, b in itertools.combinations(taken, 2))
