"""Counting: each pass of a line counts, trembling does not, and what the eye counts on real clips is what comes out."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgezoo.cli import following
from edgezoo.engine import Engine
from edgezoo.errors import RequestError
from edgezoo.frame import Frame, Image
from edgezoo.loading import find_bundle
from edgezoo.pipeline import Pipeline
from edgezoo.results import Crossing, Detections, LineCount, ZoneCount
from edgezoo.sources import Source, open_source
from edgezoo.tracking import LOWEST_SCORE, SCORE, Follower, Line, Zone
from edgezoo.tracking.counting import depths_px, margins_px

WIDE, HIGH = 640, 480
GROUND = np.zeros((HIGH, WIDE, 3), np.uint8)
Path_ = Sequence[tuple[float, float]]


# How lines and zones are said.


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("0,0.5,1,0.5", Line((0, 0.5), (1, 0.5))),
        ("10,20,30,40.5,door", Line((10, 20), (30, 40.5), "door")),
        (" 0 , 0 , 1 , 1 , the way out, left ", Line((0, 0), (1, 1), "the way out, left")),
        ("1e2,0,1e2,9,2nd floor", Line((100, 0), (100, 9), "2nd floor")),
    ],
)
def test_lines_are_read(text: str, line: Line) -> None:
    assert Line.parse(text) == line


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("0,0,1,0,0,1", Zone(((0, 0), (1, 0), (0, 1)))),
        ("0,0,9,0,9,9,0,9,till 4", Zone(((0, 0), (9, 0), (9, 9), (0, 9)), "till 4")),
    ],
)
def test_zones_are_read(text: str, zone: Zone) -> None:
    assert Zone.parse(text) == zone


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (Line, "", "expected a line as x1,y1,x2,y2[,NAME], got ''; try 0,0.5,1,0.5,door"),
        (Line, "door", "expected a line as x1,y1,x2,y2[,NAME], got 'door'"),
        (Line, "1,2,3", "expected a line as"),
        (Line, "1,2,3,4,5", "expected a line as"),
        (Line, "1,2,3,4,5,6", "expected a line as"),
        (Line, "0.5,0.5,0.5,0.5", "expected a line between two points, got (0.5, 0.5) twice"),
        (Line, "0,-0.5,1,0.5", "expected a line in pixels or in fractions of the picture, got (0, -0.5)"),
        (Line, "0,nan,1,0.5", "got (0, nan)"),
        (Line, "0,0,inf,0.5", "got (inf, 0.5)"),
        (Zone, "0,0,1,1", "expected a zone as x,y,x,y,x,y[,NAME], three corners or more, got '0,0,1,1'"),
        (Zone, "0,0,1,1,0", "expected a zone as"),
        (Zone, "0,0,1,1,0.5,0.5", "expected a zone of three or more corners around an area, got (0, 0) (1, 1)"),
        (Zone, "0,0,1,0,0.5,0", "around an area"),
        (Zone, "0.2,0.2,0.2,0.2,0.2,0.2", "around an area"),
        (Zone, "0,0,1,0,-1,1", "expected a zone in pixels or in fractions of the picture, got (-1, 1)"),
    ],
)
def test_what_is_no_line_and_no_zone(kind: type[Line] | type[Zone], text: str, says: str) -> None:
    with pytest.raises(RequestError) as caught:
        kind.parse(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["0,0,1,1", "0,0,1,0.5"], ["line", "line 2"]),
        (["0,0,1,1,0,1", "0,0,1,1", "0,0,1,1,0,1"], ["zone", "line", "zone 2"]),
        (["0,0,1,1,door", "0,0,1,1"], ["door", "line"]),
    ],
)
def test_what_has_no_name_gets_one(places: list[str], names: list[str]) -> None:
    follower = Follower([Line.parse(text) if text.count(",") < 5 else Zone.parse(text) for text in places])
    result = follower(frame(0), boxes_at((5, 5)))
    assert [count.name for count in result.counts] == names


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(RequestError, match="expected lines and zones of different names, got 'door' twice"):
        Follower([Line((0, 0), (1, 1), "door"), Zone(((0, 0), (1, 0), (0, 1)), "door")])


@pytest.mark.parametrize(
    "place", [Line((700, 0), (700, 400), "far"), Zone(((0, 500), (9, 500), (9, 600)), "far")], ids=["line", "zone"]
)
def test_what_is_outside_the_picture_is_told(place: Line | Zone) -> None:
    with pytest.raises(RequestError, match=r"expected 'far' within the picture of 640x480, .*try fractions"):
        Follower([place])(frame(0), boxes_at((5, 5)))
    follower = Follower([place])  # another camera may be smaller than the first
    wide = Frame(np.zeros((1080, 1920, 3), np.uint8), 0, 0.0, 0, "camera:1")
    assert follower(wide, boxes_at((5, 5))).counts == follower(frame(0), boxes_at((5, 5))).counts


# Who passes a line. Paths are of the middle of a box's lower edge; boxes are 40 x 60, so the margin is 2.5 px.


def boxes_at(*feet: tuple[float, float], wide: float = 40, high: float = 60) -> Detections:
    rows = [(x - wide / 2, y - high, x + wide / 2, y) for x, y in feet]
    n = len(rows)
    scores, ids = np.full(n, 0.8, np.float32), np.zeros(n, np.int64)
    return Detections(np.array(rows, np.float32).reshape(n, 4), scores, ids, ("person",))


def frame(k: int, *, image: Image = GROUND, source: str = "camera:0") -> Frame:
    return Frame(image, k, k / 30, k * 33_000_000, source)


def walk(*corners: tuple[float, float], step_px: float = 8) -> list[tuple[float, float]]:
    """From corner to corner in even steps."""
    path = [corners[0]]
    for (x1, y1), (x2, y2) in itertools.pairwise(corners):
        steps = max(1, round(math.hypot(x2 - x1, y2 - y1) / step_px))
        path += [(x1 + (x2 - x1) * k / steps, y1 + (y2 - y1) * k / steps) for k in range(1, steps + 1)]
    return path


def count(place: Line | Zone, *paths: Path_, follower: Follower | None = None) -> list[Any]:
    """What is told of `place` in every frame, while somebody walks along each path."""
    follower = follower or Follower([place])
    told = []
    for k, feet in enumerate(itertools.zip_longest(*paths)):
        [last] = follower(frame(k), boxes_at(*(at for at in feet if at is not None))).counts
        told.append(last)
    return told


ACROSS, UP = Line((0, 0.5), (1, 0.5)), Line((0.5, 1), (0.5, 0))
SHORT = Line((200, 240), (400, 240))


@pytest.mark.parametrize(
    ("line", "corners", "in_out"),
    [
        (ACROSS, [(300, 100), (300, 400)], (1, 0)),
        (ACROSS, [(300, 400), (300, 100)], (0, 1)),
        (Line((1, 0.5), (0, 0.5)), [(300, 100), (300, 400)], (0, 1)),
        (Line((0, 240), (640, 240)), [(300, 100), (300, 400)], (1, 0)),
        (UP, [(100, 200), (500, 200)], (1, 0)),
        (UP, [(500, 200), (100, 200)], (0, 1)),
        (Line((0.5, 0), (0.5, 1)), [(500, 200), (100, 200)], (1, 0)),
        (Line((0, 0), (1, 1)), [(500, 100), (100, 400)], (1, 0)),
        (ACROSS, [(300, 100), (300, 230)], (0, 0)),
        (ACROSS, [(100, 100), (600, 100)], (0, 0)),
        (SHORT, [(300, 100), (300, 400)], (1, 0)),
        (SHORT, [(100, 100), (100, 400)], (0, 0)),
        (SHORT, [(500, 400), (500, 100)], (0, 0)),
        (SHORT, [(100, 100), (100, 400), (300, 400), (300, 100)], (0, 1)),  # around its end, back through it
        (SHORT, [(100, 300), (500, 180)], (0, 1)),  # aslant, but through it
        (SHORT, [(100, 230), (420, 250), (420, 400)], (1, 0)),
    ],
)
@pytest.mark.parametrize("step_px", [5, 11])
def test_who_passes_a_line(line: Line, corners: Path_, in_out: tuple[int, int], step_px: float) -> None:
    told = count(line, walk(*corners, step_px=step_px))
    assert (told[-1].count_in, told[-1].count_out) == in_out
    directions = [crossing.direction for each in told for crossing in each.crossings]
    assert (directions.count("in"), directions.count("out")) == in_out


def test_a_crossing_is_told_in_its_frame_and_in_no_other() -> None:
    path = walk((300, 200), (300, 280), step_px=4)
    told = count(ACROSS, path)
    [k] = [k for k, each in enumerate(told) if each.crossings]
    assert told[k].crossings == (Crossing(1, "in"),)
    assert 240 < path[k][1] < 248
    assert [each.count_in for each in told] == [int(at >= k) for at in range(len(path))]


def test_to_and_fro_counts_every_time() -> None:
    there, back = (300, 200), (300, 280)
    last = count(ACROSS, walk(*[there, back] * 5))[-1]
    assert (last.count_in, last.count_out) == (5, 4)


@pytest.mark.parametrize("scale", [1, 2], ids=["one size", "another size"])
def test_who_passes_between_the_first_look_and_the_second_is_counted(scale: int) -> None:
    """Few frames a second: an id comes with the second look, the side that it came from with the first."""
    follower = Follower([ACROSS])
    follower(frame(0), boxes_at())
    counts = [follower(frame(1), boxes_at((300, 230))).counts[0]]
    image = np.zeros((HIGH * scale, WIDE * scale, 3), np.uint8)
    there = boxes_at((300 * scale, 250 * scale), wide=40 * scale, high=60 * scale)
    counts.append(follower(frame(2, image=image), there).counts[0])
    counts.append(follower(frame(3), boxes_at((300, 270))).counts[0])
    assert [(count.count_in, count.count_out) for count in counts] == [(0, 0), (1, 0), (1, 0)]  # type: ignore[union-attr]
    assert counts[1].crossings == (Crossing(1, "in"),)  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(10))
def test_who_stands_on_the_line_and_trembles_is_not_counted(seed: int) -> None:
    """Within the margin, whatever side was first; then goes off to one side."""
    dice = random.Random(seed)
    margin = float(margins_px(boxes_at((0, 0)).boxes_xyxy)[0])
    trembling = [(300 + dice.uniform(-9, 9), 240 + dice.uniform(-margin, margin) * 0.99) for _ in range(200)]
    assert count(ACROSS, trembling)[-1] == LineCount("line", (0, 240), (640, 240), 0, 0)
    came = count(ACROSS, [*walk((300, 180), (300, 239)), *trembling, *walk((300, 239), (300, 150))])[-1]
    assert (came.count_in, came.count_out) == (0, 0)
    passed = count(ACROSS, [*walk((300, 180), (300, 239)), *trembling, *walk((300, 241), (300, 330))])
    assert (passed[-1].count_in, passed[-1].count_out) == (1, 0)
    assert passed[len(walk((300, 180), (300, 239))) + 199].count_in == 0


@pytest.mark.parametrize("seed", range(5))
def test_many_walk_and_all_are_counted(seed: int) -> None:
    """Each in a lane of its own, to one side or the other, some dropped frames, boxes that tremble."""
    dice = random.Random(seed)
    ways = [dice.choice("io-") for _ in range(8)]
    follower, last = Follower([ACROSS]), None
    for k in range(120):
        if dice.random() < 0.3:
            continue
        feet = []
        for lane, way in enumerate(ways):
            y = {"i": 170 + k * 1.2, "o": 310 - k * 1.2, "-": 170 + 60 * math.sin(k / 30)}[way]
            feet.append((50 + 75 * lane + dice.uniform(-1, 1), y + dice.uniform(-1, 1)))
        last = follower(frame(k), boxes_at(*feet)).counts[0]
    assert isinstance(last, LineCount)
    assert (last.count_in, last.count_out) == (ways.count("i"), ways.count("o"))


def test_who_passes_hidden_is_counted_when_seen_again() -> None:
    follower, told = Follower([ACROSS]), []
    for k, at in enumerate(walk((300, 160), (300, 330), step_px=4)):
        there = boxes_at(at) if not 215 < at[1] < 265 else boxes_at()
        told.append(follower(frame(k), there).counts[0])
    assert [crossing for each in told for crossing in each.crossings] == [Crossing(1, "in")]  # type: ignore[union-attr]


def test_what_is_seen_once_is_not_counted() -> None:
    """A false box on either side, over and over."""
    follower = Follower([ACROSS])
    for k in range(40):
        there = [boxes_at(), boxes_at((100, 150)), boxes_at(), boxes_at((500, 400))][k % 4]
        last = follower(frame(k), there).counts[0]
    assert last == LineCount("line", (0, 240), (640, 240), 0, 0)


@pytest.mark.parametrize(("anchor", "passes"), [("bottom", True), ("center", False)])
def test_what_stands_for_a_box(anchor: Any, passes: bool) -> None:
    last = count(Line((0, 0.5), (1, 0.5), anchor=anchor), walk((300, 200), (300, 260)))[-1]
    assert last.count_in == int(passes)


@pytest.mark.parametrize("line", [ACROSS, Line((0, 240), (640, 240))], ids=["fractions", "pixels"])
def test_a_line_stays_in_its_place_when_the_size_changes(line: Line) -> None:
    follower, told = Follower([line]), []
    for k, (x, y) in enumerate(walk((300, 150), (300, 330), step_px=4)):
        scale = [1, 2, 0.5][k // 7 % 3]
        image = np.zeros((int(HIGH * scale), int(WIDE * scale), 3), np.uint8)
        detections = boxes_at((x * scale, y * scale), wide=40 * scale, high=60 * scale)
        told.append((y, follower(frame(k, image=image), detections).counts[0]))
    passed = [(y, each) for y, each in told if each.crossings]  # type: ignore[union-attr]
    assert len(passed) == 1
    assert 240 < passed[0][0] < 248
    assert {each.a_xy[1] for _, each in told} == {240, 480, 120}  # type: ignore[union-attr]


def test_the_way_to_a_gap_in_a_line_is_known_across_sizes() -> None:
    follower = Follower([Line((0.49, 0.5), (0.51, 0.5))])
    for k in range(8):
        scale, y = (1, 0.45) if k < 4 else (2, 0.55)
        image = np.zeros((HIGH * scale, WIDE * scale, 3), np.uint8)
        there = boxes_at((0.5 * WIDE * scale, y * HIGH * scale), wide=40 * scale, high=120 * scale)
        last = follower(frame(k, image=image), there).counts[0]
    assert last == LineCount("line", pytest.approx((627.2, 480)), pytest.approx((652.8, 480)), 1, 0)


# Who is in a zone.


@pytest.mark.parametrize("seed", range(8))
def test_depths_are_what_opencv_says(seed: int) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV measures it, too")
    dice = np.random.default_rng(seed)
    corners = np.round(dice.uniform(0, 100, (3 + seed, 2)))
    points = np.round(dice.uniform(-20, 120, (60, 2)))
    if seed > 3:  # a star of a polygon, not one that crosses itself: there the two differ on what is inside
        around = corners - corners.mean(axis=0)
        corners = corners[np.argsort(np.arctan2(around[:, 1], around[:, 0]))]
        contour = corners.astype(np.float32)
        theirs = [cv2.pointPolygonTest(contour, point, True) for point in points.tolist()]
        assert depths_px(corners, points) == pytest.approx(np.array(theirs), abs=1e-4)
    else:
        contour = corners[:3].astype(np.float32)
        theirs = [cv2.pointPolygonTest(contour, point, True) for point in points.tolist()]
        assert depths_px(corners[:3], points) == pytest.approx(np.array(theirs), abs=1e-4)


SQUARE = Zone(((200, 150), (400, 150), (400, 350), (200, 350)))
RING = Zone(((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.4), (0.6, 0.4), (0.6, 0.6), (0.2, 0.6)))


@pytest.mark.parametrize(
    ("zone", "corners", "inside", "entered"),
    [
        (SQUARE, [(100, 250), (300, 250)], 1, 1),
        (SQUARE, [(100, 250), (500, 250)], 0, 1),
        (SQUARE, [(300, 250), (310, 250)], 1, 1),
        (SQUARE, [(100, 100), (500, 100)], 0, 0),
        (SQUARE, [(100, 250), (300, 250), (100, 250), (300, 250)], 1, 1),
        (SQUARE, [(100, 250), (199, 250)], 0, 0),
        (RING, [(60, 240), (300, 240)], 0, 0),  # into its bay, which is open to the left
        (RING, [(60, 240), (450, 240)], 1, 1),
        (Zone(((300, 200), (303, 200), (303, 203), (300, 203))), [(280, 201.5), (302, 201.5)], 1, 1),
    ],
)
def test_who_is_in_a_zone(zone: Zone, corners: Path_, inside: int, entered: int) -> None:
    last = count(zone, walk(*corners, step_px=5))[-1]
    assert isinstance(last, ZoneCount)
    assert (last.inside, last.entered) == (inside, entered)


def test_who_trembles_on_its_border_enters_once_and_stays() -> None:
    dice = random.Random(1)
    told = count(SQUARE, [*walk((100, 250), (203, 250)), *[(201 + dice.uniform(-3, 3), 250) for _ in range(60)]])
    assert [each.inside for each in told[-60:]] == [1] * 60
    assert told[-1].entered == 1


def test_who_is_hidden_in_a_zone_is_in_it_until_given_up() -> None:
    follower = Follower([SQUARE], keep_s=1.0)
    inside = []
    for k in range(60):
        [told] = follower(frame(k), boxes_at((300, 250)) if k < 10 else boxes_at()).counts
        assert isinstance(told, ZoneCount)
        inside.append(told.inside)
    assert inside == [*[1] * 40, *[0] * 20] or inside == [*[1] * 39, *[0] * 21]


def test_several_at_once() -> None:
    paths = [walk((100, 200 + 60 * k), (300, 200 + 60 * k)) for k in range(3)]
    last = count(SQUARE, *paths, [(600, 100)] * 40)[-1]
    assert (last.inside, last.entered) == (3, 3)


def test_every_source_is_counted_by_itself() -> None:
    follower = Follower([ACROSS, SQUARE])
    for k, at in enumerate(walk((300, 180), (300, 300))):
        follower(frame(k, source="rtsp://a"), boxes_at(at))
        follower(frame(k, source="rtsp://b"), boxes_at((50, 50)))
    told = {source: [str(each) for each in counts] for source, counts in follower.counts.items()}
    assert told == {
        "rtsp://a": ["line 1 in, 0 out", "zone 1 inside, 1 entered"],
        "rtsp://b": ["line 0 in, 0 out", "zone 0 inside, 0 entered"],
    }


# Real clips, counted by eye. `made` in the file says how.

CLIPS: dict[str, Any] = json.loads((Path(__file__).parent / "crossings.json").read_text("utf-8"))["clips"]
LATE = 5
"""So many frames after the eye: a crossing counts when it is sure, and not every frame is looked at."""


@pytest.fixture(scope="module")
def engine(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """YOLOX-Nano, which is also to say what scores badly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEZOO_CACHE", str(tmp_path_factory.mktemp("nano")))
        with Engine(find_bundle("yolox_nano"), score=LOWEST_SCORE) as engine:
            yield engine


