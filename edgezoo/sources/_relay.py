"""A relay between FFmpeg and an RTSP server that tells FFmpeg at once where a frame ends.

FFmpeg looks for the end of an H.264 or H.265 frame in the beginning of the next one, and so shows
every frame an interval late: 33 ms at 30 a second, 67 ms at 15. But the last RTP packet of a frame
says so itself (the marker bit; RFC 6184 section 5.1, RFC 7798 section 4.1). Behind such a packet the
relay puts one of its own with an access unit delimiter: by the standards the first thing of the next
frame, and the sign FFmpeg waits for.
"""

from __future__ import annotations

import base64
import re
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult

from edgezoo.sources._sps import size_wh

_DELIMITERS = {b"H264": b"\x09\xf0", b"H265": b"\x46\x01\x50"}
_CODEC = re.compile(rb"a=rtpmap:(\d+) (H264|H265)/", re.IGNORECASE)
_PARAMETER_SETS = re.compile(rb"sprop-(parameter-sets|sps)=([^;\s]+)", re.IGNORECASE)  # of H.264, and of H.265
_LENGTH = re.compile(rb"^content-length:\s*(\d+)\s*$", re.IGNORECASE | re.MULTILINE)
_LONGEST = 65536  # no answer is longer
_FRAMES_TO_TRUST = 3
_MOST_SIZES = 64


@dataclass(slots=True)
class _Track:
    """What one channel's packets have shown about its marker bits."""

    timestamp: bytes = b""
    ended: bool = False
    """Whether the last packet was marked as the end of its frame."""
    right: int = 0
    """How many marks were the end indeed: the next packet had another timestamp."""


class FrameEnds:
    """The server's side of an RTSP connection (RFC 2326 section 10.12), with delimiters put in.

    A channel whose marks stand in the middle of a frame is left alone from then on, and so is all
    that follows something which does not read as RTSP.
    """

    def __init__(self) -> None:
        self.status = ""
        """The server's latest answer: `404 Not Found`."""
        self._pending = bytearray()
        self._delimiters: dict[int, bytes] = {}  # by RTP payload type
        self._tracks: dict[int, _Track | None] = {}  # by channel; None where the marks are wrong
        self.resized = False
        self._watching = False
        self._sizes: set[tuple[int, int] | bytes] = set()  # or the parameter set that holds one, where it is not read
        self._understood = True

    def watch_size(self) -> None:
        """From now on `resized` tells of a picture size that was not seen yet."""
        self._watching = True

    def feed(self, data: bytes) -> bytes:
        """What to pass on now that `data` has come; incomplete messages wait for their rest."""
        self._pending += data
        out = bytearray()
        while self._pending and (length := self._message_length()):
            message = bytes(self._pending[:length])
            del self._pending[:length]
            out += message
            if message[:1] == b"$":
                self._look_for_size(message)
                out += self._delimiter_after(message)
            else:
                self._learn(message)
        if not self._understood:
            out += self._pending
            self._pending.clear()
        return bytes(out)

    def _message_length(self) -> int:
        """Of the first pending message; 0 while it is incomplete, or where nothing is understood."""
        pending = self._pending
        if not self._understood:
            return 0
        if pending[:1] == b"$":
            length = 4 + int.from_bytes(pending[2:4], "big")
            return length if len(pending) >= max(length, 4) else 0
        end = pending.find(b"\r\n\r\n")
        if end < 0:
            self._understood = pending[:1].isalpha() and len(pending) < _LONGEST
            return 0
        body = _LENGTH.search(pending[:end].replace(b"\r", b""))
        length = end + 4 + (int(body[1]) if body else 0)
        self._understood = pending[:1].isalpha() and length < _LONGEST
        return length if self._understood and len(pending) >= length else 0

    def _learn(self, message: bytes) -> None:
        if message.startswith(b"RTSP/"):
            self.status = message.partition(b"\r\n")[0].partition(b" ")[2].decode("latin-1")
        for payload_type, codec in _CODEC.findall(message):
            self._delimiters[int(payload_type)] = _DELIMITERS[codec.upper()]
        for name, sets in _PARAMETER_SETS.findall(message):  # cameras may send them much later
            for text in sets.split(b","):
                with suppress(ValueError):
                    self._know_sizes(base64.b64decode(text + b"=="), h265=name.lower() == b"sps")

    def _look_for_size(self, message: bytes) -> None:
        """An encoder that changes its size says so before a key frame (RFC 6184 sections 5.6, 5.7; RFC 7798, 4.4)."""
        delimiter = self._delimiters.get(message[5] & 0x7F) if len(message) > 16 else None
        if delimiter is None:
            return
        begin = 16 + 4 * (message[4] & 0x0F)  # behind the senders
        if message[4] & 0x10:  # and an extension of the head (RFC 3550 section 5.3.1)
            begin += 4 + 4 * int.from_bytes(message[begin + 2 : begin + 4], "big")
        self._know_sizes(message[begin:], h265=len(delimiter) == 3)

    def _know_sizes(self, payload: bytes, *, h265: bool) -> None:
        for unit in _units(payload, h265=h265):
            size = size_wh(unit, h265=h265) or unit
            if size not in self._sizes and len(self._sizes) < _MOST_SIZES:
                self.resized |= self._watching and bool(self._sizes)  # the first one seen is the one it was opened with
                self._sizes.add(size)

    def _delimiter_after(self, message: bytes) -> bytes:
        """The packet to put behind `message`: nothing unless it ends a frame."""
        channel, packet = message[1], message[4:]
        delimiter = self._delimiters.get(packet[1] & 0x7F) if len(packet) > 12 else None
        track = self._tracks.setdefault(channel, _Track())
        if delimiter is None or track is None:
            return b""
        same_frame = packet[4:8] == track.timestamp
        if track.ended and same_frame:
            self._tracks[channel] = None
            return b""
        track.right += track.ended
        track.timestamp, track.ended = packet[4:8], packet[1] >= 0x80
        if not track.ended or track.right < _FRAMES_TO_TRUST:
            return b""
        head = b"\x80" + packet[1:12]  # same number, time and sender; over TCP FFmpeg does not mind the number
        return b"$" + bytes([channel]) + (len(head) + len(delimiter)).to_bytes(2, "big") + head + delimiter


