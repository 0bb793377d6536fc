"""Making a scorecard: a pure function of the examples and the predictions, by running every query.

Each prediction is judged twice: the SQL extracted from it (the truth) and, where that differs, the text as it came.
Right queries that are not gold's text are timed, wrong ones that run are compared cell by cell, samples are judged
like predictions; a text that comes twice for one example is judged and measured once. Examples whose gold does not run
count in `gold.failed` and in no metric.

Limits: the predictions of one model at a time; comparing models is the matter of `tasks.evaluation.compare` and of the
gates.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from infra.collector import seldom_collected
from infra.errors import UserError
from tasks.data.example import Example
from tasks.evaluation.health import HEALTH
from tasks.evaluation.judged import Judged, Reading, Sample, measurable, outcome_of, read
from tasks.evaluation.metrics import METRICS, OPTIONAL, SLICED, mean, share, summarise, summarise_all
from tasks.evaluation.predictions import Prediction, match_predictions
from tasks.evaluation.scorecard import ExampleOutcome, GoldCounts, Interval, Scorecard, Subject
from tasks.evaluation.slices import in_order
from tasks.evaluation.text_metrics import flat_match
from tasks.sql.compatibility import MODES
from tasks.sql.executor import DEFAULT_LIMITS, Limits
from tasks.sql.extraction import extract_sql
from tasks.sql.judge import JudgePool
from tasks.sql.judgement import Job, Judgement
from tasks.sql.measuring import LOST, Task, measure
from tasks.sql.rules import LABEL


def build_scorecard(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    subject: Subject,
    test_fingerprint: str,
    limits: Limits = DEFAULT_LIMITS,
    workers: int = 2,
    databases: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    suite: int = 0,
) -> Scorecard:
    """Judge `predictions` (same ids as `examples`, any order) and sum up; `progress(done, total)` counts queries.

    With `suite` a query is right only if it is on so many fuzzed copies of its database too.

    An example runs on its `database` file, else on its own `schema` and `setup`. Those without `setup` run, when
    `databases` is given, on the file `<databases>/<db_id>/<db_id>.sqlite` or `<databases>/<db_id>.sqlite`. Raises
    UserError when ids do not match, when there is no example, or when a database file is missing.
    """
    if not examples:
        raise UserError("no examples to score; give a file with at least one")
    ordered = match_predictions([example.id for example in examples], predictions)
    judged = _judge_all(examples, ordered, limits, workers, databases, progress, suite)
    with seldom_collected():
        judged, readings = _measure_and_read(judged, limits)
        outcomes = [outcome_of(one, reading) for one, reading in zip(judged, readings, strict=True)]
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
        faults=dict(Counter(fault for outcome in outcomes for fault in outcome.faults).most_common()),
        health=_health(outcomes),
        rules=LABEL,
        suite=suite,
        engines=dict(Counter(_ran_by(one.judgement) for one in judged).most_common()),
        compatibility=_compatibility(judged),
        examples=outcomes,
    )


def _ran_by(judgement: Judgement) -> str:
    if not judgement.engine:
        return "none"
    return f"{judgement.engine}, transpiled" if judgement.transpiled else judgement.engine


def _compatibility(judged: Sequence[Judged]) -> dict[str, Interval]:
    """Each other evaluator's accuracy over the examples it has a verdict on: those whose gold reads and runs; and the
    exact match that lower-cases everything and drops all spaces."""
    found = {}
    for mode in MODES:
        verdicts = [one.judgement.compatible[mode] for one in judged if mode in one.judgement.compatible]
        if verdicts:
            found[mode] = share(sum(verdicts), len(verdicts)) if mode != "bird_soft_f1" else mean(verdicts)
    flat = [flat_match(one.example.sql, one.sql) for one in judged if one.judgement.execution_match is not None]
    return found | ({"flat_exact_match": share(sum(flat), len(flat))} if flat else {})


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
    suite: int,
) -> list[Judged]:
    elsewhere = [e for e in examples if not e.setup and not e.database]
    asked = {} if databases is None else dict.fromkeys(e.db_id for e in elsewhere)
    files = {db_id: database_file(databases, db_id) for db_id in asked}
    sqls = [extract_sql(prediction.prediction) for prediction in predictions]
    jobs = [_job(example, sql, files) for example, sql in zip(examples, sqls, strict=True)]
    # The text as it came is run again only where extraction changed more than the space around it.
    texts = [prediction.prediction for prediction in predictions]
    raw = [
        job if _bare(text) == _bare(sql) else replace(job, prediction=text)
        for job, text, sql in zip(jobs, texts, sqls, strict=True)
    ]
    drawn = [
        [replace(job, prediction=extract_sql(sample)) for sample in prediction.samples]
        for job, prediction in zip(jobs, predictions, strict=True)
    ]
    found = _judge_each(jobs, [*raw, *(job for some in drawn for job in some)], limits, workers, suite, progress)
    samples = _samples(drawn, found, limits)
    return [
        Judged(example, prediction, sql, job, found[job], found[text].execution_match, samples=some)
        for example, prediction, sql, job, text, some in zip(
            examples, predictions, sqls, jobs, raw, samples, strict=True
        )
    ]


def _judge_each(
    jobs: Sequence[Job],
    others: Sequence[Job],
    limits: Limits,
    workers: int,
    suite: int,
    progress: Callable[[int, int], None] | None,
) -> dict[Job, Judgement]:
    """Each job judged once; what other evaluators would say is asked of `jobs` alone, as nobody reads it of others."""
    answers = dict.fromkeys(jobs)
    more = [job for job in dict.fromkeys(others) if job not in answers]
    total = len(answers) + len(more)
    found: dict[Job, Judgement] = {}
    for batch, compatibility in ((list(answers), True), (more, False)):
        before = len(found)

        def told(done: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, total)

        with JudgePool(limits, workers, compatibility=compatibility, suite=suite) as pool:
            found.update(zip(batch, pool.judge(batch, told), strict=True))
    return found


def _measure_and_read(judged: list[Judged], limits: Limits) -> tuple[list[Judged], list[Reading]]:
    """Time what is right in other words than gold's, compare what runs and is wrong cell by cell; read all texts.

    Measuring is the work of another process: the texts are read while it runs.
    """
    readings: list[Reading] = []

    def read_next() -> bool:
        if len(readings) < len(judged):
            readings.append(read(judged[len(readings)]))
        return len(readings) < len(judged)

    asked = [
        number
        for number, one in enumerate(judged)
        if one.judgement.runs
        and one.judgement.execution_match is not None
        and measurable(one.judgement, one.job)
        and not (one.judgement.execution_match and one.same_text)
    ]
    tasks = [
        _task(judged[number].job, judged[number].judgement, bool(judged[number].judgement.execution_match))
        for number in asked
    ]
    measured = dict(zip(asked, measure(tasks, limits, read_next), strict=True))
    while read_next():
        pass
    return [replace(one, measured=measured.get(number, LOST)) for number, one in enumerate(judged)], readings


def _task(job: Job, judgement: Judgement, timed: bool, alone: bool = False) -> Task:
    gold = "" if alone else judgement.gold_sql
    return Task(judgement.sql, gold, job.schema, job.setup, job.database, job.dialect, timed)


def _samples(drawn: Sequence[Sequence[Job]], judgements: Mapping[Job, Judgement], limits: Limits) -> list[list[Sample]]:
    """The samples of each example, in the order drawn; only those that run can have a result."""
    different = dict.fromkeys(job for jobs in drawn for job in jobs)
    running = [job for job in different if judgements[job].runs and measurable(judgements[job], job)]
    found = measure([_task(job, judgements[job], timed=False, alone=True) for job in running], limits)
    results = {job: measured.digest for job, measured in zip(running, found, strict=True)}

    def sample(job: Job) -> Sample:
        return Sample(bool(judgements[job].execution_match), judgements[job].runs, results.get(job))

    return [[sample(job) for job in jobs] for jobs in drawn]


def _job(example: Example, sql: str, files: dict[str, Path]) -> Job:
    if not example.setup and example.db_id in files:
        return Job(example.id, example.sql, sql, database=str(files[example.db_id]), dialect=example.dialect)
    if example.database:
        return Job(example.id, example.sql, sql, database=example.database, dialect=example.dialect)
    return Job(example.id, example.sql, sql, example.schema, example.setup, dialect=example.dialect)


def _bare(sql: str) -> str:
    return sql.strip().removesuffix(";").rstrip()


def _health(outcomes: Sequence[ExampleOutcome]) -> dict[str, Interval]:
    n = len(outcomes)
    found = Counter(flag for outcome in outcomes for flag in outcome.health)
    return {flag: share(found[flag], n) for flag in HEALTH}


def _metrics(outcomes: Sequence[ExampleOutcome]) -> dict[str, Interval]:
    columns = {
        metric: [outcome.values[metric] for outcome in outcomes if metric in outcome.values] for metric in METRICS
    }
    return summarise_all({metric: values for metric, values in columns.items() if values or metric not in OPTIONAL})


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
