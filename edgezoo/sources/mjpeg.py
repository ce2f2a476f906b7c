"""A camera that sends JPEGs one after another over HTTP, as phones do: `multipart/x-mixed-replace`.

Read here and not by FFmpeg: a picture is there when its last byte has come and not with the beginning of the next one,
its size may change, a damaged one is known for what it is, and a read that waits can be ended.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from edgezoo.address import Address
from edgezoo.errors import SourceAbsent, SourceError
from edgezoo.frame import Frame, Image
from edgezoo.optional import require
from edgezoo.sources._device import Device
from edgezoo.sources._dialog import Dialog

_LENGTH = re.compile(rb"^content-length:\s*(\d+)\s*$", re.IGNORECASE | re.MULTILINE)
_LONGEST = 64 << 20  # no picture is larger
_LONGEST_HEAD = 65536
_UNREADABLE = 1000  # in a row: then it is no video
_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xDA


class Part(NamedTuple):
    """A picture as it came."""

    jpeg: bytes
    number: int
    came_ns: int


class Mjpeg:
    """A stream of which the server has sent the head already, on the connection of `dialog`.

    A slow reader gets the newest picture that has come; the gap in `index` tells of those between.
    """

    live = True
    frames = None
    fps = None  # it states none

    def __init__(self, address: Address, dialog: Dialog, *, timeout_s: float) -> None:
        """Raises SourceAbsent where no picture comes in time, or none that can be read."""
        self.address = str(address)
        self.damaged = 0
        self._timeout_s = timeout_s
        self._opened_ns = time.monotonic_ns()
        self._dialog = dialog
        self._parts = Parts(dialog, timeout_s)
        self._device = Device(self.address, dialog.hang_up)
        image = None
        try:
            while image is None:
                image = self._decode(self._parts.newest())
        except OSError as error:
            dialog.hang_up()
            why = f"within {timeout_s:g} s; is it sending?" if isinstance(error, TimeoutError) else f"({error})"
            raise SourceAbsent(f"{self.address}: expected a video stream, got no picture {why}") from None
        self.size_wh = (image.shape[1], image.shape[0])

    def __iter__(self) -> Iterator[Frame]:
        with self._device.iterating():
            last, blank, ended = 0, 0, "the stream ended"
            while blank < _UNREADABLE and not self._device.ended.is_set():
                try:
                    part = self._parts.newest()
                except TimeoutError:
                    ended = f"no frame for {self._timeout_s:g} s"
                    break
                except OSError:
                    break
                last, image = part.number, self._decode(part)
                blank = blank + 1 if image is None else 0
                if image is not None:
                    pts_s = (part.came_ns - self._opened_ns) / 1e9
                    yield Frame(image, part.number, pts_s, part.came_ns, self.address)
            if not self._device.ended.is_set():
                raise SourceError(f"{self.address}: {ended} after frame {last}; is it still sending, and reachable?")

    def close(self) -> None:
        self._device.close()
        self._dialog.cut()  # ends a read that waits

    def _decode(self, part: Part) -> Image | None:
        cv2 = require("cv2")
        whole = part.jpeg.startswith(_SOI) and _EOI in part.jpeg[-16:]
        try:
            image: Image | None = cv2.imdecode(np.frombuffer(part.jpeg, np.uint8), cv2.IMREAD_COLOR) if whole else None
        except cv2.error:  # too many pixels, or a header that lies
            image = None
        self.damaged += image is None
        return image


class Parts:
    """Pictures out of what a connection brings, whatever the server writes between them."""

    def __init__(self, dialog: Dialog, timeout_s: float) -> None:
        self._dialog, self._timeout_s = dialog, timeout_s
        self._pending = bytearray(dialog.take())
        self._number = -1
        self._scan = 0
        """From where on the end of the first picture is looked for; 0 while its pixels have not begun."""

    def newest(self) -> Part:
        """The last of those that have come, else the next one. TimeoutError, ConnectionError: none comes."""
        newest = None
        while True:
            while (jpeg := self._cut_off()) is not None:
                self._number += 1
                newest = Part(jpeg, self._number, time.monotonic_ns())
            if newest is not None and not self._dialog.has_more():
                return newest
            try:
                self._pending += self._dialog.receive(self._timeout_s)
            except OSError:
                if newest is None:
                    raise
                return newest

    def _cut_off(self) -> bytes | None:
        """The first picture that is pending; None as long as it is not whole."""
        head = self._pending.find(b"\r\n\r\n")
        if head < 0:
            if len(self._pending) > _LONGEST_HEAD:
                raise ConnectionError("it sends something else")
            return None
        begin = head + 4
        length = _LENGTH.search(self._pending[:head].replace(b"\r", b""))
        end = begin + int(length[1]) if length is not None else self._end_of_jpeg(begin)
        if max(len(self._pending), end or 0) > _LONGEST:
            raise ConnectionError("it sends something else")
        if end is None or len(self._pending) < end:
            return None
        jpeg = bytes(self._pending[begin:end])
        del self._pending[:end]
        self._scan = 0
        return jpeg

    def _end_of_jpeg(self, begin: int) -> int | None:
        """Behind the end of the picture that begins there (ITU T.81, annex B); None while it has not come.

        Segments are passed over by their lengths, for a thumbnail in one of them has an end of its own.
        """
        pending, at = self._pending, begin + 2
        while not self._scan:
            if len(pending) < at + 4:
                return None
            if pending[at] != 0xFF:  # no JPEG: the next head tells where it ends
                following = pending.find(b"\r\n--", begin)
                return following if following >= 0 else None
            marker = pending[at + 1]
            at += 2 + int.from_bytes(pending[at + 2 : at + 4], "big")
            self._scan = at if marker == _SOS else 0
        end = pending.find(_EOI, self._scan)
        if end < 0:
            self._scan = max(self._scan, len(pending) - 1)
            return None
        return end + 2
