"""Files that nobody but this user can have made: they lie in `engines/` of the cache, and native code reads them.

Nobody else may enter the folder. A file is written whole beside its place and then renamed. What a key of this user's
own has not sealed, what was changed since, and what another user owns or may write to is refused on the very read that
would use it.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from edgezoo.errors import BackendError
from edgezoo.weights import cache_folder

_KEY = "key"
_LOCKS = "locks"
_SHOP = re.compile(r"\.([0-9a-f]{16})\.[0-9a-f]{8}\.part")
_KEY_BYTES = 32
_WAIT_S = 0.5
_SWEEP_S = 0.2  # so long another may have a lock who only looks whether it is free


class Refused(Exception):
    """What is wrong with a file, to be read behind its name: `belongs to another user`."""


class Unread(Refused):
    """The file is not there, or does not open."""


def folder() -> Path:
    return cache_folder() / "engines"


@contextmanager
def keeping(verb: Literal["keep", "remove"] = "keep") -> Iterator[None]:
    """BackendError with the cure where the folder, or a file of it, cannot be written or entered."""
    try:
        yield
    except BrokenPipeError:  # of whoever is told
        raise
    except OSError as error:
        cures = {
            (errno.ENOSPC, errno.EDQUOT): "make room with `edgezoo cache clear engines`",
            (errno.EACCES, errno.EPERM): f"chown -R $USER {cache_folder()}",
        }
        found = [cure for codes, cure in cures.items() if error.errno in codes]
        cure = " or ".join([*found, *(["point EDGEZOO_CACHE elsewhere"] if verb == "keep" else [])])
        told = f"could not {verb} compiled engines in {folder()}: {error.strerror or error}"
        raise BackendError(f"{told}; {cure}" if cure else told) from None


def enter() -> Path:
    """The folder, made where there is none, shut to others. Raises OSError; BackendError where it is another user's."""
    place = folder()
    place.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        place.mkdir(mode=0o700)
    check_ours()
    if stat.S_IMODE(place.stat().st_mode) != 0o700:
        place.chmod(0o700)
    (place / _LOCKS).mkdir(mode=0o700, exist_ok=True)
    return place


def check_ours() -> None:
    """Raises BackendError where the folder is not one, or is another user's; none at all is fine."""
    try:
        found = folder().lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise BackendError(
            f"{folder()}: cannot be looked into: {error.strerror}; point EDGEZOO_CACHE elsewhere"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or _foreign(found):
        what = "belongs to another user" if stat.S_ISDIR(found.st_mode) else "is no folder"
        raise BackendError(
            f"{folder()}: expected a folder of your own for compiled engines, but it {what}; point EDGEZOO_CACHE "
            "elsewhere"
        )


def read(path: Path, *, most: int) -> bytes:
    """The bytes of a file of at most `most`. Raises Refused."""
    data, trouble = look(path, most=most)
    if trouble:
        raise Refused(trouble)
    return data


def look(path: Path, *, most: int) -> tuple[bytes, str]:
    """The bytes of a file of at most `most`, and why they may not be used. Raises Refused where it cannot be read."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise Unread("is gone") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused("is a link") from None
        raise Unread(f"cannot be read: {error.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise Refused("is no plain file")
        if found.st_size > most:
            raise Refused("is larger than it was written")
        trouble = "belongs to another user" if _foreign(found) else ""
        if os.name == "posix" and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            trouble = trouble or "may be written by other users"
        return file.read(most), trouble


def write(data: bytes, path: Path, shop: Path) -> None:
    """Put them there, whole or not at all, and on the disk when it returns. Raises OSError."""
    part = shop / f"{path.name}.whole"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)
    place(part, path)


def place(part: Path, path: Path) -> None:
    """Rename a file that is on the disk already, and have the name there, too. Raises OSError."""
    os.replace(part, path)
    with suppress(OSError):  # not every system lets a folder be opened
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def seal(kind: str, data: bytes, shop: Path) -> str:
    """What proves that this user's cache wrote `data` as that kind of thing; the key is made where there is none."""
    try:
        key = _key()
    except Refused:
        with lock(_KEY):
            try:
                key = _key()
            except Refused:
                key = secrets.token_bytes(_KEY_BYTES)
                write(key, folder() / _KEY, shop)
    return _seal(key, kind, data)


def check(kind: str, data: bytes, sealed: str) -> None:
    """Raises Refused unless this user's cache sealed them."""
    if not hmac.compare_digest(_seal(_key(), kind, data).encode(), sealed.encode("utf-8", "replace")):
        raise Refused("was not built by this cache, or was changed since")


def _seal(key: bytes, kind: str, data: bytes) -> str:
    return hmac.new(key, kind.encode() + b"\0" + data, hashlib.sha256).hexdigest()


def _key() -> bytes:
    try:
        key = read(folder() / _KEY, most=_KEY_BYTES)
    except Refused as error:
        raise Refused(f"was not built by this cache, whose key {error}") from None
    if len(key) != _KEY_BYTES:
        raise Refused("was not built by this cache, whose key is damaged")
    return key


@contextmanager
def lock(name: str, waiting: Callable[[], None] | None = None, *, wait: bool = True) -> Iterator[None]:
    """Alone with what is called so, among all processes; the system lets go where one dies.

    `waiting` is called again and again while another has it. Without `wait`, Timeout is raised at once then.
    """
    held = FileLock(folder() / _LOCKS / f"{name}.lock", mode=0o600)
    try:
        held.acquire(timeout=_SWEEP_S if wait else 0)
    except Timeout:
        if not wait:
            raise
        while not held.is_locked:
            if waiting is not None:
                waiting()
            with suppress(Timeout):
                held.acquire(timeout=_WAIT_S)
    try:
        yield
    finally:
        held.release()


@contextmanager
def workshop(key: str) -> Iterator[Path]:
    """A folder for all that is not whole yet, removed at the end; the lock of that name must be held.

    What killed builders left behind is removed first: a builder that still runs finds its folder gone, and ends.
    """
    sweep(key)
    shop = folder() / f".{key}.{secrets.token_hex(4)}.part"
    shop.mkdir(mode=0o700)
    try:
        yield shop
    finally:
        shutil.rmtree(shop, ignore_errors=True)


def sweep(ours: str = "") -> None:
    """Remove what killed builders left behind; `ours`: the lock that is held already."""
    for left in os.listdir(folder()):
        if (found := _SHOP.fullmatch(left)) is None:
            continue
        if found[1] == ours:
            shutil.rmtree(folder() / left, ignore_errors=True)
            continue
        with suppress(Timeout), lock(found[1], wait=False):
            shutil.rmtree(folder() / left, ignore_errors=True)


def _foreign(found: os.stat_result) -> bool:
    return os.name == "posix" and found.st_uid != os.geteuid()
