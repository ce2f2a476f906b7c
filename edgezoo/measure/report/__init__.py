"""A profile as one page for people: nothing is fetched, nothing moves, and it prints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from edgezoo import __version__
from edgezoo.measure.report import charts
from edgezoo.measure.report.ages import ages_over_time, histogram
from edgezoo.measure.report.charts import ms, number
from edgezoo.measure.report.frames import drops_over_time, events, sources, spoken, states_seen
from edgezoo.measure.report.shapes import stages
from edgezoo.measure.stages import StageProfile

_BUSY = 0.1
_PAGE = Path(__file__).with_name("page.html")


def report_of(found: StageProfile) -> str:
    """The page. Spans that were kept give the shapes of the stages; without them there are the numbers alone."""
    runs = found.profile.runs
    name = escape(str(runs.get("model", "a model")))
    parts = {
        "title": f"{name}: where the time goes",
        "heading": " · ".join([name, *(escape(str(runs[key])) for key in ("precision", "backend") if runs.get(key))]),
        "ran": " · ".join(map(escape, (", ".join(found.recording.ages), _length(found), str(found.machine["cpu"])))),
        "warnings": _warnings(found),
        "figures": _figures(found),
        "summary": _summary(found),
        "ages": ages_over_time(found),
        "states": charts.legend({kind: kind for kind in states_seen(found)}, "t"),
        "histogram": histogram(found),
        "way_note": _way_note(found),
        "way": charts.stack(found.way()),
        "stages": stages(found),
        "drops": drops_over_time(found),
        "sources": sources(found),
        "events": events(found),
        "facts": _facts(found),
        "footer": f"edgezoo {__version__}, {time.strftime('%Y-%m-%d %H:%M')}",
    }
    return Template(_PAGE.read_text("utf-8")).substitute(parts)


def write_report(found: StageProfile, path: str | Path) -> None:
    """Raises OSError."""
    Path(path).write_text(report_of(found), "utf-8")


def _length(found: StageProfile) -> str:
    return f"{found.seconds:.0f} s" if found.seconds < 180 else f"{found.seconds / 60:.0f} min"


def _warnings(found: StageProfile) -> str:
    told = [f"A stream failed: {event.source}: {event.message}" for _, event in found.recording.events if event.error]
    lines = [f'<p class="warn fail">{escape(line)}</p>' for line in told]
    told = [f"{name}: its driver still held it at the end." for name in found.stuck]
    if (found.others or 0) > _BUSY:
        share = f"{100 * (found.others or 0):.0f} %"
        told.append(f"Other programs took {share} of the machine meanwhile, so that these figures say less.")
    if found.recording.left_out:
        told.append(f"Only the first {len(found.recording.spans)} spans were kept; the shapes of stages are of those.")
    return "".join([*lines, *(f'<p class="warn">{escape(line)}</p>' for line in told)])


def _figures(found: StageProfile) -> str:
    profile = found.profile
    dropped = 100 * profile.dropped_in_all / profile.grabbed if profile.grabbed else 0.0
    figures = {
        "frame age, p50": ms(profile.age.percentile(50)),
        "frame age, p99": ms(profile.age.percentile(99)),
        "frames a second": number(profile.fps),
        "dropped": f"{number(dropped)} %",
    }
    pairs = {name: figure.partition(" ") for name, figure in figures.items()}
    return "".join(
        f"<div><dt>{name}</dt><dd>{value} <small>{unit}</small></dd></div>" for name, (value, _, unit) in pairs.items()
    )


def _summary(found: StageProfile) -> str:
    profile = found.profile
    rest = profile.grabbed - profile.delivered - profile.dropped_in_all - profile.failed
    parts = [f"{profile.delivered} delivered", f"{profile.dropped_in_all} dropped", f"{profile.failed} failed"]
    parts += [f"{rest} unaccounted for"] if rest else []
    busiest = max(("prepare", "infer", "read", "sink"), key=found.busy)
    return (
        f"Of {profile.grabbed} frames that were grabbed, {', '.join(parts[:-1])} and {parts[-1]}. "
        f"The busiest stage is <b>{busiest}</b>, at work {100 * found.busy(busiest):.0f} % of the time."
    )


def _way_note(found: StageProfile) -> str:
    age = found.profile.age
    clip = "" if found.live else " Frames of a clip wait in queues, where a camera's would be replaced by newer ones."
    return (
        f"The mean age is {ms(age.sum_ms / age.n if age.n else 0.0)}. <b>between</b> is on the way from one stage to "
        f"the next: a result whose turn has not come, a thread that waits for a core.{clip}"
    )


def _facts(found: StageProfile) -> str:
    facts = {"source" if len(found.sources) == 1 else "sources": _told(found.sources)}
    facts |= {spoken(name): _told(value) for name, value in found.profile.runs.items()}
    facts |= {name: _told(value) for name, value in found.machine.items()}
    facts["other programs"] = "not told" if found.others is None else f"{100 * found.others:.0f} % of all cores"
    facts |= {"versions": ", ".join(f"{name} {version}" for name, version in found.versions.items())}
    rows = [f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items() if value]
    return f'<table class="facts"><tbody>{"".join(rows)}</tbody></table>'


def _told(value: Any) -> str:
    """Empty for what is not known."""
    if isinstance(value, Mapping):
        return ", ".join(f"{spoken(str(name))} {_told(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_told, value))
    return "" if value is None else str(value)
