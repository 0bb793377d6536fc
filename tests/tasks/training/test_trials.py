"""Recorded trials: once each, and none that started from another's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.errors import Busy
from infra.store import LocalStore
from tasks.data.prompts import PromptSpec
from tasks.training.spec import TrainingSpec
from tasks.training.trials import TrialResult, claimed, read_trials, record_trial, start_fingerprint


def result(number: int, **more: Any) -> TrialResult:
    told = {
        "number": number,
        "name": f"trial {number}",
        "stage": 0,
        "values": {},
        "status": "finished",
        "objective": 1.0,
        "initial_loss": 2.0,
        "seconds": 1.0,
        "data_fingerprint": "d",
        "prompt_fingerprint": "p",
        "start_fingerprint": "same",
    }
    return TrialResult.model_validate(told | more)


def test_a_trial_is_recorded_once(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    first = record_trial(store, "s", result(10, objective=0.5))
    assert record_trial(store, "s", result(10, objective=0.7)) == first
    record_trial(store, "s", result(9))
    assert [(r.number, r.objective) for r in read_trials(store, "s")] == [(9, 1.0), (10, 0.5)]


def test_a_trial_that_goes_on_with_anothers_weights_fails(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    record_trial(store, "s", result(0))
    assert record_trial(store, "s", result(1, initial_loss=2.001)).status == "finished"
    assert record_trial(store, "s", result(2, initial_loss=0.3, start_fingerprint="other data")).status == "finished"
    trained = record_trial(store, "s", result(3, initial_loss=0.3))
    assert (trained.status, trained.objective) == ("failed", None)
    assert "0.3000, that of trial 0 2.0000" in trained.error
    assert "did not start fresh" in trained.error
    assert record_trial(store, "s", result(4)).status == "finished"  # it is not held against the one that failed


def test_a_trial_is_held_by_one(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with claimed(store, "s", 3), pytest.raises(Busy), claimed(store, "s", 3):
        pass
    with claimed(store, "s", 3), claimed(store, "s", 4):
        pass


def test_what_has_a_part_in_the_first_loss() -> None:
    base = {"stages": [{"name": "a", "learning_rate": 1e-3}]}

    def start(**changed: Any) -> str:
        stage = base["stages"][0] | changed.pop("stage", {})
        return start_fingerprint(
            "model", changed.pop("data", "d"), PromptSpec(), TrainingSpec(stages=[stage], **changed)
        )

    same = start()
    assert start(stage={"learning_rate": 1e-4, "optimizer": "nadam", "epochs": 3}) == same
    assert start(lora={"r": 4, "alpha": 64, "dropout": 0.1}) == same
    assert same not in {start(seed=7), start(data="e"), start(stage={"global_batch": 32}), start(tune="full")}
