"""Following the trainer process through one stage: what the night's task and a trial share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from infra.progress import emit
from tasks.models.process import ModelProcess, read_progress
from tasks.training.job import PROGRESS, StageJob, read_result


def wait_for_stage(
    stage: StageJob,
    process: ModelProcess,
    work: Path,
    activity: str,
    check: Callable[[], None] = lambda: None,
    percent: Callable[[float], None] = lambda _: None,
) -> None:
    """Return when the trainer has finished `stage` or ended; progress goes to `activity`, and percent to `percent`.

    `check` is called at every look and ends the wait by raising.
    Raises NightshiftError in the trainer's own words when it failed.
    """
    folder = work / stage.folder

    def show() -> None:
        check()
        now = read_progress(folder / PROGRESS)
        if not now:
            emit(activity, "loading the model")
            return
        emit(activity, f"loss {now['loss']:.3f}", now["step"], now["steps"])
        percent(round(100 * now["step"] / now["steps"], 1))

    process.wait(until=lambda: read_result(folder) is not None, tick=show)
