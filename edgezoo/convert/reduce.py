"""From a bundle's fp32 artifact to lower precisions: each with the proof that it holds the budget, or not written."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from edgezoo.bundle import Artifact, Bundle
from edgezoo.convert import write
from edgezoo.convert.candidates import Outcome, Terms, Workshop
from edgezoo.convert.picture import picture
from edgezoo.convert.search import Tell
from edgezoo.errors import UnknownName

_INT8 = ("int8-onnxruntime", "int8-openvino", "int8-tensorrt")
NAMES = ("fp16", "bf16-openvino", *_INT8)
_SHORT = {"bf16": ("bf16-openvino",), "int8": _INT8}


def full_names(precisions: Sequence[str]) -> list[str]:
    """The artifacts that are meant: `int8` is that of every target. Raises UnknownName."""
    found: list[str] = []
    for name in precisions:
        if name not in (*NAMES, *_SHORT):
            raise UnknownName("precision", name, ["fp32", *NAMES, *_SHORT])
        found += _SHORT.get(name, (name,))
    return list(dict.fromkeys(found))


def reduce(
    bundle: Bundle,
    precisions: Sequence[str],
    terms: Terms,
    *,
    out: str | Path | None = None,
    tell: Tell = lambda text, done, total: None,
) -> tuple[Bundle, list[Outcome]]:
    """Add artifacts of these precisions to a copy of `bundle` in the folder `out`, or to itself.

    What does not hold the budget, or turns out slower than fp32 where that can be measured, is left out, and its
    outcome says why.

    Raises what `imagesets.draw` does, ConvertError, BackendError, MissingDependency; then nothing was changed.
    """
    names = full_names(precisions)
    out = bundle.folder if out is None else Path(out)
    if out != bundle.folder:
        write.check_target(out, bundle.manifest.name)
    with closing(Workshop(bundle, terms, tell)) as shop:
        outcomes = [shop.make(name) for name in names]
        _write(shop, out, outcomes)
    return Bundle.open(out), outcomes


def _write(shop: Workshop, out: Path, outcomes: Sequence[Outcome]) -> None:
    """All of the bundle anew, with what was made in the place of older artifacts of the same name."""
    made = [outcome for outcome in outcomes if outcome.artifact is not None]
    if not made and out == shop.bundle.folder:
        return
    bundle = shop.bundle
    manifest = bundle.manifest
    kept = [artifact for artifact in manifest.artifacts if artifact.name not in {outcome.name for outcome in made}]
    with write.new_folder(out) as folder:
        for entry in dataclasses.replace(manifest, artifacts=tuple(kept)).files:
            if not (folder / entry.file).exists():
                shutil.copyfile(bundle.folder / entry.file, folder / entry.file)
        added = [_add(folder, shop, outcome) for outcome in made]
        write.add_manifest(folder, dataclasses.replace(manifest, artifacts=(*kept, *added)))


def _add(folder: Path, shop: Workshop, outcome: Outcome) -> Artifact:
    artifact = outcome.artifact
    assert artifact is not None
    if outcome.graph is None:
        return artifact
    changes: dict[str, Any] = {"sha256": write.add_file(folder, artifact.file, outcome.graph).sha256}
    if outcome.chosen is not None:
        text = shop.recipe_of(outcome).to_toml(shop.bundle.manifest.name)
        changes["recipe"] = write.add_file(folder, f"{outcome.name}.toml", text.encode())
    if outcome.search is not None and outcome.search.harms and outcome.chosen is not None:
        title = f"{shop.bundle.manifest.name}, {outcome.name}: what each layer does alone"
        drawn = picture(outcome.search.harms, outcome.chosen.floats, title=title)
        changes["picture"] = write.add_file(folder, f"{outcome.name}.svg", drawn.encode())
    return dataclasses.replace(artifact, **changes)
