"""From a bundle's fp32 artifact to lower precisions: each with the proof that it holds the budget, or not written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from edgezoo.bundle import Artifact, Bundle, digest_of
from edgezoo.convert import write
from edgezoo.errors import BackendError, ConvertError, UnknownName
from edgezoo.reduce.candidates import Workshop
from edgezoo.reduce.int8 import TARGETS
from edgezoo.reduce.picture import picture
from edgezoo.reduce.search import Tell
from edgezoo.reduce.terms import Outcome, Terms

_INT8 = tuple(f"int8-{target}" for target in TARGETS)
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


def check_possible(names: Sequence[str]) -> None:
    """MissingDependency or BackendError where one of them can only be judged on what is not here.

    The others are judged on ONNX Runtime where their own is not here.
    """
    if "bf16-openvino" in names:
        from edgezoo.backends.openvino import capabilities

        able = capabilities()
        if "BF16" not in able:
            raise BackendError(
                f"bf16-openvino: expected a CPU with BF16, on this one OpenVINO has {', '.join(able)}; leave it out"
            )


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
    outcome says why. Where nothing holds nothing is written, and the bundle is the one that was given.

    Raises what `imagesets.draw` does, ConvertError, BackendError, MissingDependency; then nothing was changed.
    """
    names = full_names(precisions)
    check_possible(names)
    out = bundle.folder if out is None else Path(out)
    write.check_target(out, bundle.manifest.name)
    _check_files(bundle, names)
    _check_ranges(terms)
    _check_unchanged(bundle, out)
    calibrates = any(name != "bf16-openvino" for name in names)
    with closing(Workshop(bundle, terms, tell, calibrates=calibrates)) as shop:
        outcomes = [shop.make(name) for name in names]
        if not any(outcome.artifact for outcome in outcomes):
            return bundle, outcomes
        tell("writing the bundle", 0, 0)
        _write(shop, out, outcomes)
    return Bundle.open(out), outcomes


def _write(shop: Workshop, out: Path, outcomes: Sequence[Outcome]) -> None:
    """All of the bundle anew, with what was made in the place of older artifacts of the same name."""
    bundle = shop.bundle
    manifest = bundle.manifest
    made = {outcome.name for outcome in outcomes if outcome.artifact is not None}
    kept = [artifact for artifact in manifest.artifacts if artifact.name not in made]
    with write.new_folder(out) as folder:
        write.add_files_of(folder, bundle, kept)
        for entry in (manifest.golden, manifest.notice):
            write.add_file(folder, entry.file, bundle.read_bytes(entry))
        for outcome in outcomes:
            if outcome.artifact is not None:
                outcome.artifact = _add(folder, shop, outcome, outcome.artifact)
        added = [outcome.artifact for outcome in outcomes if outcome.artifact is not None]
        write.add_manifest(folder, dataclasses.replace(manifest, artifacts=(*kept, *added)))
        _check_unchanged(bundle, out)


def _check_files(bundle: Bundle, names: Sequence[str]) -> None:
    """ConvertError where a file that is to be written is another artifact's, or no artifact's."""
    manifest = bundle.manifest
    for name in names:
        ours = {f"{name}.toml", f"{name}.svg"} | ({f"model.{name}.onnx"} if name != "bf16-openvino" else set())
        others = tuple(artifact for artifact in manifest.artifacts if artifact.name != name)
        for entry in dataclasses.replace(manifest, artifacts=others).files:
            if entry.file in ours:
                whose = f"{entry.name}'s" if isinstance(entry, Artifact) else "another's"
                raise ConvertError(
                    f"{bundle.folder}: expected {entry.file} to be free for {name}, got it as {whose}; "
                    "convert the model again"
                )


def _check_ranges(terms: Terms) -> None:
    """ConvertError where the calibration could not be kept: told before it is made."""
    if terms.ranges is not None and not terms.ranges.parent.is_dir():
        raise ConvertError(
            f"{terms.ranges}: expected a folder that is there, got none; make {terms.ranges.parent} first"
        )


def _check_unchanged(bundle: Bundle, out: Path) -> None:
    """ConvertError where the bundle is to be replaced and was changed since it was opened: that would be lost."""
    if out.resolve() != bundle.folder.resolve():
        return
    now, then = (digest_of(dataclasses.asdict(each.manifest)) for each in (Bundle.open(out), bundle))
    if now != then:
        raise ConvertError(
            f"{out}: expected the bundle as it was opened, got one that was changed meanwhile; try again"
        )


def _add(folder: Path, shop: Workshop, outcome: Outcome, artifact: Artifact) -> Artifact:
    """Its files; the artifact with their hashes."""
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
