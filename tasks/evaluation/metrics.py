"""The table of metrics: what each id means, which direction is better, and the value of each for one example.

Every metric is the mean of one number per example, so that each has an interval, a slice and a paired difference by
the same arithmetic. Limits: the text metrics say how alike two queries look, not whether the prediction is right
(`x > 5` and `x < 5` share a ROUGE-L of 1.0); gates should rest on `execution_accuracy`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.evaluation.samples import KS
from tasks.evaluation.scorecard import Interval
from tasks.evaluation.statistics import bootstrap_intervals, wilson_interval
from tasks.sql.efficiency import BEST

Direction = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `low` and `high` bound its value, `binary` says that an example scores 0 or 1 and nothing between."""

    id: str
    label: str
    direction: Direction
    low: float
    high: float
    description: str
    binary: bool = False


def _share(id: str, label: str, description: str, direction: Direction = "higher") -> Metric:
    return Metric(id, label, direction, 0.0, 1.0, description, binary=True)


def _score(id: str, label: str, description: str) -> Metric:
    return Metric(id, label, "higher", 0.0, 1.0, description)


_ALL = (
    _share(
        "execution_accuracy",
        "Execution accuracy",
        "extracted SQL returns what gold returns (the scorecard names the rules)",
    ),
    _share(
        "execution_accuracy_raw",
        "Execution accuracy, raw text",
        "the model's text as it came, nothing extracted, returns what gold returns",
    ),
    _share(
        "execution_accuracy_nonvacuous",
        "Execution accuracy, telling examples",
        "execution accuracy over the examples whose gold result is more than nothing, one zero or one NULL",
    ),
    _score("hybrid_score", "Hybrid score", "1.0 when execution matches, else 0.7 x ROUGE-L"),
    _score("rouge1", "ROUGE-1", "F-measure of shared words, lower-cased letters and digits only, no stemming"),
    _score("rouge2", "ROUGE-2", "F-measure of shared word pairs"),
    _score("rougeL", "ROUGE-L", "F-measure of the longest common subsequence of words"),
    _score("bleu", "BLEU", "sentence BLEU-4 over SQL tokens, add-one smoothed beyond single tokens, averaged"),
    _share("exact_match", "Exact match", "the same SQL tokens; case outside literals, spacing and comments aside"),
    _share(
        "spider_exact_match",
        "Spider exact-set match",
        "the same clauses, each as a set, by Spider's rules: literals, DISTINCT and join conditions do not count",
    ),
    _share("ast_match", "AST match", "the same syntax tree after aliases, operand order and spelling are normalised"),
    _share("parses", "Parses", "one statement that a SQL parser reads"),
    _share("prepares", "Prepares", "the database compiles it: every table and column it names exists"),
    _share("runs", "Runs", "it runs to its end within the limits"),
    _share(
        "schema_hallucination",
        "Schema hallucination",
        "names a table or column that the schema lacks",
        direction="lower",
    ),
    _score("soft_f1", "Soft F1", "F1 of the result's cells, rows as a bag; 0 for what does not run"),
    Metric(
        "ves",
        "VES",
        "higher",
        0.0,
        BEST,
        "square root of BIRD's R-VES reward: 0 when wrong, 1 as fast as gold, up to 1.118 when twice as fast",
    ),
    *(
        _score(f"pass_at_{k}", f"pass@{k}", f"chance that one of {k} samples is right, where {k} or more were drawn")
        for k in KS
    ),
    _share("execution_vote", "Execution vote", "the sample whose result most samples agree on is right"),
    Metric("latency_seconds", "Latency", "lower", 0.0, float("inf"), "seconds to generate one answer"),
    Metric("tries", "Tries", "lower", 1.0, float("inf"), "answers to one question until one ran or none was left"),
    Metric("tokens_per_second", "Tokens per second", "higher", 0.0, float("inf"), "tokens generated in a second"),
)

METRICS: dict[str, Metric] = {metric.id: metric for metric in _ALL}

# Metrics that need what a predictions file may lack; all others are always there, with n = 0 if nothing counts.
OPTIONAL: frozenset[str] = frozenset(
    {"latency_seconds", "tries", "tokens_per_second", "execution_vote", *(f"pass_at_{k}" for k in KS)}
)

# What the headline, its slices and the examples' colours are about.
MAIN = "execution_accuracy"

# Slices multiply every number by the number of their values; these three are what people ask of a slice.
SLICED: tuple[str, ...] = (MAIN, "exact_match", "runs")


def share(count: float, n: int) -> Interval:
    """`count` of `n` as a share with Wilson's interval; n is at least 1."""
    low, high = wilson_interval(count, n)
    return Interval(value=count / n, low=low, high=high, n=n)


def mean(values: Sequence[float]) -> Interval:
    """The mean of numbers, one an example and at least one, with its bootstrap interval."""
    (bounds,) = bootstrap_intervals([values])
    return _interval(values, bounds)


def summarise(metric: str, values: Sequence[float]) -> Interval:
    """Mean and 95% interval of one metric's per-example `values`: Wilson for 0/1, else bootstrap.

    Of no values the interval says so: n is 0 and the bounds are the whole range [0, 1].
    """
    return summarise_all({metric: values})[metric]


def summarise_all(columns: Mapping[str, Sequence[float]]) -> dict[str, Interval]:
    """What `summarise` says of each metric's values; metrics over as many examples share the bootstrap's samples."""
    drawn: dict[int, list[str]] = defaultdict(list)
    for metric, values in columns.items():
        if values and not METRICS[metric].binary:
            drawn[len(values)].append(metric)
    bounds: dict[str, tuple[float, float]] = {}
    for metrics in drawn.values():
        bounds.update(zip(metrics, bootstrap_intervals([columns[metric] for metric in metrics]), strict=True))
    return {metric: _interval(values, bounds.get(metric)) for metric, values in columns.items()}


def _interval(values: Sequence[float], bounds: tuple[float, float] | None) -> Interval:
    """The mean of `values` between `bounds`, which 0/1 values have no need of."""
    n = len(values)
    if not n:
        return Interval(value=0.0, low=0.0, high=1.0, n=0)
    if bounds is None:
        return share(sum(values), n)
    return Interval(value=sum(values) / n, low=bounds[0], high=bounds[1], n=n)
