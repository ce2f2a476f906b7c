"""Where results go. A sink is one file in this folder, and the file's name is its name.

Such a file has
    FORMS             the addresses it takes, as examples for people
    takes(address)    whether an address is meant for it; no two sinks take the same one
    from_address(address, *, fps, overlay)    the sink
"""

from __future__ import annotations

import importlib
import pkgutil
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol, TypeAlias

from edgezoo.address import Address
from edgezoo.drawing import draw
from edgezoo.errors import SinkError, UnknownName, nearest
from edgezoo.frame import Event, Frame, Image
from edgezoo.results import Result
from edgezoo.sources.images import SUFFIXES as PHOTOS

Overlay: TypeAlias = Callable[[Frame], str]
"""The text for the corner of a frame, asked for when the frame is drawn."""


class Sink(Protocol):
    """A consumer of results. All its methods are called from one thread."""

    done: bool
    """Nobody looks any more: the window was closed, `q` pressed, or the reading end of a pipe is gone."""

    def write(self, frame: Frame, result: Result) -> None:
        """Raises SinkError: the result cannot be put where it should go."""

    def event(self, event: Event) -> None: ...

    def close(self) -> None:
        """Finish what was written; again, or without a write, it does nothing."""


def open_sink(text: str, *, fps: float | None = None, overlay: Overlay | None = None) -> Sink:
    """The sink at an address: `window`, `out.mp4`, `out.jpg`, `results/`, `out.jsonl`, `-`, `null`.

    What can be checked is checked now, before a camera or a model is opened. `fps` is the rate of a
    recording; without it the first two frames tell. `overlay` writes into the corner of drawn frames.

    Raises UnknownName: no sink takes such an address. RequestError: a wrong option. SinkError: no
    display, or no such folder.
    """
    address = Address.parse(text)
    for name in shelf():
        module = _module(name)
        if module.takes(address):
            sink: Sink = module.from_address(address, fps=fps, overlay=overlay)
            return sink
    raise _unknown(address)


def shelf() -> list[str]:
    """The names of all sinks."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def picture(frame: Frame, result: Result, overlay: Overlay | None) -> Image:
    """The frame with the result on it; the caller owns it."""
    return draw(frame.image, result, corner=overlay(frame) if overlay is not None else None)


def is_photo(source: str) -> bool:
    """Whether frames of this name are photos, whose every frame has a name of its own."""
    return "://" not in source and source.lower().endswith(PHOTOS)


def stream_of(frame: Frame) -> str:
    """What belongs into one window or one file: a source, or all photos."""
    return "photos" if is_photo(frame.source) else frame.source


def check_target(path: Path) -> None:
    """Raises SinkError where no file can be written at `path`."""
    folder = path.parent
    if not folder.is_dir():
        cure = f"try: mkdir -p {shlex.quote(str(folder))}"
        raise SinkError(f"expected a folder to put {path.name} into, {str(folder)!r} is not one; {cure}")
    if path.is_dir():
        raise SinkError(f"expected a file to write, {str(path)!r} is a folder; try another name")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SinkError(f"expected to write into {str(folder)!r}, got: {reason}; try another folder") from error


def part_of(path: Path) -> Path:
    """`out.part.mp4` for `out.mp4`: its name until it is complete."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


def numbered(path: Path, number: int) -> Path:
    """`out.mp4`, `out-2.mp4`, `out-3.mp4`, …: the files of several streams, in their order of appearance."""
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def _unknown(address: Address) -> UnknownName:
    """`out.mp5` is offered `out.mp4`; what is near nothing, the list."""
    forms = [form for name in shelf() for form in _module(name).FORMS]
    stem = Path(address.target).stem
    guesses = [f"{stem}{Path(form).suffix}" if Path(form).suffix else form for form in forms]
    near = nearest(str(address), guesses)
    cure = f"(known: {', '.join(sorted(forms))})" if near else ""
    return UnknownName("sink", str(address), [near] if near else forms, cure=cure)
