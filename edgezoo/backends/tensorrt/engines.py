"""Compiled engines as they are kept, which of them is for this machine, and why none is.

Two files each, in `engines/` of the cache: `<name>.engine` has the engine's bytes and nothing else, so that `trtexec`
reads it; `<name>.json` says what it is, has its hash, and is sealed. That is written last, and touched when it is asked
for: of several that fit, the one that `edgezoo compile` was asked for last is meant.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import Timeout

from edgezoo import records
from edgezoo.backends.tensorrt import private
from edgezoo.backends.tensorrt.cuda import Facts
from edgezoo.backends.tensorrt.fitting import NEVER, WHEN, Record, changes, key_of, other_options
from edgezoo.backends.tensorrt.options import BuildOptions
from edgezoo.backends.tensorrt.private import Refused, Unread
from edgezoo.errors import NotCompiled
from edgezoo.weights import sha256_of

_KIND = "engine"
_LARGEST_RECORD = 1 << 16
_SECOND_NS = 10**9
_KEY_LETTERS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """A compiled engine that is kept, and how it came to be the one that is meant."""

    record: Record
    path: Path
    """Of its bytes."""
    built: bool = False
    """By this very call; else it was there."""
    why: str = ""
    """Why it had to be built, or who built it meanwhile."""
    warnings: tuple[str, ...] = ()

    def read(self) -> bytes:
        """The engine's bytes, checked on this very read. Raises NotCompiled."""
        try:
            return _read_engine(self.path, self.record)
        except Refused as error:
            raise _refusal(self.path, self.record, error) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What lies in the cache: an engine and its record, whole or not."""

    path: Path
    """Of the engine's bytes."""
    record: Record | None
    """None where it cannot be read; where there is trouble, not to be believed."""
    trouble: str
    """Why it is refused, to be read behind its name; empty: it is not."""
    bytes: int
    asked_ns: int
    """When `edgezoo compile` was last asked for it."""

    @property
    def about(self) -> Path:
        """Of its record."""
        return self.path.with_suffix(".json")

    @property
    def unreadable(self) -> bool:
        """There is a record, and nobody can tell what it says."""
        return self.record is None and os.path.lexists(self.about)

    def unfit(self, here: Facts) -> str:
        """Why it is not for this machine; empty where it is."""
        if self.trouble or self.record is None:
            return self.trouble
        return "; ".join(changes(self.record, here))


def find(graph_sha256: str, here: Facts) -> Compiled:
    """Of the engines of this graph that fit this machine, the one that was asked for last.

    Raises NotCompiled, which says what has changed since the nearest one was built.
    """
    found: list[tuple[list[str], Record]] = []
    there = entries()
    for entry in there:
        if (record := entry.record) is None or record.graph_sha256 != graph_sha256:
            continue
        if differs := changes(record, here):
            found.append((differs, record))
        elif entry.trouble:
            raise _refusal(entry.path, record, Refused(entry.trouble))
        else:
            return Compiled(record=record, path=entry.path)
    if not found:
        raise NotCompiled(_never(there))
    differs, nearest = min(found, key=lambda each: len(each[0]))
    raise NotCompiled("; ".join(differs), how=nearest.how)


def lookup(graph_sha256: str, here: Facts, options: BuildOptions) -> tuple[Compiled | None, str]:
    """The engine that is just that, its bytes checked; or None, and what is wrong with the one that is kept."""
    key, trouble = key_of(graph_sha256, here, options), ""
    for entry in entries():
        if entry.unreadable and entry.path.stem.endswith(f"-{key}"):
            trouble = f"the record of the one that was kept cannot be read: {entry.about}"
        if entry.record is None or entry.record.key != key or changes(entry.record, here):
            continue
        try:
            if entry.trouble:
                raise Refused(entry.trouble)
            _read_engine(entry.path, entry.record)
            return Compiled(record=entry.record, path=entry.path), ""
        except Refused as error:
            trouble = f"the one that was kept {error}"
    return None, trouble


def why(graph_sha256: str, here: Facts, options: BuildOptions, *, called: str, artifact: str) -> str:
    """All in which the nearest one that is kept differs from what is asked for."""
    found: list[list[str]] = []
    there = entries()
    for entry in there:
        if (record := entry.record) is None:
            continue
        same = record.graph_sha256 == graph_sha256
        if same or (record.called, record.artifact) == (called, artifact):
            file = [] if same else ["the artifact's file changed"]
            found.append([*file, *changes(record, here), *other_options(record, options)])
    found.sort(key=len)  # of two of one length, what was asked for last stays first
    return "; ".join(found[0]) if found else _never(there)


def seconds_before(graph_sha256: str, options: BuildOptions) -> float | None:
    """How long the last build of this graph took, for whatever machine; with as much optimization, if there was one."""
    there = [entry.record for entry in entries() if entry.record is not None and not entry.trouble]
    built = [record for record in there if record.graph_sha256 == graph_sha256 and not record.taken]
    built.sort(key=lambda record: (record.options.optimization == options.optimization, record.built))
    return built[-1].seconds if built else None


