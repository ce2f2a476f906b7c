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
from edgezoo.errors import SourceAbsent, SourceError, SourceRefused
from edgezoo.frame import Frame, Image
from edgezoo.optional import require
from edgezoo.sources._device import Device
from edgezoo.sources._dialog import Dialog

_LENGTH = re.compile(rb"^content-length:\s*(\d+)\s*$", re.IGNORECASE | re.MULTILINE)
_LONGEST = 64 << 20  # no picture is larger
_LONGEST_HEAD = 65536
_DRAIN_S = 0.03  # of reading past what is not the newest: a server may send faster than that
_FILLING = b"\0\xff"  # up to 511 bytes of it stand behind the pictures of some cameras' chips
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
        """Raises SourceAbsent where none that can be read comes in time, SourceRefused where what comes is no JPEG."""
        self.address = str(address)
        self.damaged = 0
        self._jpegs = 0
        self._timeout_s = timeout_s
        self._opened_ns = time.monotonic_ns()
        self._dialog = dialog
        self._parts = Parts(dialog)
        self._device = Device(self.address, dialog.hang_up)
        try:
            self._first: tuple[Part, Image] | None = self._next()
        except OSError as error:
            dialog.hang_up()
            raise self._why_not(error) from None
        image = self._first[1]
        self.size_wh = (image.shape[1], image.shape[0])

    def __iter__(self) -> Iterator[Frame]:
        with self._device.iterating():
            last, ended = 0, "the stream ended"
            while not self._device.ended.is_set():
                try:
                    part, image = self._first or self._next()
                except TimeoutError:
                    ended = f"no frame for {self._timeout_s:g} s"
                    break
                except OSError:
                    break
                self._first, last = None, part.number
                pts_s = (part.came_ns - self._opened_ns) / 1e9
                yield Frame(image, part.number, pts_s, part.came_ns, self.address)
            if not self._device.ended.is_set():
                raise SourceError(f"{self.address}: {ended} after frame {last}; is it still sending, and reachable?")

    def close(self) -> None:
        self._device.close()
        self._dialog.cut()  # ends a read that waits

    def _next(self) -> tuple[Part, Image]:
        """The newest picture that can be read. TimeoutError, ConnectionError: none comes."""
        until_s = time.monotonic() + self._timeout_s
        while not self._device.ended.is_set():
            part = self._parts.newest(until_s)
            if (image := self._decode(part)) is not None:
                return part, image
        raise ConnectionError("closed")

    def _decode(self, part: Part) -> Image | None:
        cv2 = require("cv2")
        self._jpegs += part.jpeg.startswith(_SOI)
        whole = part.jpeg.startswith(_SOI) and _EOI in part.jpeg.rstrip(_FILLING)[-16:]
        try:
            image: Image | None = cv2.imdecode(np.frombuffer(part.jpeg, np.uint8), cv2.IMREAD_COLOR) if whole else None
        except cv2.error:  # too many pixels, or a header that lies
            image = None
        self.damaged += image is None
        return image

    def _why_not(self, error: OSError) -> SourceError:
        """What to say of a server that sent no picture that can be read."""
        expected = f"{self.address}: expected a video stream"
        if self.damaged and not self._jpegs:
            return SourceRefused(f"{expected}, got parts that are no JPEGs; is the path right?", may_pass=True)
        when = f"within {self._timeout_s:g} s" if isinstance(error, TimeoutError) else f"({error})"
        if self.damaged:
            return SourceAbsent(
                f"{expected}, got {self.damaged} pictures {when}, none of which can be read; is it well?"
            )
        return SourceAbsent(f"{expected}, got no picture {when}; is it sending?")


class Parts:
    """Pictures out of what a connection brings, whatever the server writes between them."""

    def __init__(self, dialog: Dialog) -> None:
        self._dialog = dialog
        self._pending = bytearray(dialog.take())
        self._number = -1
        self._scan = 0
        """From where on the end of the first picture is looked for; 0 while its pixels have not begun."""

    def newest(self, until_s: float) -> Part:
        """The last of those that have come, else the next one. TimeoutError, ConnectionError: none comes until then.

        Where they come faster than they can be read past, one of the last.
        """
        newest, drained_s = None, until_s
        while True:
            while (jpeg := self._cut_off()) is not None:
                self._number += 1
                newest = Part(jpeg, self._number, time.monotonic_ns())
            now_s = time.monotonic()
            if newest is None and now_s >= until_s:
                raise TimeoutError
            if newest is not None:
                drained_s = min(drained_s, now_s + _DRAIN_S)
                if now_s >= drained_s:
                    return newest
            try:
                self._pending += self._dialog.receive(0.0 if newest is not None else until_s - now_s)
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
