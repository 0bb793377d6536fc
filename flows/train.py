"""train: stage 1 (easy) -> stage 2 (medium) -> stage 3 (hard) -> adapter.

Runs on a GPU pool, or here. Each stage is a Prefect task; the trainer is one process for all of them. Ends with
`nights/<id>/train.json`: the adapter's reference and what every stage reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.budget import Budget
from flows.night import Night, open_night
from flows.runtime import fetch_dataset, flow_name, locally, night_run
from flows.start import fetch_start
from infra import tracking
from infra.hashing import fingerprint_of_folder
from infra.progress import emit
from infra.refs import Ref
from tasks.data.attached import fetch_databases, without_databases
from tasks.data.dataset import read_examples
from tasks.evaluation.perplexity import perplexity
from tasks.models.process import ModelProcess
from tasks.models.resolve import LocalModel
from tasks.models.steps import fetch_model
from tasks.training.curriculum import JOB, plan_curriculum, restore_stages, stage_key
from tasks.training.job import ADAPTER, TrainingJob
from tasks.training.steps import follow_stage


@flow(name="train", flow_run_name=flow_name("train"), validate_parameters=False)
def train(night: str) -> None:
    """Train the night's curriculum, reusing finished stages and resuming a broken one."""
    now = open_night(night)
    if now.outcome("train") is not None:
        emit("train", "reused", 1, 1)
        return
    started = time.perf_counter()
    with locally(now), Budget(now, "train") as budget:
        model = fetch_model(now.recipe.model, now.settings.models_path)
        work = now.work / "train"
        job = plan(now, model, work)
        now.finish("stages", {"stages": [stage.fingerprint for stage in job.stages]})  # for `clean`, if it breaks off
        finished = restore_stages(job, now.store, work)
        stages = run_stages(now, job, finished, work, budget.check)
        last = [stage for stage in job.stages if stage.spec.yields == "policy"][-1]
        adapter = Ref(
            kind="adapter",
            fingerprint=fingerprint_of_folder(work / last.folder / ADAPTER),
            key=stage_key(last.fingerprint),
        )
    now.finish(
        "train", {"adapter": adapter.model_dump(), "stages": stages, "seconds": round(time.perf_counter() - started, 2)}
    )


def plan(night: Night, model: LocalModel, work: Path) -> TrainingJob:
    """The trainer's job for this night's dataset; databases that its rows run on are fetched."""
    _, dataset = fetch_dataset(night)
    train, validation = (read_examples(dataset / f"{split}.jsonl") for split in ("train", "validation"))
    if night.recipe.training.runs_queries:
        folder = night.work / "databases"
        train, validation = (fetch_databases(night.store, rows, folder) for rows in (train, validation))
    else:
        train, validation = without_databases(train), without_databases(validation)
    return plan_curriculum(
        night.recipe.training,
        night.recipe.prompt,
        model.path,
        model.fingerprint,
        night.code,
        train,
        validation,
        work,
        fetch_start(night.recipe, night.work),
    )


def run_stages(
    night: Night, job: TrainingJob, finished: set[str], work: Path, check: Callable[[], None]
) -> list[dict[str, Any]]:
    """Start the trainer if a stage is missing, follow every stage, record each in MLflow as it ends.

    `check` is called while a stage trains and ends the training by raising.
    """
    missing = len(finished) < len(job.stages)
    process = ModelProcess("tasks.training.session", work / JOB, job.training.processes) if missing else None
    results = []
    try:
        for number, stage in enumerate(job.stages, start=1):
            reused = stage.spec.name in finished
            title = f"{number} {stage.spec.name}{' (reused)' if reused else ''}"
            every = job.training.upload_every
            result = follow_stage(title, stage, process, work, night.store, check, every) | {"reused": reused}
            record_stage(night, number, result)
            results.append(result)
        if process is not None:
            process.wait()
    finally:
        if process is not None:
            process.stop()
    shown = ("name", "method", "rows", "steps", "seconds", "reused", "eval_loss")
    create_table_artifact(
        [
            {key: r[key] for key in shown} | {"first_loss": r["curve"][0][1], "last_loss": r["curve"][-1][1]}
            for r in results
        ],
        key="stages",
        description="the curriculum",
    )
    return results


@task(task_run_name="record stage {number}", retries=3, retry_delay_seconds=2, cache_policy=NO_CACHE)
def record_stage(night: Night, number: int, result: dict[str, Any]) -> None:
    """A stage's parameters and loss curve as a run below the night's."""
    stage = next(s for s in night.recipe.training.stages if s.name == result["name"])
    run = tracking.child_run(night_run(night), "stage", f"stage {number} {stage.name}", result["fingerprint"])
    shared = night.recipe.training.model_dump(mode="json", exclude={"stages"})
    tracking.log_params(
        run,
        shared | stage.model_dump(mode="json") | {"precision": result["precision"], "trainable": result["trainable"]},
    )
    tracking.log_curve(run, "loss", [(int(step), float(loss)) for step, loss in result["curve"]])
    measured = ("seconds", "steps", "rows", "tokens", "dropped", "tables_dropped", "peak_memory_mb")
    metrics = {key: float(result[key]) for key in measured}
    metrics |= {"memory_estimate_mb": float(result["memory_estimate_mb"])} | result["metrics"]
    if result["eval_loss"] is not None:
        metrics["eval_loss"] = float(result["eval_loss"])
    if (perplexed := perplexity(result["method"], result["eval_loss"])) is not None:
        metrics["eval_perplexity"] = perplexed
    tracking.log_metrics(run, metrics)
    tracking.finish(run, "FINISHED")
