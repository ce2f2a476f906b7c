"""`edgezoo doctor`"""

from __future__ import annotations

import argparse
from itertools import groupby

from edgezoo.cli import options, show

HELP = "Tell what this machine really has: runtimes, devices, cameras, a display; and how to get what is missing."

_MARKS = {"ok": "[green]✓[/]", "missing": "[yellow]–[/]", "broken": "[red]✗[/]"}


def arguments(parser: argparse.ArgumentParser) -> None:
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from edgezoo.measure.doctor import doctor

    with show.err.status("looking around"):
        rows = doctor()
    broken = any(row.state == "broken" for row in rows)
    if args.json:
        show.print_json({"rows": [row.to_dict() for row in rows]})
        return int(broken)
    for section, found in groupby(rows, key=lambda row: row.section):
        show.out.print(f"\n[bold]{section}")
        for row in found:
            show.out.print(f"  {_MARKS[row.state]} {row.name:15}", end="")
            show.out.print(row.what, markup=False, soft_wrap=True)
            if row.cure and row.state != "ok":
                show.out.print(f"    {'':15}[dim]→ [/]", end="")
                show.out.print(row.cure, markup=False, style="dim", soft_wrap=True)
    return int(broken)