def ask(compiled: Compiled) -> None:
    """It is the one that is meant from now on, also where the clock went back. Raises OSError."""
    newest = max((entry.asked_ns for entry in entries() if entry.path != compiled.path), default=0)
    # Some file systems keep whole seconds.
    at_ns = max(time.time_ns(), (newest // _SECOND_NS + 1) * _SECOND_NS)
    os.utime(compiled.path.with_suffix(".json"), ns=(at_ns, at_ns))


def keep(made: Path, record: Record, shop: Path) -> Compiled:
    """Move an engine's bytes from the workshop into the cache; the key's lock must be held. Raises OSError.

    What the record says of size, hash and time is filled in here.
    """
    with made.open("rb+") as file:
        os.fsync(file.fileno())
    made.chmod(0o600)
    now = time.strftime(WHEN, time.gmtime())
    record = replace(record, bytes=made.stat().st_size, sha256=sha256_of(made), built=now)
    final = private.folder() / f"{_plain(record)}-{record.key}.engine"
    for entry in entries():
        if entry.path == final or (entry.record is not None and entry.record.key == record.key):
            _remove(entry.path)
    private.place(made, final)
    told = record.to_dict()
    text = json.dumps({"record": told, "seal": private.seal(_KIND, _canonical(told), shop)}, indent=1)
    private.write(text.encode(), final.with_suffix(".json"), shop)
    return Compiled(record=record, path=final, built=True)


def entries() -> list[Entry]:
    """All that is kept, what was asked for last at first. Raises BackendError where the folder is another user's."""
    private.check_ours()
    with private.keeping():
        names = os.listdir(private.folder()) if private.folder().exists() else []
    stems = {name.rpartition(".")[0] for name in names if name.endswith((".engine", ".json")) and name[0] != "."}
    found = [_entry(private.folder() / f"{stem}.engine") for stem in stems]
    return sorted(found, key=lambda entry: (-entry.asked_ns, entry.path.name))


def told() -> tuple[int, int]:
    """How many are kept, and all their bytes."""
    there = entries()
    return len(there), sum(entry.bytes for entry in there)


def clear(chosen: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Remove them: those that are gone, and those that another process is busy with. Raises OSError."""
    gone: list[Entry] = []
    busy: list[Entry] = []
    private.enter()
    private.sweep()
    for entry in chosen:
        key = entry.path.stem[-_KEY_LETTERS:]
        try:
            with private.lock(key if re.fullmatch(r"[0-9a-f]+", key) else "strangers", wait=False):
                _remove(entry.path)
            gone.append(entry)
        except Timeout:
            busy.append(entry)
    return gone, busy


def _entry(path: Path) -> Entry:
    record, trouble, size, asked_ns = None, "", 0, 0
    about = path.with_suffix(".json")
    with suppress(OSError):
        size, asked_ns = path.lstat().st_size, path.lstat().st_mtime_ns
    with suppress(OSError):
        size, asked_ns = size + about.lstat().st_size, about.lstat().st_mtime_ns
    try:
        data, trouble = private.look(about, most=_LARGEST_RECORD)
        told = json.loads(data)
        record = records.read(Record, told["record"])
        if not trouble:
            private.check(_KIND, _canonical(told["record"]), str(told["seal"]))
    except Refused as error:
        trouble = str(error) if record is not None else f"has no record: it {error}"
    except (ValueError, KeyError, TypeError, RecursionError):
        trouble = trouble or "has a record that cannot be read"
    return Entry(path=path, record=record, trouble=trouble, bytes=size, asked_ns=asked_ns)


def _read_engine(path: Path, record: Record) -> bytes:
    data = private.read(path, most=record.bytes)
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise Refused("was changed since it was built")
    return data


def _refusal(path: Path, record: Record, trouble: Refused) -> NotCompiled:
    if isinstance(trouble, Unread):
        return NotCompiled(f"{path} {trouble}", how=record.how)
    return NotCompiled(f"refused: {path} {trouble}, and an engine is native code", how=record.how)


def _never(there: Iterable[Entry]) -> str:
    """That it was not compiled yet, as far as anybody can tell."""
    unreadable = [str(entry.about) for entry in there if entry.unreadable]
    more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
    return f"{NEVER}, or its record is one that cannot be read: {unreadable[0]}{more}" if unreadable else NEVER


def _remove(engine: Path) -> None:
    """The record first: without one, nothing is loaded."""
    for path in (engine.with_suffix(".json"), engine):
        path.unlink(missing_ok=True)


def _plain(record: Record) -> str:
    return re.sub(r"[^\w.-]", "_", f"{Path(record.called).name}-{record.artifact}")[:60]


def _canonical(told: object) -> bytes:
    return json.dumps(told, sort_keys=True).encode()
