"""What following costs a frame, and how it compares with libraries for it.

    python tests/benchmarks/tracking.py [--bundle BUNDLE --clip CLIP]
    python tests/benchmarks/tracking.py --reference tests/tracking_reference.json

On one core, for crowds of 5 to 50 with a line and a zone, and for 50 boxes in one heap, where who is who is hardest to
say; with a bundle and a clip also the ratio to the engine. `--reference` writes down what ByteTrack of two libraries
answers for the crowds of the tests (pip install supervision==0.27.0 trackers==2.6.1, in an environment of their own).
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.metadata
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from crowds import NAMES, REFERENCE, SIZE_WH, Crowd, changes

from edgezoo.engine import Engine
from edgezoo.frame import Frame
from edgezoo.machine import machine
from edgezoo.results import Detections
from edgezoo.sources import open_source
from edgezoo.tracking import LOWEST_SCORE, Follower, Line, Zone

PLACES = (Line((0.5, 1), (0.5, 0)), Zone(((0.1, 0.1), (0.5, 0.2), (0.6, 0.9), (0.3, 0.7), (0.1, 0.9))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle")
    parser.add_argument("--clip")
    parser.add_argument("--reference", type=Path)
    given = parser.parse_args()
    if given.reference is not None:
        given.reference.write_text(written(reference()))
        return
    print(machine())
    if given.bundle:
        print(beside_the_engine(given.bundle, given.clip))
    with suppress(AttributeError):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for people in (5, 20, 50):
        found = [scene for scene, _ in Crowd(people=people, frames=600).scenes()]
        print(f"{people:3} people          {told(found)}")
    print(f" 50 in one heap     {told(heap(50, 600))}")


def told(found: Sequence[Detections]) -> str:
    times = sorted(following(found))
    median, late = statistics.median(times), times[int(len(times) * 0.99)]
    return f"{statistics.mean(map(len, found)):5.1f} detections: {median:.3f} ms   p99 {late:.3f} ms"


def following(found: Sequence[Detections]) -> list[float]:
    """Milliseconds of each frame."""
    follow, image, times = Follower(PLACES), np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8), []
    for index, detections in enumerate(found):
        frame = Frame(image, index, index / 30, 0, "crowd")
        began = time.perf_counter_ns()
        follow(frame, detections)
        times.append((time.perf_counter_ns() - began) / 1e6)
    return times


def heap(count: int, frames: int) -> list[Detections]:
    """All in one place, no two of one size, each trembling by a tenth."""
    dice = random.Random(0)
    places = [[300 + 40 * dice.random(), 200 + 40 * dice.random(), 80, 160] for _ in range(count)]
    scores, ids = np.linspace(0.9, 0.5, count, dtype=np.float32), np.zeros(count, np.int64)
    scenes = []
    for _ in range(frames):
        rows = [[x + 8 * dice.random(), y + 16 * dice.random(), wide, high] for x, y, wide, high in places]
        boxes = np.array([[x, y, x + wide, y + high] for x, y, wide, high in rows], np.float32)
        scenes.append(Detections(boxes, scores, ids, NAMES))
    return scenes


def beside_the_engine(bundle: str, clip: str) -> str:
    """Frame by frame in turns, the engine as it comes, on all cores."""
    engine, follow, source = Engine(bundle, score=LOWEST_SCORE), Follower(PLACES), open_source(clip)
    times: tuple[list[int], list[int]] = ([], [])
    for frame in source:
        began = time.perf_counter_ns()
        result = engine(frame.image)
        between = time.perf_counter_ns()
        follow(frame, result)
        times[0].append(between - began)
        times[1].append(time.perf_counter_ns() - between)
    source.close()
    engine.close()
    whole, more = (statistics.median(each) / 1e6 for each in times)
    return f"{Path(clip).name}: engine {whole:.2f} ms, following {more:.3f} ms, {more / whole:.1%}"


# The libraries.


def reference() -> dict[str, Any]:
    """What they answer: changes of ids, and the share of what has one; of one small crowd all ids."""
    wrappers = {"supervision": _supervision, "trackers": _trackers}
    versions = " and ".join(f"{name} {importlib.metadata.version(name)}" for name in wrappers)
    small = Crowd(people=8, frames=60, missed=0.02, weak=0.05)
    rows = []
    for crowd in REFERENCE:
        row: dict[str, Any] = {"crowd": dataclasses.asdict(crowd)}
        for name, wrapper in wrappers.items():
            switched, share = changes(list(zip([who for _, who in crowd.scenes()], wrapper(crowd), strict=True)))
            row[name] = {"changes": switched, "share": round(share, 4)}
        rows.append(row)
    return {
        "made": f"The answers of {versions}, by python tests/benchmarks/tracking.py --reference FILE.",
        "crowds": rows,
        "ids": {
            "crowd": dataclasses.asdict(small),
            **{name: [ids.tolist() for ids in wrapper(small)] for name, wrapper in wrappers.items()},
        },
    }


def written(found: dict[str, Any]) -> str:
    """As JSON with a line for each crowd and each library."""
    crowds = ",\n    ".join(map(json.dumps, found["crowds"]))
    ids = ",\n    ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in found["ids"].items())
    made = json.dumps(found["made"])
    return f'{{\n  "made": {made},\n  "crowds": [\n    {crowds}\n  ],\n  "ids": {{\n    {ids}\n  }}\n}}\n'


def _supervision(crowd: Crowd) -> list[Any]:
    library = importlib.import_module("supervision")
    tracker = library.ByteTrack(track_activation_threshold=0.25, frame_rate=crowd.fps)
    return _answers(crowd, tracker.update_with_detections)


def _trackers(crowd: Crowd) -> list[Any]:
    tracker = importlib.import_module("trackers").ByteTrackTracker(
        track_activation_threshold=0.25,
        high_conf_det_threshold=0.25,
        minimum_iou_threshold=0.2,
        frame_rate=crowd.fps,
    )
    return _answers(crowd, tracker.update)


def _answers(crowd: Crowd, update: Callable[[Any], Any]) -> list[Any]:
    library = importlib.import_module("supervision")
    answers = []
    for found, _ in crowd.scenes():
        given = library.Detections(
            xyxy=found.boxes_xyxy.astype(float),
            confidence=found.scores.astype(float),
            class_id=found.class_ids,
            data={"row": np.arange(len(found))},
        )
        said, ids = update(given), np.full(len(found), -1)
        if len(said):
            ids[said.data["row"]] = said.tracker_id
        answers.append(ids)
    return answers


if __name__ == "__main__":
    main()
