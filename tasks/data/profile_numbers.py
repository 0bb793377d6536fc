"""Numbers of a profile: one column's distribution, and how two columns go together."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

BINS = 30
_GRID = (40, 18)  # columns and rows of a density


class Part(BaseModel):
    """A part of the profile's document."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Distribution(Part):
    """One column of numbers. Bins are equal, from the smallest value to `edges[-1]`; larger ones count as `beyond`."""

    n: int
    mean: float
    minimum: float
    p5: float
    p25: float
    median: float
    p75: float
    p95: float
    p99: float
    maximum: float
    edges: list[float] = Field(description="bounds of the bins, one more than there are bins")
    bins: list[int]
    beyond: int = Field(description="values above the last bin: at most 1 in 100")


def distribution(values: Sequence[float]) -> Distribution | None:
    """The distribution of `values`; None when there are none. Whole numbers get bins of whole numbers."""
    if not values:
        return None
    ordered = sorted(values)

    def quantile(share: float) -> float:
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1 if share else 0)]

    low, high = ordered[0], max(quantile(0.99), ordered[0])
    whole = all(float(value).is_integer() for value in (low, high))
    width = max((high - low + (1 if whole else 0)) / BINS, 1e-9)
    if whole:
        width = max(1, math.ceil(width))
    count = max(1, math.ceil((high - low + (1 if whole else 0)) / width)) if high > low or whole else 1
    bins, beyond = [0] * min(count, BINS), 0
    for value in ordered:
        if value > high:
            beyond += 1
        else:
            bins[min(len(bins) - 1, int((value - low) / width))] += 1
    return Distribution(
        n=len(ordered),
        mean=round(sum(ordered) / len(ordered), 2),
        minimum=low,
        p5=quantile(0.05),
        p25=quantile(0.25),
        median=quantile(0.5),
        p75=quantile(0.75),
        p95=quantile(0.95),
        p99=quantile(0.99),
        maximum=ordered[-1],
        edges=[round(low + place * width, 6) for place in range(len(bins) + 1)],
        bins=bins,
        beyond=beyond,
    )


class Joint(Part):
    """Two columns together: Pearson's r, and counts on a grid from 0 to `right` and `top` (99 in 100 of each)."""

    correlation: float | None = Field(description="None when one of them never changes")
    right: float
    top: float
    grid: list[list[int]] = Field(description="rows from the bottom up")


def joint(across: Sequence[float], up: Sequence[float]) -> Joint | None:
    """How `across` and `up`, of the same rows, go together; None when there are none."""
    if not across:
        return None
    right, top = (max(1.0, sorted(v)[min(len(v) - 1, int(0.99 * len(v)))]) for v in (across, up))
    columns, rows = _GRID
    grid = [[0] * columns for _ in range(rows)]
    for x, y in zip(across, up, strict=True):
        if x <= right and y <= top:
            grid[min(rows - 1, int(rows * y / top))][min(columns - 1, int(columns * x / right))] += 1
    return Joint(correlation=_pearson(across, up), right=right, top=top, grid=grid)


def _pearson(across: Sequence[float], up: Sequence[float]) -> float | None:
    n = len(across)
    mean_x, mean_y = sum(across) / n, sum(up) / n
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(across, up, strict=True))
    spread = math.sqrt(sum((x - mean_x) ** 2 for x in across) * sum((y - mean_y) ** 2 for y in up))
    return round(covariance / spread, 3) if spread > 0 else None
