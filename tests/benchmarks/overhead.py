"""What our own wrapping costs a frame: the engine around its three stages, the backend around its session, the profile.

    python tests/benchmarks/overhead.py BUNDLE CLIP

The runtime's session is replaced by one that gives a stored answer at once: the wrapping is the same, and is not lost
in the milliseconds of a network. Differences are of medians; all take turns, call by call.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from edgezoo.engine import DOOR, Engine
from edgezoo.frame import Frame
from edgezoo.latency import Profile
from edgezoo.machine import machine
from edgezoo.sources import open_source
from edgezoo.tasks import task


class Stored:
    """A session that has its answer."""

    def __init__(self, answers: list[Any]) -> None:
        self._answers = answers

    def run(self, names: list[str], feeds: dict[str, Any]) -> list[Any]:
        return self._answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("clip")
    parser.add_argument("--calls", type=int, default=5000)
    given = parser.parse_args()

    source = open_source(given.clip)
    frame = next(iter(source))
    source.close()
    engine = Engine(given.bundle, threads=1)
    array, _ = engine.prepare([frame.image])
    names, meaning = [port.name for port in engine.backend.outputs], task(engine.bundle.manifest.task)
    answers = engine.infer(array)
    session = Stored([answers[name] for name in names])
    vars(engine.backend)["_session"] = session
    profile = Profile()

    def bare() -> None:
        placed, placement = engine.recipe.place(frame.image)
        got = session.run(names, {DOOR: placed[None]})
        meaning.read(dict(zip(names, got, strict=True)), [placement], engine.names, engine.ask)

    whole, stages, watched = take_turns(
        given.calls, lambda: engine(frame.image), bare, lambda: profiled(profile, frame)
    )
    print(machine())
    print(f"engine(image) without its network        {whole:8.1f} us")
    print(f"place, session.run and read, bare        {stages:8.1f} us")
    print(f"wrapper                                  {whole - stages:8.1f} us")
    print(f"profile: three stages, grabbed, delivered{watched:8.1f} us")
    print(f"wrapper and profile                      {whole - stages + watched:8.1f} us per frame")


def profiled(profile: Profile, frame: Frame) -> None:
    """What a pipeline asks of its profile for one frame."""
    profile.count_grabbed()
    for stage in ("prepare", "infer", "read"):
        with profile.time(stage):
            pass
    profile.count_delivered(frame.age_ms)


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
