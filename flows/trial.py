"""One trial from beginning to end: its rows, a fresh model, the trainer, the judge, MLflow; and what came of it.

    rows of the dataset -> base model as it was published -> trainer process -> answers -> scorecard -> TrialResult

A trial trains what a night with its recipe would train, on as many rows as it is given, in processes of its own: no
weight of another trial is ever in memory. It goes on from its own checkpoints after it broke off. What fails in the
training (no memory, a loss that is not a number) is a result; what fails around it (the store, MLflow) is raised.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flows.answers import Candidate, answer, judge, load_scorecard
from flows.elapsed import Elapsed
from flows.recipe import Recipe
from flows.start import fetch_start
from infra import tracking
from infra.errors import Away, NightshiftError
from infra.hashing import fingerprint, fingerprint_of_folder
from infra.progress import emit
from infra.refs import Ref
from infra.settings import Settings
from infra.store import Store
from tasks.data.attached import fetch_databases, without_databases
from tasks.data.dataset import read_examples
from tasks.data.example import Example
from tasks.data.strata import stratified_sample
from tasks.evaluation.scorecard import Interval
from tasks.models.counting import count_parameters
from tasks.models.process import Interrupted, ModelProcess
from tasks.models.resolve import LocalModel, resolve_model
from tasks.training.curriculum import JOB, plan_curriculum
from tasks.training.following import wait_for_stage
from tasks.training.job import ADAPTER, ENDED, StageResult, TrainingJob, read_result
from tasks.training.rungs import Ended, loss_at
from tasks.training.trials import Trial, TrialResult, start_fingerprint

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Bench:
    """Where trials of one sweep or study are run, and against what.

    `questions` is how many rows of `split` the trained model answers (None: all of them, 0: none, which spares the
    generation); whoever chooses by the answers asks the validation rows, so that the test split stays unseen. `run` is
    the MLflow run above the trials', empty for none; `code` the version of the code, part of the stages' fingerprints;
    `check` is called now and then during a training and ends it by raising `Interrupted`.
    """

    settings: Settings
    store: Store
    work: Path
    code: str
    run: str = ""
    objective: Literal["eval_loss", "execution_accuracy"] = "eval_loss"
    questions: int | None = None
    split: Split = "validation"
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Rows:
    """The rows of one trial and their fingerprint."""

    train: list[Example]
    validation: list[Example]
    asked: list[Example]
    asked_fingerprint: str
    fingerprint: str


def run_trial(trial: Trial, recipe: Recipe, dataset: Ref, bench: Bench) -> TrialResult:
    """Run `trial` of the resolved `recipe` on the prepared `dataset`; see `Bench` for where and how it is compared."""
    work = bench.work / str(trial.number)
    work.mkdir(parents=True, exist_ok=True)
    with Elapsed(work) as elapsed:
        model = resolve_model(recipe.model, bench.settings.models_path, lambda text: emit("model", text))
        rows = draw_rows(trial, recipe, dataset, bench)
        run = _open_run(trial, recipe, bench)
        told: dict[str, Any] = {
            **trial.model_dump(include={"number", "name", "stage", "values"}),
            "data_fingerprint": rows.fingerprint,
            "prompt_fingerprint": fingerprint(recipe.prompt.model_dump(mode="json")),
            "train_rows": len(rows.train),
            "validation_rows": len(rows.validation),
            "start_fingerprint": start_fingerprint(model.fingerprint, rows.fingerprint, recipe.prompt, recipe.training),
            "run_id": run,
        }
        with tracking.ended_by_errors(run, Interrupted):
            told |= _tried(trial, recipe, model, rows, bench, work, elapsed)
            result = TrialResult(**told, seconds=elapsed.seconds, ended=round(time.time(), 2))
            _close_run(result)
    return result


def _tried(
    trial: Trial, recipe: Recipe, model: LocalModel, rows: Rows, bench: Bench, work: Path, elapsed: Elapsed
) -> dict[str, Any]:
    """What became of the training and of its answers: figures, or why there are none."""

    def check() -> None:
        elapsed.note()
        bench.check()

    told: dict[str, Any] = {}
    job = None
    try:
        job = plan_curriculum(
            recipe.training,
            recipe.prompt,
            model.path,
            model.fingerprint,
            bench.code,
            rows.train,
            rows.validation,
            work,
            fetch_start(recipe, work),
        )
        job = with_rungs(job, trial, work)
        stages = train_stages(trial, job, work, check)
        told |= measured(stages, job, model) | {"rungs": losses_at(trial, stages[-1].curve, stages[-1].steps)}
        if bench.questions != 0:
            told |= answered(trial, recipe, model, rows, job, bench, work)
        return told | _objective(bench, told) | {"status": "finished"}
    except (Interrupted, Away):
        raise
    except NightshiftError as error:
        ended = _ended(job, work)
        told |= {"status": "failed", "error": str(error), "objective": None}
        if ended is not None:
            told |= {"status": "pruned", "error": ended.why, "curve": ended.curve, "steps": ended.curve[-1][0]}
            told |= {"rungs": losses_at(trial, ended.curve, ended.steps)}
        return told


def forget_work(trial: int, bench: Bench) -> None:
    """Drop a recorded trial's checkpoints and adapters from this machine; its answers and figures are in the store."""
    shutil.rmtree(bench.work / str(trial), ignore_errors=True)


