"""Logins in addresses: found as people write them, and hidden in all that is told.

What is told is what is certain to be no secret, and `***` stands for the rest: of a URL the host, the path, and those
`name=value` whose names say that they are harmless (`channel=1`); the login is left out. One function, `_apart`, says
where a login ends, to who connects and to who tells: what is taken for a host is what is connected to.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, quote

from edgezoo.errors import RequestError

_HIDDEN = "***"
_EXAMPLE = "USER:PASSWORD"  # of our own messages

_PLACE = re.compile(r"([\w.-]+|\[[\w.:%-]+\])?(?::(\d{0,5}))?")
_AUTHORITY = re.compile(r"[^/?#]*")
_NUMERIC = re.compile(r"\[.*\]|\d{1,3}(?:\.\d{1,3}){3}")  # an IP address, which nobody is called

_NAMES = (
    "action|audio|bitrate|cam|camera|camid|ch|channel|channelid|chn|cmd|codec|color|compression|format|fps|framerate|h|"
    "height|mode|profile|quality|rate|res|resolution|size|stream|streamid|streamtype|subtype|trackid|type|video|"
    "videocodec|w|width|"
    "basic|burst|burst_frames|code|corrupt|die|die_s|drop|frames|listen|live|loop|relay|resize|roi|seed|shapes|stall|"
    "stall_s|timeout|transport"  # and our own options
)
_HARMLESS = re.compile(rf"(?<![^&;/?#_])(?:{_NAMES})=[\w.,*-]{{0,16}}?(?=[&;/?#]|_[a-z]+=|$)", re.IGNORECASE)
_FIRST_PAIR = re.compile(r"\?|[/;&#](?=[^/;&?#=]*=)")  # some cameras have `name=value` in the path
_LISTENING = ("udp", "tcp")  # may be to somebody who sends here, `udp://:1234`
_INNER = re.compile(r"(?::|%3a)(?:/|%2f){2}", re.IGNORECASE)  # another URL

# `user-pw='my pw'` of a GStreamer element, `password=…` of anything.
_SECRET = re.compile(
    r"(?<![\w-])(?=[\w-]*?(?:user|usr|pw|pass|secret|token|auth|key|login|cookie|header))"
    r"([\w-]+\s*=\s*(?:\(\w+\)\s*)?)(?!SECRET\b)"
    r"(?:\"(?:\\.|[^\"\\])*(?:\"|$)|'(?:\\.|[^'\\])*(?:'|$)|(?:\\.|[^\s&\\])+)",
    re.IGNORECASE,
)
_URL_IN_TEXT = re.compile(r"(?<![a-z0-9+.-])[a-z0-9+.-]+://", re.IGNORECASE)
_CLOSING = {"'": "'", '"': '"', "<": ">"}


def without_login(text: str) -> str:
    """`text`, which may be of any kind, with every URL in it as `url_told` tells it, and `password=…` covered.

    What has been told already stays as it is. A URL ends with the first space (or quote, if it began with one)
    behind the last @, so it may be that more is hidden than has to be. A secret with a space in it that no @ follows
    is hidden by Address alone, which knows where its text ends.
    """
    starts = [found.span() for found in _URL_IN_TEXT.finditer(text)]
    told = [_words_told(text[: starts[0][0]] if starts else text)]
    for (begin, behind), (end, _) in zip(starts, [*starts[1:], (len(text), 0)], strict=False):
        closing = re.compile(_CLOSING.get(text[begin - 1 : begin], r"\s"))
        found = closing.search(text, max(behind, text.rfind("@", behind, end)), end)
        url = text[behind : found.start() if found is not None else end].rstrip(".,;:!?)")
        told += [text[begin:behind], url_told(url), _words_told(text[behind + len(url) : end])]
    return "".join(told)


def url_told(behind: str) -> str:
    """What stands behind the `://` of a URL, as it may be told."""
    parts = _apart(behind)
    if parts is None:
        return _HIDDEN
    login, place, rest = parts
    return (f"{login}@" if login == _EXAMPLE else "") + place + _rest_told(rest)


def bare_told(text: str) -> str:
    """An address without `://`, as it may be told: a path, `camera:0`, or a URL that was written wrongly."""
    return _SECRET.sub(rf"\1{_HIDDEN}", _word_told(text))


def split(scheme: str, behind: str, *, told: str) -> SplitResult:
    """A URL, safe to be taken apart by others. RequestError, with the address as `told`, where that is not certain."""
    parts = _apart(behind)
    if parts is None or (parts[1].partition(":")[0] == "" and scheme not in _LISTENING):
        raise RequestError(
            f"{told}: expected HOST, HOST:PORT or USER:PASSWORD@HOST and a port from 0 to 65535, got something else; "
            "in a login / ? # @ are written %2F %3F %23 %40, and an @ behind the host is %40"
        )
    login, place, rest = parts
    host = place.partition(":")[0]
    try:
        host.encode("idna")
    except UnicodeError:
        raise RequestError(f"{told}: expected the name of a host, got one that cannot be; is it spelt right?") from None
    user, colon, password = login.partition(":")
    login = f"{_quoted(user)}{colon}{_quoted(password)}@" if login else ""
    rest = re.sub(r"[\x00-\x20\x7f\ud800-\udfff]", lambda found: quote(found[0], errors="surrogatepass"), rest)
    rest, _, fragment = rest.partition("#")
    path, _, query = rest.partition("?")
    return SplitResult(scheme, login + place, path, query, fragment)


def _quoted(text: str) -> str:
    """A user or a password, in which `%2F` is a slash already, and a lone % is one."""
    lone = re.sub(r"%(?![0-9a-f]{2})", "%25", text, flags=re.IGNORECASE)
    return quote(lone, safe="%!$&'()*+,;=", errors="surrogatepass")


def _apart(behind: str) -> tuple[str, str, str] | None:
    """Login, host with port, and the rest of what stands behind `://`; None where it cannot be told for certain.

    By the letter (RFC 3986 section 3.2) a login ends before the first / ? or #, with the last @ there. But people
    write passwords as they are, so it may also end with the last @ of all: `user:pass/word@host`. That is meant where
    the letter makes no sense. Where both do, `user:12/34@host/1`, nobody knows, unless the host is an IP address.
    """
    authority = _AUTHORITY.match(behind)
    end = authority.end() if authority is not None else 0
    by_letter = _at(behind, behind.rfind("@", 0, end))
    if "@" not in behind[end:]:
        return by_letter
    as_meant = _at(behind, behind.rfind("@"))
    if by_letter is None or as_meant is None:
        return by_letter or as_meant
    no_login = not re.search(r"[:@]", behind[:end])
    proxied = "://" in behind
    return by_letter if no_login or proxied or _NUMERIC.match(by_letter[1]) else None


def _at(behind: str, at: int) -> tuple[str, str, str] | None:
    """Where the login ends at that @ (-1: there is none); None where no host follows."""
    authority = _AUTHORITY.match(behind, at + 1)
    place = authority[0] if authority is not None else ""
    found = _PLACE.fullmatch(place)
    if found is None or int(found[2] or 0) > 65535:
        return None
    return behind[: max(at, 0)], place, behind[at + 1 + len(place) :]


def _rest_told(rest: str) -> str:
    """Path, query and fragment."""
    found = _FIRST_PAIR.search(rest)
    end = found.end() if found is not None else len(rest)
    path = rest[:end]
    if "@" in path or _end_of_login(path) or _INNER.search(path):
        path = f"/{_HIDDEN}" + "?" * path.endswith("?")
    return path + _pairs_told(rest[end:])


def _pairs_told(text: str) -> str:
    """`name=value&…`, those that are harmless."""
    told, end = [], 0
    for begin, next_end in [*(found.span() for found in _HARMLESS.finditer(text)), (len(text), len(text))]:
        told += [_HIDDEN] * bool(text[end:begin].strip("&;/?#_")) + [text[begin:next_end]] * (begin < next_end)
        end = next_end
    return "&".join(told) if _HIDDEN in told else text


def _words_told(text: str) -> str:
    """Text without URLs."""
    text = re.sub(r"\S+", lambda found: _word_told(found[0]), text)
    return _SECRET.sub(rf"\1{_HIDDEN}", text)


def _word_told(word: str) -> str:
    """`user:password@host`, `rtsp%3A%2F%2Fuser%3Apassword%40host`, and `host/path?password=…`."""
    at = _end_of_login(word)
    if "=" in word[:at].partition("?")[2]:
        return _HIDDEN  # a login with a ? in it, or a query with an @
    path, mark, query = word[at:].partition("?")
    return (_HIDDEN if at else "") + path + mark + (_pairs_told(query) if "=" in query else query)


def _end_of_login(text: str) -> int:
    """Where the last @ is, percent-encoded or not, if a colon stands before it; 0 where there is none."""
    lower = text.lower()
    at = max(lower.rfind("@"), lower.rfind("%40"))
    return at if at > 0 and (":" in lower[:at] or "%3a" in lower[:at]) else 0
