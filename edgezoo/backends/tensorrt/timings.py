"""TensorRT's timing caches: how fast each kernel was, so that the next build need not try it again.

One file for each version of TensorRT, GPU and compute capability. It begins with a line that says what it is for and is
its seal, for native code reads the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from edgezoo.backends.tensorrt import private
from edgezoo.backends.tensorrt.cuda import Facts
from edgezoo.backends.tensorrt.private import Refused

_KIND = "timing"
_LARGEST = 1 << 28
_BEGINS = "timing-"


def lend(here: Facts, to: Path) -> str:
    """Put the timing cache for this machine there, where there is one; a word where that is damaged. Raises OSError."""
    path = _path(here)
    try:
        line, _, data = private.read(path, most=_LARGEST).partition(b"\n")
        private.check(_KIND, _for(here) + data, line.decode("utf-8", "replace").rpartition(" ")[2])
    except Refused as error:
        if not path.exists() and not path.is_symlink():
            return ""
        path.unlink()
        return f"the timing cache {error}, and was thrown away: this build tries every kernel again"
    to.write_bytes(data)
    return ""


def keep(here: Facts, new: Path, shop: Path) -> None:
    """Keep a new one in place of the older; a larger one than is ever read is not kept. Raises OSError."""
    data = new.read_bytes()
    line = f"{_told(here)} {private.seal(_KIND, _for(here) + data, shop)}\n".encode()
    if len(line) + len(data) <= _LARGEST:
        private.write(line + data, _path(here), shop)


def fits(path: Path, here: Iterable[Facts]) -> bool:
    """Whether it is for one of these machines."""
    return path in map(_path, here)


def kept() -> list[tuple[Path, str]]:
    """All that lie there, with what each says that it is for."""
    found = []
    for path in sorted(private.folder().glob(f"{_BEGINS}*.cache")):
        with suppress(OSError):
            if not path.is_symlink() and path.is_file():
                with path.open("rb") as file:
                    found.append((path, file.readline(400).decode("utf-8", "replace").rpartition(" ")[0]))
    return found


def _path(here: Facts) -> Path:
    return private.folder() / f"{_BEGINS}{hashlib.sha256(_for(here)).hexdigest()[:12]}.cache"


def _for(here: Facts) -> bytes:
    return json.dumps([here.tensorrt, here.gpu, here.capability]).encode()


def _told(here: Facts) -> str:
    return " ".join(f"TensorRT {here.tensorrt}, {here.gpu} ({here.capability})".split())
