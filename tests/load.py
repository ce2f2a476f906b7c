"""Many clients of one HTTP server in one thread: as little as can be done to send requests and time their answers."""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Told:
    """What all clients saw."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    """Connections that ended without an answer."""
    answered_ms: list[float] = field(default_factory=list)
    """Of those with status 200."""
    retry_after: Counter[str] = field(default_factory=Counter)

    def percentile(self, percent: float) -> float:
        times = sorted(self.answered_ms)
        return times[min(len(times) - 1, int(len(times) * percent / 100))] if times else 0.0

    @property
    def rate(self) -> float:
        return self.statuses[200] / self.seconds if self.seconds else 0.0


class _Client:
    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left = memoryview(b"")
        self.came = b""
        self.began_s = 0.0

    def again(self) -> None:
        self.socket.close()
        self.__init__(self.address)  # type: ignore[misc]


def request(path: str, body: bytes, *, kind: str = "image/jpeg", method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def load(
    address: tuple[str, int],
    requests: Sequence[bytes],
    *,
    clients: int,
    seconds: float,
    pause_s: float = 0.0,
) -> Told:
    """Each client sends the next of `requests` as soon as it has its answer; `pause_s` after one that was refused."""
    told, turn = Told(), 0
    chooser = selectors.DefaultSelector()
    everybody = [_Client(address) for _ in range(clients)]
    waiting: deque[tuple[float, _Client]] = deque()
    began_s = time.monotonic()
    until_s = began_s + seconds

    def send(client: _Client) -> None:
        nonlocal turn
        client.left, client.came = memoryview(requests[turn % len(requests)]), b""
        client.began_s = time.monotonic()
        turn += 1
        chooser.register(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)

    for client in everybody:
        send(client)
    while chooser.get_map() or waiting:
        now_s = time.monotonic()
        if now_s > until_s + 30:
            break  # they do not get their answers
        while waiting and waiting[0][0] <= now_s:
            send(waiting.popleft()[1])
        for key, events in chooser.select(0.01 if waiting else 0.1):
            client = key.data
            status = _go_on(client, events, chooser)
            if status is None:
                continue
            chooser.unregister(client.socket)
            told.statuses[status] += 1
            if status == 200:
                told.answered_ms.append((time.monotonic() - client.began_s) * 1e3)
            if status == 0:
                told.broken += 1
                client.again()
            if status == 429:
                told.retry_after[_header(client.came, b"retry-after")] += 1
            if time.monotonic() < until_s:
                if status == 200 or not pause_s:
                    send(client)
                else:
                    waiting.append((time.monotonic() + pause_s, client))
        if time.monotonic() >= until_s:
            waiting.clear()
    told.seconds = time.monotonic() - began_s
    for client in everybody:
        client.socket.close()
    chooser.close()
    return told


def _go_on(client: _Client, events: int, chooser: selectors.BaseSelector) -> int | None:
    """The status once an answer is complete; 0: it broke off."""
    try:
        if events & selectors.EVENT_WRITE and client.left:
            sent = client.socket.send(client.left)
            client.left = client.left[sent:]
            if not client.left:
                chooser.modify(client.socket, selectors.EVENT_READ, client)
        if not events & selectors.EVENT_READ:
            return None
        part = client.socket.recv(65536)
    except BlockingIOError:
        return None
    except OSError:
        return 0
    if not part:
        return 0
    client.came += part
    head, blank, body = client.came.partition(b"\r\n\r\n")
    if not blank or len(body) < int(_header(client.came, b"content-length") or 0):
        return None
    return int(head[9:12])


def _header(came: bytes, name: bytes) -> str:
    for line in came.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip().decode()
    return ""
