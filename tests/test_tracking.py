"""Tracking: one object keeps one id, and nobody gets it again."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import crowds
import numpy as np
import numpy.typing as npt
import pytest
from crowds import SIZE_WH, Crowd

from edgezoo.errors import RequestError
from edgezoo.frame import Frame
from edgezoo.results import UNTRACKED, Detections, Labels
from edgezoo.sources import open_source
from edgezoo.sources.synthetic import Synthetic
from edgezoo.tracking import KEEP_S, Follower, Line, Tracker, Zone
from edgezoo.tracking.assignment import match
from edgezoo.tracking.motion import STEP_S, Motion

NAMES = ("person", "bicycle", "car", "truck")
Box = tuple[float, float, float, float]
ADA, BOB = (100.0, 100.0, 150.0, 220.0), (400.0, 100.0, 450.0, 220.0)
GROUND = np.zeros((480, 640, 3), np.uint8)


def found(*boxes: Sequence[float], score: float | Sequence[float] = 0.8, kind: int | Sequence[int] = 0) -> Detections:
    n = len(boxes)
    scores = np.broadcast_to(np.asarray(score, np.float32), n).copy()
    kinds = np.broadcast_to(np.asarray(kind, np.int64), n).copy()
    return Detections(np.array(boxes, np.float32).reshape(n, 4), scores, kinds, NAMES)


def moved(box: Sequence[float], x: float = 0, y: float = 0) -> Box:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def track(scenes: Sequence[Detections], *, fps: float = 30, tracker: Tracker | None = None) -> list[list[int]]:
    tracker = tracker or Tracker()
    return [tracker.update(each, at_s=k / fps, size_wh=(640, 480)).tolist() for k, each in enumerate(scenes)]


# Who is who.


def best_sum(gains: npt.NDArray[Any]) -> float:
    """By trying every way."""
    if not gains.size:
        return 0.0
    rows, columns = gains.shape
    padded = np.hstack([np.maximum(gains, 0), np.zeros((rows, rows))])
    ways = itertools.permutations(range(columns + rows), rows)
    return max(float(padded[range(rows), way].sum()) for way in ways)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (1, 4), (4, 1), (2, 3), (3, 3), (4, 2)])
@pytest.mark.parametrize("seed", range(6))
def test_no_other_pairs_gain_more(shape: tuple[int, int], seed: int) -> None:
    dice = np.random.default_rng(seed)
    gains = dice.integers(-4, 6, shape) / 4 if seed % 2 else dice.uniform(-0.5, 1, shape)
    rows, columns = match(gains)
    assert len({*rows.tolist()}) == len({*columns.tolist()}) == len(rows) == len(columns)
    assert (gains[rows, columns] > 0).all()
    assert rows.tolist() == sorted(rows.tolist())
    assert gains[rows, columns].sum() == pytest.approx(best_sum(gains))


@pytest.mark.parametrize("seed", range(40))
def test_pairs_of_a_crowd_gain_what_scipy_finds(seed: int) -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy solves it, too")
    dice = np.random.default_rng(seed)
    rows, columns = dice.integers(1, 45, 2)
    gains = dice.uniform(-1, 1, (rows, columns)) if seed % 2 else dice.integers(-2, 4, (rows, columns)) / 8
    gains[dice.random(gains.shape) < dice.choice([0, 0.5, 0.9])] = -1
    padded = np.hstack([np.maximum(gains, 0), np.zeros((rows, rows))])
    theirs = padded[optimize.linear_sum_assignment(padded, maximize=True)].sum()
    ours = match(gains)
    assert gains[ours].sum() == pytest.approx(theirs)
    assert [each.tolist() for each in match(gains)] == [each.tolist() for each in ours]


# Where boxes will be.


class Matrices:
    """The same filter as it stands in books, one box with 8x8 matrices."""

    def __init__(self, box: Sequence[float]) -> None:
        self.mean = np.concatenate([self.measured(box), np.zeros(4)])
        high = self.mean[3]
        self.covariance = np.diag(
            np.square([high / 10, high / 10, 1e-2, high / 10, high / 16, high / 16, 1e-5, high / 16])
        )

    @staticmethod
    def measured(box: Sequence[float]) -> npt.NDArray[np.float64]:
        x1, y1, x2, y2 = box
        return np.array([(x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / (y2 - y1), y2 - y1])

    def advance(self, steps: float) -> None:
        high = self.mean[3]
        motion = np.eye(8) + steps * np.eye(8, k=4)
        noise = np.square([high / 20, high / 20, 1e-2, high / 20, high / 160, high / 160, 1e-5, high / 160])
        self.mean = motion @ self.mean
        self.covariance = motion @ self.covariance @ motion.T + steps * np.diag(noise)

    def correct(self, box: Sequence[float]) -> None:
        high, look = self.mean[3], np.eye(4, 8)
        noise = np.diag(np.square([high / 20, high / 20, 1e-1, high / 20]))
        total = look @ self.covariance @ look.T + noise
        gain = self.covariance @ look.T @ np.linalg.inv(total)
        self.mean = self.mean + gain @ (self.measured(box) - look @ self.mean)
        self.covariance = self.covariance - gain @ total @ gain.T

    def box(self) -> list[float]:
        x, y, aspect, high = self.mean[:4]
        return [x - aspect * high / 2, y - high / 2, x + aspect * high / 2, y + high / 2]


@pytest.mark.parametrize("seed", range(5))
def test_motion_is_the_filter_of_the_books(seed: int) -> None:
    dice = np.random.default_rng(seed)
    boxes = np.array([ADA, BOB, (10, 20, 300, 90)]) + dice.uniform(0, 9, (3, 4))
    ours, theirs = Motion.of(boxes), [Matrices(box) for box in boxes]
    for _ in range(12):
        steps = float(dice.uniform(0, 4))
        ours.advance(steps * STEP_S)
        for one in theirs:
            one.advance(steps)
        assert ours.boxes_xyxy() == pytest.approx(np.array([one.box() for one in theirs]))
        seen = np.flatnonzero(dice.random(3) < 0.7)
        boxes = boxes + dice.normal(0, 3, (3, 4)) + 2 * steps
        ours.correct(seen, boxes[seen])
        for k in seen:
            theirs[k].correct(boxes[k])
        assert ours.boxes_xyxy() == pytest.approx(np.array([one.box() for one in theirs]))


@pytest.mark.parametrize("factors", [(2.0, 2.0), (0.5, 0.25), (1.0, 3.0)])
def test_a_scaled_picture_has_scaled_boxes(factors: tuple[float, float]) -> None:
    motion = Motion.of(np.array([ADA, BOB]))
    motion.advance(0.1)
    motion.correct(np.arange(2), np.array([moved(ADA, 10, 4), moved(BOB, -8)]))
    scaled = motion[np.arange(2)]
    scaled.scale(*factors)
    for each in (motion, scaled):
        each.advance(0.5)
    assert scaled.boxes_xyxy() == pytest.approx(motion.boxes_xyxy() * (factors * 2))


# One object, one id.


def test_an_id_comes_with_the_second_look_and_in_the_first_frame_at_once() -> None:
    assert track([found(ADA), found(ADA, BOB), found(ADA, BOB), found(BOB, ADA)]) == [[1], [1, -1], [1, 2], [2, 1]]


def test_what_is_seen_once_is_nobody() -> None:
    assert track([found(), found(ADA), found(), found(BOB), found(BOB)]) == [[], [-1], [], [-1], [1]]


def test_nothing_is_found_for_ever() -> None:
    tracker = Tracker()
    assert track([found()] * 50, tracker=tracker) == [[]] * 50
    assert tracker.alive.size == 0


@pytest.mark.parametrize("fps", [5, 10, 30, 60])
@pytest.mark.parametrize(("hidden_s", "same"), [(0.5, True), (1.5, True), (2.5, False)])
def test_hidden_for_a_short_time_it_keeps_its_id_whatever_the_rate(fps: int, hidden_s: float, same: bool) -> None:
    assert KEEP_S == 2
    walk = [moved(ADA, 60 * k / fps) for k in range(round((2 + hidden_s) * fps))]
    hidden = range(fps, round((1 + hidden_s) * fps))
    ids = track([found() if k in hidden else found(box) for k, box in enumerate(walk)], fps=fps)
    before, after = ids[fps - 1], ids[-1]
    assert before == [1]
    assert after == ([1] if same else [2])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_ids_stay_where_frames_are_dropped(seed: int, share: float) -> None:
    """At an uneven pace, as live sources come, with boxes that tremble."""
    dice, tracker = random.Random(seed), Tracker()
    given: dict[str, set[int]] = {"ada": set(), "bob": set()}
    for k in range(240):
        if dice.random() < share:
            continue
        boxes = [moved(ADA, 1.5 * k, 0.5 * k), moved(BOB, -0.8 * k, 1.0 * k)]
        trembling = [[side + dice.uniform(-2, 2) for side in box] for box in boxes]
        ids = tracker.update(found(*trembling), at_s=k / 30, size_wh=(640, 480))
        given["ada"].add(int(ids[0]))
        given["bob"].add(int(ids[1]))
    assert given == {"ada": {1}, "bob": {2}}


@pytest.mark.parametrize("hidden", [False, True], ids=["both seen", "one behind the other"])
@pytest.mark.parametrize("lanes_px", [0, 15])
def test_two_that_cross_each_other_stay_who_they_are(hidden: bool, lanes_px: int) -> None:
    left, right = (100.0, 100.0, 150.0, 220.0), (500.0, 100.0 + lanes_px, 550.0, 220.0 + lanes_px)
    ids = {}
    tracker = Tracker()
    for k in range(100):
        a, b = moved(left, 4 * k), moved(right, -4 * k)
        cover = hidden and abs(a[0] - b[0]) < 45
        both = found(a) if cover else found(a, b)
        ids[k] = tracker.update(both, at_s=k / 30, size_wh=(640, 480)).tolist()
    assert ids[0] == ids[99] == [1, 2]
    assert ids[50] == ([1] if hidden else [1, 2])


def test_ids_are_never_used_again() -> None:
    tracker, seen = Tracker(keep_s=0.2), []
    for visit in range(20):
        for k in range(5):
            there = found(ADA) if k < 3 else found()
            seen += tracker.update(there, at_s=visit * 2.0 + k / 10, size_wh=(640, 480)).tolist()
    given = [track_id for track_id in seen if track_id != UNTRACKED]
    assert [track_id for track_id, _ in itertools.groupby(given)] == list(range(1, 21))
    assert tracker.alive.size <= 1


def test_a_bad_score_goes_on_a_track_and_begins_none() -> None:
    weak = found(ADA, BOB, score=0.15)
    assert track([found(ADA), *[weak] * 30]) == [[1], *[[1, -1]] * 30]
    assert track([found(ADA), found(ADA, score=0.05)]) == [[1], [-1]], "less than anything is nothing"


def test_a_bad_score_brings_back_what_was_hidden() -> None:
    assert track([found(ADA), found(), found(ADA, score=0.15), found(ADA)]) == [[1], [], [1], [1]]


@pytest.mark.parametrize(("score", "begins"), [(0.5, False), (0.3, True)])
def test_the_score_that_begins_a_track(score: float, begins: bool) -> None:
    ids = track([found(), *[found(ADA, score=0.4)] * 3], tracker=Tracker(score=score))
    assert ids[-1] == [1 if begins else -1]


def test_a_van_may_be_a_truck_at_times() -> None:
    kinds = [2, 2, 3, 3, 2, 3, 2]
    assert track([found(moved(ADA, 2 * k), kind=kind) for k, kind in enumerate(kinds)]) == [[1]] * 7


def test_a_rider_is_not_the_bicycle() -> None:
    rider, bicycle = (100.0, 100.0, 160.0, 220.0), (95.0, 150.0, 165.0, 230.0)
    both = [found(moved(rider, 3 * k), moved(bicycle, 3 * k), kind=[0, 1]) for k in range(20)]
    alone = [found(moved(bicycle, 3 * k), kind=1) for k in range(20, 30)]
    ids = track([*both, *alone, *[found(moved(rider, 90), moved(bicycle, 90), kind=[0, 1])]])
    assert ids == [*[[1, 2]] * 20, *[[2]] * 10, [1, 2]]


def test_a_bicycle_that_is_left_behind_is_nobody_s() -> None:
    """It overlaps with where its rider was, by a third."""
    bicycle = (95.0, 170.0, 165.0, 230.0)
    assert track([*[found(ADA)] * 5, *[found(bicycle, kind=1)] * 2])[5:] == [[-1], [2]]


def test_what_is_a_truck_now_is_looked_for_as_a_truck() -> None:
    """It jumps so far that of another class it would be another one."""
    jumped = moved(ADA, 24)
    assert track([*[found(ADA, kind=2)] * 9, found(ADA, kind=3), found(jumped, kind=3)])[-1] == [1]
    assert track([*[found(ADA, kind=2)] * 10, found(jumped, kind=3)])[-1] == [-1]


def test_what_came_nearer_and_was_hidden_has_not_grown_meanwhile() -> None:
    near = [(300 - 4 * k, 200 - 8 * k, 320 + 4 * k, 240 + 8 * k) for k in range(12)]
    assert track([*map(found, near), *[found()] * 30, found(near[-1])])[-1] == [1]


def test_one_thing_under_two_names_is_one() -> None:
    both = found(ADA, moved(ADA, 1), score=[0.8, 0.5], kind=[2, 3])
    assert track([both] * 5) == [[1, -1]] * 5
    assert track([found(), found(ADA), found(ADA), *[both] * 5])[2:] == [[1], *[[1, -1]] * 5]


@pytest.mark.parametrize(
    "odd",
    [
        (np.nan, 0, 10, 10),
        (0, 0, np.inf, 10),
        (-np.inf, -np.inf, np.inf, np.inf),
        (10, 10, 10, 40),
        (50, 50, 20, 80),
        (1e30, 1e30, 2e30, 2e30),
    ],
)
def test_boxes_that_are_none(odd: Box) -> None:
    ids = track([found(odd, ADA), *[found(ADA, odd)] * 3])
    assert [row[0] for row in ids[1:]] == [ids[0][1]] * 3


def test_sizes_may_change_in_mid_stream() -> None:
    tracker, ids = Tracker(), []
    for k in range(40):
        scale_x, scale_y = [(1, 1), (0.5, 0.5), (1.5, 2)][k // 8 % 3]
        x1, y1, x2, y2 = moved(ADA, 6 * k)
        boxes = found((x1 * scale_x, y1 * scale_y, x2 * scale_x, y2 * scale_y))
        size_wh = (round(640 * scale_x), round(480 * scale_y))
        ids += tracker.update(boxes, at_s=k / 30, size_wh=size_wh).tolist()
    assert ids == [1] * 40


def test_a_long_gap_keeps_nobody() -> None:
    tracker = Tracker()
    assert tracker.update(found(ADA), at_s=0, size_wh=(640, 480)).tolist() == [1]
    assert tracker.update(found(ADA), at_s=3600, size_wh=(640, 480)).tolist() == [-1]
    assert tracker.update(found(ADA), at_s=3600.1, size_wh=(640, 480)).tolist() == [2]


def test_time_that_stands_still() -> None:
    tracker = Tracker()
    assert [tracker.update(found(ADA), at_s=5, size_wh=(640, 480)).tolist() for _ in range(5)] == [[1]] * 5


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ({"score": -0.1}, "score within 0..1, got -0.1"),
        ({"score": float("nan")}, "score within 0..1"),
        ({"keep_s": -1.0}, "keep_s of 0 or more seconds, got -1"),
        ({"keep_s": float("inf")}, "keep_s of 0 or more"),
    ],
)
def test_numbers_out_of_range(numbers: dict[str, float], says: str) -> None:
    for make in (Tracker, Follower):
        with pytest.raises(RequestError, match=says):
            make(**numbers)


# Crowds, and what libraries say of them.


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    """What supervision and trackers answered for the same crowds: `tests/benchmarks/tracking.py --reference`."""
    read: dict[str, Any] = json.loads((Path(__file__).parent / "tracking_reference.json").read_text("utf-8"))
    return read


def follow(crowd: Crowd, tracker: Tracker) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    for k, (detections, who) in enumerate(crowd.scenes()):
        yield who, tracker.update(detections, at_s=k / crowd.fps, size_wh=SIZE_WH)


def test_in_crowds_hardly_more_ids_change_than_with_the_better_library(reference: dict[str, Any]) -> None:
    """Hardly: where boxes are alike, the last digit of a processor's arithmetic may decide."""
    ours, theirs = 0, Counter[str]()
    for row in reference["crowds"]:
        changed, share = crowds.changes([*follow(Crowd(**row["crowd"]), Tracker(keep_s=1.0))])
        both = row["supervision"], row["trackers"]
        assert changed <= max(each["changes"] for each in both) + 4, row
        assert share > min(each["share"] for each in both), row
        ours += changed
        theirs.update({library: row[library]["changes"] for library in ("supervision", "trackers")})
    assert 0 < ours <= 1.2 * min(theirs.values()), f"{ours} and {theirs}"


