"""`edgezoo profile`"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgezoo.cli import options, profiling, show

if TYPE_CHECKING:
    from edgezoo.backends import Layer
    from edgezoo.measure.layers import LayerProfile, Quantised

HELP = (
    "Tell which layers really run in which precision, where the time goes, and whether a rounded precision gains; "
    "or, with --source, where the time of a running pipeline goes."
)

_SLOWEST = 10
_WORTH_NAMING = 0.05
_MOST_NAMED = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a bundle's folder, or a model's name")
    parser.add_argument("--layers", action="store_true", help="by layer (default: what a profile without --source is)")
    parser.add_argument("--all", action="store_true", help="every layer in the order they run, not the slowest alone")
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="timed runs (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=9, metavar="N", help="rounds against the other artifacts (default: %(default)s)"
    )
    parser.add_argument("--no-compare", action="store_true", help="no rounds against the bundle's other artifacts")
    profiling.arguments(parser)
    options.add_runtime(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    return profiling.run(args) if profiling.is_meant(args) else _profile_layers(args)


def _profile_layers(args: argparse.Namespace) -> int:
    from edgezoo.measure.layers import profile_layers

    bundle = options.found_bundle(args)
    options.settle(args, bundle)
    with show.counting("rounds") as progress:
        found = profile_layers(
            bundle,
            backend=args.backend,
            device=args.device,
            precision=args.precision,
            threads=args.threads,
            compare=not args.no_compare,
            runs=args.runs,
            rounds=args.rounds,
            progress=progress,
        )
    if args.json:
        show.print_json(found.to_dict())
        return 0
    _show_precisions(found)
    _show_layers(found, whole=args.all)
    if found.run_ms is not None:
        _show_rivals(found, found.run_ms)
    if found.quantised is not None:
        _show_quantised(found.quantised)
    for line in found.left_out:
        show.out.print(f"[dim]not held against: {show.plain(line)}", soft_wrap=True)
    for warning in found.warnings:
        show.out.print(f"[yellow]{show.plain(warning)}", soft_wrap=True)
    runs, each = found.runs, "" if found.batch == 1 else f", batches of {found.batch}"
    threads = "" if runs["threads"] is None else f", threads {runs['threads']}"
    told = (
        f"{runs['model']} {runs['precision']}, {runs['backend']} {runs['version']} on {runs['device']}{threads}{each}"
    )
    show.out.print(f"[dim]{show.plain(told)}", soft_wrap=True)
    show.busy(found.others)
    if runs["device"] != "cpu" and runs["backend"] == "onnxruntime":
        show.out.print("[dim]layers' times are those to launch them; what the device then takes is not told")
    return 0


def _show_precisions(found: LayerProfile) -> None:
    table = show.table("precision", "layers", "ms", "share", "", right=("layers", "ms", "share"))
    for name, part in found.precisions.items():
        table.add_row(show.plain(name), str(part.layers), f"{part.ms:.3f}", f"{100 * part.share:.1f} %", "")
    part = found.conversions
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.conversion_kinds.items())
    row = [f"{part.layers}", f"{part.ms:.3f}", f"{100 * part.share:.1f} %"]
    table.add_row("conversions", *row, f"[dim]{show.plain(kinds)}")
    table.add_row("all", str(len(found.layers)), f"{found.ms:.3f}", "", "")
    show.out.print(table)
    most = [f"{kind} {100 * part.share:.0f} %" for kind, part in found.kinds.items() if part.share >= _WORTH_NAMING]
    show.out.print(f"most of the time: {show.plain(', '.join(most))}\n", soft_wrap=True)


def _show_layers(found: LayerProfile, *, whole: bool) -> None:
    layers = list(found.layers) if whole else sorted(found.layers, key=lambda layer: -layer.ms)[:_SLOWEST]
    heading = "layers, in order" if whole else "slowest layers"
    table = show.table(heading, "operator", "precision", "ms", "share", right=("ms", "share"))
    for layer in layers:
        table.add_row(*_cells(layer, found.ms), style="dim" if layer.conversion else None)
    show.out.print(table)


def _show_quantised(found: Quantised) -> None:
    """What could not be int8, by name; the rest is a number."""
    told = f"int8 in the file: {found.layers - len(found.kept)} of {found.layers} layers with weights"
    for names, what in ((found.kept, "float there"), (found.lost, "int8 there but not here")):
        if names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            told += f"; {what}: {', '.join(names[:_MOST_NAMED])}{more}"
    show.out.print(show.plain(told), soft_wrap=True)


def _cells(layer: Layer, all_ms: float) -> tuple[str, ...]:
    share = 100 * layer.ms / all_ms if all_ms else 0.0
    precision = f"to {layer.precision}" if layer.conversion else layer.precision
    return *map(show.plain, (layer.name, layer.kind, precision)), f"{layer.ms:.3f}", f"{share:.1f} %"


def _show_rivals(found: LayerProfile, run_ms: float) -> None:
    ours = show.plain(found.runs["precision"])
    table = show.table("a whole run", "ms", f"against it, {ours} is", right=("ms",))
    table.add_row(ours, f"{run_ms:.2f}", "")
    for rival in found.against:
        color = "yellow" if rival.lost else "green" if rival.won else "default"
        spread = f"[dim]({rival.low:.2f} to {rival.high:.2f})"
        table.add_row(
            show.plain(rival.name), f"{rival.ms:.2f}", f"[{color}]{rival.ratio:.2f}[/] times as fast {spread}"
        )
    show.out.print(table)
