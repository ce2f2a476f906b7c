"""What tests ask of the fake, and cuda-python does not have."""

from __future__ import annotations

import gc

from cuda._device import DEVICE


def live() -> dict[str, int]:
    """How many allocations, pinned, streams, events, graphs, engines and contexts there are now."""
    gc.collect()
    return DEVICE.live()


def nothing() -> dict[str, int]:
    """What `live()` answers when everything was given back."""
    return dict.fromkeys(DEVICE.live(), 0)


def faults() -> list[str]:
    """What was wrong and would be undefined with a real driver: memory touched after it was freed, dead handles."""
    return list(DEVICE.faults)


def calls() -> dict[str, int]:
    """How often each function of the runtime was called; two of these tell what a stretch of code called."""
    return dict(DEVICE.calls)


def reset() -> None:
    """As if the process were new."""
    DEVICE.__init__()  # type: ignore[misc]