@pytest.mark.parametrize("library", ["supervision", "trackers"])
def test_in_a_small_crowd_everybody_is_who_they_are_for_the_library(reference: dict[str, Any], library: str) -> None:
    crowd = Crowd(**reference["ids"]["crowd"])
    pairs: Counter[tuple[int, int]] = Counter()
    for (_, ours), theirs in zip(follow(crowd, Tracker(keep_s=1.0)), reference["ids"][library], strict=True):
        pairs.update((a, b) for a, b in zip(ours.tolist(), theirs, strict=True) if a != UNTRACKED and b != UNTRACKED)
    assert sum(pairs.values()) > 0.9 * crowd.people * crowd.frames
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == crowd.people


def test_the_same_frames_get_the_same_ids() -> None:
    crowd = Crowd(people=25, frames=80, missed=0.2, weak=0.2, noise=0.05)
    answers = [[ids.tolist() for _, ids in follow(crowd, Tracker())] for _ in range(2)]
    assert answers[0] == answers[1]
    assert max(map(max, answers[0])) >= 25


def test_the_order_of_detections_is_no_matter() -> None:
    crowd, dice = Crowd(people=12, frames=80, false=0), np.random.default_rng(3)
    straight, mixed = Tracker(), Tracker()
    names: dict[int, int] = {}
    for k, (detections, _) in enumerate(crowd.scenes()):
        order = dice.permutation(len(detections))
        ours = straight.update(detections, at_s=k / 30, size_wh=SIZE_WH)[order]
        theirs = mixed.update(detections[order], at_s=k / 30, size_wh=SIZE_WH)
        assert ((ours == UNTRACKED) == (theirs == UNTRACKED)).all()
        for a, b in zip(ours.tolist(), theirs.tolist()):
            assert names.setdefault(a, b) == b
    assert len(names) == 12 + 1


