"""One row of a study: its candidates by validation loss, then the row itself, recorded once under the study's key."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from flows.answers import Candidate, answer, judge, load_scorecard
from flows.elapsed import Elapsed
from flows.recipe import Recipe
from flows.studies import MOST_CANDIDATES, Row
from flows.trial import Bench, draw_rows, forget_work, run_trial
from infra import tracking
from infra.errors import Away, NightshiftError
from infra.hashing import fingerprint
from infra.refs import Ref
from tasks.evaluation.runs_tables import values_text
from tasks.models.counting import count_parameters
from tasks.models.process import Interrupted
from tasks.models.resolve import resolve_model
from tasks.training.trials import Trial, TrialResult, claimed, read_trial, record_trial

_CANDIDATES = 1000  # numbers from here on are candidates', as many for each row as it may have


@dataclass(frozen=True)
class Ground:
    """What all rows of a study share: its key, its dataset, where and how they are run, on how many rows."""

    key: str
    dataset: Ref
    bench: Bench
    train: int | None
    validation: int | None

    def trial(self, number: int, row: Row, place: int, name: str, stage: int = 0) -> Trial:
        """The trial of a row's values at `place`."""
        return Trial(
            number=number,
            name=name,
            stage=stage,
            values=row.values[place],
            train=self.train,
            validation=self.validation,
        )


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
        tried = [_candidate(row, place, ground) for place in range(len(row.recipes))] if len(row.recipes) > 1 else []
        losses = {place: r.eval_loss for place, r in enumerate(tried) if r.status == "finished" and r.eval_loss}
        if tried and not losses:
            reasons = "; ".join(dict.fromkeys(result.error or "no validation loss" for result in tried))
            result = _failed(row, ground, f"none of its {len(tried)} candidates finished: {reasons}")
        else:
            place = min(losses, key=lambda place: losses[place]) if losses else 0
            result = _run(row, place, ground, tried)
        result = record_trial(store, key, result)
    for number in (row.number, *(candidate.number for candidate in tried)):
        forget_work(number, ground.bench)
    return result


def _candidate(row: Row, place: int, ground: Ground) -> TrialResult:
    """One candidate, trained and compared on the validation rows; no test question is asked."""
    number, store = candidate_number(row.number, place), ground.bench.store
    if (recorded := read_trial(store, ground.key, number)) is not None:
        return recorded
    bench = replace(ground.bench, questions=0, objective="eval_loss")
    name = f"{row.spec.label or row.spec.name}: {values_text(row.values[place])}"
    trial = ground.trial(number, row, place, name)
    return record_trial(store, ground.key, _guarded(trial, row.recipes[place], replace(ground, bench=bench)))


def _run(row: Row, place: int, ground: Ground, tried: list[TrialResult]) -> TrialResult:
    """The row with the values at `place`; what was trained as a candidate is not trained again."""
    name, recipe = row.spec.label or row.spec.name, row.recipes[place]
    trial = ground.trial(row.number, row, place, name, stage=int(bool(tried)))
    if row.spec.baseline:
        return _guarded(trial, recipe, ground, baseline=True)
    trained = ground.bench.work / str(candidate_number(row.number, place))
    if tried and trained.is_dir():  # the time it took lies in the folder, too
        shutil.rmtree(ground.bench.work / str(row.number), ignore_errors=True)
        trained.rename(ground.bench.work / str(row.number))
    return _guarded(trial, recipe, ground)


def _guarded(trial: Trial, recipe: Recipe, ground: Ground, baseline: bool = False) -> TrialResult:
    """Run a trial; a model that cannot be had, or rows that do not fit, are a result of this row, not of the study."""
    started = time.perf_counter()
    try:
        return (ask_baseline if baseline else run_trial)(trial, recipe, ground.dataset, ground.bench)
    except (Interrupted, Away):
        raise
    except NightshiftError as error:
        return _without_figures(trial, recipe, ground, str(error), time.perf_counter() - started)


def _failed(row: Row, ground: Ground, why: str) -> TrialResult:
    trial = ground.trial(row.number, row, 0, row.spec.label or row.spec.name, stage=1)
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


def ask_baseline(trial: Trial, recipe: Recipe, dataset: Ref, bench: Bench) -> TrialResult:
    """The base model as it was published, asked the study's test questions."""
    work: Path = bench.work / str(trial.number)
    work.mkdir(parents=True, exist_ok=True)
    run = tracking.child_run(bench.run, "trial", trial.name, str(trial.number)) if bench.run else None
    with tracking.ended_by_errors(run, Interrupted), Elapsed(work) as elapsed:
        model = resolve_model(recipe.model, bench.settings.models_path)
        rows = draw_rows(trial, recipe, dataset, bench)
        candidate = Candidate("base", trial.name, model, None, "", recipe.prompt)
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
