"""From a card to a bundle: raw graph, door and exit, agreement, golden answers, all or nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgezoo.backends import open_backend
from edgezoo.bundle import FORMAT, Artifact, Bundle, Manifest
from edgezoo.cards import Card, names, read_card, read_labels
from edgezoo.convert import agreement, write
from edgezoo.convert.decoders import exit_of
from edgezoo.convert.graph import Nodes, emit, free_batch, inside
from edgezoo.convert.raw import Raw, find_raw
from edgezoo.errors import AgreementError, BackendError, CardError, ConvertError, RequestError
from edgezoo.frame import Image
from edgezoo.preprocess import Preprocess
from edgezoo.sources import open_source
from edgezoo.sources.images import read_image
from edgezoo.tasks import Outputs, task
from edgezoo.weights import Progress

GOLDEN = 3
_SCENES = ("640x480", "480x640", "500x333", "416x416", "320x240", "800x600", "300x300", "640x360")


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
    where there is one, and need no torch. `step` is told what begins. Lower precisions that an older bundle in `out`
    has are kept where the fp32 graph is the very same; of another one they are void and go.

    Raises RequestError, CardError, WeightsError, ConvertError, BackendError, MissingDependency; then nothing was
    written.
    """
    if batch not in (None, "dynamic") and (not isinstance(batch, int) or batch < 1):
        raise RequestError(f"expected batch as a number of 1 or more, or 'dynamic', got {batch!r}")
    card, file = _find(what, weights)
    if card.task != exit_of(card.decoder).task:
        raise CardError(
            f"{card.path}: the decoder {card.decoder.name} is for {exit_of(card.decoder).task}, "
            f"the card's task is {card.task}"
        )
    out = Path(out)
    write.check_target(out, card.name)
    step("reading the network")
    raw = find_raw(card, file, size_wh, prefer_onnx=prefer_onnx, step=step, progress=progress)
    recipe = dataclasses.replace(card.input, size_wh=raw.size_wh)
    pictures = [read_image(path) for path in images] or seeded_scenes()

    step(f"asking the original about {len(pictures)} images")
    references = [agreement.answer(raw.original, picture, recipe, card.decoder) for picture in pictures]
    class_names = _class_names(card, labels, classes=references[0]["scores"].shape[-1])

    step("putting door and exit on, proving the batch sizes")
    trial = _Trial(card, raw, recipe, pictures, references)
    graph, fixed, agreed = _agreeing_graph(trial, batch)
    agreed["kind"] = "photos" if images else "seeded scenes"

    step("writing the bundle")
    _write(out, trial, graph, fixed, agreed, class_names)
    return Bundle.open(out)


@dataclass(frozen=True, eq=False)
class _Trial:
    """What a conversion is held against: the original's answers to some pictures."""

    card: Card
    raw: Raw
    recipe: Preprocess
    pictures: Sequence[Image]
    references: Sequence[Outputs]


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


def _agreeing_graph(trial: _Trial, batch: int | str | None) -> tuple[bytes, int | None, dict[str, Any]]:
    """The emitted graph, its fixed batch size or None, and its agreement."""
    fixed = trial.raw.batch
    wanted = None if batch in (None, "dynamic") else int(batch or 1)
    try:
        return _emit_and_measure(trial, wanted)
    except (AgreementError, BackendError) as error:
        if fixed is None:
            raise
        if batch is not None and batch != fixed:
            raise ConvertError(f"the graph is fixed at batch {fixed} and cannot be freed: {error}") from None
        return _emit_and_measure(trial, fixed)


def _emit_and_measure(trial: _Trial, batch: int | None) -> tuple[bytes, int | None, dict[str, Any]]:
    card, raw, recipe = trial.card, trial.raw, trial.recipe
    meaning = task(card.task)
    graph = raw.graph if raw.batch in (None, batch) else free_batch(raw.graph, raw.batch)
    exit_nodes = Nodes("exit")
    order = card.decoder.outputs or tuple(port.name for port in graph.graph.output)
    exit_of(card.decoder).emit(exit_nodes, [inside(name) for name in order], card.decoder, recipe.size_wh)
    shapes = {name: value.shape[1:] for name, value in trial.references[0].items()}
    data = emit(graph, recipe, exit_nodes, shapes, batch=batch).SerializeToString()
    backend = open_backend("onnxruntime", data)
    try:
        answers = [agreement.infer_one(backend, picture, recipe) for picture in trial.pictures]
        agreed: dict[str, Any] = {**agreement.measure(meaning, trial.references, answers)}
        if batch is None:
            agreed["batches"] = agreement.prove_batches(meaning, backend, trial.pictures, recipe)
    finally:
        backend.close()
    return data, batch, {**agreed, "against": raw.tool, "images": len(trial.pictures)}


def _write(
    out: Path, trial: _Trial, graph: bytes, batch: int | None, agreed: dict[str, Any], class_names: tuple[str, ...]
) -> None:
    card = trial.card
    makers = ["edgezoo", "onnx", "onnxruntime", *(["torch"] if trial.raw.tool == "torch" else [])]
    with write.new_folder(out) as folder:
        data = write.add_file(folder, "model.fp32.onnx", graph)
        artifact = Artifact(
            file=data.file,
            sha256=data.sha256,
            precision="fp32",
            agreement=agreed,
            tools=write.versions(makers),
            source=trial.raw.source,
        )
        there = write.older(out, card.name)
        kept = _of_this_graph(there, artifact, trial.recipe) if there else []
        manifest = Manifest(
            format=FORMAT,
            name=card.name,
            title=card.title,
            task=card.task,
            labels=class_names,
            input=trial.recipe,
            licence=card.licence,
            origin=card.origin,
            batch=batch,
            artifacts=(artifact, *kept),
            golden=write.add_golden(folder, trial.pictures[:GOLDEN], trial.references[:GOLDEN], trial.recipe),
            notice=write.add_notice(folder, card),
        )
        if there:
            write.add_files_of(folder, there, kept)
        write.add_manifest(folder, manifest)


def _of_this_graph(there: Bundle, fp32: Artifact, recipe: Preprocess) -> list[Artifact]:
    """Lower precisions of a bundle that were made of this fp32 graph, and judged against it."""
    same = any(each.name == "fp32" and each.sha256 == fp32.sha256 for each in there.manifest.artifacts)
    return [
        each for each in there.manifest.artifacts if same and there.manifest.input == recipe and each.name != "fp32"
    ]


def _class_names(card: Card, labels: str | Path | None, *, classes: int) -> tuple[str, ...]:
    """A name for every class: from `labels`, from the card where the count is its, else numbers."""
    if labels is not None:
        given = read_labels(Path(labels))
        if len(given) != classes:
            raise ConvertError(
                f"{labels}: expected {classes} names, one for each class of the network, got {len(given)}"
            )
        return given
    if len(card.label_names) == classes:
        return card.label_names
    return tuple(f"class {k}" for k in range(classes))
