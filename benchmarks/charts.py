"""Bar charts as SVG: groups of horizontal bars with their figures beside them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

_BAR, _GAP, _BETWEEN = 15, 3, 12
_LEFT, _RIGHT, _TOP, _WIDTH = 190, 130, 86, 860
_INK, _SOFT, _LINE = "#1f2933", "#52606d", "#d9e2ec"
OURS: Final = ("#2b7a4b", "#2a5fa5", "#b4471f", "#7a4f9a")
THEIRS: Final = "#b8c2cc"


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        series: whose it is; one colour and one line of the legend for each.
        value: its length, above 0.
        text: written behind it.
    """

    series: str
    value: float
    text: str


def draw_bars(title: str, note: str, groups: dict[str, list[Bar]], *, colours: dict[str, str], by_powers: bool) -> str:
    """An SVG document.

    Args:
        title: its first line.
        note: its second line, smaller.
        groups: bars by the label of their group, from above.
        colours: by series, in the legend's order.
        by_powers: whether lengths are by the logarithm, from the power of ten below the least; else from 0.
    """
    bars = [bar for group in groups.values() for bar in group]
    most = max(bar.value for bar in bars)
    least = 10.0 ** math.floor(math.log10(min(bar.value for bar in bars))) if by_powers else 0.0
    room = _WIDTH - _LEFT - _RIGHT

    def length(value: float) -> float:
        if not by_powers:
            return room * value / most
        return max(room * math.log(value / least) / math.log(most / least), 1.0)

    parts = []
    top = float(_TOP)
    for label, group in groups.items():
        middle = top + len(group) * (_BAR + _GAP) / 2
        parts.append(_text(_LEFT - 10, middle + 3, label, 13, _INK, "end", bold=True))
        for bar in group:
            wide = length(bar.value)
            parts.append(
                f'<rect x="{_LEFT}" y="{top:.1f}" width="{wide:.1f}" height="{_BAR}" rx="2" '
                f'fill="{colours[bar.series]}"><title>{escape(f"{label}, {bar.series}: {bar.text}")}</title></rect>'
            )
            parts.append(_text(_LEFT + wide + 6, top + _BAR - 3.5, bar.text, 11, _SOFT, "start"))
            top += _BAR + _GAP
        top += _BETWEEN
    if by_powers:
        parts = [*_powers(least, most, length, top - _BETWEEN), *parts]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 8:.0f}" '
        f'font-family="Helvetica, Arial, sans-serif" role="img" aria-label="{escape(title)}">\n'
        f'<rect width="{_WIDTH}" height="{top + 8:.0f}" fill="#ffffff"/>'
    )
    lines = [head, _text(16, 24, title, 16, _INK, "start", bold=True), _text(16, 43, note, 12, _SOFT, "start")]
    used = {series: colour for series, colour in colours.items() if any(bar.series == series for bar in bars)}
    return "\n".join([*lines, *_legend(used), *parts, "</svg>", ""])


def _legend(colours: dict[str, str]) -> list[str]:
    parts, left = [], 16.0
    for series, colour in colours.items():
        parts.append(f'<rect x="{left:.0f}" y="54" width="11" height="11" rx="2" fill="{colour}"/>')
        parts.append(_text(left + 16, 64, series, 12, _INK, "start"))
        left += 32 + 6.6 * len(series)
    return parts


def _powers(least: float, most: float, length: Callable[[float], float], bottom: float) -> list[str]:
    parts, value = [], least
    while value <= most:
        x = _LEFT + (length(value) if value > least else 0.0)
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP - 4}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="{_LINE}"/>')
        parts.append(_text(x, _TOP - 7, f"{value:g}", 10, _SOFT, "middle"))
        value *= 10
    return parts


def _text(  # noqa: PLR0917 - as the element has them
    x: float, y: float, text: str, size: int, colour: str, anchor: str, *, bold: bool = False
) -> str:
    weight = ' font-weight="700"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}>'
        f"{escape(text)}</text>"
    )
