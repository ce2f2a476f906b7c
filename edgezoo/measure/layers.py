"""What of a graph really runs in which precision, and what it gains: an artifact called int8 may hold islands of fp32.

A conversion computes nothing: it changes the type of values (Cast, QuantizeLinear, DequantizeLinear, …) or where they
lie (Transpose, Reorder, …). So every graph has its door's, from bytes in rows of pixels to what its first layer takes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgezoo import graphs
from edgezoo.backends import Layer, runs_on
from edgezoo.bundle import Artifact, Bundle
from edgezoo.engine import Engine
from edgezoo.errors import NotCompiled
from edgezoo.machine import OtherLoad, machine
from edgezoo.measure.bench import CLIP
from edgezoo.measure.player import BareEngine
from edgezoo.measure.race import Against, race, shared_batch, takes, unlike

_FLOATS = ("fp32", "fp16", "bf16", "fp64")
_SLOW_KERNELS = 0.25
"""Where what is not in an artifact's precision takes less of the time, it is not that which makes it slow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What some layers take together."""

    layers: int
    ms: float
    share: float
    """Of all layers' time, 0..1."""

    def to_dict(self) -> dict[str, Any]:
        return {"layers": self.layers, "ms": round(self.ms, 4), "share": round(self.share, 4)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantised:
    """What of an int8 artifact is int8: by its file, and by what runs."""

    layers: int
    """Its convolutions and products with weights."""
    kept: tuple[str, ...]
    """Those that are float in the file."""
    lost: tuple[str, ...]
    """Those that are int8 in the file, and run in something else here."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerProfile:
    """What `profile` found."""

    layers: tuple[Layer, ...]
    """In the order they run."""
    run_ms: float | None
    """A whole run without a profiler, the median of blocks; None where nothing was compared."""
    against: tuple[Against, ...]
    """Its speed against the bundle's other artifacts for this backend."""
    warnings: tuple[str, ...]
    quantised: Quantised | None
    """Of an int8 artifact."""
    left_out: tuple[str, ...]
    """Artifacts that it was not held against, and why."""
    batch: int
    others: float | None
    """What other processes took of all cores meanwhile, 0..1; None where the system does not tell."""
    runs: dict[str, Any]
    """What really ran."""
    machine: dict[str, Any]

    @property
    def ms(self) -> float:
        return sum(layer.ms for layer in self.layers)

    @property
    def precisions(self) -> dict[str, Share]:
        """By what they compute in, conversions left out; what takes most comes first."""
        return self._by(lambda layer: layer.precision, (layer for layer in self.layers if not layer.conversion))

    @property
    def conversions(self) -> Share:
        return _share([layer for layer in self.layers if layer.conversion], self.ms)

    @property
    def conversion_kinds(self) -> dict[str, int]:
        return dict(Counter(layer.kind for layer in self.layers if layer.conversion).most_common())

    @property
    def kinds(self) -> dict[str, Share]:
        """By operator, conversions too; what takes most comes first."""
        return self._by(lambda layer: layer.kind, self.layers)

    def _by(self, key: Callable[[Layer], str], layers: Iterable[Layer]) -> dict[str, Share]:
        groups: dict[str, list[Layer]] = {}
        for layer in layers:
            groups.setdefault(key(layer), []).append(layer)
        shares = {name: _share(group, self.ms) for name, group in groups.items()}
        return dict(sorted(shares.items(), key=lambda entry: -entry[1].ms))

    def to_dict(self) -> dict[str, Any]:
        return {
            "ms": round(self.ms, 4),
            "precisions": {name: share.to_dict() for name, share in self.precisions.items()},
            "conversions": {**self.conversions.to_dict(), "kinds": self.conversion_kinds},
            "kinds": {name: share.to_dict() for name, share in self.kinds.items()},
            "layers": [layer.to_dict() for layer in self.layers],
            "run_ms": None if self.run_ms is None else round(self.run_ms, 4),
            "against": [rival.to_dict() for rival in self.against],
            "warnings": list(self.warnings),
            "quantised": None if self.quantised is None else self.quantised.to_dict(),
            "left_out": list(self.left_out),
            "batch": self.batch,
            "others": None if self.others is None else round(self.others, 3),
            "runs": self.runs,
            "machine": self.machine,
        }


def profile_layers(
    bundle: Bundle | str | Path,
    *,
    backend: str = "onnxruntime",
    device: str | None = None,
    precision: str = "fp32",
    threads: int | None = None,
    compare: bool = True,
    runs: int = 20,
    rounds: int = 9,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LayerProfile:
    """Time an artifact's layers over `runs` runs, and race it against the bundle's others that this backend runs.

    Raises BundleError, BackendError, RequestError, MissingDependency.
    """
    with ExitStack() as opened:

        def engine_of(bundle: Bundle | str | Path, precision: str) -> Engine:
            engine = Engine(bundle, backend=backend, device=device, precision=precision, threads=threads)
            return opened.enter_context(engine)

        engine = engine_of(bundle, precision)
        artifacts = engine.bundle.manifest.artifacts
        here = [each for each in artifacts if each.target in ("", backend) and each.name != engine.artifact.name]
        run_ms, against, rivals, left_out = None, list[Against](), list[Engine](), list[str]()
        for each in here if compare else ():
            try:
                rivals.append(engine_of(engine.bundle, each.name))
            except NotCompiled as error:
                left_out.append(str(error))
        batch = shared_batch(engine, rivals)
        left_out += [unlike(rival, batch) for rival in rivals if not takes(rival, batch)]
        rivals = [rival for rival in rivals if takes(rival, batch)]
        load = OtherLoad()
        layers = engine.layers(BareEngine(engine, batch, CLIP).array, runs=runs)
        if rivals:
            run_ms, against = race(engine, rivals, batch=batch, rounds=rounds, progress=progress)
        kind = engine.runs.device.partition(":")[0]
        others = [each for each in artifacts if each.target not in ("", backend)]
        elsewhere = [each for each in others if runs_on(each.target, kind)]
        return LayerProfile(
            layers=tuple(layers),
            run_ms=run_ms,
            against=tuple(against),
            warnings=tuple(judge(engine.artifact, layers, against, elsewhere)),
            quantised=quantised(engine, layers) if engine.artifact.precision == "int8" else None,
            left_out=tuple(left_out),
            batch=batch,
            others=load.share(),
            runs=engine.describe(),
            machine=machine(),
        )


def quantised(engine: Engine, layers: Sequence[Layer]) -> Quantised:
    """What of the engine's artifact is int8. A runtime names what it fused after all nodes that are in it."""
    in_file = graphs.weighted(engine.bundle.read_graph(engine.artifact))
    here = [(set(re.split(r"[\s+(){}\[\],]+", layer.name)), layer) for layer in layers if not layer.conversion]

    def lost(name: str) -> bool:
        runs = [layer.precision for names, layer in here if name in names]
        return bool(runs) and "int8" not in runs

    return Quantised(
        layers=len(in_file),
        kept=tuple(name for name, integer in in_file.items() if not integer),
        lost=tuple(name for name, integer in in_file.items() if integer and lost(name)),
    )


def judge(
    artifact: Artifact, layers: Sequence[Layer], against: Sequence[Against], elsewhere: Sequence[Artifact] = ()
) -> list[str]:
    """What is wrong with an artifact of a rounded precision here, a line each: it is not what it is called, or slower.

    `elsewhere`: the bundle's artifacts for other backends, which may be the cure.
    """
    if artifact.precision == "fp32":
        return []
    cures = [
        f"--precision {each.precision} --backend {each.target}"
        for each in elsewhere
        if each.precision == artifact.precision
    ]
    lost = sorted((rival for rival in against if rival.lost), key=lambda rival: rival.ms)
    if lost:
        found = f"{artifact.name} is {lost[0].ratio:.2f} times as fast as {lost[0].name} here"
        cures.insert(0, f"--precision {lost[0].name}")
    elif not any(layer.precision == artifact.precision for layer in layers if not layer.conversion):
        found = f"{artifact.name} is {artifact.precision} in its file alone"
    else:
        return []
    cure = f"; try {' or '.join(cures)}" if cures else ""
    return [f"{found}: {_why(artifact.precision, layers)}{cure}"]


def _why(precision: str, layers: Sequence[Layer]) -> str:
    """What the layers say of why it gains nothing."""
    conversions = [layer for layer in layers if layer.conversion]
    computing = [layer for layer in layers if not layer.conversion and layer.precision in (precision, *_FLOATS)]
    others = [layer for layer in computing if layer.precision != precision]
    lost = _share([*others, *conversions], sum(layer.ms for layer in layers)).share
    if others:
        counts = Counter(layer.precision for layer in others).most_common()
        told = " and ".join(f"{count} of {len(computing)} layers run in {name}" for name, count in counts)
        told += f" between {len(conversions)} conversions, together {100 * lost:.0f} % of the time"
    else:
        told = f"all {len(computing)} layers run in {precision}"
        told += f", {len(conversions)} conversions take {100 * lost:.0f} % of the time"
    slow = len(others) < len(computing) and lost < _SLOW_KERNELS
    return told + (f", and its {precision} kernels are slow on this machine" if slow else "")


def _share(layers: Sequence[Layer], all_ms: float) -> Share:
    ms = sum(layer.ms for layer in layers)
    return Share(layers=len(layers), ms=ms, share=ms / all_ms if all_ms else 0.0)
