"""The stages: every duration by its length, all on one axis."""

from __future__ import annotations

from collections.abc import Sequence

from edgezoo.latency import STAGES
from edgezoo.measure.report import charts
from edgezoo.measure.report.charts import HEIGHT, WIDTH, Scale, ms, round_ms
from edgezoo.measure.stages import StageProfile

_BINS = 120
_WAITING = ("wait",)  # not work


def stages(found: StageProfile) -> str:
    """A row for each: its shape, and its numbers."""
    x = Scale(0.01, 10_000.0, log=True)
    durations: dict[str, list[float]] = {name: [] for name in STAGES}
    for span in found.recording.spans:
        durations[span.stage].append((span.ended_ns - span.began_ns) / 1e6)
    head = "".join(f"<span>{name}</span>" for name in ("p50", "p99", "max", "busy"))
    rows = [f'<div class="row head"><div></div><div class="shape"></div><div class="numbers">{head}</div></div>']
    for name in STAGES:
        shape = ""
        if durations[name]:
            counts = _smooth(charts.counted(durations[name], x, _BINS))
            hill = charts.hill(counts, f"s-{name}", f"{name}: {found.profile.stages[name].n} times")
            box = f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none"'
            shape = f'<svg {box} role="img" aria-label="durations of {name}">{hill}</svg>'
        rows.append(
            f'<div class="row"><div class="name">{name}</div><div class="shape">{shape}</div>'
            f'<div class="numbers">{_numbers(found, name)}</div></div>'
        )
    axis = charts.plot([], x=x, x_word=round_ms, label="the axis of durations")
    rows.append(f'<div class="row foot"><div></div><div class="shape">{axis}</div><div></div></div>')
    return f'<div class="hills">{"".join(rows)}</div>'


def _smooth(counts: Sequence[int]) -> list[float]:
    weights = (1, 3, 5, 3, 1)
    padded = [0, 0, *counts, 0, 0]
    return [sum(w * padded[k + j] for j, w in enumerate(weights)) / sum(weights) for k in range(len(counts))]


def _numbers(found: StageProfile, name: str) -> str:
    stage = found.profile.stages[name]
    figures = [ms(stage.percentile(50)), ms(stage.percentile(99)), ms(stage.max_ms)] if stage.n else ["–", "", ""]
    works = stage.n and name not in _WAITING and not (name == "capture" and found.live)
    figures.append(f"{100 * found.busy(name):.0f} %" if works else "")
    return "".join(f"<span>{figure}</span>" for figure in figures)
