"""What a compiled engine was built for, and whether this machine is that."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgezoo.backends.tensorrt.cuda import Facts
from edgezoo.backends.tensorrt.options import BatchRange, BuildOptions

FORMAT = 1
WHEN = "%Y-%m-%dT%H:%M:%SZ"
NEVER = "this graph was not compiled on this machine yet"
_AMPERE = 8
_HARDWARE = {"": "this kind of GPU", "ampere": "Ampere and newer", "same": "all GPUs of its compute capability"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What a compiled engine is, and what it was built for."""

    called: str
    """What a command names the bundle: a model's name, or its folder."""
    artifact: str
    graph_sha256: str
    """Of the artifact that it was built of."""
    options: BuildOptions
    facts: Facts
    taken: bool = False
    """Built elsewhere and taken over: its options are what was said of it, its batch range stands in it alone."""
    bytes: int = 0
    sha256: str = ""
    built: str = "1970-01-01T00:00:00Z"
    """When, in UTC."""
    seconds: float = 0.0
    """How long that took."""
    layers: int = 0
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {self.format!r}")
        self.built_at()

    def built_at(self) -> datetime:
        return datetime.strptime(self.built, WHEN).replace(tzinfo=timezone.utc)

    @property
    def name(self) -> str:
        """`yolox_nano fp16`, for people."""
        return f"{Path(self.called).name} {self.artifact}"

    @property
    def key(self) -> str:
        """The same for all that stand in for each other."""
        return key_of(self.graph_sha256, self.facts, self.options, taken=self.taken)

    @property
    def how(self) -> str:
        """The options that it was compiled with, as `edgezoo compile` takes them."""
        return " ".join(filter(None, (self.options.command(), "--engine FILE --trust" if self.taken else "")))

    @property
    def batch(self) -> str:
        return "its own" if self.taken else batch_text(self.options.batch)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def key_of(graph_sha256: str, facts: Facts, options: BuildOptions, *, taken: bool = False) -> str:
    """A name of all that a compiled engine depends on; what it is compatible with is no part of it."""
    depends = {**facts.to_dict(), "graph": graph_sha256, "options": options.to_dict(), "taken": taken}
    if options.version_compatible:
        depends["tensorrt"] = f"{_version(facts.tensorrt)[0]}, version-compatible"
    if options.hardware_compatible:
        depends["gpu"] = options.hardware_compatible
    if options.hardware_compatible == "ampere":
        depends["capability"] = "Ampere or newer"
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]


def changes(record: Record, here: Facts) -> list[str]:
    """What of this machine is not as the engine needs it."""
    was, options = record.facts, record.options
    told = {
        "tensorrt": f"TensorRT was {was.tensorrt}, here is {here.tensorrt}",
        "cuda": f"CUDA was {was.cuda}, here is {here.cuda}",
        "driver": f"the driver was {was.driver}, here is {here.driver}",
        "gpu": f"the GPU was {was.gpu}, here is {here.gpu}",
        "capability": f"the compute capability was {was.capability}, here is {here.capability}",
    }
    differs = {name for name in told if getattr(was, name) != getattr(here, name)}
    if options.version_compatible:
        then, now = _version(was.tensorrt), _version(here.tensorrt)
        if then[:1] == now[:1] and now >= then:
            differs.discard("tensorrt")
        told["tensorrt"] = (
            f"it is for TensorRT {was.tensorrt} and later ones of version {then[0]}, here is {here.tensorrt}"
        )
    if options.hardware_compatible:
        differs.discard("gpu")
    if options.hardware_compatible == "ampere":
        old = _version(here.capability)[0] < _AMPERE
        differs = differs | {"capability"} if old else differs - {"capability"}
        told["capability"] = f"it is for Ampere and newer, here is {here.gpu} of compute capability {here.capability}"
    return [told[name] for name in told if name in differs]


def other_options(record: Record, wanted: BuildOptions) -> list[str]:
    """In what else than the machine it differs from what is asked for."""
    if record.taken:
        return ["the one that is kept was built elsewhere"]
    was = record.options
    pairs = {
        "batch": (batch_text(was.batch), batch_text(wanted.batch)),
        "workspace": (_workspace(was), _workspace(wanted)),
        "optimization": (str(was.optimization), str(wanted.optimization)),
        "TensorRT": (_versions(was), _versions(wanted)),
        "hardware": (_HARDWARE[was.hardware_compatible], _HARDWARE[wanted.hardware_compatible]),
        "the DLA core": (
            "none" if was.dla is None else str(was.dla),
            "none" if wanted.dla is None else str(wanted.dla),
        ),
    }
    return [f"{name} was {then}, asked for {now}" for name, (then, now) in pairs.items() if then != now]


def batch_text(batch: BatchRange) -> str:
    """`4`, or `1:4:8`."""
    least, best, most = batch
    return str(most) if least == most else f"{least}:{best}:{most}"


def _workspace(options: BuildOptions) -> str:
    return "all there is" if options.workspace_mb is None else f"{options.workspace_mb} MiB"


def _versions(options: BuildOptions) -> str:
    return "this version and later ones" if options.version_compatible else "this version alone"


def _version(text: str) -> tuple[int, ...]:
    """`(10, 13, 2)` of `10.13.2.6`: what follows does not count among builds of one release."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3]) or (0,)