# Followers: any number of sources, frames as they come.


def frame(k: int, *, source: str = "camera:0", pts_s: float | None = None, grabbed_s: float | None = None) -> Frame:
    pts_s = k / 30 if pts_s is None else pts_s
    return Frame(GROUND, k, pts_s, int((pts_s if grabbed_s is None else grabbed_s) * 1e9), source)


def ids_of(result: Detections) -> list[int]:
    assert result.track_ids is not None
    return result.track_ids.tolist()


def test_every_source_has_ids_of_its_own() -> None:
    follower = Follower()
    for k in range(4):
        assert ids_of(follower(frame(k, source="rtsp://a"), found(moved(ADA, k)))) == [1]
        assert ids_of(follower(frame(k, source="rtsp://b"), found(BOB, ADA))) == [1, 2]
    assert follower.counts == {"rtsp://a": (), "rtsp://b": ()}
    follower.forget("rtsp://a")
    follower.forget("nobody")
    assert follower.counts == {"rtsp://b": ()}


def test_what_scores_badly_is_kept_where_it_goes_on_a_track() -> None:
    follower = Follower(score=0.5)
    follower(frame(0), found(ADA))
    result = follower(frame(1), found(BOB, ADA, moved(BOB, 90), score=[0.6, 0.3, 0.3]))
    assert result.boxes_xyxy.tolist() == [list(BOB), list(ADA)]
    assert ids_of(result) == [-1, 1]


