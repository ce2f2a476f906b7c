"""A stream: what a source is to whoever watches it for months. Its state, and what to do next.

    connecting ──▶ live ◀──▶ stalled
         │          ▲ │         │
         │          │ ▼         │
         └───────▶ lost ◀───────┘        and from everywhere: ended

No threads and no clock in here: who reads and who watches tell what happened and when.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgezoo.address import without_login
from edgezoo.errors import SourceAbsent, SourceRefused
from edgezoo.frame import Event, State

OPEN_S = 30.0  # for opening; a library that takes longer is held by a driver or a name server
FIRST_S = 10.0  # for the first frame of what is open
STALLED_S, LOST_S = 0.75, 2.0  # without a frame, at least
INTERVALS = 5  # so many of its own without a frame are a stall, twice as many a loss
LONGEST_S = 2.0  # of the gaps that a stall is measured by
STEADY_S = 2.0  # a stream that was live for so long is opened again at once
PASSING_S = 30.0  # how long a server that was live before may answer like one that is still starting
SHORTEST_TRY_S, LONGEST_TRY_S = 0.25, 10.0
LONGEST_ASK_S = 1.0  # between tries that cost nothing and nobody: back within 2 s of the camera

_LEVELS: dict[State, int] = {"stalled": logging.WARNING, "lost": logging.WARNING}
_DIGITS = re.compile(r"\d+")
_log = logging.getLogger("edgezoo")
_log.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """A stream as it is now."""

    source: str
    """The address, without user and password; the second of the same address is `ADDRESS (2)`."""
    state: State
    since_ns: int
    """When it came into that state, by `time.monotonic_ns()`."""
    reason: str
    error: bool
    """Of `ended`: it failed for good."""
    fps: float
    """Frames that come in a second; 0 while none do."""
    size_wh: tuple[int, int] | None
    """Of the last frame."""
    frames: int
    """Grabbed so far."""
    delivered: int
    failed: int
    dropped: dict[str, int]
    """By reason."""
    reconnects: int
    held: int
    """Reading threads that were given up, and that a driver has not let go of yet."""

    def to_dict(self) -> dict[str, Any]:
        size = None if self.size_wh is None else [*self.size_wh]
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {**fields, "fps": round(self.fps, 2), "size_wh": size, "dropped": {**self.dropped}}


class Stream:
    """All times are seconds of one monotonic clock, and never go back."""

    def __init__(
        self,
        name: str,
        *,
        address: str,
        tell: Callable[[Event], None],
        live: bool,
        reopens: bool,
        retries: float | None,
        timeout_s: float | None,
        dice: random.Random,
        now_s: float,
    ) -> None:
        """`retries`: so many openings in vain, one after another, end it; None: none does."""
        self.name, self._address = name, address
        self.state: State = "connecting"
        self.reason, self.error, self.since_s = "", False, now_s
        self.size_wh: tuple[int, int] | None = None
        self.reconnects = 0
        self._tell, self._live, self._reopens = tell, live, reopens
        self._retries, self._timeout_s, self._dice = retries, timeout_s, dice
        self._reading = self._flowing = self._was_live = False
        self._opened_s = self._limit_s = now_s  # of what is being opened: since when, and until when it may take
        self._last_s = now_s  # when the last frame came
        self._live_since_s = now_s  # of this opening
        self._interval_s = self._longest_s = 0.0
        self._patience_s = 0.0
        """Such a gap of before this opening; forgotten as frames come."""
        self._tries = self._in_vain = 0
        self._longest_try_s = 0.0
        self._refused_s: float | None = None
        self._doubted = False
        """It was given up for its silence alone, and no opening has failed since."""
        self._turn("connecting", "being opened", now_s)

    @property
    def fps(self) -> float:
        return 1 / self._interval_s if self.state == "live" and self._interval_s else 0.0

    # -- told by who reads

    def begins(self, now_s: float) -> None:
        """It is being opened, for the first time or again."""
        self._reading, self._flowing, self._opened_s = True, False, now_s
        self._limit_s = now_s + max(OPEN_S, 3 * (self._timeout_s or 0.0))

    def opened(self, now_s: float, fps: float | None) -> None:
        self._interval_s = 1 / fps if fps else 0.0
        self._longest_s = 0.0
        self._opened_s = now_s
        self._limit_s = now_s + (self._timeout_s or max(FIRST_S, INTERVALS * self._interval_s))

    def came(self, now_s: float, size_wh: tuple[int, int]) -> bool:
        """A frame is there; whether the stream was lost, and is back."""
        is_back = False
        if self._flowing:
            self._learn(now_s - self._last_s)
        else:
            self._live_since_s = now_s
            if self._doubted:  # it was only slow, and nothing is ever learned of one that is lost before its next frame
                self._patience_s = min(now_s - self._last_s, LONGEST_S)
        self._doubted = False
        if self.state != "live":
            silent_s = now_s - self._last_s
            how = f"{size_wh[0]}x{size_wh[1]}" + (f" at {1 / self._interval_s:.3g} fps" if self._interval_s else "")
            if self._flowing:
                how = f"frames again after {silent_s:.1f} s"
            elif self._was_live:
                self.reconnects, is_back = self.reconnects + 1, True
                how = f"back after {silent_s:.1f} s, {how}"
            self._turn("live", how, now_s)
        elif self._live and self.size_wh != size_wh:
            was = "" if self.size_wh is None else f", it was {self.size_wh[0]}x{self.size_wh[1]}"
            self._turn("live", f"{size_wh[0]}x{size_wh[1]} from now on{was}", now_s)
        self.size_wh, self._last_s = size_wh, now_s
        self._flowing = self._was_live = True
        self._refused_s = None
        return is_back

    def failed(self, error: Exception, now_s: float) -> float | None:
        """Seconds until it is to be opened again; None: it is over."""
        costs_nobody = isinstance(error, (SourceAbsent, SourceRefused)) or self._flowing
        if self._flowing and now_s - self._live_since_s >= STEADY_S:
            self._tries = 0
        self._in_vain = 0 if self._flowing else self._in_vain + 1
        self._doubted = self._doubted and self._flowing
        if not isinstance(error, SourceRefused):
            self._refused_s = None
        self._reading = self._flowing = False
        what = _plain(error, self._address)
        given_up = self._retries is not None and self._in_vain >= self._retries + (not self._was_live)
        if not self._reopens or not isinstance(error, OSError) or given_up or self._is_final(error, now_s):
            tried = f"; given up after {self._retries:g} tries" if given_up and self._retries and self._reopens else ""
            self._turn("ended", what + tried, now_s, error=True)
            return None
        self._turn("lost", what, now_s)
        return self._pause_s(LONGEST_ASK_S if costs_nobody else LONGEST_TRY_S)

    def ended(self, now_s: float, reason: str = "it came to its end") -> None:
        self._reading = self._flowing = False
        if self.state != "ended":
            self._turn("ended", reason, now_s)

    def waits(self, reason: str, now_s: float) -> None:
        """It is lost, and cannot be opened again yet."""
        self._turn("lost", reason, now_s)

    # -- told by who watches

    def check(self, now_s: float) -> str | None:
        """Whether no frame has come for too long: why whoever reads is to be given up; None as long as he is not."""
        silent_s = now_s - self._last_s
        if not self._reading or not self._live:
            return None
        if not self._flowing:
            return (
                f"no frame after {now_s - self._opened_s:.0f} s" if self._reopens and now_s >= self._limit_s else None
            )
        if self.state == "live" and silent_s >= self._stalled_s:
            self._turn("stalled", f"no frame for {silent_s:.1f} s", now_s)
        self._doubted = self._reopens and silent_s >= self._lost_s
        return f"no frame for {silent_s:.1f} s" if self._doubted else None

    def due_s(self) -> float | None:
        """When `check` may have something to say; None: not before something else happens."""
        if not self._reading or not self._live:
            return None
        if not self._flowing:
            return self._limit_s if self._reopens else None
        if self.state == "live":
            return self._last_s + min(self._stalled_s, self._lost_s)
        return self._last_s + self._lost_s if self._reopens else None

    def forgive(self, seconds: float, now_s: float) -> None:
        """Nobody could have read meanwhile: the whole process stood still."""
        self._last_s = min(self._last_s + seconds, now_s)  # a frame may have come since
        self._limit_s += seconds

    # -- within

    @property
    def _stalled_s(self) -> float:
        if self._timeout_s is not None:
            return self._timeout_s / 2
        return max(STALLED_S, INTERVALS * self._interval_s, 2 * self._longest_s, 2 * self._patience_s)

    @property
    def _lost_s(self) -> float:
        return self._timeout_s if self._timeout_s is not None else max(LOST_S, 2 * self._stalled_s)

    def _learn(self, gap_s: float) -> None:
        """From the time between two frames: what is usual for this stream, and the longest gap of late."""
        if self.state == "live":
            self._interval_s += ((gap_s - self._interval_s) / 16) if self._interval_s else gap_s
        self._longest_s = max(min(gap_s, LONGEST_S), 0.98 * self._longest_s)
        self._patience_s *= 0.9

    def _pause_s(self, longest_s: float) -> float:
        """Before the next try: none before the first, then ever longer, as long as tries fail in the same way."""
        self._tries = self._tries + 1 if longest_s == self._longest_try_s or not self._tries else 2
        self._longest_try_s = longest_s
        if self._tries == 1:
            return 0.0
        return min(longest_s, SHORTEST_TRY_S * 2.0 ** min(self._tries - 2, 16)) * self._dice.uniform(0.5, 1.0)

    def _is_final(self, error: Exception, now_s: float) -> bool:
        if not isinstance(error, SourceRefused):
            return False
        if not error.may_pass or not self._was_live:
            return True
        if self._refused_s is None:
            self._refused_s = now_s
        return now_s - self._refused_s >= PASSING_S

    def _turn(self, state: State, reason: str, now_s: float, *, error: bool = False) -> None:
        if state == self.state and reason == self.reason:
            return
        if state == self.state == "lost" and _DIGITS.sub("", reason) == _DIGITS.sub("", self.reason):
            self.reason = reason  # after frame 7 or frame 9, in 1.5 s or in 1.2 s: no news
            return
        if state != self.state:
            self.since_s = now_s
        self.state, self.reason, self.error = state, reason, error
        event = Event(self.name, state, reason, error=error, at_ns=round(now_s * 1e9))
        _log.log(logging.ERROR if error else _LEVELS.get(state, logging.INFO), "%s: %s: %s", self.name, state, reason)
        self._tell(event)


def _plain(error: Exception, address: str) -> str:
    """What an error says, in one line, without the login and without the address, which is told beside it."""
    text = without_login(" ".join(str(error).split())) or type(error).__name__
    return text.removeprefix(f"{address}: ")
