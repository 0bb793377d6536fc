"""One row of a study: its candidates by validation loss, or by a staged search; then the row itself, recorded once.

Candidates and rows are trials of the study's key: rows have numbers below 1000, candidates those above.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from flows.answers import Candidate, answer, judge, load_scorecard
from flows.elapsed import Elapsed
from flows.recipe import Recipe
from flows.studies import Row
from flows.study_spec import MOST_CANDIDATES
from flows.trial import Bench, draw_rows, forget_work, run_trial
from infra import tracking
from infra.errors import Away, NightshiftError
from infra.hashing import fingerprint
from infra.refs import Ref
from tasks.evaluation.runs_tables import values_text
from tasks.models.counting import count_parameters
from tasks.models.process import Interrupted
from tasks.models.resolve import resolve_model
from tasks.training.search.space import Values
from tasks.training.search.spec import SweepSpec
from tasks.training.search.stages import course
from tasks.training.trials import Trial, TrialResult, claimed, read_trial, read_trials, record_trial

RunOne = Callable[[Trial, Recipe, Ref, Bench], TrialResult]
_CANDIDATES = 1000  # numbers from here on are candidates', as many for each row as it may have


@dataclass(frozen=True)
class Ground:
    """What all rows of a study share: its key, its dataset, where and how they are run, on how many of its `rows`."""

    key: str
    dataset: Ref
    bench: Bench
    train: int | None
    validation: int | None
    rows: int = 0

    def trial(self, number: int, name: str, values: Values, stage: int = 0) -> Trial:
        """A trial on the study's rows."""
        return Trial(number=number, name=name, stage=stage, values=values, train=self.train, validation=self.validation)


def candidate_number(row: int, place: int) -> int:
    """The trial number of the candidate at `place` of a row."""
    return _CANDIDATES + MOST_CANDIDATES * row + place


def row_of_candidate(number: int) -> tuple[int, int] | None:
    """Row and place of a candidate's trial number; None for a row's own."""
    return divmod(number - _CANDIDATES, MOST_CANDIDATES) if number >= _CANDIDATES else None


def settle_row(row: Row, ground: Ground) -> TrialResult:
    """The row's result: the recorded one, or that of running it now. Raises Busy while another process runs it."""
    store, key = ground.bench.store, ground.key
    if (recorded := read_trial(store, key, row.number)) is not None:
        return recorded
    with claimed(store, key, row.number):
        best, tried = _searched(row, ground)
        if tried and best is None:
            reasons = "; ".join(dict.fromkeys(result.error or "no validation loss" for result in tried))
            result = _failed(row, ground, f"none of its {len(tried)} candidates finished: {reasons}")
        else:
            result = _run(row, best, ground)
        result = record_trial(store, key, result)
    for number in (row.number, *(candidate.number for candidate in tried)):
        forget_work(number, ground.bench)
    return result


def _searched(row: Row, ground: Ground) -> tuple[TrialResult | None, list[TrialResult]]:
    """The candidate that makes the row, and all of them; none where nothing is searched."""
    if row.spec.sweep is not None:
        return _staged(row, row.spec.sweep, ground)
    if len(row.recipes) == 1:
        return None, []
    trials = (ground.trial(place, "", values) for place, values in enumerate(row.values))
    tried = [_candidate(row, trial, ground) for trial in trials]
    losses = [result for result in tried if result.status == "finished" and result.eval_loss]
    return min(losses, key=lambda result: result.eval_loss or 0.0, default=None), tried


def _staged(row: Row, spec: SweepSpec, ground: Ground) -> tuple[TrialResult | None, list[TrialResult]]:
    """The winner of the row's staged search and all its trials. What comes next follows from what is recorded."""

    def numbered(result: TrialResult) -> TrialResult:
        return result.model_copy(update={"number": candidate_number(row.number, result.number)})

    while True:
        known = [
            result.model_copy(update={"number": place[1]})
            for result in read_trials(ground.bench.store, ground.key)
            if (place := row_of_candidate(result.number)) and place[0] == row.number
        ]
        now = course(spec, known, ground.train or ground.rows, row.fits)
        if not now.trials:
            return (None if now.winner is None else numbered(now.winner)), [numbered(result) for result in known]
        for result in known:  # of what was trained, only the best may be needed again
            if now.winner is None or result.number != now.winner.number:
                forget_work(candidate_number(row.number, result.number), ground.bench)
        for trial in now.trials:
            _candidate(row, trial, ground)


