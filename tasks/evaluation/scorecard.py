"""The scorecard: every metric of one model on one test split, per slice, with intervals and per-example outcomes.

Its JSON is the answer of `nightshift score --json`. `tasks.evaluation.scorecard_build` makes one.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

Role = Literal["base", "challenger", "champion", "predictions"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(_Frozen):
    """A mean with its 95% confidence interval over `n` examples."""

    value: float
    low: float
    high: float
    n: int


class Subject(_Frozen):
    """Whose scorecard this is."""

    role: Role
    name: str = Field(description="a model reference or a release, for people")
    fingerprint: str = Field(description="fingerprint of base model plus adapter; empty for bare predictions")


class GoldCounts(_Frozen):
    """How the gold queries ran: with rows, without rows (weak), or not at all (broken)."""

    ok: int
    empty: int
    failed: int


class ExampleOutcome(_Frozen):
    """What happened to one example; `execution_match` is None where gold itself is broken."""

    id: str
    question: str = ""
    gold: str = ""
    sql: str
    prediction: str = Field(default="", description="the raw text before extraction")
    execution_match: bool | None
    vacuous: bool = False
    status: str
    message: str = ""
    parses: bool
    prepares: bool
    runs: bool
    error_class: str | None
    faults: list[str] = Field(
        default_factory=list, description="every difference from gold of an answer that runs and is wrong"
    )
    health: list[str] = Field(default_factory=list, description="what is wrong with the raw text as a text")
    seconds: float
    engine: str = Field(default="sqlite", description="the database that ran both queries; empty where none opened")
    transpiled: bool = Field(default=False, description="sqlglot rewrote them for it")
    suite_match: bool | None = Field(default=None, description="whether a match held on further databases")
    columns: list[str] = Field(default_factory=list, description="column names of the prediction's result")
    rows: list[list[object]] = Field(default_factory=list, description="its first rows, five at most")
    gold_message: str = Field(default="", description="why gold does not run")
    gold_columns: list[str] = Field(default_factory=list)
    gold_rows: list[list[object]] = Field(default_factory=list)
    slices: dict[str, list[str]] = Field(default_factory=dict, description="dimension -> values this example is in")
    values: dict[str, float] = Field(
        default_factory=dict, description="metric -> this example's value; empty where gold is broken"
    )


class Scorecard(_Frozen):
    """One model on one test split."""

    schema_version: int = SCHEMA_VERSION
    subject: Subject
    test_fingerprint: str
    n: int
    metrics: dict[str, Interval]
    slices: dict[str, dict[str, dict[str, Interval]]] = Field(description="dimension -> value -> metric -> interval")
    gold: GoldCounts
    errors: dict[str, int] = Field(description="error class -> wrong examples; each counts once")
    faults: dict[str, int] = Field(
        default_factory=dict, description="difference from gold -> wrong examples; one may count under several"
    )
    health: dict[str, Interval] = Field(
        default_factory=dict, description="flag of output health -> share of all answers that have it"
    )
    rules: str = Field(default="", description="name and version of the rules that execution accuracy follows")
    suite: int = Field(default=0, description="further databases on which a match had to hold; 0 for none")
    engines: dict[str, int] = Field(default_factory=dict, description="what ran the queries -> examples")
    compatibility: dict[str, Interval] = Field(
        default_factory=dict, description="what other evaluators would say, for published numbers only; never mixed in"
    )
    examples: list[ExampleOutcome]

    def values(self, metric: str, slice: dict[str, str] | None = None) -> dict[str, float]:
        """Example id -> value of `metric`, for the examples it counts; `slice` is `{dimension: value}`.

        Two scorecards of one test split are paired by these ids. Empty when the metric or the slice is not there.
        """
        wanted = (slice or {}).items()
        return {
            example.id: example.values[metric]
            for example in self.examples
            if metric in example.values and all(value in example.slices.get(key, ()) for key, value in wanted)
        }
