"""A server on a port of its own, for a test: it ends with it, and leaves no thread behind."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from edgezoo.engine import Engine
from edgezoo.serve import Service
from edgezoo.web.server import open_port


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert self.headers["content-type"] == "application/json", self
        line: str = self.json["error"]
        assert "\n" not in line
        return line


@contextmanager
def serving(engines: Mapping[str, Engine], *, sources: Sequence[str] = (), **options: Any) -> Iterator[Service]:
    before = {thread.ident for thread in threading.enumerate()}
    with ExitStack() as unless_made:
        listening = unless_made.enter_context(open_port("127.0.0.1", 0))
        service = Service(engines, listening, sources=sources, **options)
        unless_made.pop_all()
    running = threading.Thread(target=service.run, name="test's server")
    running.start()
    try:
        wait_for(lambda: service.server.alive)
        yield service
    finally:
        service.close()
        running.join(20)
    left = [thread.name for thread in threading.enumerate() if thread.ident not in before]
    assert not [name for name in left if name.startswith("edgezoo")], left


def ask(port: int, path: str, body: bytes | None = None, *, method: str | None = None, **headers: str) -> Answer:
    """One request; `content_type=…` is a header."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, named)
        came = connection.getresponse()
        return Answer(came.status, {name.lower(): value for name, value in came.getheaders()}, came.read())
    finally:
        connection.close()


def raw(port: int, data: bytes, *, patience_s: float = 10.0, half: bool = False) -> bytes:
    """What comes back until the server ends the connection; `half`: after that nothing more is sent, and it is told."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as connection:
        connection.sendall(data)
        if half:
            connection.shutdown(socket.SHUT_WR)
        came = b""
        try:
            while part := connection.recv(65536):
                came += part
        except ConnectionResetError:
            pass
        return came


def multipart(files: Mapping[str, bytes], *, boundary: str = "-o-") -> tuple[bytes, str]:
    """Body and content type."""
    body = b""
    for name, data in files.items():
        head = f'Content-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
        body += f"--{boundary}\r\n{head}".encode() + data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def wait_for(true: Any, *, patience_s: float = 20.0) -> Any:
    until_s = time.monotonic() + patience_s
    while not (value := true()):
        assert time.monotonic() < until_s, "it did not come"
        time.sleep(0.01)
    return value
