"""Official files: fetched once, verified before they get their name, kept in the user's cache.

`EDGEZOO_MIRROR` (a folder or a base URL) is asked before the network; its `SHA256SUMS` says what its files must
hash to, and whoever sets the variable vouches for it. A mirror without such a line must hold the official bytes.
`EDGEZOO_CACHE` moves the cache.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol

from edgezoo.cards import RemoteFile
from edgezoo.errors import WeightsError

RETRIES = 3
PAUSE_S = 1.0
TIMEOUT_S = 30.0
CHUNK = 1 << 14  # what counts as having come at all: a line that takes seconds for it is not worth waiting for


class Progress(Protocol):
    """What a fetch tells while it runs: bytes there so far, and in all where that is known."""

    def __call__(self, name: str, done: int, total: int | None) -> None: ...


def cache_folder() -> Path:
    """Where downloads and bundles are kept: `EDGEZOO_CACHE`, or the system's place for caches."""
    import platformdirs

    return Path(os.environ.get("EDGEZOO_CACHE") or platformdirs.user_cache_dir("edgezoo", appauthor=False))


def fetch(file: RemoteFile, *, progress: Progress | None = None, patience_s: float | None = None) -> Path:
    """A verified local copy of an official file; from the cache, the mirror or the network, in this order.

    `patience_s`: try once, and give up when nothing has come for so long, whatever hangs. Without it a network is
    asked again and again, with timeouts that a look-up of its name does not heed.

    Raises WeightsError: it cannot be had, or is not what its hash says (then no copy is left behind).
    """
    if (there := cached(file)) is not None:
        return there
    if patience_s is None:
        return _fetch(file, progress, _Tries(RETRIES, TIMEOUT_S))
    return _fetch_promptly(file, progress, patience_s)


def cached(file: RemoteFile) -> Path | None:
    """The verified copy that `fetch` would give at once, without a network."""
    try:
        _, expected, kept = _expectation(file, _Tries(0))
        return kept if kept.is_file() and sha256_of(kept).startswith(expected) else None
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class _Tries:
    """How long and how often a network is asked."""

    most: int
    timeout_s: float = 0.0
    """For a connection to be made, and for its next bytes."""


def _fetch_promptly(file: RemoteFile, progress: Progress | None, patience_s: float) -> Path:
    """In a thread of its own, which is left behind where it hangs: nothing in Python bounds the look-up of a name."""
    heard_s = time.monotonic()
    got: list[Path | BaseException] = []
    ended, left = threading.Event(), threading.Event()

    def heard(name: str, done: int, total: int | None) -> None:
        nonlocal heard_s
        heard_s = time.monotonic()
        if left.is_set():
            raise WeightsError("nobody waits for it any more")
        if progress:
            progress(name, done, total)

    def run() -> None:
        try:
            got.append(_fetch(file, heard, _Tries(1, patience_s)))
        except BaseException as error:
            got.append(error)
        ended.set()

    threading.Thread(target=run, name=f"edgezoo fetch {file.name}", daemon=True).start()
    try:
        while not ended.wait(max(0.0, heard_s + patience_s - time.monotonic())):
            if time.monotonic() - heard_s >= patience_s:
                hangs = TimeoutError(f"nothing came for {patience_s:g} s")
                raise WeightsError(f"{file.name}: {hangs}; {CURE}") from hangs
    finally:
        left.set()
    if isinstance(got[0], BaseException):
        raise got[0]
    return got[0]


def _fetch(file: RemoteFile, progress: Progress | None, tries: _Tries) -> Path:
    try:
        mirror, expected, kept = _expectation(file, tries)
        if kept.is_file() and sha256_of(kept).startswith(expected):
            return kept
        kept.parent.mkdir(parents=True, exist_ok=True)
        with partial_file(kept) as part:
            origin = _bring(file, mirror, part, progress, tries)
            got = sha256_of(part)
            if not got.startswith(expected):
                raise WeightsError(
                    f"{file.name} from {origin}: expected SHA-256 {expected[:16]}…, got {got[:16]}…; "
                    "the file is damaged or not the official one, and was not kept"
                )
            os.replace(part, kept)
        return kept
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(
            f"{file.name}: could not keep it under {cache_folder()}: {error}; "
            "make room, or point EDGEZOO_CACHE elsewhere"
        ) from None


def is_cached(file: RemoteFile) -> bool:
    """Whether `fetch` needs no network."""
    return cached(file) is not None


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def why(error: BaseException) -> str:
    """What is at the root of an error, in a few words and without its cure."""
    return _short(error).partition("; ")[0]


def _expectation(file: RemoteFile, tries: _Tries) -> tuple[str, str, Path]:
    """The mirror or "", the hash to hold the file to, and where its copy is kept."""
    mirror = os.environ.get("EDGEZOO_MIRROR", "").rstrip("/")
    expected = _mirror_sums(mirror, tries).get(file.name, file.sha256) if mirror else file.sha256
    return mirror, expected, cache_folder() / "weights" / expected[:16] / file.name


