"""All that a bundle may run as on this machine, timed: every artifact that met its budget, on every installed runtime
that takes it, block by block in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from edgezoo import records
from edgezoo.backends import runs_on
from edgezoo.bundle import Artifact, Bundle
from edgezoo.engine import Engine
from edgezoo.errors import BackendError, MissingDependency, RequestError
from edgezoo.machine import OtherLoad
from edgezoo.measure.race import block_s, race, shared_batch, takes, unlike
from edgezoo.measure.speeds.stored import Skipped, Speed, Speeds, hardware, identity_of, installed, now, numbered

Candidate = tuple[str, Artifact]
"""A backend, and what it may run."""

_EXACTEST_FIRST = ("fp32", "fp16", "bf16", "int8")
FIRST = "onnxruntime"
_SECONDS = 15.0
_ROUNDS = (3, 15)


def candidates(bundle: Bundle, device: str = "cpu") -> list[Candidate]:
    """What may be chosen: artifacts that met their budget, on runtimes that are installed and for that kind of device;
    the exactest first."""
    found = [
        (backend, artifact)
        for backend in installed()
        if runs_on(backend, device)
        for artifact in bundle.manifest.artifacts
        if _met(artifact) and artifact.target in ("", backend) and _gets(bundle, artifact, backend)
    ]
    return sorted(found, key=lambda each: rank(each[1].name, each[0]))


def left_out(bundle: Bundle, device: str = "cpu") -> list[tuple[Artifact, str]]:
    """Artifacts that are no candidates anywhere, and why."""
    there, here = {artifact.name for _, artifact in candidates(bundle, device)}, installed()
    return [
        (artifact, _why_not(artifact, here, device))
        for artifact in bundle.manifest.artifacts
        if artifact.name not in there
    ]


def measure(
    bundle: Bundle,
    *,
    threads: int | None = None,
    device: str = "cpu",
    rounds: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Speeds:
    """Time all candidates, block by block in turns, for about 15 s; one that its runtime refuses is skipped.

    `cuda` is `cuda:0`.

    Raises MissingDependency where no runtime is installed, and what fp32 raises where it runs on none.
    """
    device = numbered(device)
    with ExitStack() as stack:
        engines, skipped, seconds = _opened(bundle, stack, device=device, threads=threads)
        least, most = _ROUNDS
        rounds = max(least, min(most, int(_SECONDS / seconds))) if rounds is None else rounds
        load = OtherLoad()
        batch = shared_batch(engines[0], engines[1:])
        for engine in [each for each in engines if not takes(each, batch)]:
            engines.remove(engine)
            skipped.append(_skipped(engine.runs.backend, engine.artifact, unlike(engine, batch)))
        ms, against = race(engines[0], engines[1:], batch=batch, rounds=rounds, progress=progress)
        others = load.share()
        first = _speed(engines[0], ms, (1.0, 1.0, 1.0))
        rest = [
            _speed(engine, each.ms, (1 / each.ratio, 1 / each.high, 1 / each.low))
            for engine, each in zip(engines[1:], against, strict=True)
        ]
    return Speeds(
        model=bundle.manifest.name,
        size_wh=bundle.manifest.input.size_wh,
        called=bundle.called,
        hardware=hardware(device),
        device=device,
        threads=threads,
        versions=installed(),
        measured=now(),
        against=first.backend,
        speeds=(first, *rest),
        skipped=tuple(skipped),
        rounds=rounds,
        others=others,
    )


def _met(artifact: Artifact) -> bool:
    return artifact.precision == "fp32" or artifact.judgement.get("ok") is True


def _gets(bundle: Bundle, artifact: Artifact, backend: str) -> bool:
    """Whether `backend`, asked for that name, gets it, and no form of its own instead."""
    return (not artifact.options or artifact.target == backend) and (
        bundle.artifact(artifact.name, backend=backend) is artifact
    )


def _why_not(artifact: Artifact, here: Mapping[str, str], device: str) -> str:
    judged = artifact.judgement
    if not _met(artifact):
        lost, allowed = judged.get("drop"), judged.get("max_drop")
        told = records.is_figure(lost) and records.is_figure(allowed)
        budget = f": {lost:.2f} points lost, {allowed:g} allowed" if told else ""
        return f"missed its budget{budget}" if judged else "was never judged"
    if artifact.target not in here:
        return f"{artifact.target} is not installed"
    return (
        "cannot be asked for by name" if runs_on(artifact.target, device) else f"{artifact.target} runs on no {device}"
    )


def rank(name: str, backend: str) -> tuple[int, bool, str, str]:
    """To sort artifacts on backends by: the exactest first."""
    precision = name.partition("-")[0]
    known = _EXACTEST_FIRST.index(precision) if precision in _EXACTEST_FIRST else len(_EXACTEST_FIRST)
    return known, backend != FIRST, backend, name


def _opened(
    bundle: Bundle, stack: ExitStack, *, device: str, threads: int | None
) -> tuple[list[Engine], list[Skipped], float]:
    """Engines of all candidates, fp32 first; what was refused; and about how long a round of them takes."""
    engines: list[Engine] = []
    skipped: list[Skipped] = []
    refused: list[Exception] = []
    seconds = 0.0
    for backend, artifact in candidates(bundle, device):
        try:
            engine = stack.enter_context(
                Engine(bundle, backend=backend, device=device, precision=artifact.name, threads=threads)
            )
            engine.warm_up()
            began = time.perf_counter()
            engine.warm_up()
            seconds += block_s(time.perf_counter() - began)
        except (BackendError, RequestError, MissingDependency) as error:
            refused.append(error)
            skipped.append(_skipped(backend, artifact, " ".join(str(error).split())))
            continue
        engines.append(engine)
    if not engines or engines[0].artifact.precision != "fp32":
        raise refused[0] if refused else MissingDependency('no runtime is installed; try: pip install "edgezoo[cpu]"')
    return engines, skipped, seconds


def _skipped(backend: str, artifact: Artifact, why: str) -> Skipped:
    return Skipped(backend=backend, artifact=artifact.name, identity=identity_of(artifact), why=why)


def _speed(engine: Engine, ms: float, times: tuple[float, float, float]) -> Speed:
    return Speed(
        backend=engine.runs.backend,
        artifact=engine.artifact.name,
        identity=identity_of(engine.artifact),
        ms=round(ms, 4),
        times=round(times[0], 4),
        low=round(times[1], 4),
        high=round(times[2], 4),
    )
