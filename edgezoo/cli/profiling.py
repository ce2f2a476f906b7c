"""`edgezoo profile --source`: a pipeline runs for a while, and tells where its time went."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from edgezoo.cli import options, show
from edgezoo.errors import RequestError

if TYPE_CHECKING:
    from edgezoo.measure.stages import StageProfile

_SECONDS = 10.0
_OF_LAYERS = {"layers": False, "all": False, "runs": 20, "rounds": 9, "no_compare": False}


def arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where the time of a running pipeline goes")
    group.add_argument(
        "--source", action="append", default=[], metavar="SOURCE", dest="sources",
        help="run a pipeline over it, as `run` does, and tell its stages; again for more sources",
    )  # fmt: skip
    group.add_argument("--seconds", type=float, metavar="S", help=f"for so long (default: {_SECONDS:g})")
    group.add_argument("--frames", type=int, metavar="N", help="until so many were delivered")
    group.add_argument("--trace", metavar="FILE", help="write a trace for ui.perfetto.dev or chrome://tracing")
    group.add_argument("--report", metavar="FILE", help="write a page with charts: report.html")
    group.add_argument(
        "--sink", action="append", default=[], metavar="SINK", dest="sinks", help="write results there meanwhile"
    )
    options.add_retries(group)
    group.add_argument("--workers", type=int, metavar="N", help="N engines of one thread each")
    group.add_argument("--batch", type=int, metavar="N", help="frames in one inference, across sources (default: 1)")
    group.add_argument("--wait-ms", type=float, metavar="MS", help="how long a batch waits to be full")
    group.add_argument("--max-age-ms", type=float, metavar="MS", help="drop live frames older than this")


def is_meant(args: argparse.Namespace) -> bool:
    """Whether a pipeline is to run. Raises RequestError for options of both kinds of profile."""
    ours = ("trace", "report", "seconds", "frames", "workers", "batch", "wait_ms", "max_age_ms", "retries", "sinks")
    if not args.sources:
        for name in ours:
            if getattr(args, name) not in (None, []):
                option = "sink" if name == "sinks" else name.replace("_", "-")
                raise RequestError(f"--{option} is for a pipeline: expected --source, too, such as --source clip.mp4")
        return False
    for name, default in _OF_LAYERS.items():
        if getattr(args, name) != default:
            raise RequestError(f"--{name.replace('_', '-')} is for layers, --source for a pipeline: one at a time")
    return True


def run(args: argparse.Namespace) -> int:
    from edgezoo.measure.stages import profile_stages
    from edgezoo.sinks import check_target, open_sink

    targets = [path for path in (args.trace, args.report) if path]
    for path in targets:
        check_target(Path(path))
    with ExitStack() as stack:
        sinks = [open_sink(text) for text in args.sinks]
        for sink in sinks:
            stack.callback(sink.close)
        engine = stack.enter_context(options.open_engine(args))
        progress = stack.enter_context(show.counting("seconds" if args.frames is None else "frames"))
        found = profile_stages(
            engine,
            args.sources,
            seconds=_seconds(args),
            frames=args.frames,
            batch=1 if args.batch is None else args.batch,
            wait_ms=args.wait_ms,
            workers=args.workers,
            max_age_ms=args.max_age_ms,
            retries=args.retries,
            sinks=sinks,
            spans=bool(targets),
            progress=lambda done, total: progress(int(done), max(1, int(total))),
        )
    _write(args, found)
    if args.json:
        show.print_json(found.to_dict())
        return 0
    _show(found)
    for path in targets:
        show.out.print(f"[green]✓[/] [bold]{show.plain(path)}[/]", soft_wrap=True)
    return 0


def _seconds(args: argparse.Namespace) -> float:
    """Frames are counted for as long as it takes them, unless told otherwise."""
    if args.seconds is not None:
        return float(args.seconds)
    return _SECONDS if args.frames is None else 3600.0


def _write(args: argparse.Namespace, found: StageProfile) -> None:
    if args.trace:
        from edgezoo.measure.trace import write_trace

        write_trace(found.recording, args.trace)
    if args.report:
        from edgezoo.measure.report import write_report

        write_report(found, args.report)


def _show(found: StageProfile) -> None:
    profile = found.profile
    numbers = ("p50", "p90", "p99", "max", "of the time")
    table = show.table("ms", *numbers, right=numbers)
    for name, stage in {**profile.stages, "frame age": profile.age}.items():
        figures = [f"{stage.percentile(percent):.2f}" for percent in (50, 90, 99)] + [f"{stage.max_ms:.2f}"]
        waits = name in ("wait", "frame age") or (name == "capture" and found.live)
        share = "" if waits else f"{100 * found.busy(name):.0f} %"
        table.add_row(f"[bold]{name}" if name == "frame age" else name, *figures, share)
    show.out.print(table)
    way = " + ".join(f"{name} {ms:.2f}" for name, ms in found.way().items())
    show.out.print(f"a frame's way, mean ms: {way}", soft_wrap=True)
    reasons = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in profile.dropped.items() if count)
    told = f"{profile.delivered} frames delivered of {profile.grabbed}, {profile.fps:.1f} fps"
    failed = f"; failed: {profile.failed}" if profile.failed else ""
    show.out.print(told + (f"; dropped: {reasons}" if reasons else "") + failed, soft_wrap=True)
    for at_s, event in found.recording.events:
        if event.error or event.kind in ("stalled", "lost"):
            line = f"{at_s:.1f} s  {event.source}: {event.kind}, {event.message}"
            show.out.print(f"[yellow]{show.plain(line)}", soft_wrap=True)
    runs = profile.runs
    threads = "" if runs["threads"] is None else f", threads {runs['threads']}"
    what = f"{runs['model']} {runs['precision']}, {runs['backend']} {runs['version']} on {runs['device']}{threads}"
    show.out.print(f"[dim]{show.plain(what)}, workers {runs['workers']}; {found.seconds:.1f} s", soft_wrap=True)
    show.busy(found.others)