def _bring(file: RemoteFile, mirror: str, part: Path, progress: Progress | None, tries: _Tries) -> str:
    """Put the file's bytes at `part`; where they came from."""
    if mirror and "://" not in mirror:
        source = Path(mirror) / file.name
        if source.is_file():
            _copy(source, part, file.name, progress)
            return str(source)
        if not Path(mirror).is_dir():
            raise WeightsError(f"EDGEZOO_MIRROR: expected a folder or a URL, got {mirror!r}, which is not there")
    elif mirror and _download(f"{mirror}/{file.name}", part, file, progress, tries):
        return mirror
    if not _download(file.url, part, file, progress, tries):
        raise WeightsError(f"{file.name}: {file.url} is not there any more; {CURE}")
    return file.url


def _copy(source: Path, part: Path, name: str, progress: Progress | None) -> None:
    total = source.stat().st_size
    with source.open("rb") as reader:
        chunks = iter(partial(reader.read, 1 << 20), b"")
        _keep(_told(chunks, progress, name, 0, total), part)


def _told(
    chunks: Iterator[bytes], progress: Progress | None, name: str, done: int, total: int | None
) -> Iterator[bytes]:
    """The chunks, each when it was told of: who hears of it may put an end to it."""
    for chunk in chunks:
        done += len(chunk)
        if progress:
            progress(name, done, total)
        yield chunk


def _keep(chunks: Iterator[bytes], part: Path, *, behind: bool = False) -> None:
    """Write them to `part`, or behind what is there; it is opened for the first one, for there may never be any."""
    first = next(chunks, b"")
    with part.open("ab" if behind else "wb") as writer:
        for chunk in chain((first,), chunks):
            writer.write(chunk)


def _download(url: str, part: Path, file: RemoteFile, progress: Progress | None, tries: _Tries) -> bool:
    """Download to `part`, going on where a broken connection stopped; False where there is no such file."""
    import requests

    reason: Exception | None = None
    for attempt in range(tries.most):
        start = part.stat().st_size if part.exists() else 0
        try:
            headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
            with requests.get(url, headers=headers, stream=True, timeout=tries.timeout_s) as answer:
                if answer.status_code == 416:  # a part as long as the file, or longer: begin again
                    part.unlink()
                    continue
                if answer.status_code == 404:
                    return False
                if answer.status_code == 429 or answer.status_code >= 500:  # busy, for now
                    reason = WeightsError(f"it answered {answer.status_code} {answer.reason}")
                    if attempt + 1 < tries.most:
                        time.sleep(PAUSE_S * (attempt + 1))
                    continue
                if not answer.ok:
                    raise WeightsError(f"{file.name}: {url} answered {answer.status_code} {answer.reason}; {CURE}")
                start = start if answer.status_code == 206 else 0
                length = answer.headers.get("Content-Length", "")
                total = start + int(length) if length.isdecimal() else file.bytes
                chunks = answer.iter_content(CHUNK)
                _keep(_told(chunks, progress, file.name, start, total), part, behind=start > 0)
                if total is None or part.stat().st_size >= total:
                    return True
                reason = WeightsError(f"got {part.stat().st_size} of {total} bytes")
        except requests.RequestException as error:
            reason = error
    raise WeightsError(f"{file.name}: could not fetch {url} ({_short(reason)}); {CURE}") from reason


CURE = "check the network, or point EDGEZOO_MIRROR at a folder that holds the file"


def _mirror_sums(mirror: str, tries: _Tries) -> dict[str, str]:
    """The mirror's own SHA256SUMS, by file name; of a URL, the last one seen where it cannot be, or is not, asked."""
    if "://" not in mirror:
        path = Path(mirror) / "SHA256SUMS"
        return _parse_sums(path.read_text("utf-8", "replace")) if path.is_file() else {}
    kept = cache_folder() / "mirrors" / hashlib.sha256(mirror.encode()).hexdigest()[:16]
    if tries.most and not _ask_sums(f"{mirror}/SHA256SUMS", kept, tries):
        return {}
    return _parse_sums(kept.read_text("utf-8", "replace")) if kept.is_file() else {}


def _ask_sums(url: str, kept: Path, tries: _Tries) -> bool:
    """Keep what the mirror says at `kept`; False where it says that there is no such file."""
    import requests

    try:
        answer = requests.get(url, timeout=tries.timeout_s)
        if not answer.ok:
            return False
        kept.parent.mkdir(parents=True, exist_ok=True)
        with partial_file(kept) as part:
            part.write_bytes(answer.content)
            os.replace(part, kept)
    except requests.RequestException:
        pass
    return True


def _parse_sums(text: str) -> dict[str, str]:
    rows = (line.split(maxsplit=1) for line in text.splitlines())
    return {row[1].lstrip("*"): row[0].lower() for row in rows if len(row) == 2 and len(row[0]) == 64}


@contextmanager
def partial_file(final: Path) -> Iterator[Path]:
    """A new name beside `final` to write to; whatever has it at the end is removed.

    It is no file before there is something to write: a thread that hangs until the process ends leaves none.
    """
    part = final.with_name(f".{final.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _short(error: BaseException | None) -> str:
    """The root of a chain of network errors, in a few words."""
    while (
        error is not None
        and (inner := error.__cause__ or error.__context__) is not None
        and isinstance(inner, Exception)
    ):
        error = inner
    return " ".join(str(error).split())[:120]
