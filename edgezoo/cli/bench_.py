"""`edgezoo bench`"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgezoo.cli import options, show
from edgezoo.errors import RequestError
from edgezoo.latency import Distribution

if TYPE_CHECKING:
    from edgezoo.measure.speeds.stored import Speed, Speeds

HELP = (
    "Time the bare engine and the whole pipeline in turns, until their ratio stands still; "
    "or all artifacts on all runtimes, for --precision auto."
)

_OF_THE_PIPELINE = {"source": None, "workers": None, "batch": 1, "max_seconds": 120.0}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a bundle's folder, or a model's name")
    parser.add_argument(
        "--store",
        action="store_true",
        help="time every artifact that met its budget on every runtime, and keep it for --precision auto",
    )
    parser.add_argument("--source", metavar="CLIP", help="a video or synthetic: address (default: a synthetic clip)")
    parser.add_argument("--workers", type=int, metavar="N", help="for the pipeline: N engines of one thread each")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="frames in one inference")
    parser.add_argument(
        "--blocks", type=int, metavar="N", help="pairs of blocks at least (default: 9; of --store, what fits into 15 s)"
    )
    parser.add_argument("--max-seconds", type=float, default=120.0, metavar="S", help="give up on a stable ratio then")
    options.add_runtime(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    return _store(args) if args.store else _bench(args)


def _bench(args: argparse.Namespace) -> int:
    from edgezoo.measure.bench import bench

    with options.open_engine(args) as engine, show.counting("blocks") as progress:
        found = bench(
            engine,
            source=args.source,
            workers=args.workers,
            batch=args.batch,
            blocks=9 if args.blocks is None else args.blocks,
            max_seconds=args.max_seconds,
            progress=progress,
        )
        told = f"{engine.bundle.manifest.name} {engine.artifact.name}, {engine.runs}"
    if args.json:
        show.print_json(found.to_dict())
        return 0
    table = show.table("ms", "fps", "p50", "p90", "p99", right=("fps", "p50", "p90", "p99"))
    rows: list[tuple[str, str, Distribution]] = [
        ("engine, a run", f"{found.engine.fps:.1f}", found.engine.run),
        ("pipeline, a frame", f"{found.pipeline.fps:.1f}", found.pipeline.interval),
        ("frame age", "", found.pipeline.age),
    ]
    for name, fps, times in rows:
        table.add_row(name, fps, *(f"{times.percentile(percent):.2f}" for percent in (50, 90, 99)))
    show.out.print(table)
    steady = (
        "" if found.stable else f"; [yellow]not stable: it varies by {100 * found.spread:.0f} %, the machine is busy[/]"
    )
    show.out.print(f"pipeline / engine [bold]{found.ratio:.3f}[/] over {found.blocks} pairs of blocks{steady}")
    show.out.print(f"[dim]{show.plain(told)}; {show.plain(found.source)}", soft_wrap=True)
    return 0


def _store(args: argparse.Namespace) -> int:
    from edgezoo.measure.speeds import left_out, measure
    from edgezoo.measure.speeds.choosing import choose
    from edgezoo.measure.speeds.stored import store

    others = {**_OF_THE_PIPELINE, "precision": "fp32", "backend": None}
    for name, default in others.items():
        if getattr(args, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise RequestError(f"--store times the bare engine, all artifacts on all runtimes; leave out {option}")
    bundle = options.found_bundle(args)
    with show.counting("rounds") as progress:
        found = measure(
            bundle, threads=args.threads, device=args.device or "cpu", rounds=args.blocks, progress=progress
        )
    rest = [(artifact.name, artifact.target, why) for artifact, why in left_out(bundle, found.device)]
    if args.json:
        store(found)
        told = [{"artifact": name, "backend": target, "why": why} for name, target, why in rest]
        best = choose(found.speeds)
        fastest = {"artifact": best.artifact, "backend": best.backend}
        show.print_json({**found.to_dict(), "fastest": fastest, "left_out": told})
        return 0
    _show_speeds(found, rest)
    path = store(found)
    threads = "" if found.threads is None else f", threads {found.threads}"
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    told_of = f"{found.model} {found.size_wh[0]}x{found.size_wh[1]} on {found.device}{threads}; {versions}"
    show.out.print(f"[dim]{show.plain(told_of)}; {found.rounds} rounds; kept in {show.plain(path)}", soft_wrap=True)
    show.busy(found.others, "; measure again when it is idle")
    return 0


def _show_speeds(found: Speeds, rest: list[tuple[str, str, str]]) -> None:
    from edgezoo.measure.speeds.choosing import choose

    fastest = choose(found.speeds)
    table = show.table("artifact", "backend", "ms", "times fp32", "", "", right=("ms", "times fp32"))
    for speed in sorted(found.speeds, key=lambda each: -each.times):
        mark = "bold green" if speed is fastest else ""
        spread = "" if speed.low == speed.high else f"[dim]{speed.low:.2f} to {speed.high:.2f}"
        cells = show.plain(speed.artifact), show.plain(speed.backend), f"{speed.ms:.2f}", f"{speed.times:.2f}"
        table.add_row(*cells, spread, _note(speed, fastest, found.against), style=mark)
    for each in found.skipped:
        table.add_row(
            show.plain(each.artifact),
            show.plain(each.backend),
            "",
            "",
            "",
            f"skipped: {show.plain(each.why)}",
            style="dim",
        )
    for name, target, why in rest:
        table.add_row(show.plain(name), show.plain(target), "", "", "", show.plain(why), style="dim")
    show.out.print(table)


def _note(speed: Speed, fastest: Speed, against: str) -> str:
    if speed is fastest:
        return "✓ auto runs this"
    if (speed.artifact, speed.backend) == ("fp32", against):
        return "all are held against it"
    return "[yellow]slower than fp32[/]" if speed.high < 1 else ""
