"""Two trainer processes (gloo) train what one trains: the same losses, one adapter; a killed night leaves nobody."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.errors import NightshiftError
from tasks.models.process import ModelProcess
from tasks.training.curriculum import JOB
from tasks.training.job import ADAPTER, PROGRESS, TrainingJob, read_result
from tests.tasks.training.test_stages import difference, plan, spec

pytestmark = pytest.mark.night


def train(job: TrainingJob, work: Path, processes: int, module: str = "tasks.training.session") -> None:
    process = ModelProcess(module, work / JOB, processes)
    try:
        process.wait()
    finally:
        process.stop()


def test_two_processes_train_what_one_trains(tiny_model: Path, tmp_path: Path) -> None:
    places = {count: tmp_path / str(count) for count in (1, 2)}
    jobs = {
        count: plan(tiny_model, place, spec(processes=count, share_prefix=1, per_device_batch=2))
        for count, place in places.items()
    }
    for count, place in places.items():
        train(jobs[count], place, count)
    for one, two in zip(jobs[1].stages, jobs[2].stages, strict=True):
        alone, together = read_result(places[1] / one.folder), read_result(places[2] / two.folder)
        assert alone is not None
        assert together is not None
        assert together.steps == alone.steps
        assert together.metrics["batch"] == alone.metrics["batch"] == 2
        assert [loss for _, loss in together.curve] == pytest.approx([loss for _, loss in alone.curve], abs=2e-3)
        assert difference(places[1] / one.folder, places[2] / two.folder) < 1e-3
        assert together.tokens == alone.tokens


def test_another_number_of_processes_than_the_recipe_says_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    job = plan(tiny_model, tmp_path, spec(processes=2, share_prefix=1))
    with pytest.raises(NightshiftError, match=r"started as 1 trainer processes, but training.processes is 2"):
        train(job, tmp_path, 1)
    assert not list(tmp_path.glob(f"*/{ADAPTER}"))


def test_processes_end_with_whoever_waits_for_them(tiny_model: Path, tmp_path: Path) -> None:
    job = plan(tiny_model, tmp_path, spec(processes=2, share_prefix=1))
    night = "import sys; from tests.night.test_processes import wait_for; wait_for(sys.argv[1])"
    waiting = psutil.Popen([sys.executable, "-c", night, str(tmp_path / JOB)])
    first, deadline = tmp_path / job.stages[0].folder / PROGRESS, time.monotonic() + 120
    while not first.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    family = waiting.children(recursive=True)
    waiting.kill()
    _, alive = psutil.wait_procs([waiting, *family], timeout=60)
    assert first.is_file()
    assert len(family) >= 3  # the launcher and two trainers
    assert alive == []


def wait_for(job: str) -> None:
    """What a night does while its trainers work."""
    ModelProcess("tasks.training.session", Path(job), 2).wait()
