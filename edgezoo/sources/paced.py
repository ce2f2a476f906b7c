"""A clip by its own clock, as if a camera took it now: to be looked at."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator

from edgezoo.frame import Frame
from edgezoo.sources import Source

LONGEST_S = 3.0  # a longer gap is shown as one of so long; after that, or after a step back, the clock is set anew


class Paced:
    """The frames of `source` at the distances that their `pts_s` tells; live, and so dropped where nobody keeps up."""

    live = True

    def __init__(self, source: Source) -> None:
        self.address = source.address
        self.fps, self.size_wh, self.frames = source.fps, source.size_wh, source.frames
        self._source = source
        self._ended = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        began_s: float | None = None
        for frame in self._source:
            now_s = time.monotonic()
            if began_s is None:
                began_s = now_s - frame.pts_s
            early_s = began_s + frame.pts_s - now_s
            wait_s = min(max(0.0, early_s), LONGEST_S)
            if abs(early_s) > LONGEST_S:
                began_s += wait_s - early_s
            self._ended.wait(wait_s)
            yield dataclasses.replace(frame, grabbed_ns=time.monotonic_ns())

    def close(self) -> None:
        self._ended.set()
        self._source.close()
