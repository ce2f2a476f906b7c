"""`edgezoo soak`"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgezoo.cli import options, show
from edgezoo.errors import RequestError
from edgezoo.machine import share_heaps

if TYPE_CHECKING:
    from edgezoo.measure.soak import Soak
    from edgezoo.pipeline import Pipeline
    from edgezoo.pipeline.streams import StreamState

HELP = (
    "Run a pipeline for long under cameras that misbehave; every frame accounted for, memory flat, frames young, "
    "lost streams back in time."
)

_COLORS = {"live": "green", "connecting": "default", "stalled": "yellow", "lost": "red", "ended": "dim"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="live ones, as `edgezoo run` takes them (default: four `chaos:` cameras, which stall, burst, drop, die, "
        "change size and send damaged pictures)",
    )
    parser.add_argument("--minutes", type=float, required=True, metavar="M", help="how long")
    parser.add_argument("--model", default="digits", help="a model's name or a bundle's folder (default: %(default)s)")
    options.add_batching(parser)
    group = parser.add_argument_group("bounds")
    group.add_argument(
        "--max-growth", type=float, default=10.0, metavar="MB", help="of memory after the first minute (default: 10)"
    )
    group.add_argument(
        "--max-age-p99", type=float, default=250.0, metavar="MS", help="of a frame at its hand-over (default: 250)"
    )
    group.add_argument(
        "--max-back",
        type=float,
        default=2.0,
        metavar="S",
        help="until a lost stream is live again; of a chaos: camera, from when it gives frames again (default: 2)",
    )
    options.add_runtime(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from edgezoo.measure.soak import Bounds, chaos_sources, soak

    if not args.minutes > 0:
        raise RequestError(f"expected --minutes above 0, got {args.minutes:g}")
    sources = args.sources or chaos_sources()
    bounds = Bounds(growth_mb=args.max_growth, age_p99_ms=args.max_age_p99, back_s=args.max_back)
    share_heaps()
    with options.open_engine(args) as engine, Live(console=show.err, auto_refresh=False, transient=True) as live:
        engine.warm_up()

        def progress(found: Soak, pipeline: Pipeline) -> None:
            if show.err.is_terminal:
                live.update(_now(found, pipeline, 60 * args.minutes), refresh=True)

        found = soak(
            engine,
            sources,
            seconds=60 * args.minutes,
            bounds=bounds,
            batch=args.batch,
            wait_ms=args.wait_ms,
            progress=progress,
        )
    if args.json:
        show.print_json(found.to_dict())
    else:
        _report(found)
    for line in found.missed:
        show.err.print(f"[red]edgezoo:[/] {show.plain(line)}", soft_wrap=True)
    return 1 if found.missed else 0


def _now(found: Soak, pipeline: Pipeline, seconds: float) -> Group:
    """What is seen while it runs."""
    age, last = found.profile.age, found.samples[-1]
    left = max(0, round(seconds - found.seconds))
    figures = (
        f"{left // 60}:{left % 60:02} left  age {age.percentile(50):.0f} / {age.percentile(99):.0f} ms  "
        f"memory {last.memory_mb:.0f} MB, {found.growth_mb:+.1f}  {last.threads} threads  {last.files} files"
    )
    return Group(_streams(pipeline.states), Text(figures, style="bold"))


def _streams(states: tuple[StreamState, ...]) -> Table:
    numbers = ("for", "fps", "frames", "dropped", "back")
    table = show.table("stream", "state", *numbers, "why", right=numbers)
    now_ns = time.monotonic_ns()
    for state in states:
        since_s = (now_ns - state.since_ns) / 1e9
        counts = (str(state.frames), str(sum(state.dropped.values())), str(state.reconnects))
        color = _COLORS[state.state]
        row = (f"[{color}]{state.state}", f"{since_s:.0f} s", f"{state.fps:.1f}", *counts, show.plain(state.reason))
        table.add_row(show.plain(state.source), *row)
    return table


def _report(found: Soak) -> None:
    profile = found.profile
    numbers = ("grabbed", "delivered", "dropped", "fps", "age p99", "lost", "longest")
    table = show.table("stream", *numbers, right=numbers)
    for name, tally in profile.sources.items():
        losses = found.losses_s.get(name, [])
        counts = (str(tally.grabbed), str(tally.delivered), str(tally.dropped_in_all), f"{tally.fps:.1f}")
        lost = (str(len(losses)), f"{max(losses):.1f} s" if losses else "")
        table.add_row(show.plain(name), *counts, f"{tally.age.percentile(99):.0f} ms", *lost)
    show.out.print(table)
    table = show.table("", "measured", "bound", "", right=("measured", "bound"))
    for name, got, bound, held in found.checks():
        table.add_row(name, show.plain(got), bound, "[green]✓" if held else "[red]✗")
    show.out.print(table)
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in profile.dropped.items() if count)
    minutes = f"{found.seconds / 60:.1f} minutes"
    show.out.print(f"{minutes}, {profile.fps:.1f} fps in all; dropped: {reasons or 'none'}", soft_wrap=True)
