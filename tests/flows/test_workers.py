"""Workers share trials: each is run once, and what stops one stops all."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.workers import work_through
from infra.store import LocalStore
from tasks.models.process import Interrupted
from tasks.training.search.stages import course
from tasks.training.trials import Trial, TrialResult, read_trials
from tests.tasks.training.planted import FULL, Surface, result_of, spec_of

SPEC = spec_of(stages=[{"train": 100, "trials": 8, "keep": 2}, {"trials": 4}], sampler="random")


class Killed(BaseException):
    """The process is gone."""


def search(
    store: LocalStore, run: Callable[[Trial, Callable[[], None]], TrialResult], workers: int, key: str = "s"
) -> None:
    while trials := course(SPEC, read_trials(store, key), FULL).trials:
        work_through(store, key, trials, workers, run, poll=0.01)


def tried(store: LocalStore, key: str = "s") -> list[tuple[int, str]]:
    return [(result.number, str(result.values)) for result in read_trials(store, key)]


def test_two_workers_in_each_of_two_processes_run_no_trial_twice(tmp_path: Path) -> None:
    surface, store, ran = Surface(1), LocalStore(tmp_path), []
    lock, second = threading.Lock(), threading.Event()

    def run(trial: Trial, check: Callable[[], None]) -> TrialResult:
        with lock:
            ran.append(trial.number)
        if trial.number == 1:
            second.set()
        assert second.wait(120), "trial 1 waits for trial 0"  # which ends only once both run
        return result_of(trial, surface.loss(trial.values, trial.train or FULL))

    shells = [threading.Thread(target=search, args=(store, run, 2)) for _ in range(2)]
    for shell in shells:
        shell.start()
    for shell in shells:
        shell.join()
    assert sorted(ran) == list(range(12))
    alone = LocalStore(tmp_path / "alone")
    search(alone, run, 1)
    assert tried(store) == tried(alone)


def test_a_search_killed_three_times_tries_what_an_undisturbed_one_tries(tmp_path: Path) -> None:
    surface, chance, lives = Surface(2), random.Random(4), []
    left = [0]

    def run(trial: Trial, check: Callable[[], None]) -> TrialResult:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        lives.append(trial.number)
        return result_of(trial, surface.loss(trial.values, trial.train or FULL))

    store = LocalStore(tmp_path / "killed")
    for _ in range(3):
        left[0] = chance.randint(1, 3)
        with pytest.raises(Killed):
            search(store, run, 1)
    left[0] = 10**6
    search(store, run, 1)
    undisturbed = LocalStore(tmp_path / "undisturbed")
    search(undisturbed, run, 1)
    assert lives[:12] == list(range(12))  # what was recorded is not run again
    assert tried(store) == tried(undisturbed)


def test_an_error_of_one_worker_ends_the_others_in_the_middle(tmp_path: Path) -> None:
    begun, ended = threading.Event(), []

    def run(trial: Trial, check: Callable[[], None]) -> TrialResult:
        if trial.number == 0:
            begun.wait(5)
            raise OSError("the disk is full")
        begun.set()
        try:
            while True:
                check()
                time.sleep(0.01)
        except Interrupted:
            ended.append(trial.number)
            raise

    store = LocalStore(tmp_path)
    with pytest.raises(OSError, match="disk is full"):
        search(store, run, 2)
    assert ended == [1]
    assert tried(store) == []  # neither is a result