class Some:
    """Of a source the frames `numbers`, and those repainted."""

    def __init__(self, source: Source, numbers: Sequence[int], paint: Callable[[Frame], Image] | None) -> None:
        self._source, self._numbers, self._paint = source, numbers, paint

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def __iter__(self) -> Iterator[Frame]:
        last = max(self._numbers)
        for each in self._source:
            if each.index > last:
                return
            if each.index in self._numbers:
                yield each if self._paint is None else replace(each, image=self._paint(each))


def seen(
    engine: Engine, clip: Path, numbers: Sequence[int], *, paint: Callable[[Frame], Image] | None = None
) -> Iterator[tuple[Frame, Detections]]:
    """What the network finds in these frames of a clip."""
    with Pipeline(Some(open_source(str(clip)), numbers, paint), engine) as pipeline:
        for each, found in pipeline:
            assert isinstance(found, Detections)
            yield each, found


def of_classes(found: Detections, classes: list[str] | None) -> Detections:
    return found if classes is None else found[np.isin(found.class_ids, [found.names.index(name) for name in classes])]


def counted_like_the_eye(engine: Engine, media: Path, name: str, numbers: Sequence[int]) -> dict[int, Detections]:
    clip = CLIPS[name]
    places: list[Line | Zone] = [Line.parse(clip["line"])]
    places += [Zone.parse(clip["zone"])] if "zone" in clip else []
    follower = Follower(places)
    answers = {
        each.index: follower(each, of_classes(found, clip["classes"]))
        for each, found in seen(engine, media / f"{name}.mp4", numbers)
    }
    last = answers[max(answers)].counts[0]
    assert isinstance(last, LineCount)
    assert (last.count_in, last.count_out) == (clip["in"], clip["out"])
    passed = [
        (index, crossing) for index, found in answers.items() for crossing in found.counts[0].crossings  # type: ignore[union-attr]
    ]  # fmt: skip
    for (index, crossing), eye in zip(passed, clip["crossings"], strict=True):
        assert crossing.direction == eye["direction"]
        assert eye["before"] <= index <= eye["behind"] + LATE, eye["who"]
    assert len({crossing.track_id for _, crossing in passed}) == len(passed)
    return answers


