"""Addresses of sources and sinks: `camera:0#size=1280x720&fps=30`, `rtsp://…`, `clip.mp4`, `web:8080`.

Our own options stand behind the last `#`, so that an address keeps its own query.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult

from edgezoo import logins
from edgezoo.errors import RequestError, nearest
from edgezoo.logins import without_login as without_login

_OPTION = re.compile(r"[a-z_]+=[^&#]*")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(?!\\)", re.IGNORECASE)  # two letters at least: `C:\` is a path
_URL = re.compile(r"((?:[a-z][a-z0-9+.-]*:)+//)(.*)", re.IGNORECASE | re.DOTALL)  # and `chaos:rtsp://…`


@dataclass(frozen=True, slots=True, repr=False)
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
        in_login = "://" in head and "@" in tail  # none of our options has an @, but passwords have a #
        if mark and not in_login and all(_OPTION.fullmatch(part) for part in tail.split("&")):
            text = head
            options = dict(part.split("=", 1) for part in tail.split("&"))
        found = _SCHEME.match(text)
        if found is None:
            return cls("", text, options)
        scheme = found[1].lower()
        return cls(scheme, text if "://" in text else text[found.end() :], options)

    def __str__(self) -> str:
        """For people and logs: without user, password, and what else of a query may be secret (see `logins`)."""
        if any("@" in value for value in self.options.values()):
            return "***"  # `user:pass#word=x@host`: the # is one of a password's
        if " ! " not in self.target and (url := _URL.fullmatch(self.target)) is not None:
            return url[1] + logins.url_told(url[2])
        if "://" in self.target:
            return without_login(self.target)
        return logins.bare_told(f"{self.scheme}:{self.target}" if self.scheme else self.target)

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def url(self) -> SplitResult:
        """What to connect to. In its login all is percent-encoded that has a meaning in a URL, and was meant as it is.

        RequestError for what is no URL with a host and a port, or where the login cannot be told from the rest.
        """
        found = _URL.fullmatch(self.target)
        if found is None:
            raise RequestError(f"{self}: expected {self.scheme}://HOST/…, got one without //")
        return logins.split(self.scheme, found[2], told=str(self))

    def check_options(self, known: tuple[str, ...]) -> None:
        """RequestError for an option that this kind of address does not have."""
        for name in self.options:
            if name not in known:
                hint = nearest(name, known)
                tip = f"did you mean {hint!r}?" if hint else f"known: {', '.join(known) or 'none'}"
                # Behind something secret, what looks like an option may be the rest of it.
                which = f"no option is called {name!r}" if "***" not in str(self) else "no such option"
                raise RequestError(f"{self}: {which}; {tip}")

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


def told(text: str) -> str:
    """The address `text` for people and logs, with its options where it has nothing to hide."""
    address = Address.parse(text)
    shown = str(address)
    if not address.options or "***" in shown:
        return shown
    return without_login(f"{shown}#{'&'.join(f'{name}={value}' for name, value in address.options.items())}")
