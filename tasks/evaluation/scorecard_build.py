"""Making a scorecard: a pure function of the examples and the predictions, by running every query.

Each prediction is judged twice: the SQL extracted from it (the truth) and, where that differs, the text as it came.
Examples whose gold does not run count in `gold.failed` and in no metric. Limits: the predictions of one model at a
time; comparing models is the matter of `tasks.evaluation.statistics` and of the gates.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from infra.errors import UserError
from tasks.data.example import Example
from tasks.evaluation.ast_match import ast_match
from tasks.evaluation.classes import error_class
from tasks.evaluation.hallucination import hallucinates
from tasks.evaluation.metrics import METRICS, SLICED, summarise
from tasks.evaluation.predictions import Prediction, match_predictions
from tasks.evaluation.scorecard import ExampleOutcome, GoldCounts, Interval, Scorecard, Subject
from tasks.evaluation.slices import in_order, slices_of
from tasks.evaluation.text_metrics import exact_match, rouge_l, rouge_n, sentence_bleu
from tasks.sql.comparison import order_matters
from tasks.sql.executor import DEFAULT_LIMITS, Limits
from tasks.sql.extraction import extract_sql
from tasks.sql.judge import JudgePool
from tasks.sql.judgement import Job, Judgement, safe_text

# Metrics that need what a predictions file may lack; all others are always there, with n = 0 if nothing counts.
_TIMED = ("latency_seconds", "tokens_per_second")
_WEAK_ROWS = ([[0]], [[None]])


@dataclass(frozen=True, slots=True)
class _Judged:
    """One example with everything known about its prediction."""

    example: Example
    prediction: Prediction
    sql: str
    job: Job
    judgement: Judgement
    raw_match: bool | None
    right_rows: bool


def build_scorecard(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    subject: Subject,
    test_fingerprint: str,
    limits: Limits = DEFAULT_LIMITS,
    workers: int = 2,
    databases: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scorecard:
    """Judge `predictions` (same ids as `examples`, any order) and sum up; `progress(done, total)` counts queries.

    An example runs on its `database` file, else on its own `schema` and `setup`. Those without `setup` run, when
    `databases` is given, on the file `<databases>/<db_id>/<db_id>.sqlite` or `<databases>/<db_id>.sqlite`. Raises
    UserError when ids do not match, when there is no example, or when a database file is missing.
    """
    if not examples:
        raise UserError("no examples to score; give a file with at least one")
    ordered = match_predictions([example.id for example in examples], predictions)
    judged = _judge_all(examples, ordered, limits, workers, databases, progress)
    outcomes = [_outcome(one) for one in judged]
    gold = Counter(one.judgement.gold_status for one in judged)
    errors = Counter(outcome.error_class for outcome in outcomes if outcome.error_class is not None)
    return Scorecard(
        subject=subject,
        test_fingerprint=test_fingerprint,
        n=len(outcomes),
        metrics=_metrics(outcomes),
        slices=_slices(outcomes),
        gold=GoldCounts(ok=gold["ok"], empty=gold["empty"], failed=gold["failed"]),
        errors=dict(errors.most_common()),
        examples=outcomes,
    )


def database_file(databases: Path, db_id: str) -> Path:
    """The SQLite file of a database in a folder laid out like Spider's or BIRD's, or flat; raises UserError."""
    for name in (f"{db_id}/{db_id}.sqlite", f"{db_id}.sqlite"):
        path = databases / name
        if path.is_file() and path.resolve().is_relative_to(databases.resolve()):
            return path
    raise UserError(f"no database {db_id!r} in {databases}; expected {db_id}/{db_id}.sqlite or {db_id}.sqlite")


def _judge_all(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    limits: Limits,
    workers: int,
    databases: Path | None,
    progress: Callable[[int, int], None] | None,
) -> list[_Judged]:
    files = {} if databases is None else {e.db_id: database_file(databases, e.db_id) for e in examples if not e.setup}
    sqls = [extract_sql(prediction.prediction) for prediction in predictions]
    jobs = [_job(example, sql, files) for example, sql in zip(examples, sqls, strict=True)]
    # The text as it came is run again only where extraction changed more than the space around it.
    texts = [prediction.prediction for prediction in predictions]
    differing = [
        number for number, (text, sql) in enumerate(zip(texts, sqls, strict=True)) if _bare(text) != _bare(sql)
    ]
    raw_jobs = [replace(jobs[number], prediction=texts[number]) for number in differing]
    with JudgePool(limits, workers) as pool:
        answers = pool.judge(jobs + raw_jobs, progress)
        judgements = answers[: len(jobs)]
        raw = [judgement.execution_match for judgement in judgements]
        for number, answer in zip(differing, answers[len(jobs) :], strict=True):
            raw[number] = answer.execution_match
        asked = [number for number, judgement in enumerate(judgements) if _maybe_order(judgement)]
        # Wrapped, gold's ORDER BY is no longer the outermost, and the same rows in any order match.
        any_order = [replace(jobs[number], gold=f"SELECT * FROM (\n{_bare(jobs[number].gold)}\n)") for number in asked]
        answers = pool.judge(any_order)
    right_rows = {number for number, answer in zip(asked, answers, strict=True) if answer.execution_match}
    return [
        _Judged(example, prediction, sql, jobs[number], judgement, raw[number], number in right_rows)
        for number, (example, prediction, sql, judgement) in enumerate(
            zip(examples, predictions, sqls, judgements, strict=True)
        )
    ]


def _job(example: Example, sql: str, files: dict[str, Path]) -> Job:
    if not example.setup and example.db_id in files:
        return Job(example.id, example.sql, sql, database=str(files[example.db_id]), dialect=example.dialect)
    if example.database:
        return Job(example.id, example.sql, sql, database=example.database, dialect=example.dialect)
    return Job(example.id, example.sql, sql, example.schema, example.setup, dialect=example.dialect)


def _bare(sql: str) -> str:
    return sql.strip().removesuffix(";").rstrip()


def _maybe_order(judgement: Judgement) -> bool:
    return (
        judgement.execution_match is False
        and judgement.status == "ok"
        and len(judgement.columns) == len(judgement.gold_columns)
        and bool(judgement.rows)
        and order_matters(judgement.gold_sql)
    )


def _outcome(one: _Judged) -> ExampleOutcome:
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
        error_class=error_class(judgement, one.right_rows),
        seconds=judgement.seconds,
        columns=judgement.columns,
        rows=judgement.rows,
        gold_message=judgement.gold_message,
        gold_columns=judgement.gold_columns,
        gold_rows=judgement.gold_rows,
        slices=slices_of(one.example),
        values={} if judgement.execution_match is None else _values(one),
    )


def _values(one: _Judged) -> dict[str, float]:
    """Every metric of one example whose gold runs; a metric that does not apply to it is left out."""
    judgement, gold = one.judgement, one.example.sql
    match, alike = bool(judgement.execution_match), rouge_l(gold, one.sql)
    invented = hallucinates(one.sql, one.job.schema, one.job.dialect, judgement.prepares, one.job.database)
    values: dict[str, float | bool | None] = {
        "execution_accuracy": match,
        "execution_accuracy_raw": bool(one.raw_match),
        # By gold alone, so that two models are asked the same examples.
        "execution_accuracy_nonvacuous": None if _is_weak(judgement) else match,
        "hybrid_score": 1.0 if match else 0.7 * alike,
        "rouge1": rouge_n(gold, one.sql, 1),
        "rouge2": rouge_n(gold, one.sql, 2),
        "rougeL": alike,
        "bleu": sentence_bleu(gold, one.sql),
        "exact_match": exact_match(gold, one.sql),
        "ast_match": ast_match(gold, one.sql, one.example.dialect),
        "parses": judgement.parses,
        "prepares": judgement.prepares,
        "runs": judgement.runs,
        "schema_hallucination": invented,
        "latency_seconds": one.prediction.seconds,
        "tokens_per_second": _speed(one.prediction),
    }
    return {metric: float(value) for metric, value in values.items() if value is not None}


def _is_weak(judgement: Judgement) -> bool:
    """Whether gold's result is empty, one 0 or one NULL: wrong queries agree with it too easily."""
    return judgement.gold_status == "empty" or judgement.gold_rows in _WEAK_ROWS


def _speed(prediction: Prediction) -> float | None:
    if prediction.tokens is None or not prediction.seconds:
        return None
    return prediction.tokens / prediction.seconds


def _metrics(outcomes: Sequence[ExampleOutcome]) -> dict[str, Interval]:
    metrics = {}
    for metric in METRICS:
        values = [outcome.values[metric] for outcome in outcomes if metric in outcome.values]
        if values or metric not in _TIMED:
            metrics[metric] = summarise(metric, values)
    return metrics


def _slices(outcomes: Sequence[ExampleOutcome]) -> dict[str, dict[str, dict[str, Interval]]]:
    parts: dict[str, dict[str, list[ExampleOutcome]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        for dimension, names in outcome.slices.items() if outcome.values else ():
            for name in names:
                parts[dimension][name].append(outcome)
    return {
        dimension: {
            name: {metric: summarise(metric, [outcome.values[metric] for outcome in part]) for metric in SLICED}
            for name, part in ((name, names[name]) for name in in_order(dimension, list(names)))
        }
        for dimension, names in parts.items()
    }
