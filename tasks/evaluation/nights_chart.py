"""The learning curve across nights as inline SVG: a point a night, with its interval.

Drawn like `tasks.evaluation.charts`, to the same rules. Limits: nights stand at equal distances, whatever time lay
between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from tasks.data.drawing import axis_ticks

if TYPE_CHECKING:
    from tasks.evaluation.report import NightPoint

_LEFT, _WIDTH = 7.5, 92.0  # plot area in percent of the figure's width; the rest holds the axis labels
_TOP, _HEIGHT = 10.0, 168.0  # in pixels
_FIGURE_HEIGHT = 222
_LABELLED = 12  # nights that each have room for their version, on a phone too


def nights_chart(nights: Sequence[NightPoint]) -> Markup:
    """Execution accuracy night after night; empty for fewer than two. Nights that can be compared are connected."""
    if len(nights) < 2:
        return Markup("")
    ticks = [tick for tick in axis_ticks(min(n.low for n in nights), max(n.high for n in nights)) if 0 <= tick <= 1]
    bottom, top = ticks[0], ticks[-1]

    def y(share: float) -> str:
        return f"{_TOP + _HEIGHT * (top - min(top, max(bottom, share))) / (top - bottom):.1f}"

    def x(number: int) -> str:
        return f"{_LEFT + _WIDTH * (number + 0.5) / len(nights):.2f}%"

    parts = []
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}%" x2="{_LEFT + _WIDTH}%" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<text class="axis end" x="{_LEFT - 1.2}%" y="{float(y(tick)) + 4:.1f}">{100 * tick:g}%</text>')
    for number, (one, two) in enumerate(pairwise(nights)):
        if one.measured == two.measured:
            parts.append(
                f'<line class="night" x1="{x(number)}" x2="{x(number + 1)}" y1="{y(one.value)}" y2="{y(two.value)}"/>'
            )
    for number, night in enumerate(nights):
        said = (
            f"version {night.version}, {night.created[:10]}: {night.value:.1%} ({night.low:.1%} to {night.high:.1%}, "
            f"n = {night.n:,}){', in Production' if night.promoted else ''}"
        )
        parts.append(
            f'<line class="whisker" x1="{x(number)}" x2="{x(number)}" y1="{y(night.low)}" y2="{y(night.high)}"/>'
            f'<circle class="night-point{" promoted" if night.promoted else ""}" cx="{x(number)}" '
            f'cy="{y(night.value)}" r="4.5"><title>{escape(said)}</title></circle>'
        )
        if len(nights) <= _LABELLED or number in (0, len(nights) - 1):
            below = _TOP + _HEIGHT + 18
            parts.append(f'<text class="axis middle" x="{x(number)}" y="{below:.0f}">{escape(night.version)}</text>')
    below = _TOP + _HEIGHT + 36
    parts.append(f'<text class="axis" x="{_LEFT}%" y="{below:.0f}">{escape(nights[0].created[:10])}</text>')
    last = escape(nights[-1].created[:10])
    parts.append(f'<text class="axis end" x="{_LEFT + _WIDTH}%" y="{below:.0f}">{last}</text>')
    return Markup(
        f'<svg class="chart" width="100%" height="{_FIGURE_HEIGHT}" role="img">'
        f"<title>Execution accuracy night after night</title>{''.join(parts)}</svg>"
    )
