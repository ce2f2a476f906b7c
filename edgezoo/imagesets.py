"""Images to calibrate and to judge with: a set of `calibration/`, or a folder, a pattern, a photo or a video.

`draw` takes some of them, the same on every machine; they are decoded when they are asked for, one at a time.
Into a network they go through `Drawn.placed`, which is the engine's own geometry: there is no other path.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgezoo import records
from edgezoo.address import Address
from edgezoo.cards import RemoteFile
from edgezoo.errors import DataError, RequestError, SourceError, UnknownName
from edgezoo.frame import Frame, Image
from edgezoo.preprocess import Preprocess
from edgezoo.sources.images import SUFFIXES, decode_image, find_images, is_images, natural
from edgezoo.sources.video import Video
from edgezoo.weights import Progress, fetch, sha256_of

Stretch = tuple[float, float]
_CURE = "give a set's name, a .toml, a folder, a pattern such as 'photos/*.jpg', an image or a video"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """A set, read and checked: `calibration/<name>.toml`, or a file of one's own."""

    name: str
    about: str
    origin: str
    """Where the images come from: who made or published them, and how."""
    licence: str
    """The terms of the images, in a sentence."""
    drawn: str
    """How these files were drawn from all that there are, in a sentence."""
    files: Mapping[str, str]
    """SHA-256 of each by its name."""
    url: str | None = None
    """What stands before a name to fetch it; None: the files lie beside the `.toml`, in the folder `<name>/`."""
    path: Path | None = field(default=None, compare=False)
    """Where the set was read; never a key of the file."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", self.name):
            raise ValueError(f"expected a name of letters, digits, '_' and '-', got {self.name!r}")
        if not self.files:
            raise ValueError("expected files, each with its SHA-256, got none")
        for name, sha256 in self.files.items():
            if not re.fullmatch(r"[0-9a-f]{64}", sha256):
                raise ValueError(f"files: {name}: expected all 64 hexadecimal digits of its SHA-256, got {sha256!r}")
            if not name.lower().endswith(SUFFIXES):
                raise ValueError(f"files: {name!r}: expected the name of an image; known are {', '.join(SUFFIXES)}")
            if set(name) & set("\\:\0") or not all(part.strip(".") for part in name.split("/")):
                raise ValueError(f"files: {name!r}: refused: it leaves the set's folder, or may")
            self.remote(name)

    def remote(self, name: str) -> RemoteFile | None:
        """The file behind `url`; None where the files lie beside the set. Raises ValueError."""
        return None if self.url is None else RemoteFile(url=self.url + name, sha256=self.files[name])

    def locate(self, name: str, *, progress: Progress | None = None) -> Path:
        """The file on this machine, fetched where it has a URL. Raises DataError, WeightsError."""
        if (remote := self.remote(name)) is not None:
            return fetch(remote, progress=progress)
        home = (self.path or sets_folder() / f"{self.name}.toml").parent.resolve() / self.name
        if not (home / name).resolve().is_relative_to(home):
            raise DataError(f"{self.path or self.name}: files: {name!r}: refused: it leaves the set's folder {home}")
        return home / name


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a draw."""

    name: str
    sha256: str
    image: Image


@dataclass(frozen=True, slots=True)
class Drawn:
    """Images that were drawn, in order: known by name and hash, decoded each time they are iterated."""

    source: str
    """The set's name, or the path or pattern as it was given."""
    total: int
    """How many there were to draw from."""
    seed: int
    hashes: Mapping[str, str]
    """By name: SHA-256 of an image's file; of a frame, over the SHA-256 of its video, its shape and its pixels."""
    _open: Callable[[], Iterator[Image]] = field(repr=False, compare=False)
    video: bool = False
    """They are frames of one video: neighbours show nearly the same."""

    def __len__(self) -> int:
        return len(self.hashes)

    def __iter__(self) -> Iterator[Sample]:
        """Each image with its name; at no time is more than one held.

        Raises SourceError for what is no image, DataError for one that is not any more what was drawn.
        """
        for (name, sha256), image in zip(self.hashes.items(), self._open()):
            yield Sample(name, sha256, image)

    def placed(self, recipe: Preprocess) -> Iterator[Image]:
        """What the door of a graph takes, uint8 (H, W, 3) BGR: each image through the recipe that the engine uses."""
        for sample in self:
            yield recipe.place(sample.image)[0]

    @property
    def title(self) -> str:
        """The source without the way there, which is nobody else's business."""
        return Path(self.source).name or self.source

    def __str__(self) -> str:
        """`32 of 150 from clip.mp4, seed 0`."""
        return f"{len(self)} of {self.total} from {self.title}, seed {self.seed}"


