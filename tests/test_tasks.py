"""What outputs mean: thresholds, doubles, classes, the way home, and how far two answers are apart."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgezoo import tasks
from edgezoo.errors import RequestError, UnknownName
from edgezoo.geometry import Placement
from edgezoo.tasks import TASKS, Ask, Outputs, class_ids, classify, detect, task

NAMES = ("cat", "dog", "bird")
SAME = Placement.of(scale_xy=(1, 1), shift_xy=(0, 0), source_wh=(100, 80))
HALF = Placement.of(scale_xy=(0.5, 0.5), shift_xy=(0, 10), source_wh=(100, 80))


def answers(name: str) -> Outputs:
    """What a graph might say of two images."""
    dice = np.random.default_rng(0)
    if name == "classify":
        return {"scores": dice.dirichlet(np.ones(3), 2).astype(np.float32)}
    corner = dice.uniform(0, 50, (2, 20, 2))
    boxes = np.concatenate([corner, corner + dice.uniform(5, 30, (2, 20, 2))], axis=-1).astype(np.float32)
    return {"boxes": boxes, "scores": dice.uniform(0.02, 1, (2, 20, 3)).astype(np.float32)}


# The shelf.


def test_the_list_is_the_shelf() -> None:
    assert sorted(path.stem for path in Path(tasks.__file__).parent.glob("[!_]*.py")) == sorted(TASKS)
    with pytest.raises(UnknownName, match="no task is called 'detct'; did you mean 'detect'"):
        task("detct")


@pytest.mark.parametrize("name", TASKS)
def test_a_task_keeps_the_contract(name: str) -> None:
    chosen, outputs = task(name), answers(name)
    assert set(chosen.OUTPUTS) == set(outputs)
    assert list(inspect.signature(chosen.read).parameters) == list(inspect.signature(tasks.Task.read).parameters)[1:]
    assert all(limit > 0 for limit in chosen.TOLERANCE.values())
    assert chosen.difference(outputs, outputs) == dict.fromkeys(chosen.TOLERANCE, 0)
    assert len(chosen.read(outputs, [SAME, SAME], NAMES, Ask(score=0))) == 2
    assert len(chosen.read(outputs, [SAME], NAMES, Ask(score=0))) == 1  # the rest filled up a fixed batch
    assert chosen.read(outputs, [], NAMES, Ask()) == []


@pytest.mark.parametrize("name", TASKS)
def test_results_own_their_memory(name: str) -> None:
    outputs = answers(name)
    result = task(name).read(outputs, [SAME, SAME], NAMES, Ask(score=0))[0]
    before = result.to_dict()
    for array in outputs.values():
        array[:] = 0
    assert result.to_dict() == before
    for field in ("scores", "class_ids", "boxes_xyxy"):
        array = getattr(result, field, None)
        assert array is None or (
            array.flags.writeable and array.dtype == (np.int64 if field == "class_ids" else np.float32)
        )


@pytest.mark.parametrize("name", TASKS)
def test_every_output_counts_in_a_difference(name: str) -> None:
    chosen = task(name)
    for output in chosen.OUTPUTS:
        changed = {key: value.copy() for key, value in answers(name).items()}
        changed[output].flat[3] += 0.5
        worst = chosen.difference(answers(name), changed)
        assert any(value > chosen.TOLERANCE[key] for key, value in worst.items())
        changed[output].flat[3] = np.nan
        assert any(
            not value <= chosen.TOLERANCE[key] for key, value in chosen.difference(answers(name), changed).items()
        )


def test_a_candidate_that_decides_nothing_is_told_apart() -> None:
    reference = {"boxes": np.zeros((1, 2, 4), np.float32), "scores": np.array([[[0.9], [0.001]]], np.float32)}
    moved = {"boxes": reference["boxes"] + np.array([0, 1], np.float32)[:, None], "scores": reference["scores"]}
    assert detect.difference(reference, moved) == {"boxes_px": 1, "scored_boxes_px": 0, "scores": 0}
    moved = {"boxes": reference["boxes"] - np.array([1, 0], np.float32)[:, None], "scores": reference["scores"]}
    assert detect.difference(reference, moved) == {"boxes_px": 1, "scored_boxes_px": 1, "scores": 0}


# What is asked.


@pytest.mark.parametrize(
    ("ask", "raises"),
    [
        ({}, None),
        ({"score": 0, "iou": 1, "top": 1}, None),
        ({"score": -0.1}, "expected score within 0..1, got -0.1"),
        ({"score": 25}, "expected score within 0..1, got 25"),
        ({"iou": 1.01}, "expected iou within 0..1"),
        ({"iou": float("nan")}, "expected iou within 0..1"),
        ({"top": 0}, "expected top of 1 or more, got 0"),
    ],
)
def test_ask_is_checked_at_birth(ask: dict[str, Any], raises: str | None) -> None:
    if raises is None:
        assert Ask(**ask) == Ask(**ask)
        return
    with pytest.raises(RequestError, match=raises):
        Ask(**ask)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["dog"], (1,)),
        (["bird", "cat"], (2, 0)),
        (["2"], (2,)),
        ([], ()),
        (["cta"], "no class is called 'cta'; did you mean 'cat'"),
        (["3"], "no class is called '3'"),
        (["-1"], "no class is called '-1'"),
        (["CAT"], "did you mean 'cat'"),
    ],
)
def test_classes_by_name_or_number(wanted: list[str], expected: Any) -> None:
    if isinstance(expected, tuple):
        assert class_ids(NAMES, wanted) == expected
        return
    with pytest.raises(UnknownName, match=expected):
        class_ids(NAMES, wanted)


def test_a_name_that_is_a_number_comes_before_the_number() -> None:
    assert class_ids(("1", "0"), ["0"]) == (1,)


# Classify.


@pytest.mark.parametrize(
    ("scores", "ask", "expected"),
    [
        ([0.2, 0.7, 0.1], {}, [1, 0, 2]),
        ([0.2, 0.7, 0.1], {"top": 1}, [1]),
        ([0.2, 0.7, 0.1], {"score": 0.15}, [1, 0]),
        ([0.25, 0.75, 0], {"score": 0.25}, [1]),  # above, not at
        ([0.2, 0.7, 0.1], {"score": 1}, []),
        ([0.2, 0.7, 0.1], {"classes": (0, 2)}, [0, 2]),
        ([0.2, 0.7, 0.1], {"classes": (2, 2)}, [2]),
        ([0.2, 0.7, 0.1], {"classes": ()}, []),
        ([0.4, 0.2, 0.4], {}, [0, 2, 1]),  # equals in the order of classes
        ([1, 0, 0], {}, [0]),  # what is impossible is no answer
    ],
)
def test_classify(scores: list[float], ask: dict[str, Any], expected: list[int]) -> None:
    (result,) = classify.read({"scores": np.array([scores], np.float32)}, [SAME], NAMES, Ask(**ask))
    assert result.class_ids.tolist() == expected
    np.testing.assert_array_equal(result.scores, np.array(scores, np.float32)[expected])
    assert result.names == NAMES


def test_five_labels_unless_asked_otherwise() -> None:
    scores = np.linspace(0.1, 0.2, 9, dtype=np.float32)[None]
    names = tuple("abcdefghi")
    assert [name for name, _ in classify.read({"scores": scores}, [SAME], names, Ask())[0]] == list("ihgfe")


# Detect.

BOX, FAR, NEAR = (10, 10, 30, 30), (50, 50, 70, 70), (12, 10, 32, 30)  # NEAR overlaps BOX by 0.82


@pytest.mark.parametrize(
    ("boxes", "scores", "ask", "expected"),
    [
        # expected: (class, score, box), best first
        ([BOX], [[0.9, 0, 0]], {}, [(0, 0.9, BOX)]),
        ([BOX], [[0.25, 0, 0]], {}, []),  # above 0.25, not at it
        ([BOX], [[0.25, 0, 0]], {"score": 0.2}, [(0, 0.25, BOX)]),
        ([BOX], [[0, 0, 0]], {"score": 0}, []),
        ([BOX, FAR], [[0.5, 0, 0], [0, 0, 0.75]], {}, [(2, 0.75, FAR), (0, 0.5, BOX)]),
        ([BOX, NEAR], [[0.75, 0, 0], [0.5, 0, 0]], {}, [(0, 0.75, BOX)]),
        ([BOX, NEAR], [[0.5, 0, 0], [0.75, 0, 0]], {}, [(0, 0.75, NEAR)]),
        ([BOX, NEAR], [[0.75, 0, 0], [0.5, 0, 0]], {"iou": 0.9}, [(0, 0.75, BOX), (0, 0.5, NEAR)]),
        ([BOX, NEAR], [[0.75, 0, 0], [0, 0.5, 0]], {}, [(0, 0.75, BOX), (1, 0.5, NEAR)]),  # other classes
        ([BOX], [[0.75, 0, 0.5]], {}, [(0, 0.75, BOX), (2, 0.5, BOX)]),  # one place, two classes
        ([BOX, NEAR], [[0.75, 0, 0], [0, 0.5, 0]], {"classes": (1,)}, [(1, 0.5, NEAR)]),
        ([BOX, NEAR], [[0.75, 0, 0], [0, 0.5, 0]], {"classes": (1, 1)}, [(1, 0.5, NEAR)]),
        ([BOX], [[0.75, 0, 0]], {"classes": ()}, []),
        ([(-20, 50, 10, 200)], [[0.5, 0, 0]], {}, [(0, 0.5, (0, 50, 10, 80))]),  # clipped
        ([(100, 0, 120, 50)], [[0.5, 0, 0]], {}, []),  # in no image
        ([(30, 30, 10, 10)], [[0.5, 0, 0]], {}, []),  # swapped corners
        ([(np.nan, 0, 10, 10)], [[0.5, 0, 0]], {}, []),
        ([BOX], [[np.nan, 0, 0]], {"score": 0}, []),
    ],
)
def test_detect(boxes: Any, scores: Any, ask: dict[str, Any], expected: list[tuple[int, float, Any]]) -> None:
    outputs = {"boxes": np.array([boxes], np.float32), "scores": np.array([scores], np.float32)}
    (result,) = detect.read(outputs, [SAME], NAMES, Ask(**ask))
    got = list(
        zip(result.class_ids.tolist(), result.scores.tolist(), map(tuple, result.boxes_xyxy.tolist()), strict=True)
    )
    assert got == [(label, pytest.approx(score), box) for label, score, box in expected]


def test_each_image_goes_its_own_way_home() -> None:
    outputs = {"boxes": np.array([[BOX], [BOX]], np.float32), "scores": np.full((2, 1, 1), 0.5, np.float32)}
    first, second = detect.read(outputs, [SAME, HALF], ("thing",), Ask())
    assert first.boxes_xyxy.tolist() == [list(BOX)]
    assert second.boxes_xyxy.tolist() == [[20, 0, 60, 40]]


def test_a_box_in_the_border_is_in_no_image() -> None:
    outputs = {"boxes": np.array([[(0, 0, 50, 9)]], np.float32), "scores": np.ones((1, 1, 1), np.float32)}
    assert len(detect.read(outputs, [HALF], ("thing",), Ask())[0]) == 0


def test_no_candidates_at_all() -> None:
    outputs = {"boxes": np.zeros((1, 0, 4), np.float32), "scores": np.zeros((1, 0, 3), np.float32)}
    (result,) = detect.read(outputs, [SAME], NAMES, Ask())
    assert len(result) == 0
    assert result.boxes_xyxy.shape == (0, 4)


def test_a_class_that_is_not_there_among_a_thousand_is_a_short_line() -> None:
    with pytest.raises(UnknownName, match=r"no class is called '\?'; known: class 000, .*, … 1000 in all") as caught:
        class_ids(tuple(f"class {k:03}" for k in range(1000)), ["?"])
    assert len(str(caught.value)) < 400