def draw_rows(trial: Trial, recipe: Recipe, dataset: Ref, bench: Bench) -> Rows:
    """The trial's rows. A sample of fewer rows is part of every larger one, with difficulties in their shares."""
    work = bench.work / str(trial.number)
    folder = bench.store.get_tree(dataset.key, work / f"dataset-{dataset.fingerprint}")

    def read(split: str, count: int | None) -> list[Example]:
        rows = read_examples(folder / f"{split}.jsonl")
        return stratified_sample(rows, count or len(rows), ("difficulty",), "trials")

    train, validation = read("train", trial.train), read("validation", trial.validation)
    asked: list[Example] = []
    if bench.questions != 0:
        pool = validation if bench.split == "validation" else read("test", None)
        asked = stratified_sample(pool, bench.questions or len(pool), ("difficulty",), "trials")
    mark = fingerprint([dataset.fingerprint, len(train), len(validation)])  # not of what it is asked afterwards
    names = fingerprint([example.to_row() for example in asked])  # before databases are named by where they lie here
    databases = work / "databases"
    if recipe.training.runs_queries:
        train, validation = (fetch_databases(bench.store, rows, databases) for rows in (train, validation))
    else:
        train, validation = without_databases(train), without_databases(validation)
    return Rows(train, validation, fetch_databases(bench.store, asked, databases), names, mark)


def with_rungs(job: TrainingJob, trial: Trial, work: Path) -> TrainingJob:
    """The job with the trial's looks at its last stage, as the trainer reads it."""
    job = job.model_copy(update={"rungs": trial.rungs})
    (work / JOB).write_text(job.model_dump_json(indent=1))
    return job


def losses_at(trial: Trial, curve: Sequence[tuple[int, float]], steps: int) -> list[tuple[float, float]]:
    """The trial's losses where it was looked at: (share of the last stage, loss)."""
    found = [(rung.share, loss_at(dict(curve), steps, rung.share)) for rung in trial.rungs]
    return [(share, loss) for share, loss in found if loss is not None]


def _ended(job: TrainingJob | None, work: Path) -> Ended | None:
    """What a training that fell behind left; None for any other."""
    if job is None:
        return None
    file = work / job.stages[-1].folder / ENDED
    return Ended.model_validate_json(file.read_text()) if file.is_file() else None


def train_stages(trial: Trial, job: TrainingJob, work: Path, check: Callable[[], None]) -> list[StageResult]:
    """Train every unfinished stage of `job` in one process and return what all of them reported."""
    folders = [work / stage.folder for stage in job.stages]
    if (ended := _ended(job, work)) is not None:
        raise NightshiftError(ended.why)
    if all(read_result(folder) is not None for folder in folders):
        return [result for folder in folders if (result := read_result(folder))]
    process = ModelProcess("tasks.training.session", work / JOB, job.training.processes)
    try:
        for stage in job.stages:
            wait_for_stage(stage, process, work, f"{trial.name}: {stage.spec.name}", check)
        process.wait()
    finally:
        process.stop()
    return [result for folder in folders if (result := read_result(folder))]