def sets_folder() -> Path:
    """The folder of sets: inside an installed package, or `calibration/` of a checkout."""
    package = Path(__file__).parent
    installed = package / "_zoo" / "calibration"
    return installed if installed.is_dir() else package.parent / "calibration"


def names() -> list[str]:
    """The names of the sets that come with edgezoo."""
    return sorted(path.stem for path in sets_folder().glob("*.toml"))


def read_set(name_or_path: str | Path) -> ImageSet:
    """A set by name, or any by the path of its `.toml`. Raises UnknownName, DataError."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = sets_folder() / f"{name_or_path}.toml"
        if str(name_or_path) not in names():
            raise UnknownName("image set", str(name_or_path), names(), cure=f"({_CURE})")
    try:
        data = records.parse_toml(path.read_text("utf-8"))
        if "path" in data:
            raise records.RecordError("path: no such key")
        found = records.read(ImageSet, data)
    except FileNotFoundError:
        raise DataError(f"{path}: expected an image set, got no such file") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: expected an image set in TOML: {' '.join(str(error).split())}") from None
    object.__setattr__(found, "path", path)
    return found


def draw(
    what: str | Path, *, count: int, seed: int = 0, progress: Progress | None = None, stretch: Stretch = (0.0, 1.0)
) -> Drawn:
    """`count` images of `what`, or all where there are fewer: one of each of `count` equal parts, which one by `seed`.

    `what` is the name of a set, a `.toml`, a folder, a pattern, an image or a video. A set's name is that set also
    where a folder of the same name is: say `./coco` for the folder. A folder without images is all that its folders
    hold. Images are drawn from their names in natural order; a video's frames from all that decode, and a video that
    is cut or damaged is refused. `stretch`: where in a video, from 0 to 1, frames are drawn from.

    Raises RequestError, UnknownName, DataError (a file is not what its set says), SourceError, WeightsError.
    """
    if count < 1:
        raise RequestError(f"expected a count of 1 image or more, got {count}")
    if seed < 0:
        raise RequestError(f"expected a seed of 0 or more, got {seed}")
    text = str(what)
    if text in names() or (text.endswith(".toml") and not os.path.isdir(text)):
        return _from_set(read_set(what), count, seed, progress)
    if is_images(text):
        return _from_files(text, count, seed)
    if os.path.exists(text):
        return _from_video(text, count, seed, stretch)
    if text and not set(text) & set("/\\.:"):
        return _from_set(read_set(text), count, seed, progress)
    raise SourceError(f"expected images, found nothing at {text!r}; {_CURE}")


def picks(total: int, count: int, seed: int) -> list[int]:
    """Up to `count` of `range(total)`, rising: one of each stratum, the same on every machine."""
    count = min(count, total)
    chance = random.Random(seed)  # of all that Python draws, only `random()` stays the same in every version
    edges = [k * total // count for k in range(count + 1)] if count else []
    return [start + int(chance.random() * (end - start)) for start, end in pairwise(edges)]


def _from_set(images: ImageSet, count: int, seed: int, progress: Progress | None) -> Drawn:
    listed = _in_order(images.files)
    paths: dict[str, Path] = {}
    for index in picks(len(listed), count, seed):
        name = listed[index]
        paths[name] = images.locate(name, progress=progress)
        _, sha256 = _read(paths[name])
        if sha256 != images.files[name]:
            raise DataError(
                f"{paths[name]}: expected SHA-256 {images.files[name][:16]}… as the set {images.name} says, "
                f"got {sha256[:16]}…; the file is damaged or another one"
            )
    hashes = {name: images.files[name] for name in paths}
    return Drawn(images.name, len(listed), seed, hashes, partial(_images, paths, hashes))


def _from_files(text: str, count: int, seed: int) -> Drawn:
    try:
        found = find_images(text)
    except SourceError:
        if not (found := _in_folders(Path(text))):
            raise
    except OSError as error:
        raise SourceError(f"{text}: expected images: {error.strerror}") from None
    return draw_files(found, text, count=count, seed=seed)


def _in_folders(home: Path) -> list[str]:
    """The images in the folders of a folder, such as one a class; what is hidden is left out."""
    found = {path.relative_to(home): path for path in home.rglob("*") if path.name.lower().endswith(SUFFIXES)}
    shown = [path for name, path in found.items() if not any(part.startswith(".") for part in name.parts)]
    return [str(path) for path in shown if path.is_file()]


def draw_files(found: Sequence[str], source: str, *, count: int, seed: int = 0) -> Drawn:
    """As `draw`, from these image files; `source` is what they are called together. Raises SourceError."""
    home = os.path.commonpath([os.path.dirname(path) for path in found]) or os.curdir
    named = {Path(os.path.relpath(path, home)).as_posix(): Path(path) for path in found}
    listed = _in_order(named)
    paths = {listed[index]: named[listed[index]] for index in picks(len(listed), count, seed)}
    hashes = {name: _read(path)[1] for name, path in paths.items()}
    return Drawn(source, len(listed), seed, hashes, partial(_images, paths, hashes))


def _in_order(listed: Mapping[str, object]) -> list[str]:
    """Names naturally sorted, and never by the order in which a file system gives them."""
    return sorted(listed, key=lambda name: (natural(name), name))


def _images(paths: Mapping[str, Path], hashes: Mapping[str, str]) -> Iterator[Image]:
    for name, path in paths.items():
        data, sha256 = _read(path)
        if sha256 != hashes[name]:
            raise DataError(f"{path}: expected the file that was drawn, got one that changed since; draw again")
        yield decode_image(data, path)


def _read(path: Path) -> tuple[npt.NDArray[np.uint8], str]:
    """A file's bytes, and the SHA-256 of just these."""
    if path.exists() and not path.is_file():  # reading a named pipe would wait for ever
        raise SourceError(f"{path}: expected an image, got something else")
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise SourceError(f"{path}: expected an image: {error.strerror}") from None
    return data, hashlib.sha256(data.data).hexdigest()


