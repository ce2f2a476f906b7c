"""The harm of each layer as a picture: SVG, which no library is needed for, with a layer's name under the pointer."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from xml.sax.saxutils import escape

_ROW, _TOP = 16, 92
_LEFT, _RIGHT, _WIDTH = 330, 70, 860  # of the bars' ends, and of all
_MOST = 6  # decades of harm that are drawn; a bar of less has no length
_STYLE = (
    "text{font:11px ui-monospace,monospace;fill:#333}.head{font:600 14px system-ui,sans-serif}"
    ".mark text{fill:#888}.mark line{stroke:#e4e4e4}.int8 rect{fill:#9db4c0}.float rect,.float text{fill:#c8324a}"
)


def picture(harms: Mapping[str, float], floats: Collection[str], *, title: str) -> str:
    """A bar a layer in the graph's order, on a logarithmic scale; those that stay in float are red."""
    first, last = _decades(harms)
    foot = _TOP + len(harms) * _ROW
    rows = [_text(16, 26, title, ' class="head"')]
    rows.append(_text(16, 46, "squared error of the answers, as a share of them, with that layer alone in integers"))
    rows.append(_text(16, 62, f"red: stays in float ({len(floats)})", ' style="fill:#c8324a"'))
    for decade in range(first, last + 1):
        x = _x(decade, first, last)
        line = f'<line x1="{x:.1f}" y1="{_TOP - 4}" x2="{x:.1f}" y2="{foot}"/>'
        rows.append(f'<g class="mark">{line}{_text(x, _TOP - 10, f"1e{decade}", _MIDDLE)}</g>')
    rows += _bars(harms, floats, first, last)
    height = foot + 16
    size = f'width="{_WIDTH}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {_WIDTH} {height}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", f'<rect {size} fill="white"/>', *rows, "</svg>", ""])


_MIDDLE, _END = ' text-anchor="middle"', ' text-anchor="end"'


def _bars(harms: Mapping[str, float], floats: Collection[str], first: int, last: int) -> Iterator[str]:
    for place, (layer, harm) in enumerate(harms.items()):
        kind = "float" if layer in floats else "int8"
        y, end = _TOP + place * _ROW, _x(math.log10(harm) if harm > 0 else -math.inf, first, last)
        yield (
            f'<g class="{kind}"><title>{_plain(layer)}: {harm:.3g}, {kind}</title>'
            f"{_text(_LEFT - 8, y + 12, _short(layer), _END)}"
            f'<rect x="{_LEFT}" y="{y + 2}" width="{end - _LEFT:.1f}" height="{_ROW - 4}"/>'
            f"{_text(end + 6, y + 12, f'{harm:.2g}')}</g>"
        )


def _decades(harms: Mapping[str, float]) -> tuple[int, int]:
    """Exponents of ten that the bars lie between."""
    drawn = [harm for harm in harms.values() if 0 < harm < math.inf] or [1.0]
    last = math.ceil(math.log10(max(drawn)))
    first = math.floor(math.log10(min(drawn)))
    return max(min(first, last - 1), last - _MOST), last


def _x(exponent: float, first: int, last: int) -> float:
    share = min(max((exponent - first) / (last - first), 0.0), 1.0)
    return _LEFT + share * (_WIDTH - _RIGHT - _LEFT)


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y}"{more}>{_plain(text)}</text>'


def _plain(text: str) -> str:
    """Without letters that XML does not have; names come from graphs of anybody's."""
    return escape("".join(letter if letter.isprintable() else "?" for letter in text))


def _short(layer: str) -> str:
    return layer if len(layer) <= 46 else "…" + layer[-45:]
