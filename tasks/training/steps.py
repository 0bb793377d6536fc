"""Prefect tasks of training: each stage is followed by its marker and progress while the trainer process works."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from infra.errors import first_line
from infra.progress import emit
from infra.store import Store
from tasks.models.process import ModelProcess
from tasks.training.curriculum import keep_stage
from tasks.training.following import wait_for_stage
from tasks.training.job import StageJob, read_result
from tasks.training.uploads import forget_uploads, uploading

ARTIFACT_SECONDS = 10.0  # each showing costs this process and the server work that the training waits for

log = logging.getLogger(__name__)


class StageProgress:
    """A stage's progress in the Prefect UI. It is news: a server that is away or late never costs a training."""

    def __init__(self, title: str, key: str) -> None:
        self.title, self.key = title, key
        self.artifact: UUID | None = None

    def show(self, percent: float) -> None:
        """Create or update the artifact; what the server did not take is logged and shown by the next call."""
        try:
            if self.artifact is None:
                self.artifact = create_progress_artifact(percent, key=self.key, description=self.title)
            else:
                update_progress_artifact(self.artifact, percent)
        except httpx.HTTPError as error:
            log.warning("progress of %s is not shown: %s", self.title, first_line(error))


@task(task_run_name="stage {title}", cache_policy=NO_CACHE)
def follow_stage(
    title: str,
    stage: StageJob,
    process: ModelProcess | None,
    work: Path,
    store: Store,
    check: Callable[[], None] = lambda: None,
    upload_every: int | None = None,
) -> dict[str, Any]:
    """Wait until the trainer has finished `stage`, showing its progress; then keep the adapter in the store.

    `process` is None when every stage was finished before; `check` runs at every sign of progress and ends the stage
    by raising; every `upload_every` seconds the newest checkpoint is uploaded. Returns the stage's result.
    """
    activity = f"train: {stage.spec.name}"
    if process is not None and read_result(work / stage.folder) is None:
        page = StageProgress(title, f"stage-{stage.spec.name}".replace("_", "-"))
        page.show(0.0)
        shown = 0.0

        def show(percent: float) -> None:
            nonlocal shown
            check()
            if time.monotonic() - shown > ARTIFACT_SECONDS:
                page.show(percent)
                shown = time.monotonic()

        with uploading(stage, store, work, upload_every):
            wait_for_stage(stage, process, work, activity, percent=show)
        page.show(100.0)
    result = keep_stage(stage, store, work)
    if upload_every is not None:
        forget_uploads(stage, store)
    emit(activity, f"loss {result.curve[-1][1]:.3f}", result.steps, result.steps)
    return result.model_dump(mode="json")
