"""A bundle: a folder that knows how to be fed and read on any runtime, and proves that it is whole.

    model.fp32.onnx   the reference artifact; others stand beside it, int8 with the recipe that makes it again
    golden.npz        a few images and the reference's answers, for `edgezoo verify`
    NOTICE            the licences of code, weights and data
    bundle.json       recipe, labels, artifacts with hashes and agreement; written last

Opening trusts nothing: keys are known, names stay in the folder, hashes hold, no graph points outside its file.
Hashes prove that nothing changed, not who made it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgezoo import cards, records
from edgezoo.cards import Licence
from edgezoo.errors import BundleError
from edgezoo.preprocess import Preprocess
from edgezoo.weights import cache_folder

FORMAT = 1
MANIFEST = "bundle.json"
_LARGEST_MANIFEST = 16 << 20
_LARGEST_GOLDEN = 1 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class HashedFile:
    """Another file of the bundle."""

    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One graph of a bundle, with how it was made and how well it agreed."""

    file: str
    sha256: str
    precision: str
    """`fp32`, `fp16`, `bf16` or `int8`: what most of its layers compute in."""
    agreement: Mapping[str, Any]
    """Against what, on how many images, and the largest differences."""
    tools: Mapping[str, str]
    """Versions of what made it."""
    source: Mapping[str, Any]
    """The weights it came from: file and SHA-256."""
    target: str = ""
    """The backend whose form this is; empty: made for none in particular."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The runtime options it was judged with; only its target knows them."""
    judgement: Mapping[str, Any] = field(default_factory=dict)
    """What the gate measured against fp32, and the budget that was held; empty for fp32 itself."""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    """For int8: the images' hashes, the method, and the hashes of recipe and weights."""
    speed: Mapping[str, Any] = field(default_factory=dict)
    """Measured against fp32 where it was made; empty: unmeasured."""
    recipe: HashedFile | None = None
    """For int8: what makes it again, to read and to edit."""
    picture: HashedFile | None = None
    """For int8: the harm of each layer, where it was measured."""

    @property
    def name(self) -> str:
        """What `--precision` asks for it by: `fp32`, `int8-openvino`."""
        return f"{self.precision}-{self.target}" if self.target else self.precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """`bundle.json`."""

    format: int
    name: str
    task: Literal["classify", "detect"]
    labels: tuple[str, ...]
    input: Preprocess
    licence: Licence
    artifacts: tuple[Artifact, ...]
    golden: HashedFile
    notice: HashedFile
    batch: int | None = None
    """The one batch size that the graphs take; None: any."""
    title: str = ""
    origin: str = ""

    @property
    def files(self) -> list[Artifact | HashedFile]:
        """Everything that stands beside `bundle.json`."""
        beside = [file for artifact in self.artifacts for file in (artifact.recipe, artifact.picture)]
        return [*self.artifacts, *filter(None, beside), self.golden, self.notice]

    def to_json(self) -> str:
        data = dataclasses.asdict(self)
        return json.dumps({**data, "digest": digest_of(data)}, indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened, verified bundle."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path) -> Bundle:
        """Read and verify. Raises BundleError."""
        folder = Path(folder)
        manifest = _read_manifest(folder)
        bundle = cls(folder, manifest)
        for entry in manifest.files:
            bundle.read_bytes(entry)
        return bundle

    @property
    def called(self) -> str:
        """What a command names it: the model's name where that finds it, else its folder."""
        name, folder = self.manifest.name, self.folder.resolve()
        ours = any(folder.is_relative_to(place.resolve()) for place in (cards.zoo_folder(), cache_folder()))
        if ours and name in cards.names() and cards.read_card(name).input.size_wh == self.manifest.input.size_wh:
            return name
        return str(folder)

    def artifact(self, precision: str = "fp32", *, backend: str = "onnxruntime") -> Artifact:
        """The artifact of that name (`int8-openvino`), or of that precision (`int8`) for `backend`.

        Raises BundleError: there is none, or it needs options that `backend` does not know.
        """
        there = self.manifest.artifacts
        named = [artifact for artifact in there if artifact.name == precision]
        meant = [artifact for artifact in there if artifact.precision == precision and artifact.target == backend]
        if not named and not meant:
            listed = ", ".join(artifact.name for artifact in there)
            raise BundleError(
                f"{self.folder}: no artifact of precision {precision!r} for {backend}; there is: {listed}"
            )
        found = (meant or named)[0]
        if found.options and found.target != backend:
            raise BundleError(f"{self.folder}: {found.name} runs on {found.target} alone; try --backend {found.target}")
        return found

    def read_bytes(self, entry: Artifact | HashedFile) -> bytes:
        """A file's bytes, checked against its hash on this very read. Raises BundleError."""
        path = self.folder / entry.file
        if path.exists() and not path.is_file():  # reading a named pipe would wait for ever
            raise BundleError(f"{path}: expected a file of the bundle, got something else; convert again")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path}: expected a file of the bundle: {error.strerror}; convert again") from None
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(
                f"{path}: its SHA-256 is not the one in {MANIFEST}: the file is damaged or was changed; "
                "copy the bundle again, or convert again"
            )
        return data

    def read_graph(self, artifact: Artifact) -> bytes:
        """The artifact's ONNX bytes, refused where a tensor lives in another file. Raises BundleError."""
        from edgezoo.graphs import outside_data, parse

        data = self.read_bytes(artifact)
        try:
            places = outside_data(parse(data))
        except ValueError:
            raise BundleError(f"{self.folder / artifact.file}: expected an ONNX graph, got something else") from None
        if places:
            raise BundleError(
                f"{self.folder / artifact.file}: expected all weights inside, but some are in {places[0]!r}; refused"
            )
        return data

    def read_golden(self) -> dict[str, npt.NDArray[Any]]:
        """The golden arrays: `image_<k>`, `placed` and one `out_<name>` per output. Raises BundleError."""
        import io

        name = self.folder / self.manifest.golden.file
        try:
            data = io.BytesIO(self.read_bytes(self.manifest.golden))
            with zipfile.ZipFile(data) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > _LARGEST_GOLDEN:
                raise BundleError(f"{name}: expected at most {_LARGEST_GOLDEN >> 20} MiB unpacked, got {size >> 20}")
            with np.load(data, allow_pickle=False) as arrays:
                return dict(arrays)
        except BundleError:
            raise
        except (ValueError, OSError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise BundleError(f"{name}: expected golden images and answers: {error}") from None

    def __repr__(self) -> str:
        width, height = self.manifest.input.size_wh
        precisions = "+".join(artifact.name for artifact in self.manifest.artifacts)
        return f"Bundle({self.manifest.name}, {self.manifest.task}, {width}x{height}, {precisions})"


def is_bundle(path: str | Path) -> bool:
    """Whether there is a bundle at `path`, whole or not."""
    return (Path(path) / MANIFEST).is_file()


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(f"{folder}: expected a bundle, a folder made by `edgezoo convert`; there is no such folder")
    if not path.is_file():
        raise BundleError(f"{folder}: expected a bundle, but it has no {MANIFEST}; make one with `edgezoo convert`")
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            raise BundleError(f"{path}: expected at most {_LARGEST_MANIFEST >> 20} MiB")
        data = json.loads(path.read_text("utf-8"))
        version = data.get("format") if isinstance(data, dict) else None
        if version != FORMAT:
            raise BundleError(f"{path}: expected bundle format {FORMAT}, got {version!r}; convert again")
        digest = data.pop("digest", None)
        manifest = records.read(Manifest, data)
    except BundleError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: {' '.join(str(error).split())}") from None
    if not manifest.artifacts or not manifest.labels:
        raise BundleError(f"{path}: expected artifacts and labels, got none")
    for entry in manifest.files:
        _check_inside(folder, entry.file)
    if digest != digest_of(data):
        raise BundleError(f"{path}: is not as it was written; copy the bundle again, or convert again")
    return manifest


def digest_of(data: Mapping[str, Any]) -> str:
    """SHA-256 over a manifest's content without its `digest`, however it is laid out."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _check_inside(folder: Path, name: str) -> None:
    plain = name not in ("", ".", "..") and not set(name) & set("/\\:\0")
    if not plain or (folder / name).resolve().parent != folder.resolve():
        raise BundleError(f"{folder}: refused: {MANIFEST} names {name!r}, which is not a plain file of this folder")
