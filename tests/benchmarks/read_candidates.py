"""What a detector's answers cost to read: 3000 candidates of 80 classes, few and many of them over the threshold.

    python tests/benchmarks/read_candidates.py

On one core. The candidates over the threshold crowd around objects, about ten for each, as networks answer; every call
reads other answers than the last, so that they come from memory as they do behind a network.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from contextlib import suppress

import numpy as np

from edgezoo.geometry import Placement
from edgezoo.machine import machine
from edgezoo.tasks import Ask, Outputs, detect

CANDIDATES, CLASSES, SIDE = 3000, 80, 640
COPIES = 24  # of 1 MB each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3000)
    given = parser.parse_args()
    with suppress(AttributeError):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    print(machine())
    names = tuple(f"class {k}" for k in range(CLASSES))
    placement = [Placement.of(scale_xy=(1.0, 1.0), shift_xy=(0.0, 0.0), source_wh=(SIDE, SIDE))]
    for over, objects in ((180, 20), (1500, 140)):
        answers = [crowd(np.random.default_rng(seed), over, objects) for seed in range(COPIES)]
        times, kept = [], []
        for turn in range(given.calls + COPIES):
            began = time.perf_counter_ns()
            found = detect.read(answers[turn % COPIES], placement, names, Ask())[0]
            times.append((time.perf_counter_ns() - began) / 1e3)
            kept.append(len(found))
        median, late = statistics.median(times[COPIES:]), statistics.quantiles(times[COPIES:], n=10)[-1]
        print(f"{over:5} over the threshold, {statistics.mean(kept):5.1f} kept: {median:7.1f} us   p90 {late:7.1f} us")


def crowd(dice: np.random.Generator, over: int, objects: int) -> Outputs:
    """Dense answers in which `over` scores pass the threshold, of boxes that lie around `objects` places."""
    scores = dice.uniform(0, 0.05, (1, CANDIDATES, CLASSES)).astype(np.float32)
    boxes = dice.uniform(0, SIDE, (1, CANDIDATES, 4)).astype(np.float32)
    middle, size, kind = (
        dice.uniform(60, SIDE - 60, (objects, 2)),
        dice.uniform(20, 120, (objects, 2)),
        dice.integers(0, CLASSES, objects),
    )
    chosen = dice.choice(CANDIDATES, over, replace=False)
    at = dice.integers(0, objects, over)
    center = middle[at] + dice.normal(0, 0.05, (over, 2)) * size[at]
    half = size[at] * dice.uniform(0.45, 0.55, (over, 2))
    boxes[0, chosen] = np.concatenate([center - half, center + half], axis=1)
    scores[0, chosen, kind[at]] = dice.uniform(0.3, 0.95, over)
    return {"boxes": boxes, "scores": scores}


if __name__ == "__main__":
    main()
