"""OpenCV's VideoCapture, opened without chatter and read by one thread."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from edgezoo.frame import Image
from edgezoo.optional import require
from edgezoo.sources._device import Device

# One at a time: what OpenCV reads while it opens is the environment of the whole process. It costs
# nothing, for OpenCV's FFmpeg capture holds a lock of its own while it opens.
_opening = threading.Lock()

_QUIET = "-8"  # FFmpeg's AV_LOG_QUIET; OpenCV 5 heeds it only where nothing used FFmpeg before in this process
_DEBUG_VARIABLES = ("OPENCV_LOG_LEVEL", "OPENCV_FFMPEG_LOGLEVEL", "OPENCV_FFMPEG_DEBUG", "OPENCV_VIDEOIO_DEBUG")
_SKIPS = 1000  # undecodable packets in a row to read over before a capture counts as ended


class Capture:
    """A `cv2.VideoCapture`; `device` says who may release it and when."""

    def __init__(
        self,
        name: str,
        target: str | int,
        backend: str,
        *,
        params: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        patience_s: float = 10.0,
        on_release: Callable[[], None] = lambda: None,
    ) -> None:
        """Open `target` with the OpenCV backend `CAP_<backend>`; `is_open` tells whether that worked.

        `params` are `CAP_PROP_` names; those that this OpenCV does not know are left out.
        `environment` is set while it opens, but never over what the user has set. `patience_s` bounds how long one
        `grab` reads over what cannot be decoded.
        """
        cv2 = self._cv2 = require("cv2")
        known = {getattr(cv2, f"CAP_PROP_{prop}", None): value for prop, value in (params or {}).items()}
        flat = [number for prop, value in known.items() if prop is not None for number in (prop, value)]
        arguments = (target, getattr(cv2, f"CAP_{backend}"), *([flat] if flat else []))
        self.damaged = 0
        """How many packets had to be read over because they could not be decoded."""
        self._patience_s = patience_s
        self._on_release = on_release
        _chatter.hush()
        try:
            if backend == "FFMPEG":
                with _opening, _environment({"OPENCV_FFMPEG_LOGLEVEL": _QUIET, **(environment or {})}):
                    self._capture = cv2.VideoCapture(*arguments)
            else:
                self._capture = cv2.VideoCapture(*arguments)
        except BaseException:
            _chatter.unhush()
            on_release()
            raise
        self.device = Device(name, self._free)
        if not self.is_open:
            self.device.close()

    @property
    def is_open(self) -> bool:
        return bool(self._capture.isOpened())

    def get(self, prop: str) -> float:
        """Property `CAP_PROP_<prop>`; 0 where it is unknown."""
        return float(self._capture.get(getattr(self._cv2, f"CAP_PROP_{prop}")))

    def set(self, prop: str, value: float) -> None:
        self._capture.set(getattr(self._cv2, f"CAP_PROP_{prop}"), value)

    @property
    def fps(self) -> float | None:
        """The rate it states; None where that is no rate (0, or a time base taken for one)."""
        fps = self.get("FPS")
        return fps if 0 < fps < 1000 else None

    @property
    def size_wh(self) -> tuple[int, int] | None:
        width, height = int(self.get("FRAME_WIDTH")), int(self.get("FRAME_HEIGHT"))
        return (width, height) if width > 0 and height > 0 else None

    def grab(self) -> int | None:
        """Take the next frame, not yet as an image: `time.monotonic_ns()` when it was there, None where none comes."""
        first = time.monotonic()
        for skipped in range(_SKIPS):
            if self.device.ended.is_set():
                break
            began = time.monotonic()
            if self._capture.grab():
                self.damaged += skipped
                return time.monotonic_ns()
            now = time.monotonic()
            waited = now - began > min(0.5, self._patience_s / 2)  # for data that does not come
            if waited or now - first > self._patience_s:
                break
        return None

    def retrieve(self) -> Image | None:
        """The grabbed frame as BGR, in memory of its own."""
        done, image = self._capture.retrieve()
        if not done or image is None:
            return None
        return np.ascontiguousarray(image)

    def _free(self) -> None:
        self._capture.release()
        _chatter.unhush()
        self._on_release()


class _Chatter:
    """OpenCV's log level: silent while a capture of ours is open, unless the user asked to hear it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._level = 0

    def hush(self) -> None:
        with self._lock:
            self._open += 1
            if self._open == 1:
                logging = self._logging()
                self._level = logging.getLogLevel()
                if not any(name in os.environ for name in _DEBUG_VARIABLES):
                    logging.setLogLevel(0)

    def unhush(self) -> None:
        with self._lock:
            self._open -= 1
            if self._open == 0:
                self._logging().setLogLevel(self._level)

    def _logging(self) -> Any:
        cv2 = require("cv2")
        return getattr(cv2.utils, "logging", cv2)  # OpenCV 5 has it in utils, 4.5 at the top


_chatter = _Chatter()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set `variables` inside, but never over what the user has set."""
    ours = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
