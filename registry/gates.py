"""Gates as data: the rules a recipe asks a challenger to satisfy, and the outcome of each.

A gate is one rule over scorecards (of a metric), over what the night measured besides (a fact, see `registry.facts`),
or over the examples that a release once had right (`keep_fixed`). `registry.judging` judges them. Limits: each gate is
judged at its own confidence; several comparisons that must all hold make a false promotion rarer, never likelier.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from registry.facts import FACTS
from tasks.evaluation.metrics import METRICS, SLICED

Status = Literal["pass", "fail", "needs_approval"]
Versus = Literal["champion", "base"]

CONFIDENCE = 0.95
MIN_EXAMPLES = 50


class Gate(BaseModel):
    """One rule, as a recipe states it; several rules in one gate must all hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str = Field(
        description="a metric id, such as execution_accuracy, or a fact of the night, such as peak_memory_mb"
    )
    slice: dict[str, str] | None = Field(
        default=None, description="judge only these examples: one dimension and its value, such as difficulty: hard"
    )
    every: str | None = Field(
        default=None, description="judge every value of this dimension apart, such as difficulty; the worst decides"
    )
    min_examples: int = Field(
        default=MIN_EXAMPLES,
        ge=1,
        description="with `every`: values with fewer examples are named in the evidence, not judged",
    )
    min: float | None = Field(default=None, description="the challenger's value must be at least this")
    max: float | None = Field(default=None, description="the challenger's value must be at most this")
    versus: Versus | None = Field(default=None, description="whom the challenger is compared with, example by example")
    min_delta: float | None = Field(
        default=None,
        ge=0,
        description="better by at least this much, and proven better: the difference's lower bound is above zero",
    )
    max_drop: float | None = Field(
        default=None,
        gt=0,
        description="proven to be worse by less than this: the difference's lower bound is above -max_drop",
    )
    keep_fixed: Literal[True] | None = Field(
        default=None,
        description="every example of the regression split that a version in Production once had right is right again",
    )
    confidence: float = Field(
        default=CONFIDENCE,
        ge=0.5,
        lt=1,
        description="one-sided confidence of a comparison; of nights whose challenger is no better, at most a share of "
        "1 - confidence passes (0.95: 18 in a year of nights, 0.999: one in three years)",
    )
    on_miss: Literal["fail", "needs_approval"] = Field(
        default="fail",
        description="what a measured miss means: reject, or ask a person; what could not be measured always fails",
    )

    @model_validator(mode="after")
    def _check(self) -> Gate:
        if self.metric not in METRICS and self.metric not in FACTS:
            near = difflib.get_close_matches(self.metric, [*METRICS, *FACTS], n=1, cutoff=0.0)
            raise ValueError(f"unknown metric {self.metric!r}; did you mean {near[0]!r}?")
        self._check_rules()
        self._check_bounds()
        self._check_slices()
        return self

    def _check_rules(self) -> None:
        relative = self.min_delta is not None or self.max_drop is not None
        if self.metric in FACTS and (self.versus or relative or self.slice or self.every or self.keep_fixed):
            raise ValueError(
                f"{self.metric} is one number of the night: a gate on it takes min or max and nothing else"
            )
        bounded = self.min is not None or self.max is not None
        if self.keep_fixed and (self.versus or relative or self.slice or self.every or bounded):
            raise ValueError("a gate with keep_fixed asks nothing else: write other rules as gates of their own")
        if self.keep_fixed and self.metric != "execution_accuracy":
            raise ValueError("keep_fixed goes with metric: execution_accuracy, which says what is right")
        if relative and not self.versus:
            raise ValueError(f"gate on {self.metric}: min_delta and max_drop need versus: champion or versus: base")
        if not bounded and self.versus is None and not self.keep_fixed:
            raise ValueError(f"gate on {self.metric} has no rule: give min, max, or versus with min_delta or max_drop")
        # A frozen recipe spells out every default, so that only another value can be told to be somebody's wish.
        if self.confidence != CONFIDENCE and self.versus is None:
            raise ValueError(f"gate on {self.metric}: confidence is that of a comparison: it needs versus")
        if self.min_examples != MIN_EXAMPLES and self.every is None:
            raise ValueError(f"gate on {self.metric}: min_examples goes with every, which judges many slices")
        if self.versus and not relative:
            raise ValueError(
                f"gate on {self.metric} versus {self.versus} needs min_delta (better) or max_drop (no worse)"
            )

    def _check_bounds(self) -> None:
        known = METRICS.get(self.metric) or FACTS[self.metric]
        if known.direction == "lower" and self.min is not None:
            raise ValueError(f"{self.metric} is better when lower: use max instead of min")
        if known.direction == "higher" and self.max is not None:
            raise ValueError(f"{self.metric} is better when higher: use min instead of max")
        for name in ("min", "max"):
            bound = getattr(self, name)
            if bound is not None and not known.low <= bound <= known.high:
                raise ValueError(f"{self.metric} lies between {known.low:g} and {known.high:g}; {name} is {bound:g}")

    def _check_slices(self) -> None:
        if self.slice is not None and len(self.slice) != 1:
            raise ValueError(f"slice names one dimension and its value, such as {{difficulty: hard}}; got {self.slice}")
        if self.slice is not None and self.every is not None:
            raise ValueError("slice judges one part, every judges all parts of a dimension: give one of the two")
        if (self.slice or self.every) and self.versus is None and self.metric not in SLICED:
            raise ValueError(f"{self.metric} is not measured per slice; these are: {', '.join(SLICED)}")


class GateOutcome(BaseModel):
    """What one rule said. `value` and `threshold` are in the metric's unit; for a comparison `value` is the mean
    difference, positive when the challenger is better. `value` is None where nothing could be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(description="metric, slice and rule; unique within one verdict")
    metric: str = Field(description="the metric's or fact's id, or what else was judged")
    slice: dict[str, str] | None = Field(description="the slice judged (of several the worst), None for all examples")
    rule: str = Field(description="the rule in words, such as 'better than champion'")
    value: float | None = Field(description="what was measured")
    threshold: float = Field(description="what was asked for")
    status: Status = Field(description="the outcome")
    evidence: str = Field(description="the figures behind the outcome, or why there are none")
    resolution: str = Field(default="", description="what to do about a miss; empty when passed")


def worst(outcomes: Sequence[GateOutcome]) -> Status:
    """The status of a whole verdict: its worst outcome, and `fail` when nothing was judged at all."""
    statuses = {outcome.status for outcome in outcomes}
    if not statuses or "fail" in statuses:
        return "fail"
    return "needs_approval" if "needs_approval" in statuses else "pass"
