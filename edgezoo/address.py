"""Addresses of sources and sinks: `camera:0#size=1280x720&fps=30`, `rtsp://…`, `clip.mp4`, `web:8080`.

Our own options stand behind the last `#`, so that an address keeps its own query.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from edgezoo.errors import RequestError, nearest

_OPTION = re.compile(r"[a-z_]+=[^&#]*")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(?!\\)", re.IGNORECASE)  # two letters at least: `C:\` is a path
# Up to the last @: passwords have them too. And even a / where it should be %2F: where what stands before the first one
# is no host and port, the login goes on behind it.
_LOGIN = re.compile(r"(?<=://)(?:[^/\s]*@|(?!\[)[^/\s:]*:(?!\d{1,5}/)\S*@)")

# `?password=…` of a URL, `user-pw=…` of a GStreamer element.
_SECRET = re.compile(r"(\b[\w-]*(?:user|pw|pass|secret|token)[\w-]*\s*=\s*)(\"[^\"]*\"|[^\s&]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Address:
    """An address taken apart."""

    scheme: str
    """`camera`, `rtsp`, `synthetic`, `window`, …; empty for a path or a bare word."""
    target: str
    """What stands behind the scheme (`0`); for URLs and paths all of it."""
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises RequestError for an empty address."""
        if not text.strip():
            raise RequestError("expected an address such as camera:0 or clip.mp4, got an empty one")
        head, mark, tail = text.rpartition("#")
        options: dict[str, str] = {}
        if mark and all(_OPTION.fullmatch(part) for part in tail.split("&")):
            text = head
            options = dict(part.split("=", 1) for part in tail.split("&"))
        found = _SCHEME.match(text)
        if found is None:
            return cls("", text, options)
        scheme = found[1].lower()
        return cls(scheme, text if "://" in text else text[found.end() :], options)

    def __str__(self) -> str:
        """For people and logs: without user and password."""
        target = without_login(self.target)
        return f"{self.scheme}:{target}" if self.scheme and "://" not in target else target

    def check_options(self, known: tuple[str, ...]) -> None:
        """RequestError for an option that this kind of address does not have."""
        for name in self.options:
            if name not in known:
                hint = nearest(name, known)
                tip = f"did you mean {hint!r}?" if hint else f"known: {', '.join(known) or 'none'}"
                raise RequestError(f"{self}: no option is called {name!r}; {tip}")

    def number(self, name: str, default: float | None = None) -> float | None:
        """Option `name` as a number, zero or above."""
        text = self.options.get(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise RequestError(f"{self}: expected {name}=NUMBER, got {text!r}")
        return value

    def size_wh(self, name: str = "size") -> tuple[int, int] | None:
        """Option `name` as WIDTHxHEIGHT in pixels."""
        text = self.options.get(name)
        return None if text is None else parse_size(text)


def without_options(text: str, names: Collection[str]) -> str:
    """The address `text` without those options of its own."""
    if not any(name in Address.parse(text).options for name in names):
        return text
    head, _, tail = text.rpartition("#")
    kept = "&".join(part for part in tail.split("&") if part.partition("=")[0] not in names)
    return f"{head}#{kept}" if kept else head


def parse_size(text: str) -> tuple[int, int]:
    """`640x480` as (640, 480); RequestError for anything else."""
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise RequestError(f"expected a size as WIDTHxHEIGHT in pixels, such as 640x480, got {text!r}")
    return int(found[1]), int(found[2])


def without_login(text: str) -> str:
    """`text` with `user:password@` taken out of every URL in it, and `password=…` covered."""
    return _SECRET.sub(r"\1***", _LOGIN.sub("", text))
