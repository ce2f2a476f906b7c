"""A source as a pipeline is given it: how to open it, again and again, and what of its frames is wanted.

Options that every source takes, `rtsp://door/1#fps=5&roi=0.5,0,0.5,1&timeout=3`:

    fps      at most so many frames a second are worked on, always the newest; a camera's driver is asked for it, too,
             and a clip is thinned by its own clock
    roi      x,y,w,h: the engine sees this part alone; boxes come home in pixels of the whole picture
    timeout  seconds without a frame after which a live source counts as lost (default: by the rate it had)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from edgezoo.address import Address, without_options
from edgezoo.errors import RequestError
from edgezoo.sources import SCHEMES, STREAMS, Source, is_live, open_source
from edgezoo.sources.region import Region

COMMON = ("fps", "roi", "timeout")
_MOST = 86400  # a day, for a timeout; and more frames a second than there are

# What these kinds know by that name themselves.
_OWN: dict[str, tuple[str, ...]] = {"camera": ("fps",), "synthetic": ("fps",), **dict.fromkeys(STREAMS, ("timeout",))}


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Where frames come from and what is wanted of them. Make it by `at` an address, or `of` a source."""

    address: str
    """For people and logs: without user and password."""
    live: bool
    text: str | None = field(default=None, repr=False)
    """What `open_source` takes, login and all; None for a source that cannot be opened again."""
    opened: Source | None = field(default=None, repr=False)
    """To be read before anything is opened anew."""
    fps: float | None = None
    region: Region | None = None
    timeout_s: float | None = None

    @classmethod
    def at(cls, text: str) -> Feed:
        """The source at an address, not opened yet. Raises RequestError for wrong options of those above."""
        address = Address.parse(text)
        kind = _kind(text)
        fps, timeout_s = address.number("fps"), address.number("timeout")
        for name, number in (("fps", fps), ("timeout", timeout_s)):
            if number is not None and not 0 < number <= _MOST:
                asked = f"expected {name} above 0 and up to {_MOST:g}"
                raise RequestError(f"{address}: {asked}, got {address.options[name]!r}")
        try:
            region = Region.parse(address.options["roi"]) if "roi" in address.options else None
        except RequestError as error:
            raise RequestError(f"{address}: {error}") from None
        rest = without_options(text, [name for name in COMMON if name not in _OWN.get(kind, ())])
        if kind == "synthetic":
            fps = None  # it makes no more than that
        return cls(address=str(address), live=is_live(rest), text=rest, fps=fps, region=region, timeout_s=timeout_s)

    @classmethod
    def of(cls, source: Source) -> Feed:
        """An opened source, which can be read once."""
        return cls(address=source.address, live=source.live, opened=source)

    @property
    def reopens(self) -> bool:
        """Whether it is worth opening again when it fails: a clip would begin anew, a camera goes on."""
        return self.live and self.text is not None

    def now(self) -> Feed:
        """This one, opened. Raises what `open_source` does."""
        return self if self.opened is not None else replace(self, opened=self.open())

    def open(self) -> Source:
        """Anew. Raises what `open_source` does."""
        if self.text is None:
            raise RequestError(f"{self.address}: expected to be read once, got a second time; give its address")
        return open_source(self.text)


def _kind(text: str) -> str:
    """The scheme; of a camera that misbehaves on purpose, the one inside."""
    address = Address.parse(text)
    if address.scheme == "chaos":
        return _kind(text.partition(":")[2] or "chaos")
    return address.scheme if address.scheme in SCHEMES else ""