def measured(stages: Sequence[StageResult], job: TrainingJob, model: LocalModel) -> dict[str, Any]:
    """The figures of a finished training, all its stages together. Speeds are those of the last run of each stage."""
    curve: list[tuple[int, float]] = []
    for stage in stages:
        begun = curve[-1][0] if curve else 0
        curve += [(begun + step, loss) for step, loss in stage.curve]
    rows = seen = 0
    spent = timed_rows = timed_tokens = 0.0
    for stage, its in zip(stages, job.stages, strict=True):
        step = stage.metrics.get("rows_per_step", its.spec.global_batch)
        taken = stage.steps * step
        rows += taken
        seen += round(stage.tokens * taken / stage.rows)
        timed = (stage.steps - stage.resumed_from) * step
        if speed := stage.metrics.get("rows_per_second"):
            spent += timed / speed
            timed_rows += timed
            timed_tokens += stage.tokens * timed / stage.rows
    policy = [stage for stage, its in zip(stages, job.stages, strict=True) if its.spec.yields == "policy"][-1]
    base = count_parameters(model.path)
    losses = [loss for _, loss in curve]
    last = losses[-max(1, len(losses) // 10) :]
    return {
        "initial_loss": losses[0],
        "final_loss": sum(last) / len(last),
        "eval_loss": policy.eval_loss,
        "samples_per_second": round(timed_rows / spent, 3) if spent else None,
        "tokens_per_second": round(timed_tokens / spent, 1) if spent and timed_tokens else None,
        "tokens": seen or None,
        "trainable": policy.trainable,
        "total_parameters": base if job.training.tune == "full" else base + policy.trainable,
        "peak_memory_mb": max(stage.peak_memory_mb for stage in stages),
        "steps": sum(stage.steps for stage in stages),
        "curve": curve,
        "device": policy.device,
    }


def answered(
    trial: Trial, recipe: Recipe, model: LocalModel, rows: Rows, job: TrainingJob, bench: Bench, work: Path
) -> dict[str, Any]:
    """Let the trained model answer the trial's questions and judge what it says."""
    last = [stage for stage in job.stages if stage.spec.yields == "policy"][-1]
    adapter = work / last.folder / ADAPTER
    candidate = Candidate("challenger", trial.name, model, adapter, fingerprint_of_folder(adapter), recipe.prompt)
    spec, test = recipe.evaluation, rows.asked_fingerprint
    predictions = answer(bench.store, [candidate], rows.asked, test, spec, work)["challenger"]
    judged = judge(bench.store, candidate, predictions, rows.asked, test, spec, work)
    card = load_scorecard(bench.store, judged)
    accuracy = card.metrics["execution_accuracy"]
    return {"execution_accuracy": accuracy, "predictions_key": predictions.key, "scorecard_key": judged.key}


def _objective(bench: Bench, told: dict[str, Any]) -> dict[str, Any]:
    """The value that trials are compared by; raises NightshiftError for a trial that has none."""
    value = told.get(bench.objective)
    if value is None:
        why = "there are no validation rows" if bench.objective == "eval_loss" else "no question was answered"
        raise NightshiftError(f"the trial has no {bench.objective}: {why}")
    if isinstance(value, Interval):
        return {"objective": value.value, "low": value.low, "high": value.high}
    if value != value:
        raise NightshiftError(f"{bench.objective} became not a number")
    return {"objective": value}


def _open_run(trial: Trial, recipe: Recipe, bench: Bench) -> str | None:
    if not bench.run:
        return None
    run = tracking.child_run(bench.run, "trial", trial.name, str(trial.number), {"nightshift.stage": str(trial.stage)})
    values = {path.replace("*", "all"): value for path, value in trial.values.items()}  # MLflow's names have no star
    tracking.log_params(run, {"values": values, "train": trial.train, "validation": trial.validation})
    tracking.log_params(run, {"training": recipe.training.model_dump(mode="json")})
    return run


def _close_run(result: TrialResult) -> None:
    if result.run_id is None:
        return
    tracking.log_curve(result.run_id, "loss", result.curve)
    names = (
        *("objective", "initial_loss", "final_loss", "eval_loss", "samples_per_second", "tokens_per_second", "tokens"),
        *("trainable", "total_parameters", "peak_memory_mb", "seconds", "steps"),
    )
    metrics = {name: float(value) for name in names if (value := getattr(result, name)) is not None}
    if result.execution_accuracy is not None:
        metrics["execution_accuracy"] = result.execution_accuracy.value
    tracking.log_metrics(result.run_id, metrics)
    tracking.set_tags(result.run_id, {"nightshift.status": result.status, "nightshift.error": result.error or ""})
    tracking.finish(result.run_id, "FAILED" if result.status == "failed" else "FINISHED")
