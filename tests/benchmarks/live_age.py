"""True age of live frames, read from their pixels: a synthetic camera, and RTSP over loopback with a real server.

    python tests/benchmarks/live_age.py BUNDLE [--seconds 60] [--slow-fps 15] [--fast-fps 60] [--threads 1]

For each source, slower and faster than the engine: the age at hand-over, now minus the time burnt in when the frame was
made. It is held against one source interval + the p99 of processing (prepare, infer, read) + what the encoder and the
wire cost when the same source is read with no engine behind it + 10 ms. Memory must stay flat, and every frame must be
accounted for. Exit code 1 where a bound is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rtsp import rtsp_server

from edgezoo.engine import Engine
from edgezoo.latency import Distribution
from edgezoo.pipeline import Pipeline
from edgezoo.sources import barcode, open_source

SIZE = "640x480"
SLACK_MS = 10.0
ALONE_S = 10.0
FLAT_MB = 8.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--slow-fps", type=int, default=15)
    parser.add_argument("--fast-fps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    print("source     fps  engine  age p50   p99   bound  interval  processing p99  alone p99  MB grown  accounted")
    missed = 0
    for kind in ("synthetic", "rtsp"):
        for fps in (args.slow_fps, args.fast_fps):
            with Engine(args.bundle, threads=args.threads) as engine:
                missed += not measure(kind, fps, engine, args.seconds)
    return 1 if missed else 0


def measure(kind: str, fps: int, engine: Engine, seconds: float) -> bool:
    engine.warm_up()
    with address_of(kind, fps, seconds + ALONE_S + 30) as address:
        alone = age_alone(address)
        ages, memory = Distribution(), []
        until = time.monotonic() + seconds
        with Pipeline(address, engine) as pipeline:
            for frame, _ in pipeline:
                now_ns = time.monotonic_ns()
                if (code := barcode.read(frame.image)) is not None:
                    ages.add((now_ns - code[1]) / 1e6)
                if pipeline.profile.delivered % 50 == 0:
                    memory.append(resident_mb())
                if time.monotonic() > until:
                    break
    profile = pipeline.profile
    processing = sum(profile.stages[name].percentile(99) for name in ("prepare", "infer", "read"))
    interval = 1000 / fps
    bound = interval + processing + alone + SLACK_MS
    third = max(1, len(memory) // 3)  # the first third fills caches and arenas
    grown = max(memory[-third:]) - max(memory[third : 2 * third] or memory[-1:])
    accounted = profile.grabbed == profile.delivered + profile.dropped_in_all + profile.failed
    rate = profile.delivered / seconds
    print(
        f"{kind:9} {fps:4}  {rate:5.1f}  {ages.percentile(50):8.1f} {ages.percentile(99):6.1f}  {bound:6.1f}"
        f"  {interval:8.1f}  {processing:14.1f}  {alone:9.1f}  {grown:8.1f}  {profile.grabbed} = {profile.delivered} + "
        f"{profile.dropped_in_all} + {profile.failed}: {accounted}",
        flush=True,
    )
    return ages.n > 0 and ages.percentile(99) <= bound and grown < FLAT_MB and accounted


@contextlib.contextmanager
def address_of(kind: str, fps: int, seconds: float) -> Iterator[str]:
    if kind == "synthetic":
        yield f"synthetic:#size={SIZE}&fps={fps}&code=1"
    else:
        with rtsp_server(fps=fps, size=SIZE, seconds=seconds) as url:
            yield url


def age_alone(address: str) -> float:
    """p99 of the age, in ms, where nothing is done with the frames: what making and bringing them costs."""
    ages = Distribution()
    source = open_source(address)
    until = time.monotonic() + ALONE_S
    for frame in source:
        if (code := barcode.read(frame.image)) is not None:
            ages.add((time.monotonic_ns() - code[1]) / 1e6)
        if time.monotonic() > until:
            source.close()
    return ages.percentile(99)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    sys.exit(main())
