"""`edgezoo cache`"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgezoo.cli import options, show
from edgezoo.errors import RequestError
from edgezoo.weights import cache_folder

if TYPE_CHECKING:
    from edgezoo.cache import Kept

HELP = "Tell what edgezoo keeps on this machine and which compiled engines still fit it, or make room."

_DAY_S = 86400.0


def arguments(parser: argparse.ArgumentParser) -> None:
    from edgezoo.cache import KINDS

    parser.add_argument("action", choices=("list", "clear"), help="list: tell, and touch nothing; clear: remove")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"only these: {', '.join(KINDS)}")
    parser.add_argument("--all", action="store_true", help="clear: everything")
    parser.add_argument(
        "--stale",
        action="store_true",
        help="clear: only engines and timing caches that do not fit this machine any more",
    )
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from edgezoo.cache import KINDS

    for kind in args.kinds:
        if kind not in KINDS:
            raise RequestError(f"expected {', '.join(KINDS)}, got {kind!r}")
    return _list(args) if args.action == "list" else _clear(args)


def _list(args: argparse.Namespace) -> int:
    from edgezoo.cache import KINDS, listed

    if args.all or args.stale:
        raise RequestError("list tells of everything there is; --all and --stale go with clear")
    found, unknown = listed(args.kinds or KINDS)
    total = sum(kept.bytes for kept in found)
    if args.json:
        things = [kept.to_dict() for kept in found]
        show.print_json({"folder": str(cache_folder()), "bytes": total, "unknown": unknown, "kept": things})
        return 0
    engines = [kept for kept in found if kept.kind == "engines"]
    others = [kept for kept in found if kept.kind != "engines"]
    if others:
        table = show.table("kind", "what", "size", "age", right=("size", "age"))
        for kept in others:
            table.add_row(kept.kind, show.plain(kept.name), show.size(kept.bytes), _age(kept.used_s))
        if show.fits(table):
            show.out.print(table)
        else:
            for kept in others:
                show.indented(f"{kept.kind} {show.plain(kept.name)}, {show.size(kept.bytes)}, {_age(kept.used_s)}")
    if engines:
        _show_engines(engines, unknown)
    what = f"{len(found)} thing{'s' * (len(found) != 1)}, {show.size(total)}" if found else "nothing is kept"
    show.out.print(f"{what}  [dim]{show.plain(cache_folder())}", soft_wrap=True)
    return 0


def _show_engines(engines: Sequence[Kept], unknown: str) -> None:
    table = show.table("compiled engine", "batch", "TensorRT", "GPU", "size", "age", "here", right=("size", "age"))
    lines = []
    for kept in engines:
        record = kept.compiled.record if kept.compiled is not None else None
        facts = ("?", "?", "?") if record is None else (record.batch, record.facts.tensorrt, record.facts.gpu)
        batch, tensorrt, gpu = map(show.plain, facts)
        name, size, age = show.plain(kept.name), show.size(kept.bytes), _age(kept.used_s)
        here = "?" if kept.fits is None else "[green]✓[/]" if kept.fits else "[yellow]✗[/]"
        table.add_row(name, batch, tensorrt, gpu, size, age, here)
        lines.append(f"{here} {name}, batch {batch}, TensorRT {tensorrt}, {gpu}, {size}, {age}")
    if show.fits(table):
        show.out.print(table)
    else:
        for line in lines:
            show.indented(line)
    for kept in engines:
        if kept.fits is False:
            show.indented(f"[yellow]✗[/] {show.plain(kept.name)}: {show.plain(kept.why)}")
    if unknown:
        show.out.print(f"[dim]? nobody can tell which fit: {show.plain(unknown)}", soft_wrap=True)


def _clear(args: argparse.Namespace) -> int:
    from edgezoo.cache import KINDS, clear

    given = [bool(args.kinds), args.all, args.stale]
    if sum(given) != 1 and not (args.stale and not args.all and {*args.kinds} <= {"engines", "timings"}):
        raise RequestError(f"expected what to clear: one or more of {', '.join(KINDS)}; or --stale; or --all")
    gone, busy = clear(args.kinds or KINDS, stale=args.stale)
    freed = sum(kept.bytes for kept in gone)
    if args.json:
        told = {"gone": [kept.to_dict() for kept in gone], "busy": [kept.to_dict() for kept in busy], "bytes": freed}
        show.print_json(told)
        return 0
    for kind in KINDS:
        of_kind = [kept for kept in gone if kept.kind == kind]
        if of_kind:
            show.out.print(f"[green]✓[/] {kind}: {len(of_kind)} removed, {show.size(sum(k.bytes for k in of_kind))}")
    if not gone:
        show.out.print("nothing to remove")
    for kept in busy:
        show.out.print(f"[yellow]left: {show.plain(kept.name)}, which another process is building", soft_wrap=True)
    return 0


def _age(since_s: float) -> str:
    """`now`, `5 min`, `3 h`, `12 days`."""
    seconds = time.time() - since_s
    for unit, length_s in (("day", _DAY_S), ("h", 3600.0), ("min", 60.0)):
        if (count := int(seconds // length_s)) >= 1:
            return f"{count} {unit}{'s' if unit == 'day' and count != 1 else ''}"
    return "now"
