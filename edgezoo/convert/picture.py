"""The harm of each layer as a picture: SVG, which no library is needed for, with a layer's name under the pointer."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from xml.sax.saxutils import escape

_ROW, _LEFT, _WIDTH, _TOP = 16, 330, 860, 64
_LEAST = 1e-6  # of harm that is drawn; everything below is none


def picture(harms: Mapping[str, float], floats: Collection[str], *, title: str) -> str:
    """A bar a layer in the graph's order, on a logarithmic scale; those that stay in float are marked."""
    top = max([*harms.values(), 10 * _LEAST])
    decades = math.log10(top / _LEAST)
    rows = []
    for place, (layer, harm) in enumerate(harms.items()):
        y = _TOP + place * _ROW
        share = max(0.0, math.log10(max(harm, _LEAST) / _LEAST) / decades)
        kind = "float" if layer in floats else "int8"
        rows.append(
            f'<g class="{kind}"><title>{escape(layer)}: {harm:.3g}, {kind}</title>'
            f'<text x="{_LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(_short(layer))}</text>'
            f'<rect x="{_LEFT}" y="{y + 2}" width="{share * (_WIDTH - _LEFT - 90):.1f}" height="{_ROW - 4}"/>'
            f'<text x="{_LEFT + share * (_WIDTH - _LEFT - 90) + 6:.1f}" y="{y + 11}">{harm:.2g}</text></g>'
        )
    height = _TOP + len(rows) * _ROW + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}">\n'
        "<style>text{font:11px ui-monospace,monospace;fill:#333}.head{font:600 14px system-ui,sans-serif}"
        ".int8 rect{fill:#9db4c0}.float rect{fill:#d1495b}.float text{fill:#d1495b}</style>\n"
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>\n'
        f'<text class="head" x="16" y="24">{escape(title)}</text>\n'
        f'<text x="16" y="44">squared error of the answers, as a share of them, with that layer alone in integers; '
        f"red: {len(floats)} of {len(harms)} stay in float</text>\n" + "\n".join(rows) + "\n</svg>\n"
    )


def _short(layer: str) -> str:
    return layer if len(layer) <= 46 else "…" + layer[-45:]
