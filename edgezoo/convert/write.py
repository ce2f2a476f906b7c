"""Writing a bundle: under a temporary name beside its place, renamed when whole. Whatever stops it leaves nothing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from edgezoo.bundle import MANIFEST, Artifact, Bundle, HashedFile, Manifest, is_bundle
from edgezoo.cards import Card
from edgezoo.errors import BundleError, ConvertError
from edgezoo.frame import Image
from edgezoo.preprocess import Preprocess
from edgezoo.tasks import Outputs

_DECIMALS = {"scores": 6, "boxes": 3}  # a hundredth of what is tolerated, and noise that need not be stored

_OURS = re.compile(
    rf"{re.escape(MANIFEST)}|golden\.npz|NOTICE|model\.[\w.-]+\.onnx|int8-(onnxruntime|openvino|tensorrt)\.(toml|svg)"
)


def check_target(folder: Path, name: str) -> None:
    """ConvertError where the bundle cannot be written, or would destroy what is not an older conversion of it."""
    _check_content(folder, name)
    _check_replaceable(folder)


def _check_content(folder: Path, name: str) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not is_bundle(folder):
        raise ConvertError(
            f"{folder}: expected a new folder for the bundle, but it is there and is no bundle; choose another -o"
        )
    strangers = sorted(path.name for path in folder.iterdir() if not _OURS.fullmatch(path.name))
    if strangers:
        raise ConvertError(
            f"{folder}: holds {strangers[0]!r}, which is no part of a bundle and would be lost; choose another -o"
        )
    with suppress(BundleError):
        there = Bundle.open(folder).manifest.name
        if there != name:
            raise ConvertError(f"{folder}: holds a bundle of {there}; choose another -o, or remove it first")


def _check_replaceable(folder: Path) -> None:
    """ConvertError where a folder could be made but not put in its place: told before the work, not after it."""
    try:
        final = folder.resolve()
        where = shlex.quote(str(final.parent))
        if Path.cwd().is_relative_to(final):
            raise ConvertError(
                f"{folder}: expected another working directory, got the bundle's own, which is replaced as a whole; "
                f"try: cd {where}, and then {shlex.quote(final.name)} in its place"
            )
        if final.is_mount():
            raise ConvertError(
                f"{folder}: expected a folder, got a mount point, which cannot be replaced; try another -o"
            )
        near = next(parent for parent in final.parents if parent.exists())
        if not near.is_dir() or not os.access(near, os.W_OK | os.X_OK):
            raise ConvertError(
                f"{folder}: expected a folder to write to, got {near}, where none can be; choose another -o"
            )
    except (OSError, RuntimeError) as error:  # a circle of links
        raise ConvertError(f"{folder}: expected a place to write to: {error}; choose another -o") from None


def older(folder: Path, name: str) -> Bundle | None:
    """The bundle of that name that is there and whole."""
    with suppress(BundleError):
        there = Bundle.open(folder)
        return there if there.manifest.name == name else None
    return None


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A folder to fill with a bundle, which becomes `final` at the end, in place of an older one.

    It is removed if anything is raised. Raises ConvertError, and BundleError where what was filled in is not whole.
    """
    final = final.resolve()  # the place that a link leads to, not the link
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".part", dir=final.parent))
        try:
            yield part
            Bundle.open(part)
            part.chmod(0o755)
            if final.exists():
                _replace(final, part)
            else:
                os.replace(part, final)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise ConvertError(
            f"{final}: could not write the bundle: {error.strerror or error}; nothing was left behind"
        ) from None


def _replace(final: Path, part: Path) -> None:
    """Put `part` in the place of `final`, which is back where it was if anything comes between."""
    old = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".old", dir=final.parent))
    try:
        os.replace(final, old)
        os.replace(part, final)
    except BaseException:
        if not final.exists():
            os.replace(old, final)
        raise
    finally:
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)


def add_file(folder: Path, name: str, data: bytes) -> HashedFile:
    """Write a file of the bundle, to the disk and not only to a cache."""
    with (folder / name).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return HashedFile(file=name, sha256=hashlib.sha256(data).hexdigest())


def add_files_of(folder: Path, bundle: Bundle, artifacts: Iterable[Artifact]) -> None:
    """Copy what belongs to some artifacts of another bundle, but what is there: two artifacts may be of one file."""
    for artifact in artifacts:
        entries: list[Artifact | HashedFile | None] = [artifact, artifact.recipe, artifact.picture]
        for entry in entries:
            if entry is not None and not (folder / entry.file).exists():
                add_file(folder, entry.file, bundle.read_bytes(entry))


def add_golden(folder: Path, images: Sequence[Image], references: Sequence[Outputs], recipe: Preprocess) -> HashedFile:
    """`golden.npz`: source images, what geometry made of them, and the original's answers."""
    arrays: dict[str, Any] = {f"image_{k}": image for k, image in enumerate(images)}
    arrays["placed"] = np.stack([recipe.place(image)[0] for image in images])
    for name in references[0]:
        answers = np.concatenate([reference[name] for reference in references])
        arrays[f"out_{name}"] = np.round(answers, _DECIMALS[name]).astype(np.float32)
    with tempfile.TemporaryFile(dir=folder) as file:
        np.savez_compressed(file, **arrays)
        file.seek(0)
        return add_file(folder, "golden.npz", file.read())


def add_notice(folder: Path, card: Card) -> HashedFile:
    """`NOTICE`: what its licences ask to travel with it."""
    rows = [
        card.title or card.name,
        f"origin    {card.origin}" if card.origin else "",
        f"paper     {card.paper}" if card.paper else "",
        f"code      {card.licence.code}",
        f"weights   {card.licence.weights}",
        f"data      {card.licence.data}",
    ]
    return add_file(folder, "NOTICE", ("\n".join(row for row in rows if row) + "\n").encode())


def add_manifest(folder: Path, manifest: Manifest) -> None:
    """`bundle.json`, last: a folder without it is no bundle."""
    add_file(folder, MANIFEST, manifest.to_json().encode())


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
