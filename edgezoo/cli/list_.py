"""`edgezoo list`"""

from __future__ import annotations

import argparse
import json
from typing import Any

from edgezoo import cards
from edgezoo.cli import options, show

HELP = "List the models of the zoo, with task, licence and published accuracy."

BUILT_IN = "*"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=("classify", "detect"), help="only models for this task")
    parser.add_argument(
        "--allow", choices=("permissive",), help="only models whose code and weights are under such a licence"
    )
    parser.add_argument("--markdown", action="store_true", help="the whole zoo as a table, with what was measured")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.markdown:
        print(markdown(), end="")
        return 0
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
        name = f"[bold]{card.name}[/]{BUILT_IN if card.bundle is not None else ''}"
        about = [f"[dim]{card.about}"] if wide else []
        table.add_row(name, card.task, f"{width}x{height}", told, card.licence.weights, *about)
    show.out.print(table)
    if any(card.bundle is not None for card in found):
        show.out.print(f"[dim]{BUILT_IN} built in: nothing to fetch")
    show.out.print("[dim]accuracy in percent as published, licence of the weights; edgezoo info NAME tells all")
    return 0


def summary(card: cards.Card) -> dict[str, object]:
    """A card's gist, for machines."""
    return {
        "name": card.name,
        "task": card.task,
        "size_wh": card.input.size_wh,
        "built_in": card.bundle is not None,
        "licence": {"code": card.licence.code, "weights": card.licence.weights, "permissive": card.licence.permissive},
        "accuracy": {entry.metric: entry.value for entry in card.accuracy},
    }


def markdown() -> str:
    """The zoo as a Markdown table, from its cards and from `models/measured.json`."""
    told = json.loads((cards.zoo_folder() / "measured.json").read_text("utf-8"))
    head = [
        "model",
        "task",
        "input",
        "parameters",
        "fp32 file",
        "published",
        "measured",
        "1 thread",
        "2 threads",
        "weights",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|" + "---:|" * 6 + "---|"]
    for card in map(cards.read_card, cards.names()):
        lines.append("| " + " | ".join(_row(card, told["models"].get(card.name))) + " |")
    device = told["machine"]
    return (
        "\n".join(lines)
        + f"""

Published: by the weights' makers, in percent, on COCO val2017 or ImageNet-1k; `edgezoo info NAME` names the source.
`digits` is built in and our own; its figures are of 1,000 rendered scenes, with fonts and handwriting it never saw.
Measured: the bundle's own accuracy on a small sample, to show that conversion kept it and not to rank models (the
ImageNet sample is of the training split, which flatters). Where there is none, the official weights were not at hand,
and the times are of random ones. Times: one image through the bare engine in ms, ONNX Runtime, medians of blocks in
turns, {device["cores"]} cores of {device["cpu"]}, {told["date"]}, by `tests/benchmarks/zoo.py`.
"""
    )


def _row(card: cards.Card, measured: dict[str, Any] | None) -> list[str]:
    width, height = card.input.size_wh
    published = f"{card.accuracy[0].metric} {100 * card.accuracy[0].value:.1f}" if card.accuracy else ""
    row = [f"`{card.name}`", card.task, f"{width}x{height}"]
    if measured is None:
        return [*row, "–", "–", published, "–", "–", "–", card.licence.weights]
    accuracy = measured.get("accuracy")
    found = f"{100 * accuracy['value']:.1f} ({accuracy['images']} images)" if accuracy else "–"
    ms = measured["ms"]
    return [
        *row,
        f"{measured['parameters'] / 1e6:.1f} M",
        f"{measured['bytes'] / 1e6:.1f} MB",
        published,
        found,
        f"{ms['1']:.1f}",
        f"{ms['2']:.1f}",
        card.licence.weights,
    ]
