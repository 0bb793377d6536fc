"""Charts of many runs as inline SVG: quality against what it cost, and learning curves over one another.

Drawn like `tasks.evaluation.charts`, to the same rules. A point is the number of its run in the table beside it: names
would cover one another. Limits: runs of nearly the same cost and quality do cover one another; the table has them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from tasks.data.drawing import axis_ticks
from tasks.evaluation.charts import Curve, finite_points
from tasks.evaluation.scorecard import Interval

COLOURS = 8  # classes of lines: four colours, drawn through and dashed
_LEFT, _WIDTH = 7.5, 91.0  # plot area in percent of the figure's width; the rest holds the axis labels
_TOP, _HEIGHT = 12.0, 190.0  # in pixels
_FIGURE_HEIGHT = 246
_MARGIN = 0.06  # of the axis, so that no point stands on its end


@dataclass(frozen=True, slots=True)
class Point:
    """One run: its number and name, its quality (a share of 1) and what that cost."""

    number: int
    title: str
    quality: Interval
    cost: float


def quality_chart(points: Sequence[Point], axis: str, show: Callable[[float], str], log: bool = False) -> Markup:
    """Quality with its interval against cost, of two points or more; `axis` names the cost, `show` writes one.

    On a `log` axis costs must be above 0. Empty for fewer points.
    """
    if len(points) < 2:
        return Markup("")
    ticks = _shares([point.quality for point in points])
    bottom, top = ticks[0], ticks[-1]
    marks, place = _cost_axis([point.cost for point in points], log)

    def y(share: float) -> float:
        return _TOP + _HEIGHT * (top - min(top, max(bottom, share))) / (top - bottom)

    def x(cost: float) -> str:
        return f"{_LEFT + _WIDTH * place(cost):.2f}%"

    parts = [
        f'<svg class="chart" width="100%" height="{_FIGURE_HEIGHT}" role="img">'
        f"<title>Execution accuracy by {escape(axis)}</title>"
    ]
    parts += _grid(ticks, y, lambda tick: f"{100 * tick:g}%")
    for mark in marks:
        parts.append(
            f'<line class="grid" x1="{x(mark)}" x2="{x(mark)}" y1="{_TOP}" y2="{_TOP + _HEIGHT}"/>'
            f'<text class="axis middle" x="{x(mark)}" y="{_TOP + _HEIGHT + 17:.0f}">{escape(show(mark))}</text>'
        )
    for point in points:
        at, quality = x(point.cost), point.quality
        said = f"{point.title}: {quality.value:.1%} ({quality.low:.1%} to {quality.high:.1%}), {show(point.cost)}"
        parts.append(
            f'<line class="whisker" x1="{at}" x2="{at}" y1="{y(quality.low):.1f}" y2="{y(quality.high):.1f}"/>'
        )
        parts.append(
            f'<circle class="run-point" cx="{at}" cy="{y(quality.value):.1f}" r="9"><title>{escape(said)}</title>'
            f'</circle><text class="run-number middle" x="{at}" y="{y(quality.value) + 4:.1f}">{point.number}</text>'
        )
    parts.append(
        f'<text class="axis end" x="{_LEFT + _WIDTH}%" y="{_TOP + _HEIGHT + 35:.0f}">{escape(axis)}</text></svg>'
    )
    return Markup("".join(parts))


def curves_chart(curves: Sequence[Curve]) -> Markup:
    """Learning curves over the same steps, each in a colour of its own by its place; empty without two points each."""
    kept = [(number, curve, finite_points(curve.points)) for number, curve in enumerate(curves)]
    kept = [(number, curve, points) for number, curve, points in kept if len(points) > 1]
    if not kept:
        return Markup("")
    losses = [loss for _, _, points in kept for _, loss in points]
    ticks = axis_ticks(min(losses), max(losses))
    bottom, top = ticks[0], ticks[-1]
    most = max(points[-1][0] for _, _, points in kept)

    def y(loss: float) -> float:
        return _TOP + _HEIGHT * (top - loss) / (top - bottom)

    parts = _grid(ticks, y, lambda tick: f"{tick:g}")
    lines = []
    for number, curve, points in kept:
        path = " ".join(f"{100 * step / most:.3f},{100 * (top - loss) / (top - bottom):.3f}" for step, loss in points)
        lines.append(f'<polyline class="curve {line_class(number)}" points="{path}"><title>{escape(curve.label)}')
        lines.append("</title></polyline>")
    below = _TOP + _HEIGHT + 17
    parts.append(f'<text class="axis" x="{_LEFT}%" y="{below:.0f}">0</text>')
    parts.append(f'<text class="axis end" x="{_LEFT + _WIDTH}%" y="{below:.0f}">step {most:g}</text>')
    plot = (
        f'<svg x="{_LEFT}%" y="{_TOP}" width="{_WIDTH}%" height="{_HEIGHT}" viewBox="0 0 100 100" '
        f'preserveAspectRatio="none" overflow="visible">{"".join(lines)}</svg>'
    )
    return Markup(
        f'<svg class="chart" width="100%" height="{_FIGURE_HEIGHT - 18}" role="img"><title>Training loss by step'
        f"</title>{''.join(parts)}{plot}</svg>"
    )


def line_class(number: int) -> str:
    """The CSS classes of the line of the curve at place `number`."""
    return f"c{number % 4}" + (" dashed" if number % COLOURS >= COLOURS // 2 else "")


def _shares(qualities: Sequence[Interval]) -> list[float]:
    ticks = axis_ticks(min(q.low for q in qualities), max(q.high for q in qualities))
    return [tick for tick in ticks if 0 <= tick <= 1]


def _cost_axis(costs: Sequence[float], log: bool) -> tuple[list[float], Callable[[float], float]]:
    """Marks of the axis, and where on it (0 to 1) a cost stands."""
    if not log:
        marks = axis_ticks(min(costs), max(costs))
        low, high = marks[0], marks[-1]
        return marks, lambda cost: _MARGIN + (1 - 2 * _MARGIN) * (cost - low) / (high - low)
    first, last = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))
    last = max(last, first + 1)
    marks = [10.0**power for power in range(first, last + 1)]
    return marks, lambda cost: _MARGIN + (1 - 2 * _MARGIN) * (math.log10(cost) - first) / (last - first)


def _grid(ticks: Sequence[float], y: Callable[[float], float], show: Callable[[float], str]) -> list[str]:
    return [
        f'<line class="grid" x1="{_LEFT}%" x2="{_LEFT + _WIDTH}%" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text class="axis end" x="{_LEFT - 1.2}%" y="{y(tick) + 4:.1f}">{escape(show(tick))}</text>'
        for tick in ticks
    ]
