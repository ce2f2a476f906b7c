"""Servers that send JPEGs over HTTP badly, something else, or us elsewhere; and plain packets over TCP and UDP."""

from __future__ import annotations

import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from edgezoo.errors import SourceAbsent, SourceError, SourceRefused
from edgezoo.sources import open_source
from edgezoo.sources._ask import check
from edgezoo.sources._dialog import Answer

cv2: Any = pytest.importorskip("cv2")

VIDEO = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n"
PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
JPEG, PNG = (cv2.imencode(kind, PICTURE)[1].tobytes() for kind in (".jpg", ".png"))


def part(data: bytes) -> bytes:
    return b"--f\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"


class Server:
    """Says to each who asks what `answers` makes of the question, piece by piece; then waits to be closed."""

    def __init__(self, answers: Callable[[str], Iterator[bytes]], context: ssl.SSLContext | None = None) -> None:
        self.questions: list[str] = []
        self._answers, self._context = answers, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._stack = ExitStack()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video"

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client if self._context is None else self._context.wrap_socket(client, True) as line:
            line.settimeout(5)
            asked = b""
            while b"\r\n\r\n" not in asked:
                if not (data := line.recv(4096)):
                    return
                asked += data
            self.questions.append(asked.decode())
            for piece in self._answers(self.questions[-1]):
                line.sendall(piece)
                if self._over.is_set():
                    return
            line.recv(1)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(6)


def over_and_over(piece: bytes, seconds: float) -> Iterator[bytes]:
    yield VIDEO
    while True:
        yield piece
        time.sleep(seconds)


