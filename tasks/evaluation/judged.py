"""One example with everything known about its prediction, and every metric's value for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.data.example import Example
from tasks.evaluation.ast_match import ast_match
from tasks.evaluation.classes import error_class
from tasks.evaluation.differences import differences
from tasks.evaluation.hallucination import hallucinates
from tasks.evaluation.health import output_health
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.samples import KS, execution_vote, pass_at_k
from tasks.evaluation.scorecard import ExampleOutcome
from tasks.evaluation.slices import slices_of
from tasks.evaluation.spider_match import spider_exact_match
from tasks.evaluation.text_metrics import exact_match, hybrid_score, rouge_l, rouge_n, sentence_bleu
from tasks.sql.efficiency import efficiency_score
from tasks.sql.judgement import Job, Judgement, safe_text
from tasks.sql.measuring import LOST, Measured
from tasks.sql.parse import writes

_WEAK_ROWS = ([[0]], [[None]])


@dataclass(frozen=True, slots=True)
class Sample:
    """One of several answers: whether it runs and is right, and a text that equal results share.

    `result` is None for one that does not run, and where its result could not be looked at.
    """

    right: bool
    runs: bool
    result: str | None


@dataclass(frozen=True, slots=True)
class Judged:
    """One example, its prediction, what judging and measuring it found."""

    example: Example
    prediction: Prediction
    sql: str
    job: Job
    judgement: Judgement
    raw_match: bool | None
    measured: Measured = LOST
    samples: Sequence[Sample] = field(default=())

    @property
    def same_text(self) -> bool:
        """Whether prediction and gold are the same tokens, so that nothing can be different about them."""
        return exact_match(self.judgement.gold_sql, self.judgement.sql)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the texts of an example tell, its verdict known: all that waits for no measurement.

    `values` has the metrics that come of it; it is empty where gold does not run.
    """

    faults: tuple[str, ...]
    error_class: str | None
    health: tuple[str, ...]
    slices: dict[str, list[str]]
    values: dict[str, float | bool | None]


def read(one: Judged) -> Reading:
    """Everything that can be said of one example before it is measured."""
    judgement, job, text = one.judgement, one.job, one.prediction.prediction
    faults: tuple[str, ...] = ()
    if judgement.execution_match is False and judgement.runs:
        faults = differences(job.gold, one.sql, job.schema, job.dialect, job.database)
    return Reading(
        faults=faults,
        error_class=error_class(judgement, text, faults),
        health=output_health(text, one.sql, one.prediction.gave_up),
        slices=slices_of(one.example),
        values={} if judgement.execution_match is None else _of_texts(one),
    )


def outcome_of(one: Judged, reading: Reading) -> ExampleOutcome:
    """What the scorecard keeps of one example."""
    judgement = one.judgement
    return ExampleOutcome(
        id=one.example.id,
        question=safe_text(one.example.question),
        gold=safe_text(one.example.sql),
        sql=safe_text(one.sql),
        prediction=safe_text(one.prediction.prediction),
        execution_match=judgement.execution_match,
        vacuous=judgement.vacuous,
        status=judgement.status,
        message=judgement.message,
        parses=judgement.parses,
        prepares=judgement.prepares,
        runs=judgement.runs,
        error_class=reading.error_class,
        faults=list(reading.faults),
        health=list(reading.health),
        seconds=judgement.seconds,
        engine=judgement.engine,
        transpiled=judgement.transpiled,
        suite_match=judgement.suite_match,
        columns=judgement.columns,
        rows=judgement.rows,
        gold_message=judgement.gold_message,
        gold_columns=judgement.gold_columns,
        gold_rows=judgement.gold_rows,
        slices=reading.slices,
        values=_values(one, reading),
    )


def _values(one: Judged, reading: Reading) -> dict[str, float]:
    """Every metric of an example whose gold runs; a metric that does not apply to it is left out."""
    if one.judgement.execution_match is None:
        return {}
    found = {
        **reading.values,
        **_of_results(one, one.judgement.execution_match),
        **_of_samples(one.samples),
        "latency_seconds": one.prediction.seconds,
        "tries": one.prediction.tries,
        "tokens_per_second": _speed(one.prediction),
    }
    return {metric: float(value) for metric, value in found.items() if value is not None}


def _of_texts(one: Judged) -> dict[str, float | bool | None]:
    judgement, job, gold = one.judgement, one.job, one.example.sql
    match, alike = bool(judgement.execution_match), rouge_l(gold, one.sql)
    return {
        "execution_accuracy": match,
        "execution_accuracy_raw": bool(one.raw_match),
        # By gold alone, so that two models are asked the same examples.
        "execution_accuracy_nonvacuous": None if _is_weak(judgement) else match,
        "hybrid_score": hybrid_score(match, alike),
        "rouge1": rouge_n(gold, one.sql, 1),
        "rouge2": rouge_n(gold, one.sql, 2),
        "rougeL": alike,
        "bleu": sentence_bleu(gold, one.sql),
        "exact_match": exact_match(gold, one.sql),
        "spider_exact_match": spider_exact_match(gold, one.sql, job.schema, job.dialect, job.database),
        "ast_match": ast_match(gold, one.sql, job.dialect),
        "parses": judgement.parses,
        "prepares": judgement.prepares,
        "runs": judgement.runs,
        "schema_hallucination": hallucinates(one.sql, job.schema, job.dialect, judgement.prepares, job.database),
    }


def _of_results(one: Judged, match: bool) -> dict[str, float | None]:
    """Soft F1 and VES: of queries that read, on an engine where they can be measured."""
    if not measurable(one.judgement, one.job):
        return {}
    ratio = one.measured.time_ratio
    if match:
        # Right, and no time could be taken again: as slow as can be.
        speed = 1.0 if one.same_text else efficiency_score(ratio if ratio is not None else 0.0)
        return {"soft_f1": 1.0, "ves": speed}
    # Of a query that ran and did not run again nothing is known: left out, not 0.
    return {"soft_f1": one.measured.soft_f1 if one.judgement.runs else 0.0, "ves": 0.0}


def measurable(judgement: Judgement, job: Job) -> bool:
    """Whether results and times can be looked at: gold reads rows, from SQLite."""
    return judgement.engine == "sqlite" and not writes(judgement.gold_sql, job.dialect)


def _of_samples(samples: Sequence[Sample]) -> dict[str, float | bool | None]:
    if not samples:
        return {}
    right = sum(sample.right for sample in samples)
    found: dict[str, float | bool | None] = {
        f"pass_at_{k}": pass_at_k(len(samples), right, k) for k in KS if k <= len(samples)
    }
    # No vote where a result could not be looked at; where no sample runs there is one, and nobody wins it.
    if all(sample.result is not None for sample in samples if sample.runs):
        chosen = execution_vote([sample.result for sample in samples])
        found["execution_vote"] = chosen is not None and samples[chosen].right
    return found


def _is_weak(judgement: Judgement) -> bool:
    """Whether gold's result is empty, one 0 or one NULL: wrong queries agree with it too easily."""
    return judgement.gold_status == "empty" or judgement.gold_rows in _WEAK_ROWS


def _speed(prediction: Prediction) -> float | None:
    if prediction.tokens is None or not prediction.seconds:
        return None
    return prediction.tokens / prediction.seconds
