"""Where the time of a running pipeline goes: its stages, the age of its frames, what was dropped and why."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from edgezoo import __version__
from edgezoo.address import told
from edgezoo.engine import Engine
from edgezoo.errors import RequestError, SourceError
from edgezoo.frame import Event
from edgezoo.latency import Profile
from edgezoo.machine import OtherLoad, machine
from edgezoo.measure.recording import Recording
from edgezoo.pipeline import Pipeline
from edgezoo.sinks import Sink
from edgezoo.sources import is_live

Progress = Callable[[float, float], None]
"""Told done and total: seconds, or frames where those are counted."""

_LONGEST_S = 86_400.0
_PACKAGES = (
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
)
_ON_THE_WAY = ("wait", "prepare", "infer", "read")


@dataclass(frozen=True, kw_only=True, slots=True)
class StageProfile:
    """What `profile_stages` measured, and on what."""

    profile: Profile
    recording: Recording
    sources: tuple[str, ...]
    """Addresses, without user and password."""
    live: bool
    """Whether any of them comes by a clock of its own."""
    seconds: float
    stuck: tuple[str, ...]
    """Threads that a driver still held at the end."""
    others: float | None
    """What other processes took of all cores meanwhile, 0..1; None where the system does not tell."""
    machine: dict[str, Any]
    versions: dict[str, str]

    def busy(self, stage: str) -> float:
        """How much of the time a stage had something to do, 0..1; above 1 where several threads did it at once."""
        return self.profile.stages[stage].sum_ms / (1e3 * self.seconds) if self.seconds else 0.0

    def way(self) -> dict[str, float]:
        """What a frame's mean age consists of, in ms: stages after its capture, and `between` them."""
        stages = self.profile.stages
        parts = {name: stages[name].sum_ms / stages[name].n if stages[name].n else 0.0 for name in _ON_THE_WAY}
        age = self.profile.age
        mean_ms = age.sum_ms / age.n if age.n else 0.0
        return {**parts, "between": max(0.0, mean_ms - sum(parts.values()))}

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.profile.to_dict(),
            "busy": {name: round(self.busy(name), 4) for name in self.profile.stages},
            "way_ms": {name: round(ms, 4) for name, ms in self.way().items()},
            "events": [{"at_s": round(at_s, 3), **event.to_dict()} for at_s, event in self.recording.events],
            "addresses": list(self.sources),
            "seconds": round(self.seconds, 3),
            "stuck": list(self.stuck),
            "others": None if self.others is None else round(self.others, 3),
            "machine": self.machine,
            "versions": self.versions,
        }


def profile_stages(
    engine: Engine,
    sources: Sequence[str],
    *,
    seconds: float = 10.0,
    frames: int | None = None,
    batch: int = 1,
    wait_ms: float | None = None,
    workers: int | None = None,
    max_age_ms: float | None = None,
    retries: float | None = None,
    sinks: Sequence[Sink] = (),
    spans: bool = False,
    progress: Progress | None = None,
) -> StageProfile:
    """Run a pipeline over `sources` until `seconds` have passed, `frames` were delivered, or all of them have ended.

    `spans`: keep them for a trace. `sinks` are written to and told events, and left open.

    Raises RequestError, SourceError where no frame came at all, and what the pipeline raises.
    """
    if not 0 < seconds <= _LONGEST_S:
        raise RequestError(f"expected seconds above 0 and up to {_LONGEST_S:.0f}, got {seconds:g}")
    if frames is not None and frames < 1:
        raise RequestError(f"expected frames of 1 or more, got {frames}")
    tell = progress or (lambda done, total: None)
    load = OtherLoad()
    listeners: list[Callable[[Event], None]] = [sink.event for sink in sinks]

    def on_idle() -> None:
        recording.sample()
        if recording.now_s >= seconds:
            recording.end()
            pipeline.close()

    pipeline = Pipeline(
        sources,
        engine,
        batch=batch,
        wait_ms=wait_ms,
        workers=workers,
        max_age_ms=max_age_ms,
        retries=retries,
        on_event=lambda event: _tell_all(event, listeners),
        on_idle=on_idle,
    )
    recording = Recording(pipeline.profile, spans=spans)
    listeners.append(recording.event)
    with pipeline:
        for frame, result in pipeline:
            recording.delivered(frame)
            for sink in sinks:
                sink.write(frame, result)
            delivered = pipeline.profile.delivered
            tell(*((recording.now_s, seconds) if frames is None else (delivered, frames)))
            if recording.now_s >= seconds or delivered == frames or any(sink.done for sink in sinks):
                recording.end()
                break
    recording.end()
    if not pipeline.profile.delivered:
        raise SourceError(_nothing_came(sources, recording))
    return StageProfile(
        profile=pipeline.profile,
        recording=recording,
        sources=tuple(map(told, sources)),
        live=any(map(is_live, sources)),
        seconds=recording.ended_s,
        stuck=pipeline.stuck,
        others=load.share(),
        machine=machine(),
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Of what a frame goes through, where it is installed."""
    found = {"edgezoo": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _tell_all(event: Event, told: Sequence[Callable[[Event], None]]) -> None:
    for tell in told:
        tell(event)


def _nothing_came(sources: Sequence[str], recording: Recording) -> str:
    last = {event.source: event.message for _, event in recording.events}
    why = "; ".join(f"{source}: {message}" for source, message in last.items())
    return f"{', '.join(map(told, sources))}: expected frames, got none" + (f" ({why})" if why else "")
