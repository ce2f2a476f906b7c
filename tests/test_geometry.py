"""Boxes: overlaps, suppression against a plain reference, and ways there and back."""

from __future__ import annotations

import numpy as np
import pytest

from edgezoo.geometry import Boxes, Placement, area, iou, nms

A = (0, 0, 10, 10)


def boxes(*rows: tuple[float, ...]) -> Boxes:
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (A, 100),
        ((2, 3, 2.5, 7), 2),
        ((5, 5, 5, 9), 0),
        ((9, 0, 1, 10), 0),  # swapped corners
        ((9, 9, 1, 1), 0),
    ],
)
def test_area(box: tuple[float, ...], expected: float) -> None:
    assert area(boxes(box)).tolist() == [expected]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (A, 1),
        ((0, 0, 10, 5), 0.5),
        ((5, 0, 15, 10), 1 / 3),
        ((10, 0, 20, 10), 0),  # touching
        ((50, 50, 60, 60), 0),
        ((5, 5, 5, 5), 0),  # a point inside
        ((9, 9, 1, 1), 0),  # swapped corners
    ],
)
def test_iou(other: tuple[float, ...], expected: float) -> None:
    assert iou(boxes(A), boxes(other)) == pytest.approx(expected)
    assert iou(boxes(other), boxes(A)) == pytest.approx(expected)


def test_iou_of_two_points_is_nothing() -> None:
    assert iou(boxes((3, 3, 3, 3)), boxes((3, 3, 3, 3))).tolist() == [0]


def test_iou_broadcasts() -> None:
    some = boxes(A, (0, 0, 10, 5), (20, 20, 30, 30))
    table = iou(some[:, None], some[None])
    assert table.shape == (3, 3)
    assert (table == table.T).all()
    assert np.diagonal(table).tolist() == [1, 1, 1]


def plain_nms(boxes_xyxy: Boxes, scores: np.ndarray, labels: np.ndarray, *, iou_above: float) -> list[int]:
    """Best first, each removes what is left of its class and overlaps it; one box against one other, in float64."""
    kept: list[int] = []
    for k in sorted(range(len(scores)), key=lambda k: (-scores[k], k)):
        if not any(labels[k] == labels[j] and plain_iou(boxes_xyxy[j], boxes_xyxy[k]) > iou_above for j in kept):
            kept.append(k)
    return kept


def plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    ax1, ay1, ax2, ay2, bx1, by1, bx2, by2 = map(float, (*a, *b))
    shared = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    union = max(0.0, ax2 - ax1) * max(0.0, ay2 - ay1) + max(0.0, bx2 - bx1) * max(0.0, by2 - by1) - shared
    return shared / union if union > 0 else 0.0


def crowd(
    seed: int, count: int, classes: int, *, spread: float, whole: bool, ties: bool
) -> tuple[Boxes, np.ndarray, np.ndarray]:
    """Boxes on `spread` x `spread` px. `whole`: corners on a coarse grid, many the same; `ties`: few scores."""
    dice = np.random.default_rng(seed)
    corner, side = dice.uniform(0, spread, (count, 2)), dice.uniform(1, 40, (count, 2))
    found = np.concatenate([corner, corner + side], axis=1)
    found = np.round(found / 8) * 8 if whole else found
    scores = dice.integers(1, 5, count) / 8 if ties else dice.uniform(0, 1, count)
    return found.astype(np.float32), scores.astype(np.float32), dice.integers(0, classes, count).astype(np.int64)


# Limits that float32 holds exactly, where corners are whole: there pairs lie on the limit itself.
CROWDS = [
    *[{"count": count, "classes": 3, "spread": 60, "whole": False, "ties": False} for count in (0, 1, 2, 3, 5, 17, 60)],
    *[{"count": 120, "classes": classes, "spread": spread, "whole": False, "ties": ties}
      for classes in (1, 4, 80) for spread in (1, 60, 2000) for ties in (False, True)],
    *[{"count": 120, "classes": classes, "spread": spread, "whole": True, "ties": ties}
      for classes in (1, 4) for spread in (20, 200) for ties in (False, True)],
]  # fmt: skip


@pytest.mark.parametrize("kind", CROWDS, ids=lambda kind: "-".join(map(str, kind.values())))
@pytest.mark.parametrize("iou_above", [0, 0.25, 0.45, 0.5, 0.75, 1])
def test_nms_keeps_what_the_plain_way_keeps(kind: dict[str, int], iou_above: float) -> None:
    if kind["whole"] and iou_above == 0.45:
        iou_above = 0.4375
    for seed in range(2):
        found, scores, labels = crowd(seed, **kind)
        assert nms(found, scores, labels, iou_above=iou_above).tolist() == plain_nms(
            found, scores, labels, iou_above=iou_above
        )


