"""Small inline SVG charts for the report: a bar with its interval, and learning curves.

Positions are percentages of the element's width, text keeps its size in pixels: a chart stays readable on a phone,
where a scaled picture would not. Colours are CSS classes, so that dark and light follow the page. Every text that
goes in is escaped. Limits: shares between 0 and 1 for bars, linear axes, no interaction beyond a tooltip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from tasks.data.drawing import axis_ticks, percent

_LEFT, _WIDTH = 7.5, 92.0  # plot area in percent of the figure's width; the rest holds the axis labels
_TOP, _HEIGHT = 26.0, 168.0  # in pixels
_FIGURE_HEIGHT = 226
_MAX_POINTS = 400


SPARKS = "▁▂▃▄▅▆▇█"


def spark(values: Sequence[float], width: int = 20) -> str:
    """A curve in one line of text: the mean of each of at most `width` stretches; values that are no number are left
    out, empty without any."""
    kept = [value for value in values if math.isfinite(value)]
    width = min(width, len(kept))
    cuts = [round(i * len(kept) / width) for i in range(width + 1)] if width else []
    means = [sum(kept[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    return "".join(SPARKS[round((m - low) / ((high - low) or 1) * (len(SPARKS) - 1))] for m in means)


@dataclass(frozen=True, slots=True)
class Curve:
    """One stage's learning curve: `points` are (step within the stage, loss)."""

    label: str
    points: Sequence[tuple[float, float | None]]


def interval_bar(
    value: float, low: float, high: float, kind: str, marks: Sequence[tuple[float, str, str]] = ()
) -> Markup:
    """A bar from 0 to `value` with a whisker from `low` to `high`, all shares of 1, in the colour of class `kind`.

    `marks` are (share, class, tooltip): other subjects as vertical strokes on the same track.
    """
    parts = [
        '<svg class="bar" width="100%" height="18" role="img">',
        f"<title>{value:.1%} ({low:.1%} to {high:.1%})</title>",
        '<rect class="track" x="0" y="5" width="100%" height="8" rx="4"/>',
        f'<rect class="fill {escape(kind)}" x="0" y="5" width="{percent(value)}" height="8" rx="4"/>',
    ]
    for share, css, tooltip in marks:
        at = percent(share)
        title = f"<title>{escape(tooltip)}</title>"
        parts.append(f'<rect class="mark {escape(css)}" x="{at}" y="1" width="4" height="16" rx="1.5">{title}</rect>')
    ends = percent(low), percent(high)
    parts.append(f'<line class="whisker" x1="{ends[0]}" x2="{ends[1]}" y1="9" y2="9"/>')
    parts += [f'<line class="whisker" x1="{at}" x2="{at}" y1="5.5" y2="12.5"/>' for at in ends]
    return Markup("".join(parts) + "</svg>")


def loss_chart(curves: Sequence[Curve]) -> Markup:
    """Learning curves of stages, one after the other along the steps; empty when no stage has two finite points."""
    kept = [(curve, finite_points(curve.points)) for curve in curves]
    kept = [(curve, points) for curve, points in kept if len(points) > 1]
    if not kept:
        return Markup("")
    losses = [loss for _, points in kept for _, loss in points]
    ticks = axis_ticks(min(losses), max(losses))
    bottom, top = ticks[0], ticks[-1]
    total = sum(points[-1][0] for _, points in kept)

    def y(loss: float) -> float:
        return _TOP + _HEIGHT * (top - loss) / (top - bottom)

    def x(step: float) -> float:
        return _LEFT + _WIDTH * step / total

    text = []
    for tick in ticks:
        text.append(f'<line class="grid" x1="{_LEFT}%" x2="{_LEFT + _WIDTH}%" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        text.append(f'<text class="axis end" x="{_LEFT - 1.2}%" y="{y(tick) + 4:.1f}">{tick:g}</text>')
    lines, start = [], 0.0
    for number, (curve, points) in enumerate(kept):
        if number:
            text.append(
                f'<line class="split" x1="{x(start):.2f}%" x2="{x(start):.2f}%" y1="{_TOP}" y2="{_TOP + _HEIGHT}"/>'
            )
        text.append(f'<text class="stage" x="{x(start) + 0.8:.2f}%" y="16">{escape(curve.label)}</text>')
        path = " ".join(
            f"{100 * (start + step) / total:.3f},{100 * (top - loss) / (top - bottom):.3f}" for step, loss in points
        )
        lines.append(f'<polyline class="curve c{number % 4}" points="{path}"/>')
        start += points[-1][0]
    text.append(f'<text class="axis" x="{_LEFT}%" y="{_TOP + _HEIGHT + 20:.0f}">0</text>')
    text.append(f'<text class="axis end" x="{_LEFT + _WIDTH}%" y="{_TOP + _HEIGHT + 20:.0f}">step {total:g}</text>')
    # The curves live in a square of 100 by 100 stretched over the plot area; their strokes are not stretched.
    plot = (
        f'<svg x="{_LEFT}%" y="{_TOP}" width="{_WIDTH}%" height="{_HEIGHT}" viewBox="0 0 100 100" '
        f'preserveAspectRatio="none" overflow="visible">{"".join(lines)}</svg>'
    )
    return Markup(
        f'<svg class="chart" width="100%" height="{_FIGURE_HEIGHT}" role="img"><title>Training loss by step</title>'
        f"{''.join(text)}{plot}</svg>"
    )


def finite_points(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float]]:
    """Points with finite losses, thinned so that a long stage does not swell the page; the last one always stays."""
    finite = [(float(step), float(loss)) for step, loss in points if loss is not None and math.isfinite(loss)]
    every = max(1, math.ceil(len(finite) / _MAX_POINTS))
    thinned = finite[::every]
    return thinned if not finite or thinned[-1] == finite[-1] else [*thinned, finite[-1]]


def difference_bar(value: float, low: float, high: float, most: float, kind: str) -> Markup:
    """A difference with its interval around a line at zero; the element spans -`most` to `most`, `kind` is a class.

    `most` is 0 where nothing differs.
    """
    span = 2 * most or 1.0

    def at(difference: float) -> str:
        return percent(0.5 + difference / span)

    left, right = sorted((0.0, value))
    return Markup(
        f'<svg class="bar {escape(kind)}" width="100%" height="18" role="img">'
        f"<title>{value:+.4g} ({low:+.4g} to {high:+.4g})</title>"
        '<rect class="track" x="0" y="5" width="100%" height="8" rx="4"/>'
        f'<rect class="change" x="{at(left)}" y="5" width="{percent((right - left) / span)}" '
        f'height="8"/><line class="zero" x1="50%" x2="50%" y1="1" y2="17"/>'
        f'<line class="whisker" x1="{at(low)}" x2="{at(high)}" y1="9" y2="9"/>'
        f'<line class="whisker" x1="{at(low)}" x2="{at(low)}" y1="5.5" y2="12.5"/>'
        f'<line class="whisker" x1="{at(high)}" x2="{at(high)}" y1="5.5" y2="12.5"/></svg>'
    )
