"""A port and a thread in which an application is served, until it is closed: what was begun is then finished."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType

import uvicorn

from edgezoo.errors import RequestError
from edgezoo.web.doors import App
from edgezoo.web.patience import Patience, protocol

LOCAL = "127.0.0.1"
SHORTEST_TOKEN = 16
_BACKLOG = 256


def open_port(host: str, port: int) -> socket.socket:
    """A socket that listens there; what comes is not answered yet. Raises RequestError."""
    if not 0 <= port <= 65535:
        raise RequestError(f"expected a port of 0 to 65535, got {port}")
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise RequestError(f"expected an address of this machine, got {host} ({error.strerror or error})") from None
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two programs have one port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            told = f"expected a free port, {host}:{port} is taken by another program; try {port + 1}"
        elif error.errno == errno.EACCES:
            told = f"expected a port that this user may open, got {port}; try 8080"
        else:
            told = f"expected an address of this machine, got {host}:{port} ({error.strerror}); try {LOCAL}"
        raise RequestError(told) from None
    return listening


def is_local(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_token(host: str, token: str | None, *, cure: str) -> None:
    """RequestError where others can come in and need not show much; `cure` says how a token is given."""
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise RequestError(f"expected a token of {SHORTEST_TOKEN} letters or more, got {len(token)}; try: {cure}")
    if token is None and not is_local(host):
        raise RequestError(f"expected a token for {host}, which others can reach; try: {cure}, or {LOCAL}")


class WebServer:
    """Serves from `start` on. Closing finishes the requests that are being answered, within `grace_s`."""

    def __init__(
        self,
        app: App,
        listening: socket.socket,
        *,
        grace_s: float = 10.0,
        patience: Patience | None = None,
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        """`closing` is called when the end begins, to let go who waits. Owns the socket."""
        self._socket, self._grace_s, self._closing = listening, grace_s, closing
        patience = patience or Patience()
        settings = uvicorn.Config(
            app,
            http=protocol(patience),
            loop="asyncio",
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=patience.idle_s,
            timeout_graceful_shutdown=max(1, round(grace_s)),
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._run, name="edgezoo web", daemon=True)

    @property
    def host(self) -> str:
        return str(self._socket.getsockname()[0])

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Where a person here may look; `0.0.0.0` is no place to go to."""
        host = self.host
        if ipaddress.ip_address(host).is_unspecified:
            host = LOCAL if ":" not in host else "::1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Safe to call again, and from any thread but its own."""
        self._closing()
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(self._grace_s + 5)
        self._socket.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> WebServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def address_of(text: str, *, default_port: int = 8080) -> tuple[str, int]:
    """`8080`, `0.0.0.0:8080`, `[::]:8080` or an empty one as host and port. Raises RequestError."""
    host, _, port = text.rpartition(":")
    try:
        return host.strip("[]") or LOCAL, int(port) if port else default_port
    except ValueError:
        raise RequestError(f"expected [HOST:]PORT, such as 8080 or 0.0.0.0:8080, got {text!r}") from None
