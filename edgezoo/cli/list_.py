"""`edgezoo list`"""

from __future__ import annotations

import argparse

from edgezoo import cards
from edgezoo.cli import options, show

HELP = "List the models of the zoo, with task, licence and published accuracy."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=("classify", "detect"), help="only models for this task")
    parser.add_argument(
        "--allow", choices=("permissive",), help="only models whose code and weights are under such a licence"
    )
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    found = [card for card in map(cards.read_card, cards.names()) if args.task in (None, card.task)]
    found = [card for card in found if args.allow is None or card.licence.permissive]
    if args.json:
        show.print_json({"models": [summary(card) for card in found]})
        return 0
    wide = show.out.width >= 140
    table = show.table("model", "task", "input", "accuracy", "licence", *([""] if wide else []), right=("input",))
    for card in found:
        width, height = card.input.size_wh
        best = card.accuracy[0] if card.accuracy else None
        told = f"{best.metric} {100 * best.value:.1f}" if best else ""
        about = [f"[dim]{card.about}"] if wide else []
        table.add_row(f"[bold]{card.name}", card.task, f"{width}x{height}", told, card.licence.weights, *about)
    show.out.print(table)
    show.out.print("[dim]accuracy in percent as published, licence of the weights; edgezoo info NAME tells all")
    return 0


def summary(card: cards.Card) -> dict[str, object]:
    """A card's gist, for machines."""
    return {
        "name": card.name,
        "task": card.task,
        "size_wh": card.input.size_wh,
        "licence": {"code": card.licence.code, "weights": card.licence.weights, "permissive": card.licence.permissive},
        "accuracy": {entry.metric: entry.value for entry in card.accuracy},
    }
