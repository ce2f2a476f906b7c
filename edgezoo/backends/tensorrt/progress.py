"""How far a build is, by what TensorRT tells of it, or by how long earlier builds took: arithmetic, without a clock.

TensorRT tells of phases, from 10.0 on (https://docs.nvidia.com/deeplearning/tensorrt, IProgressMonitor): each has a
number of steps, and one that has a parent does the parent's current step. The first steps of a build take moments and
the last ones minutes, so what is left is told by the pace of the last half of the time, not by that of all of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 0.99
"""Nothing is done before it is."""
_SOON_S = 2.0  # too early to tell how long it takes
_LONGEST_S = 24 * 3600.0  # an estimate of more is none
_EVERY_S = 0.2
_LONGEST = 70  # letters: a fused layer has the names of all its parts

# TensorRT's phases, as they begin, in plain words; empty: too short to be read, the phase around it says more.
_WORDS = (
    ("building engine", "building the engine"),
    ("computing profile costs", "comparing kernels"),
    ("timing graph nodes", "timing layers"),
    ("finding fastest tactic for ", "timing kernels of "),
    ("measuring tactic time", ""),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What whoever waits is told."""

    text: str
    """What is being done."""
    share: float | None = None
    """0..0.99 of the work that is done; None where nobody knows."""
    left_s: float | None = None
    news: str = ""
    """A sentence that must not be missed: why it is built, whom it waits for, a warning; told once."""


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    depth: int
    done: int = 0
    inner: float = 0.0
    """How much of the current step is done, by the phases that do it."""
    told: bool = False
    """Whether it said anything between its start and its end."""

    @property
    def share(self) -> float:
        return min(1.0, (self.done + min(1.0, self.inner)) / self.steps)


@dataclass(slots=True)
class Building:
    """One build. Times are in seconds since it began."""

    before_s: float | None = None
    """How long an earlier build of the same graph took, for a TensorRT that tells nothing."""
    _phases: dict[str, _Phase] = field(default_factory=dict)
    """Those that go on, in the order in which they began."""
    _share: float | None = None
    _times: list[float] = field(default_factory=list)
    _shares: list[float] = field(default_factory=list)

    def hear(self, news: Mapping[str, Any], at_s: float) -> None:
        """A line of the builder's; what is not about phases is let pass."""
        if isinstance(name := news.get("start"), str):
            parent = self._phases.get(str(news.get("parent")))
            self._phases[name] = _Phase(
                parent=None if parent is None else str(news["parent"]),
                steps=max(1, _whole(news.get("steps"))),
                depth=0 if parent is None else parent.depth + 1,
            )
            self._touch(None if parent is None else str(news["parent"]), 0.0)
        elif isinstance(name := news.get("phase"), str) and name in self._phases:
            phase = self._phases[name]
            phase.done, phase.inner = min(phase.steps, max(phase.done, _whole(news.get("step")) + 1)), 0.0
            phase.told = True
            self._touch(phase.parent, phase.share)
        elif isinstance(name := news.get("finish"), str) and name in self._phases:
            phase = self._phases.pop(name)
            self._touch(phase.parent, 1.0)
            if phase.parent is None and phase.told:
                self._share = 1.0
        self._note(at_s)

    def told(self, at_s: float) -> Told:
        text = self._text()
        if self._share is not None:
            return Told(text=text, share=min(MOST, self._share), left_s=self._left(at_s))
        if self.before_s is None or self.before_s <= 0:
            return Told(text=text)
        left_s = self.before_s - at_s
        if left_s <= 0:
            return Told(text=f"{text}; longer than the {duration(self.before_s)} of the last time", share=MOST)
        return Told(text=text, share=min(MOST, at_s / self.before_s), left_s=left_s)

    def _touch(self, name: str | None, inner: float) -> None:
        """A phase inside that one, and so on outwards, has got as far as `inner`."""
        while name is not None and name in self._phases:
            phase = self._phases[name]
            phase.inner, phase.told = max(phase.inner, inner), True
            name, inner = phase.parent, phase.share

    def _note(self, at_s: float) -> None:
        shares = [phase.share for phase in self._phases.values() if phase.parent is None and phase.told]
        if shares:
            self._share = max(self._share or 0.0, shares[-1])
        if self._share is not None and (not self._times or at_s - self._times[-1] >= _EVERY_S):
            self._times.append(at_s)
            self._shares.append(self._share)

    def _left(self, at_s: float) -> float | None:
        """What is left at the pace of the last half of the time; None where that is not known."""
        share = self._share or 0.0
        half = bisect_right(self._times, at_s / 2)
        if at_s < _SOON_S or not half or share >= 1.0:
            return None
        pace = (share - self._shares[half - 1]) / (at_s - at_s / 2)
        left_s = (1.0 - share) / pace if pace > 0 else _LONGEST_S
        return left_s if left_s < _LONGEST_S else None

    def _text(self) -> str:
        """The deepest phase that goes on, the last one of these."""
        ordered = sorted(enumerate(self._phases.items()), key=lambda item: (-item[1][1].depth, -item[0]))
        for _, (name, phase) in ordered:
            if words := _words(name):
                count = f" ({min(phase.done + 1, phase.steps)} of {phase.steps})" if phase.steps > 1 else ""
                return words + count
        return "building the engine" if self._share is not None else "starting"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 12 s`, `1 h 04 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _words(name: str) -> str:
    plain = " ".join(name.split())
    for begins, words in _WORDS:
        if plain.lower().startswith(begins):
            rest = plain[len(begins) :] if begins.endswith(" ") else ""
            plain = words + rest
            break
    else:
        plain = plain[:1].lower() + plain[1:]
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 1] + "…"


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31 else 0
