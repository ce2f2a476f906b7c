"""What a compiled engine is built for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from edgezoo.errors import RequestError

BatchRange = tuple[int, int, int]
"""The smallest, the best and the largest N of a batch: the engine takes all between, and was tuned for the best."""

Hardware = Literal["", "ampere", "same"]
"""Runs on this GPU's kind alone; on Ampere and later; on all GPUs of the same compute capability."""

_MOST_DLA = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """TensorRT's builder options; precision is none of them, it stands in the graph. Raises RequestError."""

    batch: BatchRange = (1, 1, 1)
    workspace_mb: int | None = None
    """GPU memory that a layer may use while it runs, in MiB; None: all there is."""
    optimization: int = 3
    """0..5: how long TensorRT searches for faster kernels."""
    version_compatible: bool = False
    """Also runs on later TensorRT of the same major version."""
    hardware_compatible: Hardware = ""
    dla: int | None = None
    """The deep learning accelerator (of a Jetson) that runs what it can; the GPU runs the rest."""

    def __post_init__(self) -> None:
        if not isinstance(self.batch, tuple) or len(self.batch) != 3 or not all(map(_is_whole, self.batch)):
            raise RequestError(f"expected a batch range of three whole numbers, got {self.batch!r:.40}")
        for name in ("workspace_mb", "optimization", "dla"):
            value = getattr(self, name)
            if not (_is_whole(value) or (value is None and name != "optimization")):
                raise RequestError(f"expected {name} as a whole number, got {value!r:.40}")
        if not isinstance(self.version_compatible, bool):
            raise RequestError(f"expected version_compatible as true or false, got {self.version_compatible!r:.40}")
        least, best, most = self.batch
        if not 1 <= least <= best <= most:
            raise RequestError(f"expected a batch range of 1 <= least <= best <= most, got {least}:{best}:{most}")
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise RequestError(f"expected 1 MiB of workspace or more, got {self.workspace_mb}")
        if not 0 <= self.optimization <= 5:
            raise RequestError(f"expected optimization 0 to 5, got {self.optimization}")
        if self.hardware_compatible not in get_args(Hardware):
            raise RequestError(f"expected hardware ampere or same, got {self.hardware_compatible!r:.40}")
        if self.dla is not None and not 0 <= self.dla < _MOST_DLA:
            raise RequestError(f"expected a DLA core from 0 on, got {self.dla}")
        if self.dla is not None and least != most:
            raise RequestError(f"a DLA runs one batch size alone, got {least}:{best}:{most}; try --batch {best}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def fixed(self) -> bool:
        """One batch size alone."""
        return self.batch[0] == self.batch[2]

    def command(self) -> str:
        """As `edgezoo compile` takes them; empty where all is as it is without."""
        least, best, most = self.batch
        words = [
            "" if self.batch == (1, 1, 1) else f"--batch {most if self.fixed else f'{least}:{best}:{most}'}",
            "" if self.workspace_mb is None else f"--workspace {self.workspace_mb}",
            "" if self.optimization == 3 else f"--optimization {self.optimization}",
            "--version-compatible" if self.version_compatible else "",
            f"--hardware-compatible={self.hardware_compatible}" if self.hardware_compatible else "",
            "" if self.dla is None else f"--dla {self.dla}",
        ]
        return " ".join(word for word in words if word)


def read_options(told: Mapping[str, Any]) -> BuildOptions:
    """What `to_dict` told, also after it went through JSON. Raises RequestError, TypeError."""
    return BuildOptions(**{**told, "batch": tuple(told["batch"])})


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def batch_range(text: str) -> BatchRange:
    """`8`, or `1:4:8`. Raises RequestError."""
    found = re.fullmatch(r"(\d{1,5})(?::(\d{1,5}):(\d{1,5}))?", text.strip())
    if found is None:
        raise RequestError(f"expected a batch size, or LEAST:BEST:MOST such as 1:4:8, got {text!r:.40}")
    first, *rest = (int(part) for part in found.groups() if part is not None)
    best, most = rest or (first, first)
    return first, best, most
