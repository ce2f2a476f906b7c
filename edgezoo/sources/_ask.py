"""Asking a camera's server whether it would play, before OpenCV opens the stream.

OpenCV tells no reason when a stream does not open, and it holds a lock of the whole process while it tries: nothing
else opens meanwhile, no file and no other camera. So whoever is silent, or says no, is found out here, in a dialog of
our own: DESCRIBE (RFC 2326 section 10.2) or GET, with the login that stands in the address.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple
from urllib.parse import SplitResult

from edgezoo.errors import SourceAbsent, SourceError, SourceRefused
from edgezoo.sources._dialog import PORTS, Answer, Dialog

DECODED = frozenset({
    "AV1", "DV", "H261", "H263", "H263-1998", "H263-2000", "H264", "H265", "JPEG", "MP2T", "MP4V-ES", "MPV", "RAW",
    "THEORA", "VC2", "VP8", "VP9",
})  # fmt: skip
"""Names of video in RTP (RFC 3555) that FFmpeg takes apart and decodes."""

_STATIC = {"26": "JPEG", "31": "H261", "32": "MPV", "33": "MP2T", "34": "H263"}  # RFC 3551 section 6
_BUSY_TRIES, _BUSY_S = 5, 0.1
_NEVER = (401, 403, 407)
_NOT_THIS = (400, 404, 405, 406, 410, 415, 451, 461)


class Promise(NamedTuple):
    """What a server has shown."""

    codec: str
    """The name of its video's codec; empty where it does not tell one."""
    took_s: float
    """Until it sent something."""


@contextmanager
def asked(url: SplitResult, *, timeout_s: float, play: bool = True) -> Iterator[Promise]:
    """Inside, an RTSP server has played for a moment.

    `play`: else it has only said that it would, as one has to take who sends over UDP. It is kept on the line
    meanwhile, for one that has just been left takes a moment before it plays again.

    Raises SourceAbsent where nobody answers or sends, or not now; SourceRefused where it says no. Both tell only the
    rest of a line, what came and what to try.
    """
    with ExitStack() as stack:
        with _plainly(url, timeout_s):
            began = time.monotonic()
            if play:
                with Dialog(url, timeout_s) as dialog:
                    _play(dialog, url)
            took_s = time.monotonic() - began
            promise = Promise(_video(stack.enter_context(Dialog(url, timeout_s)), url)[1], took_s)
        yield promise


def get(url: SplitResult, *, timeout_s: float) -> tuple[Answer, Dialog]:
    """What an HTTP server answers, and the connection, on which something has begun to come. Raises as `asked` does."""
    dialog = None
    try:
        with _plainly(url, timeout_s):
            dialog = Dialog(url, timeout_s)
            answer = check(dialog.say("GET", _path(url)), url)
            dialog.wait_for_data()
            return answer, dialog
    except BaseException:
        if dialog is not None:
            dialog.hang_up()
        raise


@contextmanager
def _plainly(url: SplitResult, timeout_s: float) -> Iterator[None]:
    """What goes wrong inside as SourceAbsent, in plain words."""
    try:
        yield
    except SourceError:
        raise
    except TimeoutError:
        longer = f"#timeout={4 * timeout_s:g}"
        trouble = f"got no picture within {timeout_s:g} s; is it sending? to wait longer: {longer}"
        raise SourceAbsent(trouble) from None
    except OSError as error:
        raise SourceAbsent(no_answer(url, error)) from None


def ask_for_transport(url: SplitResult, transport: str, *, timeout_s: float) -> None:
    """SourceRefused where an RTSP server does not send over `udp` or `tcp`; where it does not tell, nothing."""
    try:
        with Dialog(url, timeout_s) as dialog:
            track, _ = _video(dialog, url)
            check(_set_up(dialog, track, transport), url)
    except SourceRefused:
        raise
    except OSError:
        pass


def check(answer: Answer, url: SplitResult) -> Answer:
    """The answer where it is yes; SourceRefused or SourceAbsent with its reason."""
    told = f"got '{answer.status} {answer.reason}' from the server"
    if answer.status in _NEVER:
        raise SourceRefused(f"{told}; is the login right? {url.scheme}://USER:PASSWORD@HOST/…")
    if answer.status == 461:
        raise SourceRefused(f"{told}; try the other of #transport=tcp and #transport=udp", may_pass=True)
    if answer.status in _NOT_THIS:
        raise SourceRefused(f"{told}; is the path right?", may_pass=True)
    if answer.status >= 400:
        raise SourceAbsent(f"{told}; try again later")
    if url.scheme.startswith("http") and answer.headers.get("content-type", [""])[0].lower().startswith("text/html"):
        raise SourceRefused("got a page for people from the server, no video; is the path right?", may_pass=True)
    return answer


def no_answer(url: SplitResult, error: OSError) -> str:
    return f"but {url.hostname}:{url.port or PORTS[url.scheme]} does not answer ({error.strerror or error})"


def _play(dialog: Dialog, url: SplitResult) -> None:
    """Until something of a picture has come. Who does not understand how we ask for it may understand FFmpeg."""
    track, _ = _video(dialog, url)
    answer = _set_up(dialog, track, "tcp")
    if answer.status == 200:
        answer = dialog.say("PLAY", dialog.uri, {"Range": "npt=0.000-"})
    if answer.status == 200:
        dialog.wait_for_data()
    elif answer.status == 461:
        check(answer, url)


def _set_up(dialog: Dialog, track: str, transport: str) -> Answer:
    offer = "RTP/AVP/TCP;unicast;interleaved=0-1" if transport == "tcp" else "RTP/AVP;unicast;client_port=47370-47371"
    answer = dialog.say("SETUP", track, {"Transport": offer})
    dialog.session = answer.headers.get("session", [""])[0].partition(";")[0].strip()
    return answer


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
