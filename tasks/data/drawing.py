"""Small inline SVG drawings for pages: bars, histograms, boxes, densities; and the axis that all charts share.

Positions are percentages of the element's width, text keeps its size in pixels: a drawing stays readable on a phone,
where a scaled picture would not. Colours are CSS classes, so that dark and light follow the page. Every text that
goes in is escaped. Limits: linear axes, no interaction beyond a tooltip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

_HISTOGRAM = 84  # height of a histogram's bars in pixels
_CELL = 7  # height of one row of a density in pixels


def percent(share: float) -> str:
    """A share of 1, at most 1 and at least 0, as a length in SVG."""
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"


def axis_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers, evenly spaced, from at or below `low` to at or above `high`; from 0 when `low` is close to it."""
    if 0 <= low < high / 2:
        low = 0.0
    span = max(high - low, abs(high) * 0.1, 1e-6)
    rough = span / wanted
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * count, 12) for count in range(first, max(last, first + 1) + 1)]


def share_bar(share: float, tooltip: str) -> Markup:
    """A horizontal bar that fills `share` of its track."""
    return Markup(
        f'<svg class="bar" width="100%" height="18" role="img"><title>{escape(tooltip)}</title>'
        '<rect class="track" x="0" y="5" width="100%" height="8" rx="4"/>'
        f'<rect class="fill" x="0" y="5" width="{percent(share)}" height="8" rx="4"/></svg>'
    )


def histogram(counts: Sequence[int], edges: Sequence[float], title: str) -> Markup:
    """Bars over `len(counts)` equal bins; `edges` are their `len(counts) + 1` bounds. Empty for no counts."""
    if not counts or not max(counts):
        return Markup("")
    width, most = 100 / len(counts), max(counts)
    parts = [
        f'<svg class="chart" width="100%" height="{_HISTOGRAM + 26}" role="img"><title>{escape(title)}</title>',
        f'<line class="grid" x1="0" x2="100%" y1="{_HISTOGRAM + 4}" y2="{_HISTOGRAM + 4}"/>',
    ]
    for place, count in enumerate(counts):
        if count:
            height = max(1.5, _HISTOGRAM * count / most)
            told = f"{edges[place]:,.4g} to {edges[place + 1]:,.4g}: {count:,}"
            parts.append(
                f'<rect class="fill" x="{place * width + 0.08 * width:.2f}%" y="{_HISTOGRAM + 4 - height:.1f}" '
                f'width="{0.84 * width:.2f}%" height="{height:.1f}"><title>{told}</title></rect>'
            )
    below = _HISTOGRAM + 20
    parts.append(f'<text class="axis" x="0" y="{below}">{edges[0]:,.4g}</text>')
    parts.append(f'<text class="axis end" x="100%" y="{below}">{edges[-1]:,.4g}</text></svg>')
    return Markup("".join(parts))


def box(low: float, quarter: float, median: float, three: float, high: float, top: float, tooltip: str) -> Markup:
    """A horizontal box plot on an axis from 0 to `top`: whiskers to `low` and `high`, a box, a stroke at the median."""
    ends = percent(low / top), percent(high / top)
    wide = percent(max(0.004, (three - quarter) / top))
    parts = [
        f'<svg class="bar" width="100%" height="18" role="img"><title>{escape(tooltip)}</title>',
        '<rect class="track" x="0" y="5" width="100%" height="8" rx="4"/>',
        f'<line class="whisker" x1="{ends[0]}" x2="{ends[1]}" y1="9" y2="9"/>',
        *(f'<line class="whisker" x1="{at}" x2="{at}" y1="5.5" y2="12.5"/>' for at in ends),
        f'<rect class="fill" x="{percent(quarter / top)}" y="4" width="{wide}" height="10" rx="2"/>',
        f'<rect class="median" x="{percent(median / top)}" y="2" width="3" height="14" rx="1.5"/></svg>',
    ]
    return Markup("".join(parts))


def density(grid: Sequence[Sequence[int]], right: float, top: float, across: str, up: str) -> Markup:
    """How often pairs of values fall into each cell; `grid[row][column]`, row 0 at the bottom, axes from 0."""
    most = max((count for row in grid for count in row), default=0)
    if not most:
        return Markup("")
    height, width = _CELL * len(grid), 100 / len(grid[0])
    parts = [
        f'<svg class="chart" width="100%" height="{height + 46}" role="img">',
        f"<title>{escape(up)} by {escape(across)}</title>",
        f'<text class="axis" x="0" y="12">{escape(up)}, up to {top:,.4g}</text>',
        f'<rect class="track" x="0" y="20" width="100%" height="{height}"/>',
    ]
    for row, counts in enumerate(grid):
        for column, count in enumerate(counts):
            if count:  # on a log scale: a few cells hold most rows
                strength = 0.15 + 0.85 * math.log1p(count) / math.log1p(most)
                parts.append(
                    f'<rect class="fill" x="{column * width:.2f}%" y="{20 + height - (row + 1) * _CELL}" '
                    f'width="{width:.2f}%" height="{_CELL}" opacity="{strength:.2f}"/>'
                )
    parts.append(f'<text class="axis" x="0" y="{height + 37}">0</text>')
    parts.append(f'<text class="axis end" x="100%" y="{height + 37}">{escape(across)}, up to {right:,.4g}</text></svg>')
    return Markup("".join(parts))
