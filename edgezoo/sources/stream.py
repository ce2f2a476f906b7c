"""Network streams, tuned for the age of a frame: `rtsp://…`, `http://…`, `udp://…`, `tcp://…`.

`#timeout=5` seconds bound the opening and each read. For RTSP: `#transport=tcp|udp`, and `#relay=0`
for a direct connection, which shows each frame an interval later (see `_relay`).
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from edgezoo.address import Address, without_login
from edgezoo.errors import RequestError, SourceError
from edgezoo.frame import Frame
from edgezoo.sources._capture import Capture
from edgezoo.sources._relay import Relay

_OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


class Stream:
    """A stream that is being sent now; where it ends or stalls, SourceError says so.

    Frames that lay waiting while nobody read are skipped, as many as the time away explains: the
    gap in `index` tells. So a slow reader sees fresh frames, and what was sent while the stream
    was being opened does not pass for new.
    """

    live = True
    frames = None

    def __init__(self, address: Address) -> None:
        self.address = str(address)
        self._timeout_s, transport, relayed = _options(address)
        url = _split(address)
        self._opened = time.monotonic()
        self._relay: Relay | None = None
        if relayed:
            try:
                self._relay = Relay(url.hostname or "", url.port or _PORTS["rtsp"], self._timeout_s)
            except OSError as error:
                raise SourceError(f"{self.address}: expected a video stream, {_no_answer(url, error)}") from None
            login, at, _ = url.netloc.rpartition("@")
            url = url._replace(netloc=f"{login}{at}127.0.0.1:{self._relay.port}")
        self._capture = self._open(url.geturl(), f"rtsp_transport;{transport}|" if transport else "")
        self.size_wh = self._capture.size_wh if self._capture.is_open else None
        if self.size_wh is None:  # opened without a size: connected, and no picture came in time
            waited_s = time.monotonic() - self._opened
            why_not = self._why_not(address, waited_s)
            self.close()
            raise SourceError(f"{self.address}: expected a video stream, {why_not}")
        self.fps = self._capture.fps

    def __iter__(self) -> Iterator[Frame]:
        capture = self._capture
        index = -1
        read = self._opened
        with capture.device.iterating():
            while True:
                asked = time.monotonic()
                grabbed_ns, taken = self._grab_newest(asked - read)
                if grabbed_ns is None or (image := capture.retrieve()) is None:
                    break
                index += taken
                read = time.monotonic()
                yield Frame(image, index, grabbed_ns / 1e9 - self._opened, grabbed_ns, self.address)
            if not capture.device.ended.is_set():
                raise SourceError(f"{self.address}: {self._how_it_ended(index, time.monotonic() - asked)}")

    def close(self) -> None:
        self._capture.device.close()
        if self._relay is not None:
            self._relay.close()  # ends a read that waits

    def _open(self, url: str, options: str) -> Capture:
        timeout_ms = int(self._timeout_s * 1000)
        return Capture(
            self.address,
            url,
            "FFMPEG",
            # FFmpeg's threads decode a frame each, and every further one delays by a frame. OpenCV before 4.7 does not
            # know N_THREADS: there a frame is an interval older for each further core.
            params={"OPEN_TIMEOUT_MSEC": timeout_ms, "READ_TIMEOUT_MSEC": timeout_ms, "N_THREADS": 1},
            # Four frames tell the rate well enough; FFmpeg would watch twenty and more before it opens.
            # `fflags;nobuffer` is not here: it throws away what came while the stream was probed, the first key frame
            # as well, and shows nothing until the next one. `flags;low_delay` never reaches OpenCV's decoder.
            environment={_OPTIONS_VARIABLE: f"{options}fpsprobesize;4"},
            patience_s=self._timeout_s,
            on_release=self._end_relay,
        )

    def _end_relay(self) -> None:
        if self._relay is not None:
            self._relay.close()
            self._relay.join()

    def _grab_newest(self, away_s: float) -> tuple[int | None, int]:
        """Grab past what came while nobody read for `away_s`: when the last one was there, and how many were taken."""
        interval_s = 1 / (self.fps or 30.0)
        waiting = int(away_s / interval_s)
        taken = 0
        while True:
            asked = time.monotonic()
            grabbed_ns = self._capture.grab()
            taken += 1
            # One that had to be waited for is the newest.
            if taken > waiting or grabbed_ns is None or grabbed_ns / 1e9 - asked > interval_s / 2:
                return grabbed_ns, taken

    def _how_it_ended(self, index: int, waited_s: float) -> str:
        if waited_s > 0.9 * self._timeout_s:
            return f"no frame for {self._timeout_s:g} s after frame {index}; is it still sending, and reachable?"
        return f"the stream ended after frame {index}"

    def _why_not(self, address: Address, waited_s: float) -> str:
        """The rest of a line that says why no stream came, as far as the server tells."""
        status = self._relay.status if self._relay is not None else ""
        if not status.startswith(("4", "5")):
            if waited_s > 0.9 * self._timeout_s:
                longer = f"#timeout={4 * self._timeout_s:g}"
                return f"got no picture within {self._timeout_s:g} s; is it sending? to wait longer: {longer}"
            status = _ask(_split(address)) if address.scheme in _PORTS else ""
        if status.startswith(("401", "403")):
            return f"got {status!r} from the server; is the login right? rtsp://USER:PASSWORD@HOST/…"
        if status.startswith(("4", "5")):
            hint = " if it wants to be called by its own name: #relay=0" if self._relay is not None else ""
            return f"got {status!r} from the server; is the path right?{hint}"
        return status or "got something that FFmpeg cannot read"


def _options(address: Address) -> tuple[float, str, bool]:
    """Timeout in seconds, transport ("" where there is none to choose), and whether to go through a relay."""
    rtsp = address.scheme in ("rtsp", "rtsps")
    address.check_options(("timeout", "transport", "relay") if rtsp else ("timeout",))
    timeout_s = address.number("timeout", 5.0)
    if not timeout_s:
        raise RequestError(f"{address}: expected a timeout above 0 s, got {address.options['timeout']!r}")
    transport = address.options.get("transport", "tcp" if rtsp else "")
    if transport not in ("tcp", "udp") and rtsp:
        raise RequestError(f"{address}: expected transport=tcp or transport=udp, got {transport!r}")
    relay = address.options.get("relay", "1")
    if relay not in ("0", "1"):
        raise RequestError(f"{address}: expected relay=0 or relay=1, got {relay!r}")
    own_options = _OPTIONS_VARIABLE in os.environ
    if own_options and "transport" in address.options:
        raise RequestError(f"{address}: expected one of #transport and the variable {_OPTIONS_VARIABLE}, got both")
    return timeout_s, transport, relay == "1" and address.scheme == "rtsp" and transport == "tcp" and not own_options


def _split(address: Address) -> SplitResult:
    url = urlsplit(address.target)
    try:
        _ = url.port
    except ValueError:
        raise RequestError(f"{address}: expected a port from 0 to 65535, got something else behind the host") from None
    return url


def _ask(url: SplitResult) -> str:
    """The status the server answers to a question without login, a line about its silence, or nothing."""
    host, port = url.hostname or "", url.port or _PORTS[url.scheme]
    question = {
        "rtsp": f"DESCRIBE {without_login(url.geturl())} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n",
        "http": f"HEAD {url.path or '/'} HTTP/1.0\r\nHost: {host}\r\n\r\n",
    }.get(url.scheme, "")
    try:
        with socket.create_connection((host, port), timeout=1.0) as server:
            server.sendall(question.encode())
            answer = server.recv(256).decode("latin-1") if question else ""
    except OSError as error:
        return _no_answer(url, error)
    found = re.match(r"(?:RTSP|HTTP)/\d\.\d ([^\r\n]+)", answer)
    return found[1] if found is not None and found[1][0] in "45" else ""


def _no_answer(url: SplitResult, error: OSError) -> str:
    return f"but {url.hostname}:{url.port or _PORTS[url.scheme]} does not answer ({error.strerror or error})"