def _candidate(row: Row, trial: Trial, ground: Ground) -> TrialResult:
    """One candidate, its number its place in the row; compared on validation rows, no test question is asked."""
    number, store = candidate_number(row.number, trial.number), ground.bench.store
    if (recorded := read_trial(store, ground.key, number)) is not None:
        return recorded
    asks = row.spec.sweep if row.spec.sweep and not row.spec.sweep.minimise else None
    bench = replace(
        ground.bench,
        objective="execution_accuracy" if asks else "eval_loss",
        questions=asks.questions if asks else 0,
        split="validation",
    )
    told = {
        "number": number,
        "name": f"{row.title}: {values_text(trial.values)}",
        "train": _least(trial.train, ground.train),
        "validation": _least(trial.validation, ground.validation),
    }
    done = _guarded(trial.model_copy(update=told), row.recipe_of(trial.values), replace(ground, bench=bench))
    return record_trial(store, ground.key, done)


def _least(one: int | None, other: int | None) -> int | None:
    """The smaller number of rows; None is all."""
    return min((count for count in (one, other) if count is not None), default=None)


def _run(row: Row, best: TrialResult | None, ground: Ground) -> TrialResult:
    """The row with the values of its best candidate; what was trained as that one is not trained again."""
    values = row.values[0] if best is None else best.values
    stage = 0 if best is None else best.stage if row.spec.sweep else 1
    trial = ground.trial(row.number, row.title, values, stage)
    if row.spec.baseline:
        return _guarded(trial, row.recipes[0], ground, partial(ask_baseline, four_bit=row.spec.quantize or ""))
    if best is not None and (trained := ground.bench.work / str(best.number)).is_dir():
        # Stages on other rows have other folders there. The time it took lies there, too.
        shutil.rmtree(ground.bench.work / str(row.number), ignore_errors=True)
        trained.rename(ground.bench.work / str(row.number))
    return _guarded(trial, row.recipe_of(values), ground)


def _guarded(trial: Trial, recipe: Recipe, ground: Ground, run: RunOne | None = None) -> TrialResult:
    """Run a trial; a model that cannot be had, or rows that do not fit, are a result of this row, not of the study."""
    started = time.perf_counter()
    try:
        return (run or run_trial)(trial, recipe, ground.dataset, ground.bench)
    except (Interrupted, Away):
        raise
    except NightshiftError as error:
        return _without_figures(trial, recipe, ground, str(error), time.perf_counter() - started)


def _failed(row: Row, ground: Ground, why: str) -> TrialResult:
    trial = ground.trial(row.number, row.title, row.values[0], stage=1)
    return _without_figures(trial, row.recipes[0], ground, why, 0.0)


def _without_figures(trial: Trial, recipe: Recipe, ground: Ground, why: str, seconds: float) -> TrialResult:
    return TrialResult(
        **trial.model_dump(include={"number", "name", "stage", "values"}),
        status="failed",
        error=why,
        seconds=round(seconds, 2),
        data_fingerprint=ground.dataset.fingerprint,
        prompt_fingerprint=fingerprint(recipe.prompt.model_dump(mode="json")),
    )


def ask_baseline(trial: Trial, recipe: Recipe, dataset: Ref, bench: Bench, four_bit: str = "") -> TrialResult:
    """The base model as it was published, asked the study's test questions; `four_bit` is how its weights are held."""
    work: Path = bench.work / str(trial.number)
    work.mkdir(parents=True, exist_ok=True)
    run = tracking.child_run(bench.run, "trial", trial.name, str(trial.number)) if bench.run else None
    with tracking.ended_by_errors(run, Interrupted), Elapsed(work) as elapsed:
        model = resolve_model(recipe.model, bench.settings.models_path)
        rows = draw_rows(trial, recipe, dataset, bench)
        candidate = Candidate("base", trial.name, model, None, "", recipe.prompt, four_bit=four_bit)
        spec, test = recipe.evaluation, rows.asked_fingerprint
        answers = answer(bench.store, [candidate], rows.asked, test, spec, work, train=lambda: rows.train)["base"]
        judged = judge(bench.store, candidate, answers, rows.asked, test, spec, work)
        accuracy = load_scorecard(bench.store, judged).metrics["execution_accuracy"]
        result = TrialResult(
            **trial.model_dump(include={"number", "name", "stage", "values"}),
            status="finished",
            objective=accuracy.value,
            low=accuracy.low,
            high=accuracy.high,
            execution_accuracy=accuracy,
            trainable=0,
            total_parameters=count_parameters(model.path),
            seconds=elapsed.seconds,
            steps=0,
            data_fingerprint=rows.fingerprint,
            prompt_fingerprint=fingerprint(recipe.prompt.model_dump(mode="json")),
            predictions_key=answers.key,
            scorecard_key=judged.key,
            run_id=run,
        )
        if run is not None:
            tracking.log_metrics(run, {"execution_accuracy": accuracy.value, "seconds": result.seconds})
            tracking.finish(run, "FINISHED")
    return result
