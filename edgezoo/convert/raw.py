"""The network before its door and exit: a graph, and the original to hold it against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgezoo import graphs
from edgezoo.backends import open_backend
from edgezoo.cards import Card
from edgezoo.convert.export import Original, export, family_of, load_network, original
from edgezoo.convert.graph import check_raw, real_inputs, shape_of
from edgezoo.errors import ConvertError
from edgezoo.weights import Progress, fetch, sha256_of

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A network before its door and exit."""

    graph: onnx.ModelProto
    original: Original
    size_wh: tuple[int, int]
    batch: int | None
    """The batch size that the graph is fixed at; None: any."""
    source: dict[str, Any]
    tool: str


def find_raw(
    card: Card,
    file: Path | None,
    size_wh: tuple[int, int] | None,
    *,
    prefer_onnx: bool,
    step: Callable[[str], None],
    progress: Progress | None,
) -> Raw:
    """From `file` where given, else the card's own, else the official one, fetched.

    Raises WeightsError, CardError, ConvertError, MissingDependency.
    """
    if file is None and card.file is not None and (card.has_graph or not (prefer_onnx and card.onnx)):
        file = card.beside("file", card.file)
    if file is None:
        official = (card.onnx or card.weights) if prefer_onnx else (card.weights or card.onnx)
        if official is None:
            raise ConvertError(f"{card.name}: its card names no weights; give a checkpoint with --weights FILE")
        step(f"fetching {official.name}")
        file = fetch(official, progress=progress)
        key = official.key
    else:
        key = None  # a checkpoint of the user's own keeps its tensors at the top or under a usual name
    if file.suffix == ".onnx":
        return _from_onnx(card, file, size_wh)
    if card.network is None:
        raise ConvertError(f"{card.name}: its card has no [network] for a checkpoint; give an .onnx")
    step("loading the checkpoint")
    network, _ = load_network(card, file, key=key)
    step("exporting with torch (seconds to a minute)")
    size = size_wh or card.input.size_wh
    graph = export(network, size, multiple=family_of(card).SIZE_MULTIPLE)
    return Raw(graph=graph, original=original(network), size_wh=size, batch=None, source=_source(file), tool="torch")


def _from_onnx(card: Card, path: Path, size_wh: tuple[int, int] | None) -> Raw:
    try:
        graph = graphs.load(path)
    except (OSError, ValueError) as error:
        raise ConvertError(f"{path}: expected an ONNX graph: {' '.join(str(error).split())}") from None
    try:
        size, batch = check_raw(graph, size_wh or (card.input.size_wh if None in _stated_size(graph) else None))
    except ConvertError as error:
        raise ConvertError(f"{path}: {error}") from None
    backend = open_backend("onnxruntime", graph.SerializeToString())
    name = backend.inputs[0].name
    order = card.decoder.outputs or tuple(port.name for port in backend.outputs)
    missing = [wanted for wanted in order if wanted not in {port.name for port in backend.outputs}]
    if missing:
        raise ConvertError(
            f"{path}: no output is called {missing[0]!r}; it has {', '.join(port.name for port in backend.outputs)}"
        )

    def run(tensor: Any) -> list[Any]:
        answers = backend.run({name: tensor.repeat(batch or 1, axis=0)})
        return [answers[wanted][: len(tensor)] for wanted in order]

    return Raw(
        graph=graph,
        original=run,
        size_wh=size,
        batch=batch,
        source=_source(path),
        tool="onnxruntime on the original .onnx",
    )


def _stated_size(graph: onnx.ModelProto) -> tuple[int | None, ...]:
    ports = real_inputs(graph)
    return shape_of(ports[0])[2:] if ports else ()


def _source(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256_of(path)}
