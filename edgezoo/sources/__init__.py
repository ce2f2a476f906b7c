"""Where frames come from: one file for each kind of address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

from edgezoo.address import Address
from edgezoo.errors import RequestError, UnknownName
from edgezoo.frame import Frame

STREAMS = ("rtsp", "rtsps", "http", "https", "udp", "tcp")
SCHEMES = ("camera", "chaos", "gstreamer", "synthetic", *STREAMS)


class Source(Protocol):
    """An iterable of frames that tells whether it waits for nobody.

    A source opens when it is made, so that a wrong address fails there and at once. It is iterated
    once, by one thread. What goes wrong later surfaces from the iteration as SourceError, after
    every frame that could be read. One that can tell has a number `damaged`: how many frames came
    so far that could not be decoded, and were left out.
    """

    @property
    def address(self) -> str:
        """For people and logs: without user and password."""

    @property
    def live(self) -> bool:
        """Whether frames come by a clock of their own, and are worth less the older they get."""

    @property
    def fps(self) -> float | None:
        """The rate it states, where it states one."""

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """The size it states, where it states one."""

    @property
    def frames(self) -> int | None:
        """How many frames it states to have; None for one without an end, or that does not tell."""

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """End the iteration at its next frame. From any thread, any number of times; never waits.

        The iterating thread releases the device when it ends; where nobody iterates, `close` does.
        """


def open_source(text: str) -> Source:
    """The source at the address `text`. What every source takes for a pipeline, `#roi=…`, is not for here (see `feed`).

    Raises SourceError where nothing can be read there: SourceAbsent where nobody is there, SourceRefused where it
    would not get better. RequestError for options it does not have, UnknownName for a scheme that is none.
    """
    address = Address.parse(text)
    if address.scheme not in SCHEMES:
        path = text.rpartition("#")[0] if address.options else text
        if address.scheme == "" or os.path.exists(path):  # `recording-10:30.mp4` only looks like a scheme
            return _open_path(Address("", path, address.options))
        if "@" in text:
            raise RequestError(f"{address}: expected a scheme before a login, as in rtsp://USER:PASSWORD@HOST/…")
        raise UnknownName("source", address.scheme, SCHEMES, cure="(a file needs no scheme: clip.mp4, photos/)")
    if address.scheme == "camera":
        from edgezoo.sources.camera import Camera

        return Camera(address)
    if address.scheme == "chaos":
        from edgezoo.sources.chaos import Chaos

        return Chaos(address)
    if address.scheme == "synthetic":
        from edgezoo.sources.synthetic import Synthetic

        return Synthetic(address)
    if address.scheme == "gstreamer":
        from edgezoo.sources.gstreamer import GStreamer

        return GStreamer(text.partition(":")[2])
    from edgezoo.sources.stream import open_stream

    return open_stream(address)


def _open_path(address: Address) -> Source:
    from edgezoo.sources.images import Images, is_images

    if is_images(address.target):
        return Images(address)
    if " ! " in address.target and not os.path.exists(address.target):
        from edgezoo.sources.gstreamer import GStreamer

        return GStreamer(address.target)
    from edgezoo.sources.video import Video

    return Video(address)


def is_live(text: str) -> bool:
    """Whether the source at an address would be live; nothing is opened."""
    address = Address.parse(text)
    if address.scheme == "synthetic":
        return address.options.get("live") != "0"
    return address.scheme in SCHEMES or " ! " in address.target
