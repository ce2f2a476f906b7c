"""What a calibration takes: the most memory that its process ever held, and seconds.

    python tests/benchmarks/calibration_memory.py BUNDLE IMAGES --count 500 --method entropy

Where IMAGES (a set, folder or pattern) are fewer, they come again, mirrored and darker, one at a time. The bundle says
at which size; `edgezoo convert NAME --size 640x640` makes one of another.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgezoo import graphs, imagesets
from edgezoo.bundle import Bundle
from edgezoo.frame import Image
from edgezoo.machine import machine
from edgezoo.preprocess import Preprocess
from edgezoo.reduce.int8 import tensors
from edgezoo.reduce.int8.calibrate import METHODS, calibrate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--method", nargs="+", default=["entropy"], choices=METHODS)
    given = parser.parse_args()

    bundle = Bundle.open(given.bundle)
    manifest = bundle.manifest
    recipe = manifest.input
    model = graphs.parse(bundle.read_graph(bundle.artifact()))
    drawn = imagesets.draw(given.images, count=given.count)
    wanted = tensors(model)
    before_mib, began = peak_mib(), time.perf_counter()
    last = began

    def tell(done: int, total: int) -> None:
        nonlocal last
        last = time.perf_counter()
        print(f"\r{done}/{total}  {peak_mib():.0f} MiB", end="", file=sys.stderr, flush=True)

    images = enough(drawn, recipe, given.count)
    calibrate(model, images, wanted, method=given.method, count=given.count, progress=tell)
    ended = time.perf_counter()
    width, height = recipe.size_wh
    print(f"\n{machine()}; {manifest.name} {width}x{height}, {len(wanted)} tensors")
    print(
        f"{given.count} images, {' '.join(given.method)}: {ended - began:.1f} s, of these {ended - last:.1f} s behind "
        f"the last image; peak {peak_mib():.0f} MiB, {before_mib:.0f} MiB before"
    )


def enough(drawn: imagesets.Drawn, recipe: Preprocess, count: int) -> Iterator[Image]:
    """So many placed images: those drawn, then their mirror images, then both again but darker, and so on."""
    for k in range(count):
        turn = k // len(drawn)
        if k % len(drawn) == 0:
            placed = drawn.placed(recipe)
        image = next(placed)
        image = image[:, ::-1] if turn % 2 else image
        yield np.ascontiguousarray(image * (0.8 ** (turn // 2)), np.uint8) if turn else image


def peak_mib() -> float:
    """Of this process, so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    main()
