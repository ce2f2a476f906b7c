"""A window on the screen, one for each source."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable

from edgezoo.address import Address
from edgezoo.capture import Capture
from edgezoo.errors import RequestError, SinkError
from edgezoo.frame import Event, Frame, Image
from edgezoo.optional import require
from edgezoo.results import Result
from edgezoo.sinks import Overlay, is_photo, picture, stream_of

FORMS = ("window",)
STOP_KEYS = frozenset({27, ord("q"), ord("Q")})
KEEP_KEYS = frozenset({ord("s"), ord("S")})
FIRST_SIZE_PX = (1280, 720)  # a window opens no larger; the person can pull it to any size

_CURE = "try --sink out.mp4 or --sink out.jpg"
# Another process: without a screen, OpenCV's Qt does not raise, it aborts the whole process.
_PROBE = """import sys; sys.path[:] = {path!r}
import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import cv2; cv2.namedWindow("edgezoo")"""


def takes(address: Address) -> bool:
    return (address.scheme or address.target) == "window"


def from_address(address: Address, *, fps: float | None, overlay: Overlay | None) -> WindowSink:
    address.check_options(("hold", "capture"))
    folder = address.options.get("capture")
    capture = None if folder is None else Capture(folder)
    return WindowSink(overlay=overlay, hold_s=address.number("hold"), capture=capture)


class WindowSink:
    """Shows each frame as it comes, and a photo until a key is pressed. `q`, Esc, or closing a window sets `done`.

    `hold_s`, or `window#hold=5`: a photo stays no longer than that. `capture`, or `window#capture=FOLDER`: the key `s`
    keeps there what every window shows; `tell` gets a line of each, or why it could not be kept.

    Make it, write to it and close it in one thread; macOS wants that to be the main thread.

    Raises SinkError: no screen can be reached, or this OpenCV is built without windows.
    """

    def __init__(
        self, *, overlay: Overlay | None = None, hold_s: float | None = None, capture: Capture | None = None
    ) -> None:
        _check_screen()
        self.done = False
        self.capture = capture
        self.tell: Callable[[str], None] = logging.getLogger("edgezoo").info
        self._overlay, self._hold_s = overlay, hold_s
        self._windows: set[str] = set()
        self._shown: dict[str, tuple[Frame, Result]] = {}

    def write(self, frame: Frame, result: Result) -> None:
        cv2 = require("cv2")
        window = stream_of(frame)
        self.done = self.done or self._was_closed()
        if self.done:  # showing a frame would open a closed window again
            return
        image = picture(frame, result, self._overlay)
        if window not in self._windows:
            self._open(window, image)
        cv2.imshow(window, image)
        if self.capture is not None:
            self._shown[window] = frame, result
        if is_photo(frame.source):
            cv2.setWindowTitle(window, frame.source)
            self._hold()
        else:
            self.done = self._key(1) in STOP_KEYS

    def event(self, event: Event) -> None:
        """The title of a window tells why its picture stands still."""
        if event.source in self._windows and not self.done:
            title = event.source if event.kind == "live" else f"{event.source}: {event.kind}: {event.message}"
            cv2 = require("cv2")
            with contextlib.suppress(cv2.error):  # the person closed it before
                cv2.setWindowTitle(event.source, title)

    def idle(self) -> None:
        """Between frames that do not come: keys are still heard, and windows drawn."""
        if self._windows and not self.done:
            self.done = self._key(1) in STOP_KEYS or self._was_closed()

    def close(self) -> None:
        cv2 = require("cv2")
        while self._windows:
            with contextlib.suppress(cv2.error):  # the person closed it before
                cv2.destroyWindow(self._windows.pop())
                cv2.waitKey(1)

    def _hold(self) -> None:
        """Until a key is pressed, a window closed, or it was there for long enough."""
        until_s = time.monotonic() + (float("inf") if self._hold_s is None else self._hold_s)
        key = None
        while key is None and not self.done and time.monotonic() < until_s:
            key = self._key(50)
            self.done = key in STOP_KEYS or self._was_closed()

    def _key(self, wait_ms: int) -> int | None:
        """What was pressed; None is nothing, or what was done with it here."""
        key = require("cv2").waitKey(wait_ms)
        if key == -1:
            return None
        if self.capture is not None and (key & 0xFF) in KEEP_KEYS:
            self._keep(self.capture)
            return None
        return int(key) & 0xFF

    def _keep(self, capture: Capture) -> None:
        """Of all windows: OpenCV does not say which one was meant. A full disk does not end the show."""
        for frame, result in self._shown.values():
            try:
                path = capture.save(frame, result)
                self.tell(f"{frame.source}: kept frame {frame.index} as {path}")
            except (SinkError, RequestError) as error:
                self.tell(f"{frame.source}: {error}")

    def _open(self, window: str, image: Image) -> None:
        cv2 = require("cv2")
        height, width = image.shape[:2]
        scale = min(1.0, FIRST_SIZE_PX[0] / width, FIRST_SIZE_PX[1] / height)
        cv2.namedWindow(window, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.resizeWindow(window, max(1, round(width * scale)), max(1, round(height * scale)))
        self._windows.add(window)

    def _was_closed(self) -> bool:
        cv2 = require("cv2")
        try:
            return any(cv2.getWindowProperty(window, cv2.WND_PROP_VISIBLE) < 1 for window in self._windows)
        except cv2.error:  # Qt, once its last window is gone
            return True


def _check_screen() -> None:
    """SinkError unless a window can be opened."""
    built = re.search(r"^\s*GUI:\s*(\w+)", require("cv2").getBuildInformation(), re.MULTILINE)
    if built is not None and built[1] == "NONE":
        swap = "pip uninstall opencv-python-headless && pip install opencv-python"
        raise SinkError(f"expected an OpenCV with windows, this one is built without; {_CURE}, or: {swap}")
    if not sys.platform.startswith("linux"):
        return
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        raise SinkError(f"expected a screen for a window, neither DISPLAY nor WAYLAND_DISPLAY is set; {_CURE}")
    if sys.executable and not getattr(sys, "frozen", False):
        _probe_screen()


def _probe_screen() -> None:
    """A display may be named and yet not answer: a stale ssh session, a container without the right to it."""
    try:
        probe = [sys.executable, "-c", _PROBE.format(path=sys.path)]
        tried = subprocess.run(probe, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        raise SinkError(f"expected a window within 20 s, the display does not answer; {_CURE}") from None
    if tried.returncode != 0:
        said = tried.stderr.strip().splitlines() or ["no reason given"]
        display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        raise SinkError(f"expected a window on display {display}, OpenCV cannot open one ({said[0].strip()}); {_CURE}")