def test_a_class_filter_follows_only_these() -> None:
    follower = Follower()
    for k in range(5):
        everything = found(moved(ADA, k), moved(BOB, k), kind=[0, 2])
        cars = follower(frame(k), everything[everything.class_ids == 2])
        assert [name for name, _, _ in cars] == ["car"]
        assert ids_of(cars) == [1]


@pytest.mark.parametrize(("away_s", "same"), [(0.5, True), (30.0, False)])
def test_a_source_that_was_opened_again_begins_its_clock_again(away_s: float, same: bool) -> None:
    follower = Follower()
    for k in range(90):
        follower(frame(k, grabbed_s=1000 + k / 30), found(ADA))
    for k in range(3):
        last = follower(frame(90 + k, pts_s=k / 30, grabbed_s=1003 + away_s + k / 30), found(ADA))
    assert ids_of(last) == ([1] if same else [2])


def test_a_file_needs_no_clock_but_its_own() -> None:
    """However fast it is read, and however slowly."""
    for factor in (0.001, 50):
        follower = Follower()
        for k in range(60):
            there = found() if 20 <= k < 40 else found(ADA)
            last = follower(frame(k, grabbed_s=k * factor), there)
        assert ids_of(last) == [1]


def test_labels_are_not_to_be_followed() -> None:
    with pytest.raises(RequestError, match="expected detections to track, got labels"):
        Follower()(frame(0), Labels(np.ones(1, np.float32), np.zeros(1, np.int64), NAMES))


