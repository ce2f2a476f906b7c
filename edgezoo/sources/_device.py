"""What a source holds while frames come: one thread reads it, any thread may close it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgezoo.errors import RequestError


class Device:
    """Sees to it that exactly one side releases, and never while the other reads.

    OpenCV's captures crash when they are released under a thread that reads them. So the iterating
    thread releases when it ends, and `close` only where nobody iterates; it never waits.
    """

    def __init__(self, name: str, release: Callable[[], None] = lambda: None) -> None:
        self.ended = threading.Event()
        """Set by `close`: whoever iterates ends at the next frame, whoever waits for one wakes."""
        self._name = name
        self._release = release
        self._lock = threading.Lock()
        self._state = "open"

    @contextmanager
    def iterating(self) -> Iterator[None]:
        """Around the whole iteration. RequestError for a second one; after `close` the body finds `ended` set."""
        with self._lock:
            before = self._state
            if before == "iterated":
                raise RequestError(f"{self._name}: expected to be iterated once, got a second time; open it again")
            self._state = "iterated"
        try:
            yield
        finally:
            if before == "open":
                self._let_go()

    def close(self) -> None:
        self.ended.set()
        with self._lock:
            if self._state != "open":
                return
            self._state = "closed"
        self._let_go()

    def _let_go(self) -> None:
        release, self._release = self._release, lambda: None  # or it would keep its owner, who keeps this
        release()
