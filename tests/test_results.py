"""Results: checked at birth, filtered like arrays, told as words and as JSON."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgezoo.errors import ShapeError
from edgezoo.results import UNTRACKED, Count, Crossing, Detections, Labels, LineCount, ZoneCount, name_of

NAMES = ("cat", "dog", "bird")


def detections(n: int = 3) -> Detections:
    corners = np.arange(n, dtype=np.float32)[:, None] * 10 + np.array([0, 1, 5, 7], np.float32)
    return Detections(corners, np.linspace(0.9, 0.1, n, dtype=np.float32), np.arange(n, dtype=np.int64) % 3, NAMES)


COUNTS: tuple[Count, ...] = (
    LineCount("door", (0, 5), (9, 5), 3, 1, (Crossing(7, "in"),)),
    ZoneCount("desk", ((0, 0), (9, 0), (9, 9)), 1, 6),
)


def followed(n: int = 3) -> Detections:
    """The second one of three has no id."""
    ids = np.array([7, UNTRACKED, 2], np.int64)[:n]
    return replace(detections(n), track_ids=ids, counts=COUNTS)


def labels(n: int = 3) -> Labels:
    return Labels(np.linspace(0.9, 0.1, n, dtype=np.float32), np.arange(n, dtype=np.int64), NAMES)


BOXES, SCORES, IDS = np.zeros((2, 4), np.float32), np.zeros(2, np.float32), np.zeros(2, np.int64)


@pytest.mark.parametrize(
    ("boxes", "scores", "ids", "raises"),
    [
        (BOXES, SCORES, IDS, None),
        (BOXES[:0], SCORES[:0], IDS[:0], None),
        (BOXES[:1], SCORES, IDS, "parallel arrays of one length"),
        (BOXES, SCORES[:1], IDS, "parallel arrays of one length"),
        (BOXES, SCORES, IDS[:1], "parallel arrays of one length"),
        (BOXES, SCORES[:, None], IDS, "parallel arrays of one length"),
        (BOXES[:, :3], SCORES, IDS, r"shape \(n, 4\), got \(2, 3\)"),
        (BOXES.ravel(), SCORES, IDS, r"shape \(n, 4\), got \(8,\)"),
    ],
)
def test_detections_are_checked_at_birth(boxes: Any, scores: Any, ids: Any, raises: str | None) -> None:
    with pytest.raises(ShapeError, match=raises) if raises else nullcontext():
        assert len(Detections(boxes, scores, ids, NAMES)) == len(scores)


@pytest.mark.parametrize(("ids", "raises"), [(IDS, None), (IDS[:1], "parallel"), (IDS[:, None], "parallel")])
def test_ids_are_as_many_as_detections(ids: Any, raises: str | None) -> None:
    with pytest.raises(ShapeError, match=raises) if raises else nullcontext():
        assert Detections(BOXES, SCORES, IDS, NAMES, track_ids=ids).track_ids is ids


@pytest.mark.parametrize(
    ("scores", "ids", "raises"),
    [(SCORES, IDS, None), (SCORES, IDS[:1], "parallel"), (SCORES[:, None], IDS[:, None], "parallel")],
)
def test_labels_are_checked_at_birth(scores: Any, ids: Any, raises: str | None) -> None:
    with pytest.raises(ShapeError, match=raises) if raises else nullcontext():
        assert len(Labels(scores, ids, NAMES)) == 2


@pytest.mark.parametrize("made", [detections, followed, labels])
@pytest.mark.parametrize(
    ("index", "left"),
    [
        (slice(None), [0, 1, 2]),
        (slice(0, 1), [0]),
        (slice(None, None, -1), [2, 1, 0]),
        ([2, 0], [2, 0]),
        ([], []),
        (np.array([True, False, True]), [0, 2]),
        (np.zeros(3, bool), []),
        (1, [1]),
        (-1, [2]),
        (np.int64(0), [0]),
    ],
    ids=str,
)
def test_filtered_like_arrays(made: Any, index: Any, left: list[int]) -> None:
    whole = made()
    part = whole[index]
    assert type(part) is type(whole)
    assert part.class_ids.tolist() == left
    assert part.scores.tolist() == whole.scores[left].tolist()
    assert part.names is whole.names
    if isinstance(part, Detections):
        assert part.boxes_xyxy.tolist() == whole.boxes_xyxy[left].tolist()
        assert part.counts is whole.counts
        assert (part.track_ids is None) == (whole.track_ids is None)
        assert part.track_ids is None or part.track_ids.tolist() == whole.track_ids[left].tolist()


@pytest.mark.parametrize("made", [detections, labels])
@pytest.mark.parametrize("index", [3, -4, [0, 7]])
def test_what_is_not_there_is_not_given(made: Any, index: Any) -> None:
    with pytest.raises(IndexError):
        made()[index]


def test_the_filter_of_the_readme() -> None:
    found = detections()
    assert found[found.scores > 0.4].class_ids.tolist() == [0, 1]


def test_iterating() -> None:
    assert list(labels(2)) == [("cat", pytest.approx(0.9)), ("dog", pytest.approx(0.1))]
    assert list(detections(2)) == [
        ("cat", pytest.approx(0.9), (0, 1, 5, 7)),
        ("dog", pytest.approx(0.1), (10, 11, 15, 17)),
    ]


def test_as_json() -> None:
    assert json.loads(json.dumps(labels(1).to_dict())) == {"labels": [{"label": "cat", "score": 0.9}]}
    assert json.loads(json.dumps(detections(1).to_dict())) == {
        "detections": [{"label": "cat", "score": 0.9, "box_xyxy": [0, 1, 5, 7]}]
    }
    assert detections(0).to_dict() == {"detections": []}


def test_ids_and_counts_as_json() -> None:
    told = json.loads(json.dumps(followed().to_dict()))
    assert [row["track"] for row in told["detections"]] == [7, None, 2]
    assert told["lines"] == {"door": {"in": 3, "out": 1, "crossed": [{"track": 7, "direction": "in"}]}}
    assert told["zones"] == {"desk": {"inside": 1, "entered": 6}}
    nobody = replace(followed(0), counts=COUNTS[:1]).to_dict()
    assert nobody == {"detections": [], "lines": told["lines"]}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (detections(4), "Detections(2 cat, 1 dog, 1 bird)"),
        (detections(0), "Detections(none)"),
        (followed(1), "Detections(1 cat; door 3 in, 1 out; desk 1 inside, 6 entered)"),
        (followed(0), "Detections(none; door 3 in, 1 out; desk 1 inside, 6 entered)"),
        (labels(2), "Labels(cat 0.90, dog 0.10)"),
        (labels(0), "Labels()"),
    ],
)
def test_in_words(result: Any, words: str) -> None:
    assert repr(result) == words


@pytest.mark.parametrize(("class_id", "name"), [(0, "cat"), (2, "bird"), (3, "class 3"), (79, "class 79")])
def test_a_model_may_know_more_classes_than_it_has_names(class_id: int, name: str) -> None:
    assert name_of(NAMES, class_id) == name


@pytest.mark.parametrize("result", [detections(), followed(), labels()])
def test_drawing_is_on_a_copy(result: Any) -> None:
    pytest.importorskip("cv2", reason="results are drawn with OpenCV")
    image = np.zeros((64, 64, 3), np.uint8)
    drawn = result.draw(image)
    assert drawn.shape == image.shape
    assert drawn.any()
    assert not image.any()