@pytest.mark.parametrize("rows", [(), (0, 10, 20, 30)], ids=["all seen", "hidden in turns"])
def test_shapes_that_move_keep_their_ids(rows: tuple[int, ...]) -> None:
    """Of the synthetic source, whose answers are known; each is hidden for 0.8 s, one after the other."""
    source = open_source("synthetic:#size=640x480&fps=25&frames=100&seed=4&live=0&shapes=4")
    assert isinstance(source, Synthetic)
    follower = Follower()
    given: dict[str, set[int]] = {}
    for each in source:
        answers = source.answers(each.index)
        hidden = {k for k, start in enumerate(rows) if start + 10 <= each.index < start + 30}
        shown = [answer for k, answer in enumerate(answers) if k not in hidden]
        result = follower(each, found(*[box for _, box in shown]))
        for (name, _), track_id in zip(shown, ids_of(result), strict=True):
            given.setdefault(name, set()).add(track_id)
    source.close()
    assert sorted(given.values(), key=min) == [{1}, {2}, {3}, {4}]


def test_nothing_is_kept_of_what_is_gone() -> None:
    """Months of people, each for a second."""
    follower = Follower([Line((0.5, 1), (0.5, 0)), Zone(((0.1, 0.1), (0.9, 0.1), (0.9, 0.9)))])
    for visit in range(30):
        for k in range(8):
            pts_s = visit * 10 + k / 16
            follower(frame(visit * 8 + k, pts_s=pts_s), found(moved(ADA, 180 + 20 * k, 100)))
    [stream] = follower._streams.values()
    [line, zone] = stream._counters
    assert stream._tracker._given >= 30
    assert len(stream._tracker.alive) <= 2
    assert max(len(line._sure), len(zone._inside), len(zone._been)) <= 2  # type: ignore[union-attr]
