"""Speeds measured on this machine, as they are kept, and what makes them void: other hardware, another runtime.

One JSON file in `speeds/` of the cache for each bundle, device and number of threads; the last measurement stays. A
file that cannot be read is as good as none.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shlex
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgezoo import records
from edgezoo.backends import backends
from edgezoo.bundle import Artifact, digest_of
from edgezoo.errors import RequestError
from edgezoo.machine import cores, cpu_model, instruction_sets
from edgezoo.measure import devices
from edgezoo.weights import cache_folder, partial_file

_LARGEST = 1 << 20
_WHEN = "%Y-%m-%dT%H:%M:%SZ"
_BUILDS = ("", "-gpu", "-openvino", "-directml")  # what the packages that bring a runtime add to its name


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How fast an artifact ran on a backend."""

    backend: str
    artifact: str
    identity: str
    ms: float
    """One run, the median of blocks."""
    times: float
    """How many times as fast as fp32 on the backend that all were held against; the median of the rounds."""
    low: float
    """The rounds' lower quartile."""
    high: float
    """The rounds' upper quartile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """An artifact that a backend did not run, and what it said."""

    backend: str
    artifact: str
    identity: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Speeds:
    """All that a bundle may run as on a machine, timed in one go."""

    model: str
    size_wh: tuple[int, int]
    called: str
    """What a command names the bundle: a model's name, or its folder."""
    hardware: Mapping[str, str]
    device: str
    threads: int | None
    versions: Mapping[str, str]
    """Of every runtime that was installed."""
    measured: str
    """When, in UTC."""
    against: str
    """The backend whose fp32 all were held against."""
    speeds: tuple[Speed, ...]
    skipped: tuple[Skipped, ...]
    rounds: int
    others: float | None
    """What other processes took of all cores meanwhile, 0..1; None where the system does not tell."""

    def __post_init__(self) -> None:
        self._when()

    def _when(self) -> datetime:
        return datetime.strptime(self.measured, _WHEN).replace(tzinfo=timezone.utc)

    @property
    def day(self) -> str:
        """The day of the measurement, where this machine is."""
        return self._when().astimezone().date().isoformat()

    @property
    def age(self) -> str:
        days = (datetime.now().astimezone().date() - self._when().astimezone().date()).days
        return "today" if days < 1 else "yesterday" if days == 1 else f"{days} days ago"

    @property
    def path(self) -> Path:
        """Where it is kept: a name of all that another measurement may stand beside it for."""
        key = json.dumps([self.called, dict(self.hardware), self.device, self.threads], sort_keys=True)
        plain = re.sub(r"[^\w.-]", "_", self.model)[:60]
        return _folder() / f"{plain}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def identity_of(artifact: Artifact) -> str:
    """What a runtime is given: the file and the options."""
    return digest_of({"sha256": artifact.sha256, "options": dict(artifact.options)})


def numbered(device: str) -> str:
    """`cuda` with its number, so that one GPU is one device."""
    return f"{device}:0" if device == "cuda" else device


def now() -> str:
    """The time as `Speeds.measured` has it."""
    return time.strftime(_WHEN, time.gmtime())


def hardware(device: str = "cpu") -> dict[str, str]:
    """What of this machine a speed depends on."""
    here = {
        "cpu": cpu_model(),
        "cores": str(cores()),
        "instructions": " ".join(instruction_sets()),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device != "cpu":
        nvidia = devices.nvidia()
        here["gpu"] = devices.jetson() or (nvidia.name if nvidia is not None else "none")
    return here


def installed() -> dict[str, str]:
    """The backends whose runtime is installed, and its version; none is loaded, which may take seconds."""
    return {name: _version(name) for name in backends() if importlib.util.find_spec(name) is not None}


def _version(runtime: str) -> str:
    for build in _BUILDS:
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(runtime + build)
    return "unknown"


def store(speeds: Speeds) -> Path:
    """Keep them in place of older ones; whoever reads meanwhile sees either. Raises RequestError."""
    path = speeds.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial_file(path) as part:
            part.write_text(json.dumps(speeds.to_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")
            os.replace(part, path)
    except OSError as error:
        raise RequestError(
            f"{speeds.model}: could not keep its speeds under {path.parent}: {error.strerror or error}; "
            "make room, or point EDGEZOO_CACHE elsewhere"
        ) from None
    return path


def kept() -> list[Speeds]:
    """All that is stored and can be read, the newest first."""
    found = []
    with suppress(OSError):
        for path in _folder().glob("*.json"):
            with suppress(OSError, ValueError, RecursionError):
                if path.is_file() and path.stat().st_size <= _LARGEST:
                    found.append(records.read(Speeds, json.loads(path.read_text("utf-8"))))
    return sorted(found, key=lambda speeds: speeds.measured, reverse=True)


def changed(before: Mapping[str, str], here: Mapping[str, str], names: Iterable[str] = ()) -> str:
    """The first difference in a few words; empty where there is none. `names`: only these count; empty: all."""
    for name in names or sorted({*before, *here}):
        was, is_ = before.get(name), here.get(name)
        if was == is_:
            continue
        if is_ is None:
            return f"measured with {name} {was}, which is not here"
        return (
            f"measured without {name}, here is {is_}" if was is None else f"measured with {name} {was}, here is {is_}"
        )
    return ""


def command(called: str, device: str = "cpu", threads: int | None = None) -> str:
    """What measures a bundle and stores it."""
    how = ("" if device == "cpu" else f" --device {device}") + ("" if threads is None else f" --threads {threads}")
    return f"edgezoo bench {shlex.quote(called)} --store{how}"


def _folder() -> Path:
    return cache_folder() / "speeds"
