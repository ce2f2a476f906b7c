"""Official files: from the mirror or the network, verified before they are kept, and kept for good."""

from __future__ import annotations

import errno
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgezoo import weights
from edgezoo.cards import RemoteFile, names, read_card
from edgezoo.errors import WeightsError
from edgezoo.weights import CHUNK, RETRIES, cache_folder, cached, fetch, is_cached, sha256_of

BYTES = bytes(range(256)) * 4000  # 1 MB, in several chunks
OTHER = BYTES[::-1]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def official(base: str = "http://127.0.0.1:9", *, sha256: str = digest(BYTES), size: int | None = None) -> RemoteFile:
    """The file as a card tells of it; port 9 answers nobody."""
    return RemoteFile(url=f"{base}/official/net.pth", sha256=sha256, bytes=size)


def kept() -> list[str]:
    """Every file of the cache."""
    return sorted(path.name for path in cache_folder().rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGEZOO_MIRROR", raising=False)
    monkeypatch.setattr(weights, "TIMEOUT_S", 5)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty mirror."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    monkeypatch.setenv("EDGEZOO_MIRROR", str(mirror))
    return mirror


class Server(http.server.ThreadingHTTPServer):
    """Answers what `files` holds, breaks connections as `breaks` says, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server_address[1]}"
        self.files: dict[str, bytes | int] = {}
        """Bytes to answer with, or a status."""
        self.breaks: list[int] = []
        """After how many bytes the next answers end early; -1: they are whole."""
        self.ranges = True
        self.lengths = True
        self.asked: list[tuple[str, str | None]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        found = self.server.files.get(self.path, 404)
        if isinstance(found, int):
            self.send_error(found)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        if start >= len(found) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if self.server.lengths:
            self.send_header("Content-Length", str(len(found) - start))
        self.end_headers()
        early = self.server.breaks.pop(0) if self.server.breaks else -1
        self.wfile.write(found[start:] if early < 0 else found[start : start + early])
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        made.files["/official/net.pth"] = BYTES
        yield made
        made.shutdown()
        thread.join()


# A folder as the mirror.


def test_a_mirror_vouches_for_its_own_bytes(folder: Path) -> None:
    (folder / "net.pth").write_bytes(OTHER)
    (folder / "SHA256SUMS").write_text(f"# sums\n{digest(OTHER).upper()}  net.pth\n\n")
    path = fetch(official())
    assert path.read_bytes() == OTHER
    assert path.is_relative_to(cache_folder())


@pytest.mark.parametrize("sums", ["", f"{digest(OTHER)} *net.pth\n", f"{digest(OTHER)[:8]}  net.pth\n", "\x00\xff\n"])
def test_a_mirror_that_does_not_vouch_must_hold_the_official_bytes(folder: Path, sums: str) -> None:
    (folder / "net.pth").write_bytes(BYTES)
    (folder / "SHA256SUMS").write_bytes(sums.encode("latin-1"))
    if digest(OTHER) in sums:
        with pytest.raises(WeightsError, match="expected SHA-256"):
            fetch(official())
    else:
        assert fetch(official()).read_bytes() == BYTES


def test_wrong_bytes_are_refused_and_not_kept(folder: Path) -> None:
    (folder / "net.pth").write_bytes(OTHER)
    with pytest.raises(WeightsError) as caught:
        fetch(official())
    told = str(caught.value)
    assert digest(BYTES)[:16] in told
    assert digest(OTHER)[:16] in told
    assert str(folder) in told
    assert "\n" not in told
    assert kept() == []


@pytest.mark.parametrize("digits", [8, 10, 63])
def test_the_first_digits_of_a_hash_hold_too(folder: Path, digits: int) -> None:
    (folder / "net.pth").write_bytes(BYTES)
    assert fetch(official(sha256=digest(BYTES)[:digits])).read_bytes() == BYTES
    (folder / "net.pth").write_bytes(OTHER)
    with pytest.raises(WeightsError, match="not kept"):
        fetch(official(sha256=digest(b"something else")[:digits]))


def test_once_cached_nothing_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "net.pth").write_bytes(BYTES)
    assert not is_cached(official())
    path = fetch(official())
    assert is_cached(official())
    (folder / "net.pth").unlink()
    assert fetch(official()) == path
    monkeypatch.delenv("EDGEZOO_MIRROR")
    assert fetch(official()) == path
    assert kept() == ["net.pth"]


def test_patience_changes_nothing_where_bytes_come(folder: Path, server: Server) -> None:
    (folder / "net.pth").write_bytes(BYTES)
    assert fetch(official(), patience_s=5).read_bytes() == BYTES
    with pytest.raises(WeightsError, match=r"port=9.*Connection refused|refused"):
        fetch(RemoteFile(url="http://127.0.0.1:9/other.pth", sha256=digest(OTHER)), patience_s=5)


def test_a_damaged_copy_in_the_cache_is_fetched_again(folder: Path) -> None:
    (folder / "net.pth").write_bytes(BYTES)
    path = fetch(official())
    path.write_bytes(BYTES[:-1])
    assert fetch(official()).read_bytes() == BYTES
    path.write_bytes(b"")
    (folder / "net.pth").unlink()
    with pytest.raises(WeightsError):
        fetch(official())


def test_a_mirror_without_the_file_leaves_it_to_the_network(folder: Path, server: Server) -> None:
    assert fetch(official(server.base)).read_bytes() == BYTES


def test_a_mirror_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEZOO_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match=r"EDGEZOO_MIRROR: expected a folder or a URL, got .*nowhere"):
        fetch(official())


# The network.


def test_a_download_tells_how_far_it_is(server: Server) -> None:
    told: list[tuple[str, int, int | None]] = []
    path = fetch(official(server.base), progress=lambda *step: told.append(step))
    assert path.read_bytes() == BYTES
    assert {name for name, _, _ in told} == {"net.pth"}
    assert {total for _, _, total in told} == {len(BYTES)}
    done = [bytes_done for _, bytes_done, _ in told]
    assert done == sorted(done)
    assert done[-1] == len(BYTES)


def test_a_broken_connection_goes_on_where_it_stopped(server: Server) -> None:
    server.breaks = [300_000, 400_000]
    assert fetch(official(server.base)).read_bytes() == BYTES
    first = 300_000 // CHUNK * CHUNK  # in whole chunks
    then = first + 400_000 // CHUNK * CHUNK
    assert [wanted for _, wanted in server.asked] == [None, f"bytes={first}-", f"bytes={then}-"]


def test_a_server_that_cannot_go_on_begins_again(server: Server) -> None:
    server.breaks, server.ranges = [300_000], False
    assert fetch(official(server.base)).read_bytes() == BYTES
    assert len(server.asked) == 2


def test_the_card_s_size_tells_of_a_break_where_the_server_does_not(server: Server) -> None:
    server.breaks, server.lengths = [300_000], False
    assert fetch(official(server.base, size=len(BYTES))).read_bytes() == BYTES
    assert [wanted for _, wanted in server.asked] == [None, "bytes=300000-"]


def test_a_part_that_is_too_long_is_thrown_away(server: Server) -> None:
    server.lengths, server.breaks = False, []
    server.files["/official/net.pth"] = BYTES[:1000]
    wrong = official(server.base, size=5000, sha256=digest(BYTES[:1000]))  # a card whose size is wrong
    with pytest.raises(WeightsError, match="could not fetch"):
        fetch(wrong)
    assert len(server.asked) == weights.RETRIES
    assert kept() == []


def test_a_connection_that_always_breaks(server: Server) -> None:
    server.breaks = [10] * 10
    with pytest.raises(WeightsError) as caught:
        fetch(official(server.base))
    assert len(server.asked) == weights.RETRIES
    told = str(caught.value)
    assert re.fullmatch(
        r"net\.pth: could not fetch http://127.* \(.+\); check the network, or .*EDGEZOO_MIRROR.*", told
    )
    assert kept() == []


@pytest.mark.parametrize(
    ("status", "told"),
    [(404, "is not there any more"), (403, "answered 403 Forbidden"), (500, "answered 500 Internal Server Error")],
)
def test_a_server_that_says_no(server: Server, status: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgezoo.weights.PAUSE_S", 0.0)
    server.files["/official/net.pth"] = status
    with pytest.raises(WeightsError, match=rf"{told}\)?; check the network, or point EDGEZOO_MIRROR at a folder"):
        fetch(official(server.base))
    assert len(server.asked) == (RETRIES if status >= 500 else 1)  # who is busy is asked again
    assert kept() == []


@pytest.mark.parametrize("base", ["http://127.0.0.1:9", "https://not.to.be.found"])
def test_nobody_there(base: str) -> None:
    with pytest.raises(WeightsError, match=re.escape(f"net.pth: could not fetch {base}/official/net.pth (")):
        fetch(official(base))
    assert kept() == []


def test_an_interrupted_download_leaves_nothing(server: Server) -> None:
    def interrupt(name: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(official(server.base), progress=interrupt)
    assert kept() == []


def test_there_is_no_file_before_there_are_bytes(server: Server) -> None:
    """A process may end while a thread still waits for the first ones."""
    seen: list[list[str]] = []
    fetch(official(server.base), progress=lambda *_: seen.append(kept()))
    assert seen[0] == []
    assert len(seen[-1]) == 1


def test_a_copy_that_was_damaged_is_not_cached(folder: Path) -> None:
    (folder / "net.pth").write_bytes(BYTES)
    path = fetch(official())
    assert is_cached(official())
    path.write_bytes(OTHER)
    assert not is_cached(official())


class Full:
    """A file on a full disk."""

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def write(self, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("from_mirror", [True, False])
def test_a_full_disk(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, from_mirror: bool) -> None:
    if from_mirror:
        (folder / "net.pth").write_bytes(BYTES)
    real = Path.open

    def opened(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        return Full() if path.name.endswith(".part") and mode != "rb" else real(path, mode, *more, **options)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(WeightsError, match=r"net\.pth: .*No space left on device.* EDGEZOO_CACHE"):
        fetch(official(server.base))
    assert len(server.asked) == (0 if from_mirror else 1)
    assert kept() == []


def test_a_cache_that_cannot_be(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "net.pth").write_bytes(BYTES)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="EDGEZOO_CACHE"):
        fetch(official())


def test_wrong_bytes_from_the_network(server: Server) -> None:
    server.files["/official/net.pth"] = OTHER
    with pytest.raises(WeightsError, match=f"net.pth from {server.base}/official/net.pth: expected SHA-256"):
        fetch(official(server.base))
    assert kept() == []


# A URL as the mirror.


@pytest.fixture
def url_mirror(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("EDGEZOO_MIRROR", f"{server.base}/mirror/")
    return server


def test_a_url_as_the_mirror(url_mirror: Server) -> None:
    url_mirror.files |= {"/mirror/net.pth": OTHER, "/mirror/SHA256SUMS": f"{digest(OTHER)}  net.pth\n".encode()}
    assert fetch(official(url_mirror.base)).read_bytes() == OTHER
    assert "/official/net.pth" not in {path for path, _ in url_mirror.asked}


def test_wrong_bytes_from_a_url_mirror(url_mirror: Server) -> None:
    url_mirror.files["/mirror/net.pth"] = OTHER
    with pytest.raises(WeightsError, match=f"net.pth from {url_mirror.base}/mirror: expected SHA-256"):
        fetch(official(url_mirror.base))
    assert kept() == []


def test_a_url_mirror_without_the_file(url_mirror: Server) -> None:
    assert fetch(official(url_mirror.base)).read_bytes() == BYTES
    assert [path for path, _ in url_mirror.asked] == ["/mirror/SHA256SUMS", "/mirror/net.pth", "/official/net.pth"]


@pytest.mark.parametrize("place", ["mirror", "404"])
def test_a_url_mirror_that_fails_is_told(server: Server, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr("edgezoo.weights.PAUSE_S", 0.0)
    monkeypatch.setenv("EDGEZOO_MIRROR", f"{server.base}/{place}")
    server.files[f"/{place}/net.pth"] = 500
    with pytest.raises(WeightsError, match="answered 500"):
        fetch(official(server.base))
    assert "/official/net.pth" not in {path for path, _ in server.asked}


def test_a_url_mirror_that_is_gone_is_remembered(url_mirror: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url_mirror.files |= {"/mirror/net.pth": OTHER, "/mirror/SHA256SUMS": f"{digest(OTHER)}  net.pth\n".encode()}
    path = fetch(official(url_mirror.base))
    asked = len(url_mirror.asked)
    assert fetch(official(url_mirror.base)) == cached(official(url_mirror.base)) == path
    assert len(url_mirror.asked) == asked, "once cached, nothing is asked"
    url_mirror.shutdown()
    url_mirror.socket.close()
    assert is_cached(official(url_mirror.base))
    path.write_bytes(BYTES)  # damaged: what it must hash to is remembered
    assert cached(official(url_mirror.base)) is None
    with pytest.raises(WeightsError, match="could not fetch"):
        fetch(official(url_mirror.base))


# The zoo's own files.


def test_the_mirror_has_files_of_the_zoo(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEZOO_MIRROR", str(mirror))
    official_files = [
        file for card in map(read_card, names()) for file in (card.weights, card.onnx) if file is not None
    ]
    there = [file for file in official_files if (mirror / file.name).is_file()]
    assert there, f"{mirror} holds no file that a card names"
    for file in there:
        assert sha256_of(fetch(file)) == sha256_of(mirror / file.name)
