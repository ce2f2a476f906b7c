"""Network streams, tuned for the age of a frame: `rtsp://…`, `http://…`, `udp://…`, `tcp://…`.

`#timeout=5` seconds bound the opening and each read. For RTSP: `#transport=tcp|udp`, and `#relay=0`
for a direct connection, which shows each frame an interval later (see `_relay`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import SplitResult, urlsplit

from edgezoo.address import Address
from edgezoo.errors import RequestError, SourceAbsent, SourceError, SourceRefused
from edgezoo.frame import Frame
from edgezoo.sources import Source, _ask
from edgezoo.sources._capture import Capture
from edgezoo.sources._dialog import PORTS
from edgezoo.sources._relay import Relay
from edgezoo.sources.mjpeg import Mjpeg

_OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_EXPECTED = "expected a video stream"
_LONG_WAIT = 3  # intervals without a frame, after which others wait behind the one that came
_SILENCE_S = 2.0  # of a server that has just played: nobody else can open anything meanwhile
_UNREADABLE = 1000  # grabbed frames in a row that are no picture: then it is no video


def open_stream(address: Address) -> Source:
    """The stream of a server, read by FFmpeg but for JPEGs over HTTP. Raises as `open_source` does."""
    if address.scheme in ("http", "https"):
        timeout_s, _, _ = _options(address)
        with _of(str(address)):
            answer, dialog = _ask.get(_split(address), timeout_s=timeout_s)
        kind, chunked = (answer.headers.get(name, [""])[0].lower() for name in ("content-type", "transfer-encoding"))
        if kind.startswith("multipart/") and not chunked:
            return Mjpeg(address, dialog, timeout_s=timeout_s)
        dialog.hang_up()
    return Stream(address)


@contextmanager
def _of(address: str) -> Iterator[None]:
    """What is raised inside, with the address before it."""
    try:
        yield
    except SourceRefused as error:
        raise SourceRefused(f"{address}: {_EXPECTED}, {error}", may_pass=error.may_pass) from None
    except SourceAbsent as error:
        raise SourceAbsent(f"{address}: {_EXPECTED}, {error}") from None


class Stream:
    """A stream that is being sent now; where it ends or stalls, SourceError says so.

    An RTSP server is asked first (see `_ask`): SourceAbsent where nobody answers, SourceRefused where it says no.

    Frames that lay waiting are skipped, as many as the time explains for which nobody read, or for which the line
    stood still: the gap in `index` tells. So a slow reader sees fresh frames, a burst after a stall is not played
    from its beginning, and what was sent while the stream was being opened does not pass for new.
    """

    live = True
    frames = None

    def __init__(self, address: Address) -> None:
        self.address = str(address)
        self._timeout_s, self._transport, relayed = _options(address)
        url = _split(address)
        self._opened = time.monotonic()
        self._relay: Relay | None = None
        with self._asked(url) as promise:
            self._opened = time.monotonic()
            self._capture = self._open(self._relayed(url, promise) if relayed else url)
            self.size_wh = self._capture.size_wh if self._capture.is_open else None
            if self.size_wh is None:  # opened without a size: connected, and no picture came in time
                why_not = self._why_not(url, promise.codec, time.monotonic() - self._opened)
                self.close()
                raise why_not
        if self._relay is not None:
            self._relay.opened()
        self.fps = self._capture.fps
        self._unreadable = 0

    @property
    def damaged(self) -> int:
        """How many frames came so far that could not be decoded."""
        return self._capture.damaged + self._unreadable

    def __iter__(self) -> Iterator[Frame]:
        capture = self._capture
        index = -1
        read = self._opened
        blank = 0
        with capture.device.iterating():
            while blank < _UNREADABLE:
                asked = time.monotonic()
                grabbed_ns, taken = self._grab_newest(asked - read)
                if grabbed_ns is None:
                    break
                if self._relay is not None and self._relay.resized:  # OpenCV would squeeze them into the old size
                    raise SourceError(f"{self.address}: pictures have another size after frame {index}; open it again")
                index += taken
                read = time.monotonic()
                if (image := capture.retrieve()) is None:
                    self._unreadable, blank = self._unreadable + 1, blank + 1
                    continue
                blank = 0
                yield Frame(image, index, grabbed_ns / 1e9 - self._opened, grabbed_ns, self.address)
                if grabbed_ns / 1e9 - asked > _LONG_WAIT * self._interval_s:
                    read = min(read, asked + self._interval_s)  # what was sent meanwhile waits behind it
            if not capture.device.ended.is_set():
                raise SourceError(f"{self.address}: {self._how_it_ended(index, time.monotonic() - asked)}")

    def close(self) -> None:
        self._capture.device.close()
        if self._relay is not None:
            self._relay.close()  # ends a read that waits

    def _relayed(self, url: SplitResult, promise: _ask.Promise) -> SplitResult:
        """The address of a relay to the server, which cuts the opening short where that has fallen silent since."""
        try:
            self._relay = Relay(url.hostname or "", url.port or PORTS["rtsp"], self._timeout_s)
        except OSError as error:
            raise SourceAbsent(self._told(_ask.no_answer(url, error))) from None
        self._relay.silence_s = min(self._timeout_s, _SILENCE_S + 2 * promise.took_s)
        login, at, _ = url.netloc.rpartition("@")
        return url._replace(netloc=f"{login}{at}127.0.0.1:{self._relay.port}")

    def _open(self, url: SplitResult) -> Capture:
        timeout_ms = int(self._timeout_s * 1000)
        transport = f"rtsp_transport;{self._transport}|" if self._transport else ""
        return Capture(
            self.address,
            url.geturl(),
            "FFMPEG",
            # FFmpeg's threads decode a frame each, and every further one delays by a frame. OpenCV before 4.7 does not
            # know N_THREADS: there a frame is an interval older for each further core.
            params={"OPEN_TIMEOUT_MSEC": timeout_ms, "READ_TIMEOUT_MSEC": timeout_ms, "N_THREADS": 1},
            # Four frames tell the rate well enough; FFmpeg would watch twenty and more before it opens.
            # `fflags;nobuffer` is not here: it throws away what came while the stream was probed, the first key frame
            # as well, and shows nothing until the next one. `flags;low_delay` never reaches OpenCV's decoder.
            environment={_OPTIONS_VARIABLE: f"{transport}fpsprobesize;4"},
            patience_s=self._timeout_s,
            on_release=self._end_relay,
        )

    def _end_relay(self) -> None:
        if self._relay is not None:
            self._relay.close()
            self._relay.join()

    @property
    def _interval_s(self) -> float:
        return 1 / (self.fps or 30.0)

    def _grab_newest(self, away_s: float) -> tuple[int | None, int]:
        """Grab past what came while nobody read for `away_s`: when the last one was there, and how many were taken."""
        waiting = int(away_s / self._interval_s)
        taken = 0
        while True:
            asked = time.monotonic()
            grabbed_ns = self._capture.grab()
            taken += 1
            # One that had to be waited for is the newest.
            if taken > waiting or grabbed_ns is None or grabbed_ns / 1e9 - asked > self._interval_s / 2:
                return grabbed_ns, taken

    def _how_it_ended(self, index: int, waited_s: float) -> str:
        if waited_s > 0.9 * self._timeout_s:
            return f"no frame for {self._timeout_s:g} s after frame {index}; is it still sending, and reachable?"
        return f"the stream ended after frame {index}"

    def _told(self, what_came: object) -> str:
        return f"{self.address}: {_EXPECTED}, {what_came}"

    @contextmanager
    def _asked(self, url: SplitResult) -> Iterator[_ask.Promise]:
        """Inside, the server has played for a moment, as far as that can be seen."""
        if not url.scheme.startswith("rtsp"):
            yield _ask.Promise("", 0.0)
            return
        play = self._transport == "tcp"
        with ExitStack() as stack:
            with _of(self.address):
                promise = stack.enter_context(_ask.asked(url, timeout_s=self._timeout_s, play=play))
            yield promise

    def _why_not(self, url: SplitResult, codec: str, waited_s: float) -> SourceError:
        """What to say of a server that said yes, and of which no stream came."""
        status = self._relay.status if self._relay is not None else ""
        if status.startswith("4"):
            hint = "if it wants to be called by its own name: #relay=0"
            return SourceRefused(self._told(f"got {status!r} from the server; {hint}"), may_pass=True)
        if status.startswith("5"):
            return SourceAbsent(self._told(f"got {status!r} from the server; try again later"))
        if codec and codec not in _ask.DECODED:
            return SourceRefused(self._told(f"got video as {codec}, which FFmpeg cannot decode; try H264"))
        fell_silent = self._relay is not None and self._relay.fell_silent
        if waited_s > 0.9 * self._timeout_s or fell_silent:
            longer = f"#timeout={4 * self._timeout_s:g}"
            return SourceError(
                self._told(f"got no picture within {waited_s:.1g} s; is it sending? to wait longer: {longer}")
            )
        if self._transport and self._relay is None:
            try:
                _ask.ask_for_transport(url, self._transport, timeout_s=self._timeout_s)
            except SourceRefused as error:
                return SourceRefused(self._told(error), may_pass=error.may_pass)
        return SourceError(self._told("got something that FFmpeg cannot read"))


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
    if not _has_port_or_none(url):  # said out here: what urlsplit says has a part of the password in it
        raise RequestError(
            f"{address}: expected a port from 0 to 65535, got something else behind the host; "
            "in a password, / # and ? are written %2F %23 and %3F"
        )
    return url


def _has_port_or_none(url: SplitResult) -> bool:
    try:
        _ = url.port
    except ValueError:
        return False
    return True
