"""`edgezoo verify`"""

from __future__ import annotations

import argparse

from edgezoo.cli import options, show

HELP = "Replay a bundle's golden images on this device, and compare with the answers it came with."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="its folder")
    options.add_runtime(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from edgezoo.measure.verify import verify

    found = verify(
        args.bundle, backend=args.backend, device=args.device, precision=args.precision, threads=args.threads
    )
    if args.json:
        show.print_json(found.to_dict())
        return 0 if found.ok else 1
    table = show.table("", "largest difference", "tolerated", "", right=("largest difference", "tolerated"))
    geometry = found.geometry
    levels = f"{geometry.largest_levels} grey levels"
    table.add_row("geometry", levels, f"{geometry.tolerance_levels}", _mark(geometry.ok))
    for name, answer in found.answers.items():
        table.add_row(name.replace("_", " "), f"{answer.largest:.2g}", f"{answer.tolerance:.2g}", _mark(answer.ok))
    show.out.print(table)
    runs = found.runs
    how = f"{runs['backend']} {runs['version']} on {runs['device']}, OpenCV {geometry.opencv}"
    show.out.print(f"{_mark(found.ok)} {found.images} golden images, {how}")
    return 0 if found.ok else 1


def _mark(good: bool) -> str:
    return "[green]✓[/]" if good else "[red]✗ differs[/]"
