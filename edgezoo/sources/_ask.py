"""Asking a camera's server whether it would play, before OpenCV opens the stream.

OpenCV tells no reason when a stream does not open, and it holds a lock of the whole process while it tries: nothing
else opens meanwhile, no file and no other camera. So whoever is silent, or says no, is found out here, in a dialog of
our own: DESCRIBE (RFC 2326 section 10.2) or GET, with the login that stands in the address.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from edgezoo.errors import SourceAbsent, SourceError, SourceRefused
from edgezoo.sources import _packets
from edgezoo.sources._dialog import PORTS, Answer, Dialog

OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
"""Where a user tells OpenCV what options FFmpeg gets, its transport among them; it takes none beside them."""

DECODED = frozenset({
    "AV1", "DV", "H261", "H263", "H263-1998", "H263-2000", "H264", "H265", "JPEG", "MP2T", "MP4V-ES", "MPV", "RAW",
    "THEORA", "VC2", "VP8", "VP9",
})  # fmt: skip
"""Names of video in RTP (RFC 3555) that FFmpeg takes apart and decodes."""

_STATIC = {"26": "JPEG", "31": "H261", "32": "MPV", "33": "MP2T", "34": "H263"}  # RFC 3551 section 6
_BUSY_TRIES, _BUSY_S = 5, 0.1
_NEVER = (401, 403, 407)
_NOT_THIS = (400, 404, 405, 406, 410, 415, 451, 461)
_MOST_MOVES = 5
_SCHEMES = {"rtsp": ("rtsp", "rtsps"), "http": ("http", "https")}
_SECURE = ("rtsps", "https")
_NO_VIDEO = re.compile(r"text/(?!x-|vnd)|application/(.*\+?json|xml|pdf|javascript)$|audio/(?!.*mpegurl)")
_LISTS = (".m3u8", ".m3u")  # text that servers do not always know for what it is

T = TypeVar("T")


class Promise(NamedTuple):
    """What a server has shown."""

    url: SplitResult
    """Where it is: elsewhere than asked where we were sent on."""
    codec: str = ""
    """The name of its video's codec; empty where it does not tell one."""
    took_s: float = 0.0
    """Until it sent something."""


@contextmanager
def asked(url: SplitResult, *, timeout_s: float, transport: str, basic: bool) -> Iterator[Promise]:
    """Inside, an RTSP server has played for a moment.

    It is kept on the line meanwhile, for one that has just been left takes a moment before it plays again.

    Raises SourceAbsent where nobody answers or sends, or not now; SourceRefused where it says no. Both tell only the
    rest of a line, what came and what to try.
    """
    with ExitStack() as stack:

        def ask(url: SplitResult, left_s: float) -> Promise:
            began = time.monotonic()
            with Dialog(url, left_s, basic=basic) as dialog:
                _play(dialog, url, transport)
            took_s = time.monotonic() - began
            kept = stack.enter_context(Dialog(url, left_s, basic=basic))
            return Promise(url, _video(kept, url)[1], took_s)

        yield _followed(url, timeout_s, ask)


def get(url: SplitResult, *, timeout_s: float, basic: bool) -> tuple[Answer, Dialog]:
    """What an HTTP server answers, and the connection, on which something has begun to come. Raises as `asked` does."""

    def ask(url: SplitResult, left_s: float) -> tuple[Answer, Dialog]:
        dialog = Dialog(url, left_s, basic=basic)
        try:
            answer = check(dialog.say("GET", _path(url)), url)
            dialog.wait_for_data()
        except BaseException:
            dialog.hang_up()
            raise
        return answer, dialog

    return _followed(url, timeout_s, ask)


def wait_for_packet(url: SplitResult, *, timeout_s: float) -> None:
    """Until somebody sends to a `udp://` address. SourceAbsent where nobody does."""
    with plainly(url, timeout_s):
        _packets.wait_for_packet(url, timeout_s=timeout_s)


class _MovedError(Exception):
    def __init__(self, url: SplitResult) -> None:
        super().__init__()
        self.url = url


def _followed(url: SplitResult, timeout_s: float, ask: Callable[[SplitResult, float], T]) -> T:
    """What `ask` brings, from the server or from where that sends us on to, all in the time for one."""
    until_s, sent_on = time.monotonic() + timeout_s, ""
    for _ in range(1 + _MOST_MOVES):
        try:
            with plainly(url, timeout_s, sent_on):
                return ask(url, until_s - time.monotonic())
        except _MovedError as moved:
            url = moved.url
            sent_on = f" (the server sent us on to {_place(url)})"
    raise SourceRefused(f"got sent on more than {_MOST_MOVES} times by the server; is the path right?", may_pass=True)


def _moved(url: SplitResult, location: str) -> SplitResult:
    """Where a server sends us on to (RFC 9110 section 15.4). The login goes along where that is the same host."""
    try:
        fresh = urlsplit(urljoin(url._replace(scheme="http").geturl(), location))
        _ = fresh.port, (fresh.hostname or "").encode("idna")
    except ValueError:
        fresh = urlsplit("")
    if "://" not in location:
        fresh = fresh._replace(scheme=url.scheme)
    if fresh.scheme not in _SCHEMES[url.scheme.removesuffix("s")] or not fresh.hostname:
        where = f"{fresh.scheme}:…" if fresh.scheme else "nowhere"
        raise SourceRefused(f"got sent on to {where} by the server; is the path right?", may_pass=True)
    login, at, _ = url.netloc.rpartition("@")
    weaker = url.scheme in _SECURE and fresh.scheme not in _SECURE
    goes_along = fresh.hostname == url.hostname and not weaker
    return fresh._replace(netloc=(login + at if goes_along else "") + fresh.netloc.rpartition("@")[2], fragment="")


