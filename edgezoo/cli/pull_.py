"""`edgezoo pull`"""

from __future__ import annotations

import argparse

from edgezoo import cards
from edgezoo.cli import options, show
from edgezoo.errors import RequestError
from edgezoo.weights import fetch

HELP = "Download and verify a model's official files into the cache, for use without a network."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names or cards")
    parser.add_argument("--all", action="store_true", help="every model of the zoo")
    parser.add_argument(
        "--allow", choices=("permissive",), help="refuse models whose code or weights are not under such a licence"
    )
    parser.add_argument("--only", choices=("checkpoint", "onnx"), help="one kind of file (default: all that there are)")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    wanted = cards.names() if args.all else args.models
    if not wanted:
        raise RequestError("expected the name of a model, or --all; edgezoo list shows the names")
    found = [cards.read_card(name) for name in wanted]
    if args.all:
        found = [card for card in found if args.allow is None or card.licence.permissive]
    for card in found:
        card.check_allowed(args.allow)
    pulled = []
    for card in found:
        if card.weights is None and card.onnx is None and not args.json:
            show.out.print(f"[green]✓[/] {card.name}  [dim]nothing to fetch: {_why_nothing(card)}")
        for kind, file in (("checkpoint", card.weights), ("onnx", card.onnx)):
            if file is not None and args.only in (None, kind):
                with show.downloading() as progress:
                    path = fetch(file, progress=progress)
                pulled.append({"model": card.name, "kind": kind, "path": str(path)})
                if not args.json:
                    show.out.print(f"[green]✓[/] {card.name} {kind}  [dim]{show.plain(path)}", soft_wrap=True)
    if args.json:
        show.print_json({"files": pulled})
    return 0


def _why_nothing(card: cards.Card) -> str:
    if card.bundle is not None:
        return "it is built in"
    return "its file lies beside the card" if card.file is not None else "its card names no file"