@pytest.mark.parametrize("classes", [1, 3])
def test_nms_of_a_long_chain(classes: int) -> None:
    """Each box overlaps only the next: every other one stays, however long it takes to settle."""
    count = 64
    left = np.arange(count, dtype=np.float32) * 4
    found = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)
    scores = np.linspace(1, 0.5, count, dtype=np.float32)
    labels = np.zeros(count, np.int64) + np.arange(count) // (count // classes + 1)
    got = nms(found, scores, labels, iou_above=0.3).tolist()
    assert got == plain_nms(found, scores, labels, iou_above=0.3)
    assert count // 2 <= len(got) <= count // 2 + classes


@pytest.mark.parametrize(
    ("rows", "scores", "labels", "limit", "kept"),
    [
        ([], [], [], 0.5, []),
        ([A], [0.5], [7], 0.5, [0]),
        ([A, A], [0.5, 0.9], [0, 0], 0.5, [1]),
        ([A, A], [0.5, 0.9], [0, 1], 0.5, [1, 0]),  # other classes stay
        ([A, A], [0.5, 0.5], [0, 0], 0.5, [0]),  # the first of equals
        ([A, A, A], [0.5, 0.9, 0.5], [2, 1, 0], 0.5, [1, 0, 2]),  # equals in the order they came
        ([A, A], [0.5, 0.9], [0, 0], 1, [1, 0]),  # nothing overlaps by more than all
        ([A, (9, 9, 19, 19)], [0.5, 0.9], [0, 0], 0, [1]),  # one pixel is more than nothing
        ([A, (10, 0, 20, 10)], [0.5, 0.9], [0, 0], 0, [1, 0]),  # touching is not
        ([A, (0, 0, 10, 5)], [0.9, 0.5], [0, 0], 0.5, [0, 1]),  # the limit itself is not passed
        ([(5, 5, 5, 5), (5, 5, 5, 5)], [0.9, 0.5], [0, 0], 0, [0, 1]),  # points overlap nothing
        ([(9, 9, 1, 1), A], [0.9, 0.5], [0, 0], 0.25, [0, 1]),  # swapped corners
    ],
)
def test_nms_by_hand(
    rows: list[tuple[float, ...]], scores: list[float], labels: list[int], limit: float, kept: list[int]
) -> None:
    got = nms(boxes(*rows), np.array(scores, np.float32), np.array(labels, np.int64), iou_above=limit)
    assert got.tolist() == kept
    assert got.dtype == np.int64


def test_nms_leaves_its_arguments_alone() -> None:
    found, scores, labels = crowd(1, 50, 3, spread=60, whole=False, ties=True)
    before = found.copy(), scores.copy(), labels.copy()
    nms(found, scores, labels, iou_above=0.5)
    for now, then in zip((found, scores, labels), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_placement_there_and_back() -> None:
    placement = Placement.of(scale_xy=(0.5, 2), shift_xy=(10, -4), source_wh=(100, 50))
    there = placement.to_network(boxes((0, 0, 100, 50), (20, 10, 40, 30)))
    assert there.tolist() == [[10, -4, 60, 96], [20, 16, 30, 56]]
    assert placement.to_source(there).tolist() == [[0, 0, 100, 50], [20, 10, 40, 30]]
    assert there.dtype == placement.to_source(there).dtype == np.float32


@pytest.mark.parametrize(
    ("box", "home"),
    [
        ((-100, -100, 1000, 1000), (0, 0, 100, 50)),  # more than the image
        ((-50, 0, 5, 10), (0, 2, 0, 7)),  # left of it: no area is left
        ((70, 0, 90, 10), (100, 2, 100, 7)),  # right of it
    ],
)
def test_what_comes_home_is_in_the_image(box: tuple[float, ...], home: tuple[float, ...]) -> None:
    placement = Placement.of(scale_xy=(0.5, 2), shift_xy=(10, -4), source_wh=(100, 50))
    assert placement.to_source(boxes(box)).tolist() == [list(home)]


def test_a_placement_is_a_matrix_for_others() -> None:
    placement = Placement.of(scale_xy=(0.5, 2), shift_xy=(10, -4), source_wh=(100, 50))
    point = placement.matrix @ (20, 10, 1)
    assert point.tolist() == [*placement.to_network(boxes((20, 10, 20, 10)))[0, :2].tolist(), 1]


def test_no_boxes_go_home_too() -> None:
    placement = Placement.of(scale_xy=(1, 1), shift_xy=(0, 0), source_wh=(5, 5))
    assert placement.to_source(boxes()).shape == placement.to_network(boxes()).shape == (0, 4)
