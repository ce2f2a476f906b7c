"""Questions and answers over one connection, in RTSP or HTTP, with the login that stands in the address."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import SplitResult, unquote

from edgezoo.errors import SourceRefused

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}

_LONGEST = 65536  # no head and no description is longer
_HASHES = {"": hashlib.md5, "MD5": hashlib.md5, "SHA-256": hashlib.sha256}


class Answer(NamedTuple):
    status: int
    reason: str
    headers: dict[str, list[str]]
    """By lower-case name."""
    body: bytes


@dataclass(eq=False)
class Dialog:
    """One connection, questions and answers in turns, all within `timeout_s`.

    `basic`: whether a server that proves no identity may have the password in the clear through TLS.
    """

    url: SplitResult = field(repr=False)
    timeout_s: float
    basic: bool = field(default=False, kw_only=True)
    session: str = field(default="", init=False)

    def __post_init__(self) -> None:
        """Raises OSError where nobody takes the connection."""
        host = self.url.hostname or ""
        self._until = time.monotonic() + self.timeout_s
        self._socket: socket.socket = socket.create_connection(
            (host, self.url.port or PORTS[self.url.scheme]), timeout=self.left_s()
        )
        if self.url.scheme in ("rtsps", "https"):
            context = ssl.create_default_context()
            # As FFmpeg does: cameras sign their own certificates. So no password is sent in the clear through it.
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            try:
                self._socket = context.wrap_socket(self._socket, server_hostname=host)
            except BaseException:
                self._socket.close()
                raise
        self._pending = b""
        self._number = 0

    @property
    def uri(self) -> str:
        """The address as a server is asked for it: without login."""
        return self.url._replace(netloc=self.url.netloc.rpartition("@")[2]).geturl()

    @property
    def ends(self) -> tuple[str, str]:
        """Addresses as numbers: ours, and the server's."""
        return self._socket.getsockname()[0], self._socket.getpeername()[0]

    def say(self, method: str, uri: str, headers: dict[str, str] | None = None) -> Answer:
        """Ask; where a login is asked for in return, and the address has one, ask again with it.

        Raises SourceRefused where whoever is in between could read the password.
        """
        answer = self._exchange(method, uri, headers or {}, "")
        login = self._login_for(answer, method, uri)
        if answer.status == 401 and login:
            if self.url.scheme.startswith("http"):
                self._connect_again()
            answer = self._exchange(method, uri, headers or {}, login)
        return answer

    def wait_for_data(self) -> None:
        """Until something of a picture comes: any byte, or a packet on the channel that was set up for it.

        Raises TimeoutError, ConnectionError.
        """
        while not self._pending or (self.session and self._pending[:2] != b"$\0"):
            if not self._skip_packet():
                self._receive()

    def _exchange(self, method: str, uri: str, headers: dict[str, str], login: str) -> Answer:
        self._number += 1
        http = self.url.scheme.startswith("http")
        lines = [f"{method} {uri} {'HTTP/1.0' if http else 'RTSP/1.0'}"]
        lines += [f"Host: {self.url.netloc.rpartition('@')[2]}"] if http else [f"CSeq: {self._number}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Session: {self.session}"] if self.session else []
        lines += [f"Authorization: {login}"] if login else []
        self._socket.settimeout(self.left_s())
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        return self._answer(with_body=not http)

    def _answer(self, *, with_body: bool) -> Answer:
        while self._pending[:1] == b"$" or b"\r\n\r\n" not in self._pending:
            if not self._skip_packet():
                self._receive()
        head, _, self._pending = self._pending.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        found = re.match(r"\w+(?:/\d\.\d)? (\d{3}) ?(.*)", first)
        if found is None:
            raise ConnectionError("it speaks another language")
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers.setdefault(name.strip().lower(), []).append(value.strip())
        length = headers.get("content-length", ["0"])[0]
        size = min(int(length), _LONGEST) if with_body and length.isdecimal() else 0
        while len(self._pending) < size:
            self._receive()
        body, self._pending = self._pending[:size], self._pending[size:]
        return Answer(int(found[1]), found[2].strip(), headers, body)

    def _skip_packet(self) -> bool:
        """Drop a packet that stands before what is waited for; False where there is none, or not all of it yet."""
        length = 4 + int.from_bytes(self._pending[2:4], "big")
        if self._pending[:1] != b"$" or len(self._pending) < max(length, 4):
            return False
        self._pending = self._pending[length:]
        return True

    def _receive(self) -> None:
        self._socket.settimeout(self.left_s())
        data = self._socket.recv(16384)
        if not data:
            raise ConnectionError("it hung up")
        self._pending += data
        if len(self._pending) > 2 * _LONGEST:
            raise ConnectionError("it speaks another language")

    def left_s(self) -> float:
        """Of the time for all; TimeoutError once it is over."""
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def _connect_again(self) -> None:
        """HTTP/1.0 has one answer a connection."""
        self._socket.close()
        left_s = self.left_s()
        fresh = Dialog(self.url, left_s, basic=self.basic)
        self._socket, self._pending = fresh._socket, b""

    def _login_for(self, answer: Answer, method: str, uri: str) -> str:
        """How to answer the server's challenge; empty where there is no login, or no way we know."""
        user, password = unquote(self.url.username or ""), unquote(self.url.password or "")
        challenges = answer.headers.get("www-authenticate", [])
        digests = [each for each in challenges if each.lower().startswith("digest")]
        if not self.url.username:
            return ""
        for challenge in digests:
            if response := _digest(challenge, user, password, method, uri):
                return response
        if not any(each.lower().startswith("basic") for each in challenges):
            return ""
        if self.url.scheme in ("rtsps", "https") and not self.basic:
            raise SourceRefused(
                f"got '{answer.status} {answer.reason}' from the server, which wants the password in the clear "
                "(Basic), and its certificate is not checked; where you trust the line: #basic=1"
            )
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")

    def __enter__(self) -> Dialog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye where something is played to us, and hang up."""
        with suppress(OSError), self._socket:
            if self.session:
                self.say("TEARDOWN", self.uri)

    # -- for who goes on with the connection, by a clock of his own

    def take(self) -> bytes:
        """What has come behind the last answer."""
        pending, self._pending = self._pending, b""
        return pending

    def receive(self, timeout_s: float) -> bytes:
        """The next bytes; with 0, those that are there. OSError where there are none."""
        self._socket.settimeout(timeout_s)
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("it hung up")
        return data

    def cut(self) -> None:
        """Whoever receives is told at once that there is no more. From any thread, any number of times."""
        with suppress(OSError):  # closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        self._socket.close()


def _digest(challenge: str, user: str, password: str, method: str, uri: str) -> str:
    """The answer to a digest challenge (RFC 7616 section 3.4); empty for one that is not understood."""
    said = {
        name.lower(): quoted or bare for name, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', challenge)
    }
    algorithm = said.get("algorithm", "")
    made = _HASHES.get(algorithm.upper())
    if made is None or "nonce" not in said:
        return ""
    realm, nonce = said.get("realm", ""), said["nonce"]

    def digest(*parts: str) -> str:
        return made(":".join(parts).encode()).hexdigest()

    secret, asked = digest(user, realm, password), digest(method, uri)
    fields = {"username": user, "realm": realm, "nonce": nonce, "uri": uri}
    if "auth" in said.get("qop", "").split(","):
        once = secrets.token_hex(8)
        fields["response"] = digest(secret, nonce, "00000001", once, "auth", asked)
        counted = f', qop=auth, nc=00000001, cnonce="{once}"'
    else:
        fields["response"] = digest(secret, nonce, asked)
        counted = ""
    if "opaque" in said:
        fields["opaque"] = said["opaque"]
    told = ", ".join(f'{name}="{value}"' for name, value in fields.items())
    return f"Digest {told}{counted}" + (f", algorithm={algorithm}" if algorithm else "")
