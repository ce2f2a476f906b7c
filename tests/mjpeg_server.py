"""An HTTP camera as phones are: JPEGs one after another as `multipart/x-mixed-replace`; with the controls of rtsp.py.

    with mjpeg_server.Server(fps=15, size="320x240") as server:
        source = open_source(server.url)
        server.kill()      # connections break off, the port is closed
        server.start()     # again, on the same port
        server.stall()     # connections stay, and who comes gets his header, but no frame is sent
        server.go_on()
        server.freeze()    # connections are taken, nobody answers
        server.thaw()
        server.pace(5)     # frames a second from now on
        server.resize("640x480")
        server.vanish()    # 404 for who asks from now on; who watches goes on
        server.appear()

The frames are synthetic, with number and `time.monotonic_ns()` burnt in, numbered by client.
"""

from __future__ import annotations

import base64
import http.server
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

import cv2

from edgezoo.address import Address
from edgezoo.sources import barcode
from edgezoo.sources.synthetic import Synthetic

Style = Literal["plain", "dashed", "quoted", "no length"]
"""How the camera writes its boundary: by the book, with the dashes in its name, in quotes; or without a length."""

_BOUNDARIES = {"plain": "frame", "dashed": "--frame", "quoted": '"frame"', "no length": "frame"}
_LONGEST_S = 120.0  # no connection lives longer, whatever a test forgets


@dataclass(eq=False)
class _Camera:
    """What it shows and how, and whether it is in the mood; changed while it runs."""

    fps: float
    size: str
    login: str | None
    style: Style
    answers_head: bool
    there: bool = True
    going: threading.Event = field(default_factory=threading.Event)
    answering: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)
    """`GET /video` and so on, as they came."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Listener

    def do_GET(self) -> None:
        if self._answered("GET"):
            with suppress(OSError):  # the client has gone, or we were killed
                self._send_frames()

    def do_HEAD(self) -> None:
        if self.server.camera.answers_head:
            self._answered("HEAD")
        else:
            self.server.camera.requests.append(f"HEAD {self.path}")
            self.send_error(501)

    def _answered(self, method: str) -> bool:
        """Whether the answer's head says that frames follow."""
        camera = self.server.camera
        camera.requests.append(f"{method} {self.path}")
        self.server.wait_for(camera.answering)
        if not camera.there or self.path != "/video":
            self.send_error(404)
            return False
        expected = None if camera.login is None else "Basic " + base64.b64encode(camera.login.encode()).decode()
        if expected is not None and self.headers.get("Authorization") != expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        self.send_response(200)
        boundary = _BOUNDARIES[camera.style]
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={boundary}")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        return True

    def _send_frames(self) -> None:
        camera, listener = self.server.camera, self.server
        size, source, index = "", None, 0
        due, until = time.monotonic(), time.monotonic() + _LONGEST_S
        while not listener.dead.is_set() and time.monotonic() < until:
            listener.wait_for(camera.going)
            if source is None or size != camera.size:
                size = camera.size
                source = Synthetic(Address.parse(f"synthetic:#size={size}&live=0&code=1"))
            image = source.image(index)
            barcode.burn(image, index=index, time_ns=time.monotonic_ns())
            jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
            length = "" if camera.style == "no length" else f"Content-Length: {len(jpeg)}\r\n"
            self.wfile.write(f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + jpeg + b"\r\n")
            index += 1
            due = max(due + 1 / camera.fps, time.monotonic() - 1)
            listener.dead.wait(max(0.0, due - time.monotonic()))

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True

    def __init__(self, port: int, camera: _Camera) -> None:
        self.camera = camera
        self.dead = threading.Event()
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def wait_for(self, event: threading.Event) -> None:
        until = time.monotonic() + _LONGEST_S
        while not event.wait(0.05) and not self.dead.is_set() and time.monotonic() < until:
            pass

    def process_request(self, request: socket.socket, address: tuple[str, int]) -> None:  # type: ignore[override]
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._clients.add(request)
        super().process_request(request, address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        with self._lock:
            self._clients.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, address: object) -> None:
        pass  # a client that went away in the middle of its question

    def break_off(self) -> None:
        """Reset every connection, as when the plug is pulled."""
        self.dead.set()
        with self._lock:
            clients = [*self._clients]
        for client in clients:
            with suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.shutdown(socket.SHUT_RDWR)


class Server:
    """A camera's HTTP server in threads of this process."""

    def __init__(
        self,
        *,
        fps: float = 30,
        size: str = "640x480",
        login: str | None = None,
        style: Style = "plain",
        answers_head: bool = True,
    ) -> None:
        """`login`: `USER:PASSWORD`, asked for by basic authentication. `answers_head`: else 501, as of many cameras."""
        self._camera = _Camera(fps, size, login, style, answers_head)
        self._camera.going.set()
        self._camera.answering.set()
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None
        self.port = 0
        """The same after every `start`."""
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video"

    @property
    def url_with_login(self) -> str:
        return self.url.replace("//", f"//{self._camera.login}@") if self._camera.login else self.url

    @property
    def requests(self) -> list[str]:
        """What was asked so far: `HEAD /video`, `GET /video`."""
        return [*self._camera.requests]

    def start(self) -> None:
        assert self._listener is None, "it runs already"
        self._listener = _Listener(self.port, self._camera)
        self.port = int(self._listener.server_address[1])
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), name="mjpeg server")
        self._thread.start()

    def kill(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.shutdown()
        listener.break_off()
        listener.server_close()  # waits for the threads of all connections
        assert self._thread is not None
        self._thread.join()

    def freeze(self) -> None:
        self._camera.answering.clear()
        self._camera.going.clear()

    def thaw(self) -> None:
        self._camera.answering.set()
        self._camera.going.set()

    def stall(self) -> None:
        self._camera.going.clear()

    def go_on(self) -> None:
        self._camera.going.set()

    def pace(self, fps: float) -> None:
        self._camera.fps = fps

    def resize(self, size: str) -> None:
        self._camera.size = size

    def vanish(self) -> None:
        self._camera.there = False

    def appear(self) -> None:
        self._camera.there = True

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