def drip(data: bytes) -> Iterator[bytes]:
    yield VIDEO
    for at in range(len(data)):
        yield data[at : at + 1]
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("pieces", "raises", "says"),
    [
        (
            lambda: over_and_over(part(JPEG[: len(JPEG) // 2]), 0.05),
            SourceAbsent,
            r"got \d+ pictures within 0\.3 s, none",
        ),
        (lambda: over_and_over(part(b""), 0), SourceRefused, "no JPEGs"),
        (lambda: over_and_over(part(PNG), 0.05), SourceRefused, "no JPEGs"),
        (lambda: over_and_over(part(JPEG[:100]), 0), SourceAbsent, "none of which can be read"),
        (
            lambda: over_and_over(part(JPEG[: len(JPEG) // 2] + bytes(99)), 0.05),
            SourceAbsent,
            "none of which can be read",
        ),
        (lambda: drip(part(JPEG)), SourceAbsent, r"no picture within 0\.3 s"),
    ],
)
def test_a_camera_whose_pictures_cannot_be_shown_does_not_open_for_ever(
    pieces: Callable[[], Iterator[bytes]], raises: type[SourceError], says: str
) -> None:
    with Server(lambda _: pieces()) as server:
        began = time.monotonic()
        with pytest.raises(raises, match=says) as raised:
            open_source(f"{server.url}#timeout=0.3")
        assert time.monotonic() - began < 2
    assert type(raised.value) is raises


@pytest.mark.parametrize("filling", [b"\0" * 511, b"\xff" * 31, b"\r\n"])
def test_pictures_with_filling_behind_them_are_whole(filling: bytes) -> None:
    server = Server(lambda _: over_and_over(part(JPEG + filling), 0.02))
    with server, closing(open_source(f"{server.url}#timeout=2")) as source:
        next(iter(source))
        assert source.damaged == 0


def test_pictures_that_cannot_be_shown_any_more_are_the_end() -> None:
    def going_bad(_: str) -> Iterator[bytes]:
        yield VIDEO + part(JPEG)
        while True:
            time.sleep(0.05)
            yield part(JPEG[:100])

    with Server(going_bad) as server:
        frames = iter(open_source(f"{server.url}#timeout=0.3"))
        assert next(frames).index == 0
        with pytest.raises(SourceError, match=r"no frame for 0\.3 s after frame 0"):
            next(frames)


def test_a_camera_that_sends_faster_than_it_is_read_is_seen() -> None:
    with Server(lambda _: over_and_over(part(JPEG) * 100, 0)) as server:
        source = open_source(server.url)
        began = time.monotonic()
        indices = [frame.index for frame in islice(source, 10)]
        source.close()
        assert time.monotonic() - began < 3
    assert indices == sorted(set(indices))
    assert indices[-1] > 100, "of what comes faster, the newest is shown"


def test_the_picture_that_opened_a_slow_camera_is_shown() -> None:
    def one(_: str) -> Iterator[bytes]:
        yield VIDEO + part(JPEG) + b"--f\r\n"

    with Server(one) as server:
        source = open_source(server.url)
        frame = next(iter(source))
        assert (frame.index, frame.image.shape) == (0, (48, 64, 3))
        source.close()


def sent_on(to: str) -> bytes:
    return f"HTTP/1.0 302 Found\r\nLocation: {to}\r\nContent-Type: text/html\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("/new", ""),
        ("new?size=big", ""),
        ("http://127.0.0.1:{port}/new", ""),
        ("//127.0.0.1:{port}/new", ""),
        ("http://someone:else@127.0.0.1:{port}/new", ""),
        ("/video", "sent on more than 5 times"),
        ("ftp://127.0.0.1/new", "sent on to ftp:…"),
        ("http://[h/", "sent on to nowhere"),
        ("http://127.0.0.1:1/new?token=secret", r"127\.0\.0\.1:1 does not answer .*sent us on to 127\.0\.0\.1:1"),
        ("/gone", r"404 .*sent us on to 127\.0\.0\.1:\d+"),
        ("", "'302 Found' from the server; is the path right"),
    ],
)
def test_where_a_server_sends_us_on_to_is_followed(to: str, says: str) -> None:
    def answers(question: str) -> Iterator[bytes]:
        if " /gone " in question:
            yield b"HTTP/1.0 404 Not Found\r\n\r\n"
        else:
            yield VIDEO + part(JPEG) if " /new" in question else sent_on(to.format(port=server.port))

    with Server(answers) as server:
        if not says:
            source = open_source(server.url)
            assert source.address == server.url
            source.close()
            return
        with pytest.raises(SourceError, match=says) as raised:
            open_source(server.url)
    assert "secret" not in str(raised.value)


def test_a_login_goes_along_to_the_same_host_alone() -> None:
    def answers(question: str) -> Iterator[bytes]:
        if "Authorization" not in question:
            yield b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'
        else:
            path = question.split()[1]
            yield VIDEO + part(JPEG) if path == "/new" else sent_on(f"http://{host}:{server.port}/new")

    with Server(answers) as server:
        with_login = server.url.replace("//", "//me:secret@")
        host = "127.0.0.1"
        open_source(with_login).close()
        host = "localhost"
        server.questions.clear()
        with pytest.raises(SourceRefused, match=r"401 .*sent us on to localhost") as raised:
            open_source(with_login)
        assert ["Authorization" in question for question in server.questions] == [False, True, False]
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "path", "refused"),
    [
        ("text/html", "", True),
        ("application/json; charset=utf-8", "", True),
        ("application/problem+json", "", True),
        ("text/plain", "", True),
        ("text/plain", "list.m3u8", False),
        ("audio/mpeg", "", True),
        ("audio/x-mpegurl", "", False),
        ("application/dash+xml", "", False),
        ("application/octet-stream", "", False),
        ("text/vnd.trolltech.linguist", "clip.ts", False),
        ("video/mp2t", "", False),
        ("", "", False),
    ],
)
def test_what_is_no_video_is_refused_by_its_kind(kind: str, path: str, refused: bool) -> None:
    answer = Answer(200, "OK", {"content-type": [kind]}, b"")
    if not refused:
        assert check(answer, urlsplit(f"http://h/{path}")) is answer
        return
    with pytest.raises(SourceRefused, match="no video; is the path right") as raised:
        check(answer, urlsplit(f"http://h/{path}"))
    assert raised.value.may_pass


def test_through_tls_a_password_is_not_sent_in_the_clear_unasked(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=camera"]
    made += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def answers(question: str) -> Iterator[bytes]:
        if "Authorization: Basic" in question:
            yield VIDEO + part(JPEG)
        else:
            yield b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'

    with Server(answers, context) as server:
        address = server.url.replace("http://", "https://me:secret@")
        with pytest.raises(SourceRefused, match=r"401 .*in the clear \(Basic\).* #basic=1") as raised:
            open_source(address)
        assert len(server.questions) == 1
        source = open_source(f"{address}#basic=1")
        assert next(iter(source)).index == 0
        source.close()
        with pytest.raises(SourceRefused, match="is the login right"):
            open_source(address.replace("me:secret@", ""))
    assert "secret" not in str(raised.value)


def test_a_process_with_many_files_open_reads_on() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("so many files may not be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while stack.enter_context(Path("/dev/null").open("rb")).fileno() < 1024:
            pass
        server = stack.enter_context(Server(lambda _: over_and_over(part(JPEG), 0.02)))
        source = open_source(server.url)
        assert len(list(islice(source, 3))) == 3
        source.close()


# -- packets


@pytest.fixture(scope="module")
def packets(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """An MPEG transport stream, as one sends it over UDP."""
    path = tmp_path_factory.mktemp("packets") / "clip.ts"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 48))
    for number in range(75):
        writer.write(np.roll(PICTURE, number, axis=1))
    writer.release()
    data = path.read_bytes()
    assert data[0] == data[188] == 0x47
    return [data[at : at + 1316] for at in range(0, len(data), 1316)]


@contextmanager
def sending(packets: list[bytes], port: int) -> Iterator[None]:
    """To a port over UDP, over and over."""
    over = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            number = 0
            while not over.wait(3 / len(packets) if number > len(packets) else 0.002):
                mouth.sendto(packets[number % len(packets)], ("127.0.0.1", port))
                number += 1

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


def test_packets_over_udp_are_a_stream(packets: list[bytes]) -> None:
    port = free_port()
    with sending(packets, port), closing(open_source(f"udp://127.0.0.1:{port}?localport={port}")) as source:
        frames = iter(source)
        assert next(frames).image.shape == (48, 64, 3)
        with pytest.raises(SourceAbsent, match="nobody can listen on port"):
            open_source(f"udp://127.0.0.1:{port}")


def test_packets_over_tcp_are_a_stream_of_one_connection(packets: list[bytes]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        clients: list[socket.socket] = []

        def send() -> None:
            with listener.accept()[0] as client, suppress(OSError):
                clients.append(client)
                for piece in packets:
                    client.sendall(piece)
                client.recv(1)

        sender = threading.Thread(target=send)
        sender.start()
        with closing(open_source(f"tcp://127.0.0.1:{listener.getsockname()[1]}")) as source:
            assert next(iter(source)).image.shape == (48, 64, 3)
        sender.join()
    assert len(clients) == 1
