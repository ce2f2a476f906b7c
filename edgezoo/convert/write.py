"""Writing a bundle: under a temporary name beside its place, renamed when whole. Whatever stops it leaves nothing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from edgezoo.bundle import MANIFEST, Bundle, HashedFile, Manifest, is_bundle
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
    """ConvertError where writing the bundle would destroy something that is not an older conversion of it."""
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


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `final` at the end, in place of an older one; removed if anything is raised."""
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".part", dir=final.parent))
        try:
            yield part
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
