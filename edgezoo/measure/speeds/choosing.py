"""What `precision="auto"` runs: what was measured to be fastest, of the artifacts that met their budget.

A choice needs a measurement of these very files with these very runtimes on this very hardware; else it is refused,
with the reason and the command that measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgezoo.backends import backends
from edgezoo.bundle import Bundle
from edgezoo.errors import RequestError, UnknownName
from edgezoo.measure.race import MARGIN
from edgezoo.measure.speeds import FIRST, Candidate, candidates, rank
from edgezoo.measure.speeds.stored import (
    Speed,
    Speeds,
    changed,
    command,
    hardware,
    identity_of,
    installed,
    kept,
    numbered,
)
from edgezoo.optional import require


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What `precision="auto"` runs, and by which measurement."""

    speed: Speed
    against: str
    """The backend whose fp32 it was held against."""
    measured: str
    """The day."""
    unmeasured: tuple[str, ...] = ()
    """What was not timed beside it: its runtime refused it, as one that was not compiled."""

    @property
    def backend(self) -> str:
        return self.speed.backend

    @property
    def precision(self) -> str:
        """The artifact's name."""
        return self.speed.artifact

    def to_dict(self) -> dict[str, Any]:
        return {
            "artifact": self.precision,
            "backend": self.backend,
            "times_fp32": round(self.speed.times, 3),
            "against": self.against,
            "measured": self.measured,
            "unmeasured": list(self.unmeasured),
        }

    @property
    def gist(self) -> str:
        itself = (self.precision, self.backend) == ("fp32", self.against)
        gain = "nothing is faster" if itself else f"{self.speed.times:.2f} times fp32 on {self.against}"
        rest = f" of what was timed, without {', '.join(self.unmeasured)}" if self.unmeasured else ""
        return f"{self.precision} on {self.backend}, {gain}{rest}"

    def __str__(self) -> str:
        return f"auto: {self.gist} here (measured {self.measured})"


def fastest(bundle: Bundle, *, backend: str | None = None, device: str = "cpu", threads: int | None = None) -> Choice:
    """The fastest of all candidates, or of those on `backend`, by what is stored for this machine.

    Raises RequestError, which says what is missing or has changed and the command that measures it; UnknownName and
    MissingDependency for a backend that is not here.
    """
    device = numbered(device)
    wanted = _wanted(bundle, backend, device)
    here, versions = hardware(device), installed()
    ours = [speeds for speeds in kept() if speeds.model == bundle.manifest.name]
    ours.sort(key=lambda each: (each.hardware != here, each.device != device, each.threads != threads))
    reasons = []
    for speeds in ours:
        otherwise = _asked_otherwise(speeds, device, threads)
        void = (
            changed(speeds.hardware, here)
            or _unmeasured(speeds, wanted)
            or changed(speeds.versions, versions, [] if backend is None else [backend])
        )
        if not otherwise and not void:
            return _chosen(speeds, wanted)
        reasons.append((otherwise, "") if otherwise else (void, " again"))
    why, again = reasons[0] if reasons else ("nothing was measured on this machine yet", "")
    raise RequestError(f"{bundle.manifest.name}: {why}: run {command(bundle.called, device, threads)}{again}")


def choose(speeds: Sequence[Speed]) -> Speed:
    """The fastest; of those that are as fast, up to noise, the exactest.

    What does not beat fp32 in three rounds of four counts as no faster than it.
    """
    times = [speed.times if speed.low > 1 else min(speed.times, 1.0) for speed in speeds]
    fast = [speed for speed, its in zip(speeds, times, strict=True) if its >= max(times) / (1 + MARGIN)]
    return min(fast, key=lambda speed: rank(speed.artifact, speed.backend))


def told() -> list[tuple[str, str, str]]:
    """Of all that is stored for this machine, the newest first: the bundle, what auto runs or why that is void, and
    then the command that measures again."""
    stored, versions = kept(), installed()
    here = {device: hardware(device) for device in {speeds.device for speeds in stored}}
    rows = []
    for speeds in stored:
        if changed(speeds.hardware, here[speeds.device]) or not speeds.speeds:
            continue
        name, how = Path(speeds.called).name, "" if speeds.device == "cpu" else f" on {speeds.device}"
        how += "" if speeds.threads is None else f" with --threads {speeds.threads}"
        if void := changed(speeds.versions, versions):
            rows.append((name, f"void{how}: {void}", command(speeds.called, speeds.device, speeds.threads)))
        else:
            choice = _choice(speeds, speeds.speeds)
            rows.append((name, f"{choice.gist}{how}, measured {speeds.age}", ""))
    return rows


def _wanted(bundle: Bundle, backend: str | None, device: str) -> list[Candidate]:
    if backend is not None and backend not in backends():
        raise UnknownName("backend", backend, backends())
    found = [each for each in candidates(bundle, device) if backend in (None, each[0])]
    if not found:
        require(backend or FIRST)
        raise RequestError(f"{bundle.manifest.name}: has nothing that {backend} may run; leave out --backend")
    return found


def _asked_otherwise(speeds: Speeds, device: str, threads: int | None) -> str:
    if speeds.device != device:
        return f"measured on {speeds.device}, asked for {device}"
    if speeds.threads != threads:
        was, is_ = (
            "as many threads as a runtime likes" if n is None else f"--threads {n}" for n in (speeds.threads, threads)
        )
        return f"measured with {was}, asked for {is_}"
    return ""


def _unmeasured(speeds: Speeds, wanted: Sequence[Candidate]) -> str:
    """Which candidate was another then, or was none."""
    then = {(each.backend, each.artifact): each.identity for each in speeds.speeds}
    then |= {(each.backend, each.artifact): each.identity for each in speeds.skipped}
    for backend, artifact in wanted:
        identity = then.get((backend, artifact.name))
        if backend in speeds.versions and identity != identity_of(artifact):
            how = "was not there" if identity is None else "was another file"
            return f"{artifact.name} {how} when it was measured"
    return ""


def _chosen(speeds: Speeds, wanted: Sequence[Candidate]) -> Choice:
    names = {(backend, artifact.name) for backend, artifact in wanted}
    timed = [each for each in speeds.speeds if (each.backend, each.artifact) in names]
    if not timed:
        refused = next(each for each in speeds.skipped if (each.backend, each.artifact) in names)
        raise RequestError(
            f"{speeds.model}: nothing of it ran on {refused.backend} when it was measured: {refused.why}"
        )
    return _choice(speeds, timed)


def _choice(speeds: Speeds, timed: Sequence[Speed]) -> Choice:
    unmeasured = tuple(dict.fromkeys(each.artifact for each in speeds.skipped))
    return Choice(speed=choose(timed), against=speeds.against, measured=speeds.day, unmeasured=unmeasured)
