"""How old frames were when their results were there: over time, and all together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from html import escape

from edgezoo.measure.recording import Ages
from edgezoo.measure.report import charts
from edgezoo.measure.report.charts import Scale, ms, number, round_ms
from edgezoo.measure.stages import StageProfile

_PLOTTED = 8  # sources; more are told in the table
_BINS = 160
_MARKED = (50, 99)


def ages_over_time(found: StageProfile) -> str:
    """A chart for each source, on the same scale, and its states below."""
    recording, x = found.recording, charts.time_axis(found.seconds)
    shown = [*recording.ages.items()][:_PLOTTED]
    y = charts.up_to(max((_top(ages.age_ms) for _, ages in shown if ages.age_ms), default=1.0))
    figures = []
    for source, ages in shown:
        low, middle, high = (_binned(ages, x, pick) for pick in (min, statistics.median, max))
        shapes = [charts.band(low, high, x, y), charts.line(middle, x, y)]
        beyond = [age for age in ages.age_ms if age > y.high]
        more = f", {len(beyond)} of them beyond the chart, up to {ms(max(beyond))}" if beyond else ""
        drawn = charts.plot(
            shapes,
            x=x,
            y=y,
            x_word=charts.time_word(found.seconds),
            y_word=round_ms,
            below=charts.strip(_states(found, source), x),
            label=f"age of {source}",
        )
        figures.append(
            f"<figure><figcaption><b>{escape(source)}</b> {len(ages.age_ms)} frames{more}</figcaption>{drawn}</figure>"
        )
    left = len(recording.ages) - len(shown)
    return "".join(figures) + (f"<p class='quiet'>and {left} more sources, in the table below</p>" if left else "")


def histogram(found: StageProfile) -> str:
    """How many frames were how old, of all sources."""
    ages = [age for each in found.recording.ages.values() for age in each.age_ms]
    x = charts.up_to(_top(ages))
    bins = max(12, min(80, int(2 * len(ages) ** 0.5)))
    width = x.high / bins
    counts = charts.counted(ages, x, bins)
    y = Scale(0.0, 1.15 * max(counts))
    shapes = []
    for k, count in enumerate(counts):
        title = f"{number(k * width)} to {number((k + 1) * width)} ms: {count} frames"
        if count:
            shapes.append(
                charts.bar((k + 0.06) * width, (k + 0.94) * width, 0, count, x=x, y=y, css="bin", title=title)
            )
    values = {percent: found.profile.age.percentile(percent) for percent in _MARKED}
    shapes += [charts.mark(value, x) for value in values.values()]
    tags = [charts.tag(value, x, f"p{percent} {ms(value)}") for percent, value in values.items()]
    beyond = sum(age > x.high for age in ages)
    more = (
        f"<figcaption>{beyond} beyond the chart, up to {ms(max(ages))}, stand at its end</figcaption>" if beyond else ""
    )
    drawn = charts.plot(shapes, x=x, x_word=round_ms, tags=tags, label="how many frames were how old")
    return f"<figure>{drawn}{more}</figure>"


def _top(ages: Sequence[float]) -> float:
    """As high as the chart has to be: a few spikes do not press all the rest to the ground."""
    rising = sorted(ages)
    return min(rising[-1], 1.6 * rising[int(0.99 * (len(rising) - 1))])


def _binned(ages: Ages, x: Scale, pick: Callable[[list[float]], float]) -> list[tuple[float, float]]:
    """One value for each stretch of time; not a number where no frame came for more than one."""
    bins = max(1, min(_BINS, len(ages.age_ms) // 2))
    filled: list[list[float]] = [[] for _ in range(bins)]
    for at_s, age_ms in zip(ages.at_s, ages.age_ms):
        filled[min(bins - 1, int(x.at(at_s) * bins))].append(age_ms)
    points: list[tuple[float, float]] = []
    for k, here in enumerate(filled):
        if here or (k > 0 and not filled[k - 1]):
            points.append(((k + 0.5) * x.high / bins, pick(here) if here else math.nan))
    return points


def _states(found: StageProfile, source: str) -> list[tuple[float, float, str, str]]:
    """From when to when a stream was in which state, and why."""
    turns = [(max(0.0, at_s), event) for at_s, event in found.recording.events if event.source == source]
    ends = [*(at_s for at_s, _ in turns[1:]), found.seconds]
    return [
        (at_s, until_s, event.kind, f"{event.kind} for {until_s - at_s:.1f} s: {event.message}")
        for (at_s, event), until_s in zip(turns, ends)
    ]
