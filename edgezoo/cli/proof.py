"""What a bundle keeps of how an artifact was made and judged, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgezoo import records
from edgezoo.bundle import Artifact
from edgezoo.measure.evaluate import METRICS


def lines(artifact: Artifact) -> Iterator[str]:
    """Where it comes from, how it agrees, what it was judged at, what calibrated it, how fast it is."""
    yield artifact.file
    yield f"from {artifact.source.get('file')}"
    yield "agreement: " + ", ".join(f"{name} {value}" for name, value in artifact.agreement.items())
    if artifact.judgement:
        yield judgement(artifact.judgement, calibrated=bool(artifact.calibration))
        yield from _errors(artifact.judgement)
    if artifact.calibration:
        yield calibration(artifact.calibration)
    if artifact.speed or artifact.precision != "fp32":
        yield speed(artifact.speed)
    yield ", ".join(f"{name} {version}" for name, version in artifact.tools.items())


def judgement(told: Mapping[str, Any], *, calibrated: bool = True) -> str:
    """`mAP50-95 36.4 -> 36.2 (drop 0.21, 95 % -0.52 .. 0.93; budget 1.0) on 88 images of photos`, of a `Judgement`."""
    unseen = " that calibration did not see" if calibrated else ""
    where = f"on {told.get('images')} images of {told.get('data')}{unseen}"
    allowed = told.get("max_drop")
    budget = f"budget {allowed if records.is_figure(allowed) else '?'}"
    if told.get("why"):
        return f"{told['why']} ({budget}) {where}{_looks(told)}"
    metric = METRICS.get(str(told.get("metric")), told.get("metric"))
    fp32, value = (_figure(told.get(name), 1, times=100) for name in ("fp32", "value"))
    drop, low, high = (_figure(told.get(name), 2) for name in ("drop", "low", "high"))
    return (
        f"{metric} {fp32} -> {value} (drop {drop}, 95 % {low} .. {high}; {budget}) {where}{_looks(told)}{_doubt(told)}"
    )


def _looks(told: Mapping[str, Any]) -> str:
    """Who looks often finds by chance what is not there: how often the same images were asked."""
    looks = told.get("looks")
    return f"; candidate {looks} that was put to them" if records.is_figure(looks) and looks != 1 else ""


def _doubt(told: Mapping[str, Any]) -> str:
    drop, high, allowed = (told.get(name) for name in ("drop", "high", "max_drop"))
    if not (records.is_figure(drop) and records.is_figure(high) and records.is_figure(allowed)):
        return ""
    return "; the drop is within the budget, its 95 % interval is not" if drop <= allowed < high else ""


def calibration(told: Mapping[str, Any]) -> str:
    """`calibrated on 40 images (40 of 128 from coco, seed 0) by percentile`."""
    return f"calibrated on {len(_mapping(told, 'images'))} images ({told.get('source')}) by {told.get('method')}"


def speed(told: Mapping[str, Any]) -> str:
    """`1.60x as fast as fp32: 8.3 ms on openvino, 2 threads, Some CPU`; `speed unmeasured`."""
    if not told:
        return "speed unmeasured"
    threads = "its own choice of threads" if told.get("threads") is None else f"{told['threads']} threads"
    where = f"{told.get('backend')}, {threads}, {_mapping(told, 'machine').get('cpu')}"
    return (
        f"{_figure(told.get('ratio'), 2)}x as fast as {told.get('against')}: {_figure(told.get('ms'), 1)} ms on {where}"
    )


def _errors(told: Mapping[str, Any]) -> Iterator[str]:
    for tensor in (errors := _mapping(told, "errors")):
        figures = [f"{name} {value}" for name, value in _mapping(errors, tensor).items() if name != "sqnr_db"]
        ratio = _mapping(errors, tensor).get("sqnr_db")
        yield f"error of {tensor}: {', '.join(figures)}" + ("" if ratio is None else f"; signal to noise {ratio} dB")


def _figure(value: object, digits: int, *, times: int = 1) -> str:
    """A number, and not `-0.0`; `?` for what a bundle has in the place of one."""
    return f"{round(times * value, digits) + 0.0:.{digits}f}" if records.is_figure(value) else "?"


def _mapping(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = told.get(name)
    return value if isinstance(value, Mapping) else {}
