"""No place at all: for measuring the rest."""

from __future__ import annotations

from edgezoo.address import Address
from edgezoo.frame import Event, Frame
from edgezoo.results import Result
from edgezoo.sinks import Overlay

FORMS = ("null",)


def takes(address: Address) -> bool:
    return (address.scheme or address.target) == "null"


def from_address(address: Address, *, fps: float | None, overlay: Overlay | None) -> NullSink:
    address.check_options(())
    return NullSink()


class NullSink:
    """Takes everything, keeps nothing."""

    def __init__(self) -> None:
        self.done = False

    def write(self, frame: Frame, result: Result) -> None:
        pass

    def event(self, event: Event) -> None:
        pass

    def close(self) -> None:
        pass
