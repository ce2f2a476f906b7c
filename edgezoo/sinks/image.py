"""Pictures: the newest result in one file, or one file per frame in a folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from edgezoo.address import Address
from edgezoo.errors import RequestError, SinkError
from edgezoo.frame import Event, Frame, Image
from edgezoo.optional import require
from edgezoo.results import Result
from edgezoo.sinks import Overlay, check_target, is_photo, numbered, part_of, picture, stream_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
FORMS = (*(f"out{suffix}" for suffix in SUFFIXES), "results/")


def takes(address: Address) -> bool:
    path = Path(address.target).expanduser()
    named = path.suffix.lower() in SUFFIXES or address.target.endswith(("/", os.sep))
    return not address.scheme and (named or (not path.suffix and path.is_dir()))


def from_address(address: Address, *, fps: float | None, overlay: Overlay | None) -> ImageSink | FolderSink:
    address.check_options(())
    path = Path(address.target).expanduser()
    if address.target.endswith(("/", os.sep)) or path.is_dir():
        return FolderSink(path, overlay=overlay)
    return ImageSink(path, overlay=overlay)


class ImageSink:
    """The newest result at `path`, replaced as a whole: who reads it never sees half a picture.

    A second source gets a file of its own, `out-2.jpg`, a third `out-3.jpg`, in order of appearance;
    photos are one source, so that of many the last one stays.

    Raises RequestError: a suffix that this OpenCV cannot write. SinkError: the folder cannot be written to.
    """

    def __init__(self, path: Path, *, overlay: Overlay | None = None) -> None:
        if "%" in path.name:
            raise RequestError(f"expected a file or a folder, got the pattern {path.name!r}; try a folder: results/")
        _check_suffix(path.suffix)
        check_target(path)
        self.done = False
        self._path, self._overlay = path, overlay
        self._paths: dict[str, Path] = {}

    def write(self, frame: Frame, result: Result) -> None:
        path = self._paths.setdefault(stream_of(frame), numbered(self._path, len(self._paths) + 1))
        _save(path, picture(frame, result, self._overlay))

    def event(self, event: Event) -> None:
        pass

    def close(self) -> None:
        pass


class FolderSink:
    """One JPEG per frame in `folder`: `bus.jpg` for the photo `bus.png`, `clip-000017.jpg` for a frame of `clip.mp4`.

    The number is the frame's index in its source. Sources of the same name are told apart: `bus-2.jpg`.
    The folder is made with the first picture, its parent must be there.

    Raises SinkError: the folder, or its parent, cannot be written to.
    """

    def __init__(self, folder: Path, *, overlay: Overlay | None = None) -> None:
        check_target(folder / "frame.jpg" if folder.is_dir() else folder)
        self.done = False
        self._folder, self._overlay = folder, overlay
        self._stems: dict[str, str] = {}
        self._taken: set[str] = set()

    def write(self, frame: Frame, result: Result) -> None:
        stem = self._stem(frame.source)
        if not is_photo(frame.source):
            stem = f"{stem}-{frame.index:06d}"
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise SinkError(f"expected to make {str(self._folder)!r}, got: {error.strerror}; try another") from error
        _save(self._folder / f"{stem}.jpg", picture(frame, result, self._overlay))

    def event(self, event: Event) -> None:
        pass

    def close(self) -> None:
        pass

    def _stem(self, source: str) -> str:
        """A file name for a source, its own in this folder."""
        if source not in self._stems:
            name = source if "://" in source else Path(source).stem
            stem = base = re.sub(r"[^\w.+-]+", "-", name).strip("-.")[:80] or "frame"
            number = 1
            while stem.lower() in self._taken:
                number += 1
                stem = f"{base}-{number}"
            self._taken.add(stem.lower())
            self._stems[source] = stem
        return self._stems[source]


def _check_suffix(suffix: str) -> None:
    known = [known for known in SUFFIXES if require("cv2").haveImageWriter(f"x{known}")]
    if suffix.lower() not in known:
        raise RequestError(f"expected a picture as {', '.join(known)}, got {suffix!r}; try .jpg")


def _save(path: Path, image: Image) -> None:
    """Encoded in memory and written by Python, which knows every file name; cv2.imwrite does not."""
    cv2 = require("cv2")
    try:
        ok, data = cv2.imencode(path.suffix.lower(), image)
    except cv2.error:
        ok = False
    if not ok:
        raise SinkError(f"OpenCV cannot encode {image.shape[1]}x{image.shape[0]} as {path.suffix}; try .png")
    part = part_of(path)
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SinkError(f"expected to write {str(path)!r}, got: {error.strerror}; try another place") from error
