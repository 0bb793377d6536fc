"""Prefect tasks of models: making one available, and letting several answer the same questions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.errors import UserError
from infra.progress import emit
from tasks.models.job import GenerationJob
from tasks.models.resolve import LocalModel, resolve_model
from tasks.models.running import run_generation


def _may_recover(_task: Any, _run: Any, state: Any) -> bool:
    """A download may succeed later; a wrong reference never does."""
    return not isinstance(state.result(raise_on_failure=False), UserError)


@task(
    task_run_name="model {reference}",
    retries=2,
    retry_delay_seconds=10,
    retry_condition_fn=_may_recover,
    cache_policy=NO_CACHE,
)
def fetch_model(reference: str, cache: Path) -> LocalModel:
    """Make the base model available on this machine."""
    return resolve_model(reference, cache, say=lambda text: emit("model", text))


@task(task_run_name="generate", cache_policy=NO_CACHE)
def generate_predictions(job: GenerationJob, work: Path, tick: Callable[[], None]) -> None:
    """Let every subject of `job` answer; predictions files appear below `work`, finished ones are not made again."""
    run_generation(job, work, tick)
