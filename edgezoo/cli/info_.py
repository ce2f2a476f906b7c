"""`edgezoo info`"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator

from edgezoo.bundle import Bundle, is_bundle
from edgezoo.cards import Card, read_card
from edgezoo.cli import options, show
from edgezoo.weights import is_cached

HELP = "Tell all about a model of the zoo, a card, or a bundle."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a name, a card's path or a bundle's folder")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    if is_bundle(args.model):
        manifest = Bundle.open(args.model).manifest
        facts, data = _of_bundle_rows(manifest), dataclasses.asdict(manifest)
    else:
        card = read_card(args.model)
        facts, data = _of_card_rows(card), dataclasses.asdict(dataclasses.replace(card, path=None))
        data.pop("path")
    if args.json:
        show.print_json(data)
        return 0
    table = show.table("", "")
    table.show_header = False
    for name, value in facts:
        table.add_row(f"[bold]{show.plain(name)}", show.plain(value))
    show.out.print(table)
    return 0


def _of_card_rows(card: Card) -> Iterator[tuple[str, str]]:
    yield card.title or card.name, card.about
    yield "task", f"{card.task}, labels {card.labels}"
    yield from _input_rows(card)
    yield "decoder", card.decoder.name
    if card.bundle is not None:
        yield "bundle", f"built in: {card.built_in}"
    if card.file is not None:
        yield "onnx" if card.has_graph else "checkpoint", f"{card.file}, beside the card"
    for name, file in (("checkpoint", card.weights), ("onnx", card.onnx)):
        if file is not None:
            size = f", {file.bytes / 1e6:.1f} MB" if file.bytes else ""
            yield name, f"{file.url}\nSHA-256 {file.sha256}{size}, {'cached' if is_cached(file) else 'not fetched yet'}"
    for entry in card.accuracy:
        yield entry.metric, f"{100 * entry.value:.1f} % on {entry.dataset}, published: {entry.source}"
    yield "licence", f"code {card.licence.code}\nweights {card.licence.weights}\ndata: {card.licence.data}"
    if card.origin or card.paper:
        yield "origin", "\n".join(filter(None, (card.origin, card.paper)))


def _input_rows(holder: object) -> Iterator[tuple[str, str]]:
    recipe = holder.input  # type: ignore[attr-defined]
    how = {"crop": f"centre, {recipe.crop:.3g} of the short side", "letterbox": f"{recipe.align} on {recipe.pad}"}.get(
        recipe.fit, ""
    )
    width, height = recipe.size_wh
    yield "input", f"{width}x{height} {recipe.color}, {recipe.fit} {how}".rstrip()
    yield "", f"{recipe.interpolation}; mean {list(recipe.mean)}, std {list(recipe.std)} of 0..255"


def _of_bundle_rows(manifest: object) -> Iterator[tuple[str, str]]:
    from edgezoo.bundle import Manifest
    from edgezoo.cli import proof

    assert isinstance(manifest, Manifest)
    yield manifest.title or manifest.name, f"bundle, {manifest.task}, {len(manifest.labels)} classes"
    yield from _input_rows(manifest)
    yield "batch", "any" if manifest.batch is None else f"{manifest.batch}, fixed"
    for artifact in manifest.artifacts:
        yield artifact.name, "\n".join(proof.lines(artifact))
    yield "licence", f"code {manifest.licence.code}, weights {manifest.licence.weights}\ndata: {manifest.licence.data}"
