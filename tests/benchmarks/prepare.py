"""What geometry costs over the one call it cannot do without: `Preprocess.place` against a bare `cv2.resize`.

    python tests/benchmarks/prepare.py BUNDLE CLIP

Both make a new array each time, of the size that the recipe resizes to; they take turns, call by call.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import cv2

from edgezoo.bundle import Bundle
from edgezoo.machine import machine
from edgezoo.sources import open_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("clip")
    parser.add_argument("--calls", type=int, default=3000)
    given = parser.parse_args()

    recipe = Bundle.open(given.bundle).manifest.input
    source = open_source(given.clip)
    image = next(iter(source)).image
    source.close()
    _, placement = recipe.place(image)
    (scale_x, scale_y), (height, width) = placement.matrix.diagonal()[:2], image.shape[:2]
    size = (min(recipe.size_wh[0], round(width * scale_x)), min(recipe.size_wh[1], round(height * scale_y)))
    interpolation = getattr(
        cv2, {"bilinear": "INTER_LINEAR"}.get(recipe.interpolation, f"INTER_{recipe.interpolation.upper()}")
    )

    print(f"{machine()}; {width}x{height} to {size[0]}x{size[1]} ({recipe.fit})")
    for threads in sorted({1, cv2.getNumThreads()}):
        cv2.setNumThreads(threads)
        bare, place = take_turns(
            given.calls,
            lambda: cv2.resize(image, size, interpolation=interpolation),
            lambda: recipe.place(image),
        )
        print(f"OpenCV on {threads}: resize {bare:7.1f} us   place {place:7.1f} us   ratio {place / bare:.3f}")


def take_turns(calls: int, *ways: Callable[[], object]) -> list[float]:
    """The median of each in microseconds."""
    times: list[list[int]] = [[] for _ in ways]
    for turn in range(calls + 20):
        for k in range(len(ways)):
            way = (k + turn) % len(ways)
            began = time.perf_counter_ns()
            ways[way]()
            times[way].append(time.perf_counter_ns() - began)
    return [statistics.median(each[20:]) / 1e3 for each in times]


if __name__ == "__main__":
    main()
