"""`edgezoo bench`"""

from __future__ import annotations

import argparse

from edgezoo.cli import options, show
from edgezoo.latency import Distribution

HELP = "Time the bare engine and the whole pipeline in turns, until their ratio stands still."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a bundle's folder, or a model's name")
    parser.add_argument("--source", metavar="CLIP", help="a video or synthetic: address (default: a synthetic clip)")
    parser.add_argument("--workers", type=int, metavar="N", help="for the pipeline: N engines of one thread each")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="frames in one inference")
    parser.add_argument(
        "--blocks", type=int, default=9, metavar="N", help="pairs of blocks at least (default: %(default)s)"
    )
    parser.add_argument("--max-seconds", type=float, default=120.0, metavar="S", help="give up on a stable ratio then")
    options.add_runtime(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from edgezoo.measure.bench import bench

    with options.open_engine(args) as engine, show.counting("blocks") as progress:
        found = bench(
            engine,
            source=args.source,
            workers=args.workers,
            batch=args.batch,
            blocks=args.blocks,
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
    show.out.print(f"[dim]{told}; {found.source}", soft_wrap=True)
    return 0
