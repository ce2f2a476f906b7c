"""What edgezoo keeps in its cache folder, and how that is cleared: only what is surely ours, and nothing outside of it.

weights/<hash>/<file>          official files            engines/   compiled engines, and TensorRT's timing caches
bundles/<name>-<size>-<hash>   converted models          speeds/    what `bench --store` measured
mirrors/<hash>                 sums of EDGEZOO_MIRROR
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgezoo.errors import EdgezooError, RequestError
from edgezoo.weights import cache_folder

if TYPE_CHECKING:
    from edgezoo.backends.tensorrt.cuda import Facts
    from edgezoo.backends.tensorrt.engines import Entry

Kind = Literal["weights", "bundles", "engines", "timings", "speeds", "mirrors"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_OF_A_GPU = ("engines", "timings")

# What each kind's things are called where they lie; group 1 is what a person knows them by.
_NAMES: dict[str, str] = {
    "bundles": r"(.+-\d+x\d+)-[0-9a-f]{8}",
    "speeds": r"(.+)-[0-9a-f]{12}\.json",
    "mirrors": r"([0-9a-f]{16})",
}
_HASH = re.compile(r"[0-9a-f]{16}")
_HALF = re.compile(r"\.(.+)\.\w+\.(?:part|old)")
_HALF_S = 3600.0  # what is half-written for so long is nobody's any more
_MOST_GPUS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """One thing in the cache."""

    kind: Kind
    name: str
    path: Path
    bytes: int
    used_s: float
    """When it was written, or a compiled engine last asked for, in seconds since 1970."""
    compiled: Entry | None = None
    fits: bool | None = None
    """Of a compiled engine or a timing cache: whether it is for this machine; None where that cannot be told."""
    why: str = ""
    """Of one that does not fit: what this machine has instead, or why it is refused."""

    def to_dict(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in ("kind", "name", "bytes", "used_s")} | {"path": str(self.path)}
        if self.kind == "timings":
            return {**told, "fits": self.fits}
        if self.compiled is None:
            return told
        record = self.compiled.record
        return {**told, "fits": self.fits, "why": self.why, "record": None if record is None else record.to_dict()}


def listed(kinds: Collection[str] = KINDS) -> tuple[list[Kept], str]:
    """All of those kinds, what was used last at first; and why nobody can tell which engines fit, empty where one can.

    Raises BackendError where the folder of compiled engines is another user's.
    """
    found = [kept for kind in KINDS if kind in kinds and kind in _READERS for kept in _READERS[kind](kind)]
    there = [*(_engines() if "engines" in kinds else ()), *(_timings() if "timings" in kinds else ())]
    here, unknown = _gpus() if there else ([], "")
    found += [_fitting(kept, here) for kept in there]
    return sorted(found, key=lambda kept: (KINDS.index(kept.kind), -kept.used_s, kept.name)), unknown


def clear(kinds: Collection[str] = KINDS, *, stale: bool = False) -> tuple[list[Kept], list[Kept]]:
    """Remove all of those kinds: what is gone, and what another process is busy with, which stays.

    `stale`: only the compiled engines and timing caches that are not for this machine, or any more. Raises RequestError
    where nobody can tell which these are, and EdgezooError where something cannot be removed.
    """
    found, unknown = listed([kind for kind in kinds if not stale or kind in _OF_A_GPU])
    if stale and unknown and found:
        raise RequestError(
            f"nobody can tell which engines are for this machine: {unknown}; or clear them all: engines timings"
        )
    if stale:
        found = [kept for kept in found if not kept.fits]
    busy = _clear_engines(found) if "engines" in kinds else set()
    for kept in found:
        if kept.compiled is None:
            _remove(kept.path)
    return [kept for kept in found if kept.path not in busy], [kept for kept in found if kept.path in busy]


def _clear_engines(chosen: list[Kept]) -> set[Path]:
    """Those that another process is busy with; what killed builders left goes, too."""
    from edgezoo.backends.tensorrt import engines, private

    if not private.folder().exists():
        return set()
    with private.keeping("remove"):
        _, busy = engines.clear([kept.compiled for kept in chosen if kept.compiled is not None])
    return {entry.path for entry in busy}


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise EdgezooError(f"{path}: could not be removed: {error.strerror}") from None
    if _HASH.fullmatch(path.parent.name):
        with suppress(OSError):  # it holds more
            path.parent.rmdir()


def _weights(kind: Literal["weights"]) -> Iterator[Kept]:
    for folder in _inside(cache_folder() / kind):
        if folder.is_dir(follow_symlinks=False) and _HASH.fullmatch(folder.name):
            for file in _inside(Path(folder)):
                if half := _half(kind, file):
                    yield half
                elif file.is_file(follow_symlinks=False) and not file.name.startswith("."):
                    yield _kept(kind, file.name, file)


def _things(kind: Literal["bundles", "speeds", "mirrors"]) -> Iterator[Kept]:
    for thing in _inside(cache_folder() / kind):
        whole = thing.is_dir(follow_symlinks=False) == (kind == "bundles")
        if half := _half(kind, thing):
            yield half
        elif (named := re.fullmatch(_NAMES[kind], thing.name)) and whole and not thing.is_symlink():
            yield _kept(kind, named[1], thing)


_READERS: dict[str, Any] = {"weights": _weights, "bundles": _things, "speeds": _things, "mirrors": _things}


def _half(kind: Kind, there: os.DirEntry[str]) -> Kept | None:
    """What was left when somebody was killed who wrote it."""
    named = _HALF.fullmatch(there.name)
    if named is None or there.is_symlink() or time.time() - there.stat(follow_symlinks=False).st_mtime < _HALF_S:
        return None
    return _kept(kind, f"{named[1]}, half-written", there)


def _kept(kind: Kind, name: str, there: os.DirEntry[str]) -> Kept:
    stat = there.stat(follow_symlinks=False)
    size = _size(there.path) if there.is_dir(follow_symlinks=False) else stat.st_size
    return Kept(kind=kind, name=name, path=Path(there), bytes=size, used_s=stat.st_mtime)


def _size(folder: str) -> int:
    sizes = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                sizes += os.lstat(os.path.join(place, name)).st_size
    return sizes


def _inside(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder that is one itself and not a link; nothing where it cannot be read."""
    if os.path.islink(folder):
        return []
    with suppress(OSError), os.scandir(folder) as found:
        return list(found)
    return []


