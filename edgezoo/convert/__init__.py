"""From a card to a bundle: raw graph, door and exit, agreement, golden answers, all or nothing."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgezoo import graphs
from edgezoo.backends import open_backend
from edgezoo.bundle import FORMAT, Artifact, Bundle, Manifest
from edgezoo.cards import Card, RemoteFile, names, read_card, read_labels
from edgezoo.convert import agreement, write
from edgezoo.convert.decoders import exit_of
from edgezoo.convert.export import Original, export, load_network, original
from edgezoo.convert.graph import Nodes, check_raw, emit, free_batch, inside
from edgezoo.engine import read_image
from edgezoo.errors import AgreementError, BackendError, CardError, ConvertError, WeightsError
from edgezoo.frame import Image
from edgezoo.sources import open_source
from edgezoo.tasks import task
from edgezoo.weights import Progress, fetch, sha256_of

if TYPE_CHECKING:
    import onnx

GOLDEN = 3
_SCENES = ("640x480", "480x640", "500x333", "416x416", "320x240", "800x600", "300x300", "640x360")


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


def convert(
    what: str | Path,
    out: str | Path,
    *,
    weights: str | Path | None = None,
    labels: str | Path | None = None,
    size_wh: tuple[int, int] | None = None,
    batch: int | str | None = None,
    images: Sequence[str | Path] = (),
    prefer_onnx: bool = False,
    step: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> Bundle:
    """Write the fp32 bundle of `what` (a zoo name, a card, an `.onnx`) to the folder `out`, and open it.

    `weights`: a checkpoint (`.pth`, `.safetensors`) or an `.onnx` of the user's own instead of the official one.
    `batch`: a number, `dynamic`, or None for any size where that can be proved and else the graph's own.
    `images`: photos to measure the agreement on, instead of seeded scenes. `prefer_onnx`: take the official `.onnx`,
    where there is one, and need no torch. `step` is told what begins.

    Raises CardError, WeightsError, ConvertError, MissingDependency; then nothing was written.
    """
    card, file = _find(what, weights)
    out = Path(out)
    write.check_target(out, card.name)
    step("reading the network")
    raw = _raw(card, file, size_wh, prefer_onnx=prefer_onnx, step=step, progress=progress)
    recipe = dataclasses.replace(card.input, size_wh=raw.size_wh)
    pictures = [read_image(path) for path in images] or seeded_scenes()

    step(f"asking the original about {len(pictures)} images")
    references = [agreement.answer(raw.original, picture, recipe, card.decoder) for picture in pictures]
    class_names = _class_names(card, labels, classes=references[0]["scores"].shape[-1])

    step("putting door and exit on, proving the batch sizes")
    shapes = {name: value.shape[1:] for name, value in references[0].items()}
    graph, fixed, agreed = _agreeing_graph(card, raw, recipe, shapes, batch, pictures, references)
    agreed |= {"against": raw.tool, "images": len(pictures), "kind": "photos" if images else "seeded scenes"}

    step("writing the bundle")
    with write.new_folder(out) as folder:
        data = write.add_file(folder, "model.fp32.onnx", graph)
        artifact = Artifact(
            file=data.file,
            sha256=data.sha256,
            precision="fp32",
            agreement=agreed,
            tools=_versions("edgezoo", "onnx", "onnxruntime", *(["torch"] if raw.tool == "torch" else [])),
            source=raw.source,
        )
        manifest = Manifest(
            format=FORMAT,
            name=card.name,
            title=card.title,
            task=card.task,
            labels=class_names,
            input=recipe,
            licence=card.licence,
            origin=card.origin,
            batch=fixed,
            artifacts=(artifact,),
            golden=write.add_golden(folder, pictures[:GOLDEN], references[:GOLDEN], recipe),
            notice=write.add_notice(folder, card),
        )
        write.add_manifest(folder, manifest)
    return Bundle.open(out)


def seeded_scenes() -> list[Image]:
    """Images to measure on where no photos are given: drawn shapes, the same on every machine."""
    scenes = []
    for seed, size in enumerate(_SCENES):
        source = open_source(f"synthetic:#size={size}&seed={seed}&frames=1&live=0&shapes=6")
        scenes += [frame.image for frame in source]
    return scenes


def _find(what: str | Path, weights: str | Path | None) -> tuple[Card, Path | None]:
    """The card, and the file that stands in for the official one."""
    path = Path(what)
    given = None if weights is None else Path(weights)
    if path.suffix != ".onnx":
        return read_card(what), given
    if not path.is_file():
        raise ConvertError(f"{path}: expected an .onnx file, got no such file")
    if given is not None:
        raise ConvertError("expected a model's name or card with --weights, got an .onnx as both; leave one out")
    beside = path.with_suffix(".toml")
    if beside.is_file():
        return read_card(beside), path
    for card in map(read_card, names()):
        if card.onnx is not None and card.onnx.name == path.name:
            return card, path
    raise CardError(
        f"{path}: a graph alone does not say what it takes and means; draft a card with "
        f"`edgezoo card {path} -o {beside}`, fill it in, and convert again"
    )


def _raw(
    card: Card,
    file: Path | None,
    size_wh: tuple[int, int] | None,
    *,
    prefer_onnx: bool,
    step: Callable[[str], None],
    progress: Progress | None,
) -> Raw:
    if file is None and card.file is not None:
        file = _beside(card, card.file)
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
        return _raw_from_onnx(card, file, size_wh)
    if card.network is None:
        raise ConvertError(f"{card.name}: its card has no [network] for a checkpoint; give an .onnx")
    step("loading the checkpoint")
    network, _ = load_network(card, file, key=key)
    family = importlib.import_module(f"edgezoo.nets.{card.network.family}")
    step("exporting with torch (seconds to a minute)")
    size = size_wh or card.input.size_wh
    graph = export(network, size, multiple=family.SIZE_MULTIPLE)
    return Raw(graph=graph, original=original(network), size_wh=size, batch=None, source=_source(file), tool="torch")


def _raw_from_onnx(card: Card, path: Path, size_wh: tuple[int, int] | None) -> Raw:
    import onnx

    try:
        data = path.read_bytes()
        outside = graphs.outside_data(data)
        if outside is not None and Path(outside).name != outside:
            raise ConvertError(f"{path}: refused: its weights point to {outside!r}, out of its folder")
        graph = onnx.load(path) if outside else graphs.parse(data)
    except (OSError, ValueError) as error:
        if isinstance(error, ConvertError):
            raise
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
        raise ConvertError(f"{path}: no output is called {missing[0]!r}; it has {', '.join(port.name for port in backend.outputs)}")

    def run(tensor: Any) -> list[Any]:
        answers = backend.run({name: tensor.repeat(batch or 1, axis=0)})
        return [answers[wanted][: len(tensor)] for wanted in order]

    return Raw(graph=graph, original=run, size_wh=size, batch=batch, source=_source(path), tool="onnxruntime on the original .onnx")


def _stated_size(graph: onnx.ModelProto) -> tuple[int | None, ...]:
    from edgezoo.convert.graph import real_inputs, shape_of

    ports = real_inputs(graph)
    return shape_of(ports[0])[2:] if ports else ()


def _agreeing_graph(
    card: Card,
    raw: Raw,
    recipe: Any,
    shapes: dict[str, tuple[int, ...]],
    batch: int | str | None,
    pictures: list[Image],
    references: list[Any],
) -> tuple[bytes, int | None, dict[str, Any]]:
    """The emitted graph, its fixed batch size or None, and its agreement."""
    wanted = None if batch in (None, "dynamic") else int(batch or 1)
    try:
        return _emit_and_measure(card, raw, recipe, shapes, wanted, pictures, references)
    except (AgreementError, BackendError) as error:
        if raw.batch is None:
            raise
        if batch is not None and batch != raw.batch:
            raise ConvertError(f"the graph is fixed at batch {raw.batch} and cannot be freed: {error}") from None
        return _emit_and_measure(card, raw, recipe, shapes, raw.batch, pictures, references)


def _emit_and_measure(
    card: Card,
    raw: Raw,
    recipe: Any,
    shapes: dict[str, tuple[int, ...]],
    batch: int | None,
    pictures: list[Image],
    references: list[Any],
) -> tuple[bytes, int | None, dict[str, Any]]:
    chosen, meaning = exit_of(card.decoder), task(card.task)
    graph = raw.graph if raw.batch in (None, batch) else free_batch(raw.graph, raw.batch)
    exit_nodes = Nodes("exit")
    order = card.decoder.outputs or tuple(port.name for port in graph.graph.output)
    chosen.emit(exit_nodes, [inside(name) for name in order], card.decoder, recipe.size_wh)
    data = emit(graph, recipe, exit_nodes, shapes, batch=batch).SerializeToString()
    backend = open_backend("onnxruntime", data)
    try:
        agreed: dict[str, Any] = dict(
            agreement.measure(meaning, references, [agreement.infer_one(backend, picture, recipe) for picture in pictures])
        )
        if batch is None:
            agreed["batches"] = agreement.prove_batches(meaning, backend, pictures, recipe)
    finally:
        backend.close()
    return data, batch, agreed


def _class_names(card: Card, labels: str | Path | None, *, classes: int) -> tuple[str, ...]:
    """A name for every class: from `labels`, from the card where the count is its, else numbers."""
    if labels is not None:
        given = read_labels(Path(labels))
        if len(given) != classes:
            raise ConvertError(f"{labels}: expected {classes} names, one for each class of the network, got {len(given)}")
        return given
    with suppress(CardError):
        if len(card.label_names) == classes:
            return card.label_names
    return tuple(f"class {k}" for k in range(classes))


def _beside(card: Card, name: str) -> Path:
    assert card.path is not None
    folder = card.path.parent.resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise CardError(f"{card.path}: file = {name!r}: refused: it leaves the card's folder")
    if not path.is_file():
        raise CardError(f"{card.path}: file = {name!r}: expected a file beside the card, got none")
    return path


def _source(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256_of(path)}


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
