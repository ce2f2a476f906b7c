"""uvicorn's HTTP, with an end to waiting: who sends his request slowly, or does not read its answer, is cut off.

uvicorn alone waits for ever for a first request, for the rest of a body that nobody wants, and for a client that stops
reading.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from edgezoo.web.answers import dump

_FULL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    request_s: float = 10.0
    """For the head of a request, from the connection or the last answer; and for what still comes after an answer."""
    read_s: float = 20.0
    """For a client to read on."""
    idle_s: int = 5
    """For another request on the same connection."""
    connections: int = 512
    """At a time; each takes a file descriptor of 1024 that a process may have."""


class PatientProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *given: Any, patience: Patience, **named: Any) -> None:
        super().__init__(*given, **named)
        self._patience = patience
        self._until: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._heard_all = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._patience.connections:
            body = dump({"error": "expected fewer connections, there are as many as this server takes; try again"})
            transport.write(_FULL + b"content-length: %d\r\n\r\n" % len(body) + body)
            transport.close()
        self._look()

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)
        self._look()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Who has sent a whole request and then closes his side still gets the answer; in the middle of one it is over.

        Who went away altogether looks the same until something is written to him.
        """
        self._heard_all = True
        return not self._is_over()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._heard_all and self._is_over():
            self.transport.close()
        self._look()

    def send_400_response(self, msg: str) -> None:
        body = dump({"error": "expected a request as HTTP/1.1 has it, got something else"})
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
        if self.cycle is None or self.cycle.response_complete:  # in the middle of an answer it would be read as its end
            self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._patience.read_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._unread)
        self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        _cancel(self._unread)
        _cancel(self._until)

    def _is_over(self) -> bool:
        """Whether there is nothing to answer, unless more comes."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _look(self) -> None:
        """A request that is being answered has its own limits; without one the clock runs, and is not set back. So it
        does for who is still at the door.
        """
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and self.cycle.scope["path"] != "/login":
            _cancel(self._until)
            self._until = None
        elif self._until is None:
            self._until = self.loop.call_later(self._patience.request_s, self.transport.abort)


def protocol(patience: Patience) -> Any:
    """What uvicorn makes its connections of."""
    return functools.partial(PatientProtocol, patience=patience)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
