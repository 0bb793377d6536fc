"""Expectations that Great Expectations lacks.

Imports Great Expectations: import this module where a suite is built, never on the command line's path.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnAggregateExpectation
from great_expectations.expectations.metrics import ColumnAggregateMetricProvider, column_aggregate_value


class ColumnSharesMoved(ColumnAggregateMetricProvider):
    """The share of rows that would have to change their value for a column to have the given shares again.

    This is the total variation distance, half the sum of absolute differences: 0 for the same shares, 1 for none in
    common. A value that was never there before counts like any other.
    """

    metric_name = "column.shares_moved"
    value_keys = ("shares",)

    @column_aggregate_value(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, shares: dict[str, float], **_: Any) -> float:
        now = column.value_counts(normalize=True).to_dict()
        return sum(abs(now.get(value, 0.0) - shares.get(value, 0.0)) for value in {*now, *shares}) / 2


class ExpectColumnSharesToStayNear(ColumnAggregateExpectation):
    """Expect the values of a column to have the given shares, but for at most `max_moved` of the rows."""

    shares: dict[str, float]
    max_moved: float

    metric_dependencies = ("column.shares_moved",)
    success_keys: ClassVar[tuple[str, ...]] = ("shares", "max_moved")

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: dict | None = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        moved = float(metrics["column.shares_moved"])
        return {"success": moved <= self.max_moved, "result": {"observed_value": round(moved, 4)}}
