"""`edgezoo card`"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from edgezoo.cli import options, show
from edgezoo.errors import RequestError

HELP = "Draft a card for an .onnx that has none: what its graph tells, and what is left for you to say."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("onnx", type=Path, metavar="FILE.onnx")
    parser.add_argument("-o", "--out", type=Path, metavar="CARD.toml", help="write here (default: print)")
    parser.add_argument("--size", type=options.size, metavar="WxH", help="for a graph that takes any size")


def run(args: argparse.Namespace) -> int:
    from edgezoo.convert.draft import draft_card

    text = draft_card(args.onnx, size_wh=args.size)
    if args.out is None:
        print(text, end="")
        return 0
    if args.out.exists():
        raise RequestError(f"{args.out}: is there already; choose another name, or remove it first")
    if not args.out.parent.is_dir():
        raise RequestError(f"{args.out}: expected a folder to put it into, {args.out.parent} is none")
    part = args.out.with_name(f".{args.out.name}.part")
    part.write_text(text, "utf-8")
    os.replace(part, args.out)
    out = show.plain(args.out)
    show.err.print(f"[green]✓[/] {out}  fill in the lines with SAY, then: edgezoo convert {out}", soft_wrap=True)
    return 0
