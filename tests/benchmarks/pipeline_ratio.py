"""What is left of the bare engine in a whole pipeline, with an engine on all cores but one and on all of them; and
what engines of one thread each give against one engine of as many threads.

    python tests/benchmarks/pipeline_ratio.py BUNDLE CLIP

All take turns in blocks of a second, in an order that turns too; ratios are made within a round, and are medians over
rounds. Rounds in which other processes took more than `--quiet` of the machine do not count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from edgezoo.engine import Engine
from edgezoo.machine import OtherLoad, cores, machine
from edgezoo.measure.bench import BareEngine, Player


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("clip")
    parser.add_argument("--rounds", type=int, default=9, help="quiet rounds to measure")
    parser.add_argument("--quiet", type=float, default=0.03, help="share of the machine that others may take")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a block")
    parser.add_argument("--at-most", type=float, default=600.0, help="seconds in all")
    given = parser.parse_args()

    few, many = max(1, cores() - 1), cores()
    blocks: dict[str, Callable[[float], float]] = {}
    players: list[Player] = []
    for threads in sorted({few, many}):
        engine = Engine(given.bundle, threads=threads)
        players.append(Player(engine, given.clip, workers=1, batch=1))
        blocks[f"engine, {threads} threads"] = BareEngine(engine, 1, given.clip).block
        blocks[f"pipeline, {threads} threads"] = players[-1].block
    players.append(Player(engine, given.clip, workers=many, batch=1))
    blocks[f"pipeline, {many} workers x 1"] = players[-1].block
    try:
        rounds, noisy = measure(blocks, given.rounds, given.quiet, given.seconds, given.at_most)
    finally:
        for player in players:
            player.close()

    print(f"{machine()}; {len(rounds)} quiet rounds, {noisy} noisy ones left out")
    for name in blocks:
        show(name, [found[name] for found in rounds], "fps")
    ratios = [(f"pipeline, {n} threads", f"engine, {n} threads") for n in sorted({few, many})]
    ratios.append((f"pipeline, {many} workers x 1", f"pipeline, {many} threads"))
    for above, below in ratios:
        show(f"{above} / {below}", [found[above] / found[below] for found in rounds], "")


def measure(
    blocks: dict[str, Callable[[float], float]], wanted: int, quiet: float, seconds: float, at_most_s: float
) -> tuple[list[dict[str, float]], int]:
    """Frames per second by name, round by round; and how many rounds were not quiet."""
    names = list(blocks)
    for name in names:
        blocks[name](seconds / 2)
    rounds: list[dict[str, float]] = []
    noisy, began = 0, time.monotonic()
    while len(rounds) < wanted and time.monotonic() - began < at_most_s:
        turn = (len(rounds) + noisy) % len(names)
        found, load = {}, OtherLoad()
        for name in names[turn:] + names[:turn]:
            time.sleep(0.1)
            found[name] = blocks[name](seconds)
        others = load.share()
        if others is not None and others > quiet:
            noisy += 1
        else:
            rounds.append(found)
    return rounds, noisy


def show(name: str, values: list[float], unit: str) -> None:
    if not values:
        print(f"{name:55} no quiet round")
        return
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    print(f"{name:55} {middle:8.3f} {unit:4} quartiles {low:.3f} .. {high:.3f}")


if __name__ == "__main__":
    main()
