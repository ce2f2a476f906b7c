"""Network streams, tuned for the age of a frame: `rtsp://…`, `http://…`, `udp://…`, `tcp://…`.

`#timeout=5` seconds bound the opening and each read. For RTSP: `#transport=tcp|udp`, and `#relay=0`
for a direct connection, which shows each frame an interval later (see `_relay`). For RTSP and HTTP:
`#basic=1` where a server wants the password in the clear over TLS, for its certificate is not checked.

A picture that changes its size is seen in RTSP through the relay, and in JPEGs over HTTP. Elsewhere OpenCV tells
nothing of it and squeezes what comes into the first size, until the stream is opened again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs

from edgezoo.address import Address
from edgezoo.errors import RequestError, SourceAbsent, SourceError, SourceRefused
from edgezoo.frame import Frame
from edgezoo.sources import Source, _ask
from edgezoo.sources._ask import OPTIONS_VARIABLE
from edgezoo.sources._capture import Capture
from edgezoo.sources._dialog import PORTS
from edgezoo.sources._relay import Relay
from edgezoo.sources.mjpeg import Mjpeg

_EXPECTED = "expected a video stream"
_LONG_WAIT = 3  # intervals without a frame, after which others wait behind the one that came
_SILENCE_S = 2.0  # of a server that has just played: nobody else can open anything meanwhile
_LONGEST_TIMEOUT_S = 86400.0
_UNREADABLE = 1000  # grabbed frames in a row that are no picture: then it is no video


def open_stream(address: Address) -> Source:
    """The stream of a server, read by FFmpeg but for JPEGs over HTTP. Raises as `open_source` does."""
    url = _split(address)
    options = _options(address, url)
    if address.scheme not in ("http", "https"):
        return Stream(address, url, options)
    with _of(str(address)):
        answer, dialog = _ask.get(url, timeout_s=options.timeout_s, basic=options.basic)
    kind, chunked = (answer.headers.get(name, [""])[0].lower() for name in ("content-type", "transfer-encoding"))
    if kind.startswith("multipart/") and not chunked:
        return Mjpeg(address, dialog, timeout_s=options.timeout_s)
    dialog.hang_up()
    return Stream(address, dialog.url, options)


@dataclass(frozen=True, kw_only=True)
class _Options:
    timeout_s: float
    transport: str
    """Of RTSP: `tcp` or `udp`; empty where there is none to choose."""
    relayed: bool
    basic: bool


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

    def __init__(self, address: Address, url: SplitResult, options: _Options) -> None:
        self.address = str(address)
        self._timeout_s, self._transport = options.timeout_s, options.transport
        self._opened = time.monotonic()
        self._relay: Relay | None = None
        with self._asked(url, options) as promise:
            self._opened = time.monotonic()
            if options.relayed and promise.url.scheme in ("rtsp", "tcp"):
                self._relay = self._relay_to(promise)
            self._capture = self._open(promise.url if self._relay is None else self._relay.instead_of(promise.url))
            self.size_wh = self._capture.size_wh if self._capture.is_open else None
            if self.size_wh is None:  # opened without a size: connected, and no picture came in time
                why_not = self._why_not(promise.codec, time.monotonic() - self._opened)
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

    def _relay_to(self, promise: _ask.Promise) -> Relay:
        """To the server, from which something has come where that was not asked; cuts the opening short in silence."""
        url, took_s = promise.url, promise.took_s
        with _of(self.address), _ask.plainly(url, self._timeout_s):
            relay = Relay(url.hostname or "", url.port or PORTS["rtsp"], self._timeout_s, rtsp=url.scheme == "rtsp")
            if url.scheme == "tcp":
                took_s = relay.wait_for_data()
        relay.silence_s = min(self._timeout_s, _SILENCE_S + 2 * took_s)
        return relay

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
            environment={OPTIONS_VARIABLE: f"{transport}fpsprobesize;4"},
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
    def _asked(self, url: SplitResult, options: _Options) -> Iterator[_ask.Promise]:
        """Inside, the server has played for a moment, as far as that can be seen."""
        with ExitStack() as stack:
            promise = _ask.Promise(url)
            with _of(self.address):
                if url.scheme in ("rtsp", "rtsps"):
                    asked = _ask.asked(url, timeout_s=self._timeout_s, transport=options.transport, basic=options.basic)
                    promise = stack.enter_context(asked)
                elif url.scheme == "udp":
                    _ask.wait_for_packet(url, timeout_s=self._timeout_s)
            yield promise

    def _why_not(self, codec: str, waited_s: float) -> SourceError:
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
        return SourceError(self._told("got something that FFmpeg cannot read"))


def _options(address: Address, url: SplitResult) -> _Options:
    rtsp = address.scheme in ("rtsp", "rtsps")
    login = ("basic",) if rtsp or address.scheme in ("http", "https") else ()  # the server may send us on to TLS
    address.check_options(("timeout", *(("transport", "relay") if rtsp else ()), *login))
    timeout_s = address.number("timeout", 5.0)
    if not timeout_s or timeout_s > _LONGEST_TIMEOUT_S:
        raise RequestError(
            f"{address}: expected a timeout above 0 s and up to {_LONGEST_TIMEOUT_S:g}, "
            f"got {address.options['timeout']!r}"
        )
    transport = address.options.get("transport", "tcp" if rtsp else "")
    if transport not in ("tcp", "udp") and rtsp:
        raise RequestError(f"{address}: expected transport=tcp or transport=udp, got {transport!r}")
    for name in ("relay", "basic"):
        if address.options.get(name, "1") not in ("0", "1"):
            raise RequestError(f"{address}: expected {name}=0 or {name}=1, got {address.options[name]!r}")
    own_options = os.environ.get(OPTIONS_VARIABLE)
    if own_options is not None and "transport" in address.options:
        raise RequestError(f"{address}: expected one of #transport and the variable {OPTIONS_VARIABLE}, got both")
    if rtsp and "rtsp_transport;udp" in (own_options or "").split("|"):
        transport = "udp"
    relayed = address.scheme == "rtsp" and transport == "tcp" and own_options is None
    # One that waits for who sends is nobody to connect to.
    relayed = relayed or (address.scheme == "tcp" and "listen" not in parse_qs(url.query, keep_blank_values=True))
    return _Options(
        timeout_s=timeout_s,
        transport=transport,
        relayed=relayed and address.options.get("relay") != "0",
        basic=address.options.get("basic") == "1",
    )


def _split(address: Address) -> SplitResult:
    url = address.url()
    if url.scheme in ("tcp", "udp") and not url.port:
        raise RequestError(f"{address}: expected a port, as in {url.scheme}://HOST:PORT")
    return url
