"""Starting the generation process and following it: for the night's task and for the command line alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from infra.progress import emit
from tasks.models.job import PROGRESS, GenerationJob
from tasks.models.process import ModelProcess, read_progress

JOB = "generation.json"


def run_generation(job: GenerationJob, work: Path, tick: Callable[[], None] = lambda: None) -> None:
    """Let every subject of `job` answer; predictions files appear below `work`, finished ones are not made again.

    `tick` is called now and then while the process runs. Raises NightshiftError in the process's own words.
    """
    if all((work / subject.output).is_file() for subject in job.subjects):
        return
    (work / JOB).write_text(job.model_dump_json(indent=1))
    (work / PROGRESS).unlink(missing_ok=True)

    def show() -> None:
        now = read_progress(work / PROGRESS)
        if now:
            emit(f"answer: {now['role']}", f"{now['done']} of {now['total']} questions", now["done"], now["total"])
        else:
            emit("answer: model", "loading the model")
        tick()

    process = ModelProcess("tasks.models.session", work / JOB)
    try:
        process.wait(tick=show)
    finally:
        process.stop()
    for subject in job.subjects:
        emit(f"answer: {subject.role}", "done", 1, 1)