def _from_video(text: str, count: int, seed: int, stretch: Stretch) -> Drawn:
    path = Path(text)
    first = Video(Address("", text))
    total = first.frames or 0
    first.close()
    stamp = sha256_of(path)
    # What a file claims is mostly true: then one pass is enough. Else the first counts, and the second draws.
    for _ in range(2):
        start, end = (round(total * edge) for edge in stretch)
        wanted, there = [start + index for index in picks(end - start, count, seed)], 0
        hashes: dict[str, str] = {}
        for frame in _frames(text):
            if len(hashes) < len(wanted) and frame.index == wanted[len(hashes)]:
                hashes[f"{path.name}#{frame.index}"] = _hash_of_frame(stamp, frame.image)
            there += 1
        if there == total:
            return Drawn(text, total, seed, hashes, partial(_pictures, text, stamp, wanted, [*hashes.values()]), True)
        total = there
    raise SourceError(f"{text}: expected {total} frames again, got {there}: the file changes, or cannot be relied on")


def _pictures(text: str, stamp: str, wanted: Sequence[int], hashes: Sequence[str]) -> Iterator[Image]:
    """The drawn frames: the video is decoded up to the last of them, and only these are kept."""
    position = 0
    for frame in _frames(text):
        if frame.index != wanted[position]:
            continue
        if _hash_of_frame(stamp, frame.image) != hashes[position]:
            break
        yield frame.image
        position += 1
        if position == len(wanted):
            return
    raise DataError(f"{text}: expected the video that was drawn from, got one that changed since; draw again")


def _frames(text: str) -> Iterator[Frame]:
    video = Video(Address("", text))
    try:
        yield from video
    finally:
        video.close()


def _hash_of_frame(stamp: str, image: Image) -> str:
    digest = hashlib.sha256(f"{stamp} {image.shape}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
