"""What became of frames and streams: drops over time, a table by source, and all that happened."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from edgezoo.latency import Tally
from edgezoo.measure.report import charts
from edgezoo.measure.report.charts import ms, number
from edgezoo.measure.stages import StageProfile

_BINS = 60
_EVENTS = 60
_STATES = ("connecting", "live", "stalled", "lost", "ended")


def drops_over_time(found: StageProfile) -> str:
    """How many were dropped when, and why."""
    reasons = {name: count for name, count in found.profile.dropped.items() if count}
    if not reasons:
        return "<p class='quiet'>None.</p>"
    if reasons.keys() == {"closed"}:
        count = reasons["closed"]
        return f"<p class='quiet'>None but {count} that {'was' if count == 1 else 'were'} under way at the end.</p>"
    x = charts.time_axis(found.seconds)
    bins = [dict.fromkeys(reasons, 0) for _ in range(_BINS)]
    for (_, before), (at_s, after) in pairwise(found.recording.drops):
        for name in reasons:
            bins[min(_BINS - 1, int(x.at(at_s) * _BINS))][name] += after[name] - before[name]
    y = charts.up_to(max(sum(each.values()) for each in bins))
    width, shapes = x.high / _BINS, []
    for k, each in enumerate(bins):
        floor = 0
        for name, count in each.items():
            if count:
                title = f"{number(k * width)} to {number((k + 1) * width)} s: {count} {spoken(name)}"
                where = ((k + 0.08) * width, (k + 0.92) * width, floor, floor + count)
                shapes.append(charts.bar(*where, x=x, y=y, css=f"d-{name}", title=title))
                floor += count
    word = charts.time_word(found.seconds)
    drawn = charts.plot(shapes, x=x, y=y, x_word=word, css="low", label="dropped frames over time")
    names = {name: f"{spoken(name)} <b>{count}</b>" for name, count in reasons.items()}
    return f"<figure>{drawn}{charts.legend(names, 'd')}</figure>"


def sources(found: StageProfile) -> str:
    """A table, where there is more than one."""
    tallies = {name: found.profile.sources.get(name) or Tally() for name in found.recording.ages}
    if len(tallies) < 2:
        return ""
    rows = []
    for name, tally in tallies.items():
        ages = [ms(tally.age.percentile(percent)) for percent in (50, 99)]
        counts = [tally.grabbed, tally.delivered, tally.dropped_in_all, tally.failed, tally.reconnects]
        rows.append([name, number(tally.fps), *ages, *map(str, counts)])
    heads = ["source", "fps", "age p50", "p99", "grabbed", "delivered", "dropped", "failed", "came back"]
    return "<h2>By source</h2>" + _table(heads, rows, right=heads[1:], css="sources")


def events(found: StageProfile) -> str:
    """All that happened to the streams, in its order."""
    told = found.recording.events
    if not told:
        return "<p class='quiet'>Nothing.</p>"
    rows = [[f"{max(0.0, at_s):.1f} s", event.kind, event.source, event.message] for at_s, event in told[:_EVENTS]]
    left = len(told) - len(rows)
    more = f"<p class='quiet'>and {left} more</p>" if left else ""
    return _table(["at", "state", "source", "why"], rows, right=["at"], css="events") + more


def states_seen(found: StageProfile) -> list[str]:
    seen = {event.kind for _, event in found.recording.events}
    return [kind for kind in _STATES if kind in seen]


def spoken(name: str) -> str:
    return name.replace("_", " ")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str], css: str) -> str:
    sides = [' class="n"' if head in right else "" for head in heads]
    top = "".join(f"<th{c}>{escape(head)}</th>" for head, c in zip(heads, sides))
    body = ""
    for row in rows:
        cells = (_cell(head, cell) for head, cell in zip(heads, row))
        body += f"<tr>{''.join(f'<td{c}>{cell}</td>' for cell, c in zip(cells, sides))}</tr>"
    return f'<div class="wide"><table class="{css}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(head: str, text: str) -> str:
    return f'<i class="dot t-{escape(text)}"></i>{escape(text)}' if head == "state" else escape(text)
