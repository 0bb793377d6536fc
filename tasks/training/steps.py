"""Prefect tasks of training: each stage is followed by its marker and progress while the trainer process works."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from infra.progress import emit
from infra.store import Store
from tasks.models.process import ModelProcess, read_progress
from tasks.training.curriculum import keep_stage
from tasks.training.job import PROGRESS, StageJob, read_result

ARTIFACT_SECONDS = 3.0


@task(task_run_name="stage {title}", cache_policy=NO_CACHE)
def follow_stage(title: str, stage: StageJob, process: ModelProcess | None, work: Path, store: Store) -> dict[str, Any]:
    """Wait until the trainer has finished `stage`, showing its progress; then keep the adapter in the store.

    `process` is None when every stage was finished before. Returns the stage's result.
    """
    folder, activity = work / stage.folder, f"train: {stage.spec.name}"
    if process is not None and read_result(folder) is None:
        artifact = create_progress_artifact(0.0, key=f"stage-{stage.spec.name}".replace("_", "-"), description=title)
        shown = 0.0

        def show() -> None:
            nonlocal shown
            now = read_progress(folder / PROGRESS)
            if not now:
                emit(activity, "loading the model")
                return
            emit(activity, f"loss {now['loss']:.3f}", now["step"], now["steps"])
            if time.monotonic() - shown > ARTIFACT_SECONDS:
                update_progress_artifact(artifact, round(100 * now["step"] / now["steps"], 1))
                shown = time.monotonic()

        process.wait(until=lambda: read_result(folder) is not None, tick=show)
        update_progress_artifact(artifact, 100.0)
    result = keep_stage(stage, store, work)
    emit(activity, f"loss {result.curve[-1][1]:.3f}", result.steps, result.steps)
    return result.model_dump(mode="json")
