"""Cards: everything about a model, said once, in `models/<name>.toml` or in a file of your own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgezoo import records
from edgezoo.errors import CardError, RequestError, UnknownName
from edgezoo.preprocess import Preprocess

# SPDX names whose terms let a product ship without opening its own source.
PERMISSIVE = frozenset(
    {"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "CC0-1.0", "CC-BY-4.0", "Zlib"}
)
CHECKPOINTS = (".safetensors", ".pth")


@dataclass(frozen=True, kw_only=True, slots=True)
class Licence:
    """Three things with terms of their own."""

    code: str
    """SPDX name of the network's code."""
    weights: str
    """SPDX name, or `unknown`."""
    data: str
    """The training data's terms, in a sentence."""

    @property
    def permissive(self) -> bool:
        """Whether code and weights are both under a permissive licence."""
        return {self.code, self.weights} <= PERMISSIVE


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """An official file: where it is, and what it must hash to."""

    url: str
    sha256: str
    """All 64 hexadecimal digits, or the first ones where the origin states no more."""
    bytes: int | None = None
    key: str | None = None
    """Where in a checkpoint the state dict lies; None: at the top."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{8,64}", self.sha256):
            raise ValueError(f"expected sha256 as 8 to 64 lower-case hexadecimal digits, got {self.sha256!r}")
        if not re.fullmatch(r"https?://\S+/[\w.+-]+", self.url) or self.name.startswith("."):
            raise ValueError(f"expected a http(s) url that ends in a file's name, got {self.url!r}")

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """The architecture, for models that come as a checkpoint."""

    family: str
    """A file of `edgezoo/nets/`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What its `build` takes besides the class count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoder:
    """How a raw network's outputs become the task's; see `edgezoo/convert/decoders.py` for the list."""

    name: str
    outputs: tuple[str, ...] = ()
    """The graph's outputs in the order the decoder wants them; empty: as the graph has them."""
    boxes: Literal["xyxy", "cxcywh"] = "xyxy"
    """For `boxes-scores`: how the graph states a box, in network pixels."""
    strides: tuple[int, ...] = (8, 16, 32)
    """For `yolox-raw`: pixels per cell of each level, finest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """A published figure, with who says so."""

    metric: str
    value: float
    """As a fraction of 1."""
    dataset: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A card, read and checked."""

    name: str
    task: Literal["classify", "detect"]
    labels: str
    """`coco80` for `models/labels/coco80.txt`, or a path beside the card; one name a line."""
    licence: Licence
    input: Preprocess
    decoder: Decoder
    title: str = ""
    about: str = ""
    origin: str = ""
    paper: str = ""
    network: Network | None = None
    weights: RemoteFile | None = None
    onnx: RemoteFile | None = None
    file: str | None = None
    """An `.onnx` or a checkpoint beside the card, for a model of one's own; a checkpoint needs [network]."""
    bundle: str | None = None
    """A bundle that ships beside the card: its folder."""
    accuracy: tuple[Accuracy, ...] = ()
    path: Path | None = field(default=None, compare=False)
    """Where the card was read; never a key of the file."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ValueError(f"expected a name of letters, digits, '.', '_' and '-', got {self.name!r}")
        if self.weights is not None and self.network is None:
            raise ValueError("a card with [weights] needs a [network] to load them into")
        if self.file is not None and Path(self.file).suffix not in (".onnx", *CHECKPOINTS):
            raise ValueError(f"file: expected an .onnx, or a checkpoint ({', '.join(CHECKPOINTS)}), got {self.file!r}")
        if self.file is not None and not self.has_graph and self.network is None:
            raise ValueError(f"file: a card with the checkpoint {self.file!r} needs a [network] to load it into")
        if not any((self.weights, self.onnx, self.file, self.bundle, self.network)):
            raise ValueError("expected one of [weights] with [network], [onnx], file or bundle, got none")

    @property
    def has_graph(self) -> bool:
        """Whether its `file` is a graph, which needs no torch."""
        return self.file is not None and self.file.endswith(".onnx")

    @property
    def built_in(self) -> Path | None:
        """The folder of the bundle that ships beside the card, if it names one. Raises CardError."""
        return None if self.bundle is None else self.beside("bundle", self.bundle, folder=True)

    def check_allowed(self, allow: str | None) -> None:
        """RequestError where only permissive licences are allowed and this model has others."""
        if allow == "permissive" and not self.licence.permissive:
            raise RequestError(f"{self.name}: code {self.licence.code}, weights {self.licence.weights}: not permissive")

    @property
    def label_names(self) -> tuple[str, ...]:
        """All class names. Raises CardError."""
        if not re.fullmatch(r"[\w-]+", self.labels):
            return read_labels(self.beside("labels", self.labels))
        path = zoo_folder() / "labels" / f"{self.labels}.txt"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in path.parent.glob("*.txt")))
            raise CardError(
                f"{self.path or self.name}: labels = {self.labels!r}: expected one of the zoo's lists ({known}), "
                "or a text file beside the card, one name a line"
            )
        return read_labels(path)

    def beside(self, key: str, name: str, *, folder: bool = False) -> Path:
        """The file, or the folder, `name` where the card lies, which the card's `key` names. Raises CardError."""
        home = (self.path.parent if self.path else zoo_folder()).resolve()
        told = f"{self.path or self.name}: {key} = {name!r}"
        if "\0" in name or not (home / name).resolve().is_relative_to(home):
            raise CardError(f"{told}: refused: it leaves the card's folder")
        if not ((home / name).is_dir() if folder else (home / name).is_file()):
            kind = "folder" if folder else "file"
            raise CardError(f"{told}: expected a {kind} beside the card, got no such {kind}")
        return home / name


def zoo_folder() -> Path:
    """The folder of cards: inside an installed package, or `models/` of a checkout."""
    package = Path(__file__).parent
    installed = package / "_zoo" / "models"
    return installed if installed.is_dir() else package.parent / "models"


def names() -> list[str]:
    """The names of the zoo's models."""
    return sorted(path.stem for path in zoo_folder().glob("*.toml"))


def read_card(name_or_path: str | Path) -> Card:
    """The card of a zoo model by name, or any card by path. Raises UnknownName, CardError."""
    text = str(name_or_path)
    path = Path(text)
    if path.suffix == ".onnx":
        cure = f"try: edgezoo card {path}, or edgezoo convert {path}"
        raise CardError(f"{path}: is a graph, not a card or a bundle; {cure}")
    if path.suffix != ".toml":
        path = zoo_folder() / f"{text}.toml"
        if text not in names():
            raise UnknownName(
                "model", text, names(), cure="(edgezoo list shows all; a path to a card or bundle works too)"
            )
    try:
        data = records.parse_toml(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CardError(f"{path}: expected a card, got no such file") from None
    except (ValueError, OSError) as error:
        raise CardError(f"{path}: expected a card in TOML: {' '.join(str(error).split())}") from None
    if "path" in data:
        raise CardError(f"{path}: path: no such key")
    try:
        card = records.read(Card, data)
    except records.RecordError as error:
        raise CardError(f"{path}: {error}") from None
    object.__setattr__(card, "path", path)
    return card


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names, one a line. Raises CardError."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: expected class names as UTF-8 text, one a line: {error}") from None
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise CardError(f"{path}: expected class names, one a line, got an empty file")
    return found