def test_six_people_as_the_eye_counts_them(engine: Engine, test_data: Path) -> None:
    """Every third frame of the whole clip, so that it takes a third of the time: 3.3 a second."""
    name = "one-by-one-person-detection"
    answers = counted_like_the_eye(engine, test_data / "media", name, range(0, 1394, 3))
    zones = {index: found.counts[1] for index, found in answers.items()}
    told = {number: zones[int(number) // 3 * 3].inside for number in CLIPS[name]["inside"]}  # type: ignore[union-attr]
    assert told == CLIPS[name]["inside"]
    assert zones[max(zones)].entered == CLIPS[name]["entered"]  # type: ignore[union-attr]
    given = [track_id for found in answers.values() for track_id in found.track_ids.tolist() if track_id > 0]  # type: ignore[union-attr]
    assert [track_id for track_id, _ in itertools.groupby(given)] == [1, 2, 3, 4, 5, 6], "one id for each of them"


def test_four_cars_as_the_eye_counts_them(engine: Engine, test_data: Path) -> None:
    """Every frame in which there is one, and of the empty road between every eighth."""
    busy = [*range(56, 110), *range(180, 238), *range(316, 350)]
    numbers = sorted({*busy, *range(0, 377, 8)})
    counted_like_the_eye(engine, test_data / "media", "car-detection", numbers)


def test_whoever_is_behind_a_board_for_a_second_is_still_there(engine: Engine, test_data: Path) -> None:
    """A board is painted over a real person: for 1.2 s the network does not find her."""
    hidden = range(130, 142)

    def board(each: Frame) -> Image:
        image = each.image.copy()
        if each.index in hidden:
            image[:, 300:600] = 70
        return image

    follower, ids = Follower(), {}
    clip = test_data / "media" / "one-by-one-person-detection.mp4"
    for each, found in seen(engine, clip, range(112, 160, 2), paint=board):
        result = follower(each, of_classes(found, ["person"]))
        assert result.track_ids is not None
        ids[each.index] = result.track_ids.tolist()
    assert {index for index, row in ids.items() if row == []} == {*hidden[::2]}
    assert {tuple(row) for row in ids.values()} == {(), (1,)}


# The command line's options.


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    following.arguments(parser)
    parser.set_defaults(score=None, iou=None, classes=None)
    return parser.parse_args(words)


def test_nobody_follows_unasked() -> None:
    args = options()
    assert following.follower(args) is None
    assert following.wanted(args, None)["score"] is None


@pytest.mark.parametrize("words", [["--track"], ["--line", "0,0.5,1,0.5"], ["--zone", "0,0,1,0,1,1"]])
@pytest.mark.parametrize(("score", "asked"), [(None, LOWEST_SCORE), (0.6, LOWEST_SCORE), (0.05, 0.05)])
def test_following_asks_the_engine_for_what_scores_badly(words: list[str], score: float | None, asked: float) -> None:
    args = options(*words)
    args.score = score
    follower = following.follower(args)
    assert follower is not None
    assert following.wanted(args, follower)["score"] == asked
    least = SCORE if score is None else score
    result = follower(frame(0), boxes_at((100, 100)))
    assert len(result) == (1 if least < 0.8 else 0)


def test_wrong_lines_are_refused() -> None:
    with pytest.raises(RequestError, match="expected a line as"):
        following.follower(options("--line", "1,2"))


def test_photos_cannot_be_followed() -> None:
    follower = following.follower(options("--track"))
    following.check_photos(follower, False)
    following.check_photos(None, True)
    with pytest.raises(RequestError, match="expected a camera, a stream or a video"):
        following.check_photos(follower, True)


def test_the_last_counts_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    follower = following.follower(options("--line", "0,0.5,1,0.5,door", "--zone", "0,0,1,0,1,1,0,1,[hall]"))
    assert follower is not None
    for k, at in enumerate(walk((300, 180), (300, 300))):
        follower(frame(k), boxes_at(at))
    assert following.to_dict(follower) == {
        "camera:0": {"door": {"in": 1, "out": 0, "crossed": []}, "[hall]": {"inside": 1, "entered": 1}}
    }
    following.report(follower)
    said = capsys.readouterr().err.splitlines()
    assert said == ["camera:0: door 1 in, 0 out", "camera:0: [hall] 1 inside, 1 entered"]
