"""An RTSP server that talks and never plays: whatever a test wants it to answer."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from contextlib import suppress
from types import TracebackType

SDP = "v=0\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000\r\n{video}"
VIDEO = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 {codec}/90000\r\na=control:track1\r\n"


class Server:
    """Answers on 127.0.0.1, each client in a thread.

    `describe`, `setup`: statuses such as `404 Not Found`; None is silence. `codec`: of its video; None for no video.
    `sends`: a packet of it, and no more. `location`: of what has moved, as a status such as `302 Found` says.
    `login`: `USER:PASSWORD`, asked for by digest with `algorithm`, and `qop`.
    """

    def __init__(
        self,
        *,
        describe: str | None = "200 OK",
        setup: str | None = "200 OK",
        codec: str | None = "H264",
        sends: bool = False,
        location: str = "",
        login: str = "",
        algorithm: str = "",
        qop: str = "",
    ) -> None:
        self.describe, self.setup, self.login, self.sends = describe, setup, login, sends
        self._location = location
        self.questions: list[str] = []
        """Methods, as they came."""
        self._body = SDP.format(video=VIDEO.format(codec=codec) if codec else "")
        self._challenge = 'Digest realm="door", nonce="once"'
        self._challenge += f", algorithm={algorithm}" if algorithm else ""
        self._challenge += f', qop="{qop}", opaque="box"' if qop else ""
        self._hash = hashlib.sha256 if algorithm == "SHA-256" else hashlib.md5
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._clients: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._listen, name="fake rtsp", daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                self._threads.append(
                    threading.Thread(target=self._serve, args=(client,), name="fake rtsp", daemon=True)
                )
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        pending = b""
        with client, suppress(OSError):
            while data := client.recv(4096):
                pending += data
                while b"\r\n\r\n" in pending:
                    head, _, pending = pending.partition(b"\r\n\r\n")
                    if answer := self._answer(head.decode("latin-1")):
                        client.sendall(answer.encode("latin-1"))

    def _answer(self, head: str) -> str:
        method = head.split(" ", 1)[0]
        self.questions.append(method)
        status = {"DESCRIBE": self.describe, "SETUP": self.setup}.get(method, "200 OK")
        if status is None:
            return ""
        number = re.search(r"CSeq: (\d+)", head)
        lines = [f"RTSP/1.0 {status}", f"CSeq: {number[1] if number else 0}"]
        lines += [f"Location: {self._location}"] if self._location and status.startswith("3") else []
        if self.login and method != "OPTIONS" and not self._is_right(head):
            return "\r\n".join(["RTSP/1.0 401 Unauthorized", lines[1], f"WWW-Authenticate: {self._challenge}", "", ""])
        if method == "DESCRIBE" and status.startswith("200"):
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(self._body)}", "", self._body]
            return "\r\n".join(lines)
        if method == "SETUP":
            lines += ["Session: 7;timeout=60", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"]
        packet = "$\0\0\x0c\x80\xe0" + "\0" * 10 if method == "PLAY" and self.sends else ""
        return "\r\n".join([*lines, "", packet])

    def _is_right(self, head: str) -> bool:
        """Whether the answer to the challenge is what whoever knows the password would say (RFC 7616 section 3.4.1)."""
        said = dict(
            re.findall(r'(\w+)="?([^",\r]+)"?', head.partition("Authorization: Digest ")[2].partition("\r\n")[0])
        )
        user, _, password = self.login.partition(":")

        def digest(*parts: str) -> str:
            return self._hash(":".join(parts).encode()).hexdigest()

        secret = digest(user, "door", password)
        asked = digest(head.split(" ", 1)[0], said.get("uri", ""))
        counted = [said["nc"], said["cnonce"], said["qop"]] if "qop" in said else []
        return said.get("response") == digest(secret, "once", *counted, asked) and said.get("username") == user

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._clients):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)