def _engines() -> Iterator[Kept]:
    from edgezoo.backends.tensorrt.engines import entries

    for entry in entries():
        name = entry.path.stem if entry.record is None else entry.record.name
        used_s = entry.asked_ns / 1e9
        yield Kept(kind="engines", name=name, path=entry.path, bytes=entry.bytes, used_s=used_s, compiled=entry)


def _fitting(kept: Kept, here: list[Facts]) -> Kept:
    """With what is known of whether it fits one of these GPUs."""
    from edgezoo.backends.tensorrt import timings

    if (entry := kept.compiled) is None:
        return replace(kept, fits=timings.fits(kept.path, here) if here else None)
    why = entry.trouble or _unfit(entry, here)
    return replace(kept, why=why, fits=False if entry.trouble else None if not here else not why)


def _unfit(entry: Entry, here: list[Facts]) -> str:
    """What the GPU that comes nearest has instead; empty where there is one that it fits, or none at all."""
    return min((entry.unfit(gpu) for gpu in here), key=lambda why: (bool(why), why.count("; ")), default="")


def _gpus() -> tuple[list[Facts], str]:
    """All of this machine, or why they are not known."""
    from edgezoo.backends.tensorrt import cuda

    found = []
    try:
        for index in range(_MOST_GPUS):
            found.append(cuda.facts(index))
    except EdgezooError as error:
        return found, "" if found else " ".join(str(error).split())
    return found, ""


def _timings() -> Iterator[Kept]:
    from edgezoo.backends.tensorrt.timings import kept

    for path, what in kept():
        stat = path.lstat()
        yield Kept(kind="timings", name=what, path=path, bytes=stat.st_size, used_s=stat.st_mtime)
