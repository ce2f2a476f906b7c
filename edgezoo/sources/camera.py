"""Cameras of this machine: `camera:0`, `camera:/dev/video2`, `#size=1280x720&fps=30&fourcc=MJPG`.

A driver that gives fewer frames than `fps` is refused; of one that gives more, a pipeline leaves the rest out.
"""

from __future__ import annotations

import glob
import os
import re
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import islice

from edgezoo.address import Address
from edgezoo.errors import RequestError, SourceAbsent, SourceError, SourceRefused
from edgezoo.frame import Frame
from edgezoo.optional import require
from edgezoo.sources._capture import Capture

_BUFFERS = 2
_BACKENDS = {"linux": "V4L2", "darwin": "AVFOUNDATION", "win32": "MSMF"}


class Camera:
    """A camera that does what was asked of it, or is refused."""

    live = True
    frames = None

    def __init__(self, address: Address) -> None:
        address.check_options(("size", "fps", "fourcc"))
        self.address = str(address)
        size_wh, fps = address.size_wh(), address.number("fps")
        fourcc = address.options.get("fourcc")
        if fourcc is not None and not re.fullmatch(r"[\x20-\x7e]{4}", fourcc):
            raise RequestError(f"{self.address}: expected a fourcc of 4 letters such as MJPG, got {fourcc!r}")
        self._begun: Generator[Frame, None, None] | None = None
        self._capture = Capture(self.address, _target(address), _BACKENDS.get(sys.platform, "ANY"))
        if not self._capture.is_open:
            unplugged = sys.platform.startswith("linux") and not os.path.exists(_device(address.target))
            error = SourceAbsent if unplugged else SourceError  # opening none costs nothing
            raise error(f"{self.address}: expected a camera, {_why_not(address.target)}")
        try:
            self._ask(size_wh, fps, fourcc)
            self._check(size_wh, fps, fourcc)
        except BaseException:
            self.close()
            raise
        self.fps = self._capture.fps
        self.size_wh = self._capture.size_wh
        self._opened_ns = time.monotonic_ns()

    def begin(self, *, patience_s: float) -> None:
        """Wait for a first frame, which tells that there are any. It is old by the time of an iteration: not of it.

        Raises SourceError where none comes; then the camera is closed, as soon as its driver lets go of it.
        """
        begun = self._read()
        came = threading.Event()

        def run() -> None:
            with suppress(Exception):  # all of them mean that there is none
                if next(begun, None) is not None:
                    came.set()

        thread = threading.Thread(target=run, name=f"edgezoo first of {self.address}", daemon=True)
        thread.start()
        thread.join(patience_s)
        self._begun = begun
        if not came.is_set():
            self.close()
            raise SourceError(
                f"{self.address}: expected a camera, {self.address} gives no frames; does anything feed it?"
            )

    def __iter__(self) -> Iterator[Frame]:
        if self._begun is None:
            return self._read()
        return islice(self._begun, max(_BUFFERS, int(self._capture.get("BUFFERSIZE"))), None)  # they waited since then

    def _read(self) -> Generator[Frame, None, None]:
        capture = self._capture
        index = 0
        with capture.device.iterating():
            while (grabbed_ns := capture.grab()) is not None and (image := capture.retrieve()) is not None:
                if capture.device.ended.is_set():
                    return
                yield Frame(image, index, (grabbed_ns - self._opened_ns) / 1e9, grabbed_ns, self.address)
                index += 1
            if not capture.device.ended.is_set():
                raise SourceError(f"{self.address}: no more frames after {index} of them; is it still plugged in?")

    def close(self) -> None:
        self._capture.device.close()
        if self._begun is not None:
            with suppress(ValueError):  # a thread is in it, and ends it at the next frame
                self._begun.close()

    def _ask(self, size_wh: tuple[int, int] | None, fps: float | None, fourcc: str | None) -> None:
        capture = self._capture
        if fourcc is not None:  # first: sizes and rates depend on it
            capture.set("FOURCC", require("cv2").VideoWriter_fourcc(*fourcc))
        if size_wh is not None:
            capture.set("FRAME_WIDTH", size_wh[0])
            capture.set("FRAME_HEIGHT", size_wh[1])
        if fps is not None:
            capture.set("FPS", fps)
        # One is filled while the other is decoded: with a single one USB cameras drop every second frame, and
        # each further one makes a slow reader's frames older by an interval.
        capture.set("BUFFERSIZE", _BUFFERS)

    def _check(self, size_wh: tuple[int, int] | None, fps: float | None, fourcc: str | None) -> None:
        """SourceError where the driver has set something else; one that reports 0 does not know."""
        capture = self._capture
        if size_wh is not None and (got_wh := capture.size_wh) not in (None, size_wh):
            self._refuse("size", "{}x{}".format(*size_wh), "{}x{}".format(*got_wh))
        if fps is not None and (got_fps := capture.fps) is not None and got_fps < 0.9 * fps:
            self._refuse("fps", f"{fps:g}", f"{got_fps:g}")
        if fourcc is not None and (code := int(capture.get("FOURCC"))) > 0:
            got = code.to_bytes(4, "little").decode("latin-1")
            if got.upper() != fourcc.upper():
                self._refuse("fourcc", fourcc, got)

    def _refuse(self, option: str, asked: str, got: str) -> None:
        raise SourceRefused(f"{self.address}: expected {option}={asked}, got {got} from the driver; try {option}={got}")


def _target(address: Address) -> int | str:
    if address.target.isdigit():
        return int(address.target)
    if address.target.startswith("/dev/"):
        return address.target
    raise RequestError(f"{address}: expected camera:NUMBER or camera:/dev/videoNUMBER, got {address.target!r}")


def _why_not(target: str) -> str:
    if not sys.platform.startswith("linux"):
        return "could not open one; may this program use the camera, and does no other one hold it?"
    device = _device(target)
    if not os.path.exists(device):
        there = sorted(glob.glob("/dev/video*"), key=lambda path: (len(path), path))
        if not there:
            return f"found no {device}, nor any other; plug one in, or try a clip.mp4, a photo.jpg or synthetic:"
        return f"found no {device}; there is {', '.join(map(_describe, there))}"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"may not open {device}; try: sudo usermod -aG video $USER, and log in again"
    return f"could not open {device}; does another program hold it, or is it no capture device?"


def _device(target: str) -> str:
    return f"/dev/video{target}" if target.isdigit() else target


def _describe(device: str) -> str:
    number = device.removeprefix("/dev/video")
    try:
        with open(f"/sys/class/video4linux/video{number}/name", encoding="utf-8") as file:
            return f"camera:{number} ({file.read().strip()})"
    except OSError:
        return f"camera:{number}"