@contextmanager
def plainly(url: SplitResult, timeout_s: float, more: str = "") -> Iterator[None]:
    """What goes wrong inside as SourceAbsent, in plain words, with `more` behind them."""
    try:
        yield
    except SourceRefused as error:
        raise SourceRefused(f"{error}{more}", may_pass=error.may_pass) from None
    except SourceError as error:
        raise SourceAbsent(f"{error}{more}") from None
    except TimeoutError:
        longer = f"#timeout={4 * timeout_s:g}"
        trouble = f"got no picture within {timeout_s:g} s; is it sending? to wait longer: {longer}"
        raise SourceAbsent(trouble + more) from None
    except OSError as error:
        raise SourceAbsent(no_answer(url, error) + more) from None


def check(answer: Answer, url: SplitResult) -> Answer:
    """The answer where it is yes; SourceRefused or SourceAbsent with its reason, _MovedError with where to go."""
    location = answer.headers.get("location", [""])[0]
    if 300 <= answer.status < 400 and location:
        raise _MovedError(_moved(url, location))
    told = f"got '{answer.status} {answer.reason}' from the server"
    if answer.status in _NEVER:
        raise SourceRefused(f"{told}; is the login right? {url.scheme}://USER:PASSWORD@HOST/…")
    if answer.status == 461:
        raise SourceRefused(f"{told}; {_try('the other of #transport=tcp and #transport=udp')}", may_pass=True)
    if answer.status in _NOT_THIS or 300 <= answer.status < 400:
        raise SourceRefused(f"{told}; is the path right?", may_pass=True)
    if answer.status >= 400:
        raise SourceAbsent(f"{told}; try again later")
    kind = answer.headers.get("content-type", [""])[0].partition(";")[0].strip().lower()
    if url.scheme.startswith("http") and _NO_VIDEO.match(kind) and not url.path.lower().endswith(_LISTS):
        what = "a page for people" if kind == "text/html" else kind
        raise SourceRefused(f"got {what} from the server, no video; is the path right?", may_pass=True)
    return answer


def _try(transport: str) -> str:
    """The cure where a transport does not work."""
    return f"try {f'another rtsp_transport in {OPTIONS_VARIABLE}' if OPTIONS_VARIABLE in os.environ else transport}"


def no_answer(url: SplitResult, error: OSError) -> str:
    if url.scheme == "udp":
        return f"but nobody can listen on port {url.port} here ({error.strerror or error})"
    return f"but {_place(url)} does not answer ({error.strerror or error})"


def _place(url: SplitResult) -> str:
    host = url.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{url.port or PORTS[url.scheme]}"


def _play(dialog: Dialog, url: SplitResult, transport: str) -> None:
    """Until something of a picture has come. Who does not understand how we ask for it may understand FFmpeg."""
    track, _ = _video(dialog, url)
    if transport == "udp":
        _play_over_udp(dialog, track, url)
    elif _starts(dialog, track, url, "RTP/AVP/TCP;unicast;interleaved=0-1"):
        dialog.wait_for_data()


def _play_over_udp(dialog: Dialog, track: str, url: SplitResult) -> None:
    with _packets.ears_for(dialog.ends[0]) as (ears, port):
        if not _starts(dialog, track, url, f"RTP/AVP;unicast;client_port={port}-{port + 1}", ears):
            return
        try:
            ears.settimeout(dialog.left_s())
            ears.recv(65536)
        except TimeoutError:
            trouble = "got no picture over UDP within {:.3g} s; is a firewall between? {}"
            raise SourceAbsent(trouble.format(dialog.timeout_s, _try("#transport=tcp"))) from None


def _starts(dialog: Dialog, track: str, url: SplitResult, offer: str, ears: socket.socket | None = None) -> bool:
    """Whether it says that it plays. SourceRefused where it does not send in the way of `offer`."""
    answer = dialog.say("SETUP", track, {"Transport": offer})
    dialog.session = answer.headers.get("session", [""])[0].partition(";")[0].strip()
    if answer.status == 461:
        check(answer, url)
    port = re.search(r"server_port=(\d{1,5})", answer.headers.get("transport", [""])[0])
    if ears is not None and port is not None:
        _packets.knock(ears, dialog.ends[1], int(port[1]))
    return answer.status == 200 and dialog.say("PLAY", dialog.uri, {"Range": "npt=0.000-"}).status == 200


def _video(dialog: Dialog, url: SplitResult) -> tuple[str, str]:
    """Where the first video is, and its codec (RFC 4566); SourceRefused where there is none."""
    for _ in range(_BUSY_TRIES):
        described = dialog.say("DESCRIBE", dialog.uri, {"Accept": "application/sdp"})
        if described.status != 503 or dialog.left_s() < 2 * _BUSY_S:
            break
        time.sleep(_BUSY_S)  # it has just been left by somebody, such as ourselves
    check(described, url)
    text = described.body.decode("latin-1")
    parts = re.split(r"(?m)^m=", text)
    video = next((part for part in parts[1:] if part.startswith("video")), None)
    if video is None:
        raise SourceRefused("got a stream without any video from the server; is the path right?", may_pass=True)
    base = (described.headers.get("content-base") or described.headers.get("content-location") or [dialog.uri])[0]
    control = re.search(r"(?m)^a=control:(\S+)", video)
    track = control[1] if control is not None else ""
    if not re.match(r"rtsps?://", track, re.IGNORECASE):
        track = base if track in ("", "*") else f"{base.rstrip('/')}/{track}"
    name = re.search(r"(?m)^a=rtpmap:\d+ ([\w-]+)/", video)
    payload = re.match(r"video \S+ \S+ (\d+)", video)
    return track, name[1].upper() if name is not None else _STATIC.get(payload[1] if payload is not None else "", "")


def _path(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")
