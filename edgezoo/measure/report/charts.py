"""Charts as plain HTML and SVG: lines and areas stretch with the page, words keep their size, so that a phone can show
them. Nothing moves and nothing is fetched; every part has a title that a mouse shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

HEIGHT = 100.0
WIDTH = 1000.0
_LONG_S = 180.0

Points = Sequence[tuple[float, float]]
Word = Callable[[float], str]
"""What stands at an axis for a value."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to 0..1 of an axis."""

    low: float
    high: float
    log: bool = False
    unit: float = 1.0
    """What round values are multiples of."""

    def at(self, value: float) -> float:
        """Where `value` is; what is outside stands at the end."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))

    def ticks(self, most: int = 6) -> list[float]:
        """Round values, at most so many."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1)]
        span = (self.high - self.low) / self.unit
        step = self.unit * next(step for step in _steps(span) if span / step <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def up_to(value: float) -> Scale:
    """From 0 to a round value that is not below `value`."""
    step = next(step for step in _steps(value or 1.0) if (value or 1.0) / step <= 4)
    return Scale(0.0, step * math.ceil((value or 1.0) / step - 1e-9))


def _steps(span: float) -> list[float]:
    power = 10.0 ** math.floor(math.log10(span) - 1)
    return [digit * power * ten for ten in (1, 10, 100) for digit in (1, 2, 5)]


def time_axis(seconds: float) -> Scale:
    return Scale(0.0, max(seconds, 0.1), unit=60.0 if seconds > _LONG_S else 1.0)


def time_word(seconds: float) -> Word:
    """What stands at a time axis of that length: seconds, and minutes where it is long."""
    return lambda at_s: f"{number(at_s / 60)} min" if seconds > _LONG_S else f"{number(at_s)} s"


def number(value: float) -> str:
    """With as many digits as a person wants to see."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    text = f"{value:.{max(0, 1 - math.floor(math.log10(abs(value))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def ms(value: float) -> str:
    """Milliseconds in the unit that suits them."""
    if value < 0.0995:
        return f"{1000 * value:.0f} µs"
    if value >= 1000:
        return f"{value / 1000:.{0 if value >= 9950 else 1}f} s"
    return f"{value:.{0 if value >= 99.5 else 1 if value >= 9.95 else 2}f} ms"


def round_ms(value: float) -> str:
    """The same for a round value: `10 µs`, `100 ms`, `2 s`."""
    factor, unit = (1000, "µs") if value < 0.999 else (1, "ms") if value < 999 else (0.001, "s")
    return f"{number(value * factor)} {unit}" if value else "0"


def plot(
    shapes: Sequence[str],
    *,
    x: Scale,
    x_word: Word,
    label: str,
    y: Scale | None = None,
    y_word: Word = number,
    tags: Sequence[str] = (),
    below: str = "",
    css: str = "",
) -> str:
    """A chart: shapes and tags made by the functions below, grid lines, and words for round numbers at the axes.

    `below`: a strip between the chart and the words under it.
    """
    grid, words = [], [*tags]
    for tick in x.ticks():
        at = x.at(tick)
        grid.append(f'<line class="grid" x1="{at * WIDTH:.1f}" x2="{at * WIDTH:.1f}" y1="0" y2="{HEIGHT:g}"/>')
        edge = " first" if at < 0.02 else " last" if at > 0.98 else ""
        words.append(f'<span class="x{edge}" style="left:{100 * at:.2f}%">{x_word(tick)}</span>')
    for tick in y.ticks(4) if y is not None else []:
        at = y.at(tick) if y is not None else 0.0
        grid.append(f'<line class="grid" x1="0" x2="{WIDTH:g}" y1="{_y(at)}" y2="{_y(at)}"/>')
        words.append(f'<span class="y" style="bottom:{100 * at:.2f}%">{y_word(tick)}</span>')
    svg = (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"{''.join(grid)}{''.join(shapes)}</svg>"
    )
    css += (" sided" if y is not None else "") + (" striped" if below else "")
    return f'<div class="plot {css}"><div class="area">{svg}{below}{"".join(words)}</div></div>'


def line(points: Points, x: Scale, y: Scale) -> str:
    """Through the points; a gap where one is not a number."""
    path, pen = [], "M"
    for at, value in points:
        if math.isnan(value):
            pen = "M"
            continue
        path.append(f"{pen}{x.at(at) * WIDTH:.1f},{_y(y.at(value))}")
        pen = "L"
    return f'<path class="line" d="{"".join(path)}"/>'


def band(low: Points, high: Points, x: Scale, y: Scale) -> str:
    """The area between two lines over the same places; a gap where one is not a number."""
    pieces: list[list[tuple[float, float, float]]] = [[]]
    for (at, bottom), (_, top) in zip(low, high):
        if math.isnan(bottom) or math.isnan(top):
            pieces.append([])
        else:
            pieces[-1].append((at, bottom, top))
    path = ""
    for piece in pieces:
        edge = [f"{x.at(at) * WIDTH:.1f},{_y(y.at(top))}" for at, _, top in piece]
        edge += [f"{x.at(at) * WIDTH:.1f},{_y(y.at(bottom))}" for at, bottom, _ in reversed(piece)]
        path += f"M{'L'.join(edge)}Z" if len(piece) > 1 else ""
    return f'<path class="band" d="{path}"/>'


def bar(left: float, right: float, bottom: float, top: float, *, x: Scale, y: Scale, css: str, title: str) -> str:
    x1, x2 = x.at(left) * WIDTH, x.at(right) * WIDTH
    y1, y2 = (1 - y.at(top)) * HEIGHT, (1 - y.at(bottom)) * HEIGHT
    return (
        f'<rect class="{css}" x="{x1:.1f}" width="{max(0.0, x2 - x1):.1f}" y="{y1:.1f}" height="{y2 - y1:.1f}">'
        f"<title>{escape(title)}</title></rect>"
    )


def mark(at: float, x: Scale) -> str:
    """A line from top to bottom."""
    return f'<line class="mark" x1="{x.at(at) * WIDTH:.1f}" x2="{x.at(at) * WIDTH:.1f}" y1="0" y2="{HEIGHT:g}"/>'


def tag(at: float, x: Scale, text: str) -> str:
    """Words at the upper end of such a line, on the side where there is room."""
    side = " left" if x.at(at) > 0.8 else ""
    return f'<span class="tag{side}" style="left:{100 * x.at(at):.2f}%">{escape(text)}</span>'


def hill(counts: Sequence[float], css: str, title: str) -> str:
    """A histogram as one smooth shape: bins of equal width over the whole axis."""
    most = max(counts) or 1
    width = WIDTH / len(counts)
    points = [f"{(k + 0.5) * width:.1f},{_y(0.94 * count / most)}" for k, count in enumerate(counts)]
    path = f"M0,{HEIGHT:g}L{'L'.join(points)}L{WIDTH:g},{HEIGHT:g}Z"
    return f'<path class="{css}" d="{path}"><title>{escape(title)}</title></path>'


def stack(parts: Mapping[str, float]) -> str:
    """One bar of all parts, in ms, each with its name, value and share below."""
    whole = sum(parts.values()) or 1.0
    pieces = [
        f'<i class="s-{escape(name)}" style="flex:{value / whole:.5f}" title="{escape(name)}: {ms(value)}"></i>'
        for name, value in parts.items()
    ]
    keys = [
        f'<li><i class="s-{escape(name)}"></i>{escape(name)} <b>{ms(value)}</b> '
        f"<small>{100 * value / whole:.0f} %</small></li>"
        for name, value in parts.items()
    ]
    return f'<div class="stack">{"".join(pieces)}</div><ul class="keys">{"".join(keys)}</ul>'


def legend(names: Mapping[str, str], css: str) -> str:
    """What the colours mean: names in HTML by the names of their colours."""
    items = (f'<li><i class="{css}-{escape(color)}"></i>{name}</li>' for color, name in names.items())
    return f'<ul class="keys">{"".join(items)}</ul>'


def strip(spans: Sequence[tuple[float, float, str, str]], x: Scale) -> str:
    """States one after another: from, until, the state, and what a mouse shows."""
    pieces = []
    for begin, end, state, title in spans:
        left, right = 100 * x.at(begin), 100 * x.at(end)
        style = f"left:{left:.3f}%;width:{max(0.0, right - left):.3f}%"
        pieces.append(f'<i class="t-{escape(state)}" style="{style}" title="{escape(title)}"></i>')
    return f'<div class="strip">{"".join(pieces)}</div>'


def counted(values: Sequence[float], scale: Scale, bins: int) -> list[int]:
    """How many values are in each of so many bins of equal width on the axis; those outside at its ends."""
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(scale.at(value) * bins))] += 1
    return counts


def _y(share: float) -> str:
    return f"{(1 - share) * HEIGHT:.1f}"