def _units(payload: bytes, *, h265: bool) -> Iterator[bytes]:
    """The sequence parameter sets in an RTP payload, alone or among others."""
    if not payload:
        return
    kind = (payload[0] >> 1) & 0x3F if h265 else payload[0] & 0x1F
    wanted, several, head = (33, 48, 2) if h265 else (7, 24, 1)
    if kind == wanted:
        yield payload
    at = head
    while kind == several and at + 2 < len(payload):
        size = int.from_bytes(payload[at : at + 2], "big")
        unit = payload[at + 2 : at + 2 + size]
        if unit and ((unit[0] >> 1) & 0x3F if h265 else unit[0] & 0x1F) == wanted:
            yield unit
        at += 2 + size


class Relay:
    """One connection to a server, offered once on a local port; a thread passes it on until either side ends."""

    def __init__(self, host: str, port: int, timeout_s: float, *, rtsp: bool = True) -> None:
        """`rtsp`: else what is sent is passed on as it is. Raises OSError where no server answers."""
        self.silence_s: float | None = None
        """Nothing for so long, from either side, ends it; None: nothing does. May be changed at any time."""
        self.fell_silent = False
        """Whether that was its end."""
        self._server = socket.create_connection((host, port), timeout=timeout_s)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(2 * timeout_s)
        self._client: socket.socket | None = None
        self._ends = FrameEnds() if rtsp else None
        self._lock = threading.Lock()
        self._closed = False
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name=f"rtsp relay to {host}:{port}", daemon=True)
        self._thread.start()

    @property
    def status(self) -> str:
        """The server's latest answer: `404 Not Found`."""
        return "" if self._ends is None else self._ends.status

    @property
    def resized(self) -> bool:
        """Whether pictures have another size than when it was opened."""
        return self._ends is not None and self._ends.resized

    def instead_of(self, url: SplitResult) -> SplitResult:
        """The server's address with this in its place."""
        login, at, _ = url.netloc.rpartition("@")
        return url._replace(netloc=f"{login}{at}127.0.0.1:{self.port}")

    def wait_for_data(self) -> float:
        """Until the server sends something, which stays to be passed on: after how many seconds.

        Before anybody has come. Raises OSError where it does not in time; then this is closed.
        """
        began = time.monotonic()
        try:
            if not self._server.recv(1, socket.MSG_PEEK):
                raise ConnectionError("it hung up")
        except OSError:
            self.close()
            self.join()
            raise
        return time.monotonic() - began

    def opened(self) -> None:
        """What comes from now on is what is watched."""
        self.silence_s = None
        if self._ends is not None:
            self._ends.watch_size()

    def close(self) -> None:
        """Cut the connection: who reads from it is told at once. From any thread, never waits."""
        with self._lock:
            self._closed = True
            for end in (self._listener, self._server, self._client):
                _cut(end)

    def join(self) -> None:
        """Wait for the thread, which ends within milliseconds of `close` or of either side."""
        self._thread.join(timeout=1)

    def _run(self) -> None:
        with self._server, suppress(OSError):  # closed, or nobody came, or an end broke off: that ends both
            with self._listener:
                client, _ = self._listener.accept()
            with client:
                with self._lock:
                    self._client = client
                self._pass_on(client)

    def _pass_on(self, client: socket.socket) -> None:
        server = self._server
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ)
            selector.register(server, selectors.EVENT_READ)
            while not self._closed:
                ready = selector.select(self.silence_s)
                if not ready and self.silence_s is not None:
                    self.fell_silent = True
                    return
                for key, _ in ready:
                    end = client if key.fileobj is client else server
                    if not (data := end.recv(65536)):
                        return
                    if end is client:
                        server.sendall(data)
                    else:
                        client.sendall(data if self._ends is None else self._ends.feed(data))


def _cut(end: socket.socket | None) -> None:
    if end is not None:
        with suppress(OSError):  # closed already, or never connected
            end.shutdown(socket.SHUT_RDWR)
