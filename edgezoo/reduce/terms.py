"""What is asked of artifacts of a reduced precision, and what came of each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgezoo.bundle import Artifact
from edgezoo.errors import RequestError, UnknownName
from edgezoo.measure.gate import LEAST, Judgement
from edgezoo.reduce.int8.calibrate import METHODS
from edgezoo.reduce.int8.tensorrt import VERSIONS
from edgezoo.reduce.recipe import QuantisationRecipe
from edgezoo.reduce.search import Search, Trial

IMAGES = 40
"""To calibrate with, where there are as many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What is asked of a reduced artifact, and what it may be made with. Raises RequestError, UnknownName."""

    max_drop: float = 1.0
    """The budget, in points of the metric."""
    data: Path | None = None
    """Labelled images to judge by; None: by agreement with fp32."""
    source: str | None = None
    """Images to calibrate with: a set's name, a folder, a pattern, a video; None: see `calibration.draw`."""
    images: int = IMAGES
    seed: int = 0
    methods: tuple[str, ...] = METHODS
    """Ways from what was seen to a range, of which the gentlest is taken."""
    ranges: Path | None = None
    """A file that keeps a calibration."""
    minutes: float = 10.0
    """For the search of one artifact; 0: none."""
    tensorrt: str = "10"
    """The oldest version that int8-tensorrt is for."""
    keep_slower: bool = False
    """Write also what turns out slower than fp32."""
    recipe: QuantisationRecipe | None = None
    """In the place of a search."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop < math.inf:
            raise RequestError(f"expected a budget of 0 points or more, got {self.max_drop}")
        if not 0 <= self.minutes < math.inf:
            raise RequestError(f"expected 0 minutes or more for the search, got {self.minutes}")
        if self.images < LEAST:
            raise RequestError(f"expected {LEAST} or more images to calibrate with, asked for {self.images}")
        if self.seed < 0:
            raise RequestError(f"expected a seed of 0 or more, got {self.seed}")
        for method in self.methods:
            if method not in METHODS:
                raise UnknownName("method", method, METHODS)
        if self.tensorrt not in VERSIONS:
            raise UnknownName("TensorRT version", self.tensorrt, VERSIONS)


@dataclass(kw_only=True, slots=True, eq=False)
class Outcome:
    """What came of one precision."""

    name: str
    artifact: Artifact | None = None
    """None: not written."""
    graph: bytes | None = None
    """None: that of fp32."""
    why: str = ""
    """Why it was not written."""
    judgements: list[Judgement] = field(default_factory=list)
    """Of every candidate that was put to the gate; the last one is what counts."""
    judged_on: str = ""
    """The runtime that candidates ran on: the target's own where that is here."""
    speed: dict[str, Any] = field(default_factory=dict)
    """Of the last candidate that was timed."""
    search: Search | None = None
    chosen: Trial | None = None
    """The candidate that was put to the gate last."""

    @property
    def slower(self) -> bool:
        """Than fp32, by the median of the rounds: what is only as fast, to within noise, is not worth its error."""
        return bool(self.speed) and self.speed["ratio"] < 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        artifact, chosen, search = self.artifact, self.chosen, self.search
        recipe, picture = (artifact.recipe, artifact.picture) if artifact else (None, None)
        return {
            "name": self.name,
            "written": artifact is not None,
            "why": self.why or None,
            "file": artifact.file if artifact else None,
            "recipe": recipe.file if recipe else None,
            "picture": picture.file if picture else None,
            "judgements": [judgement.to_dict() for judgement in self.judgements],
            "judged_on": self.judged_on or None,
            "calibration": artifact.calibration.get("source") if artifact else None,
            "speed": self.speed,
            "method": chosen.method if chosen else None,
            "floats": list(chosen.floats) if chosen else [],
            "layers": search.layers if search else None,
            "tried": [trial.to_dict() for trial in search.trials] if search else [],
            "search_seconds": round(search.seconds, 1) if search else None,
            "out_of_time": search.out_of_time if search else False,
        }
