"""One trial: what it measures, that it starts fresh, and that failing is a result."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from flows.trial import draw_rows, forget_work, run_trial
from infra import tracking
from tasks.models.process import Interrupted
from tasks.training.trials import Trial, read_trials, record_trial
from tests.flows.trials import bench_in, dataset_of, tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.mark.night
def test_a_trial_measures_what_tables_show(models: Path, tmp_path: Path) -> None:
    recipe = tiny("training.share_prefix=1")
    bench = bench_in(tmp_path, models, questions=3, objective="execution_accuracy")
    dataset = dataset_of(recipe, bench.store, tmp_path / "dataset")
    trial = Trial(number=0, name="trial 0", train=40, validation=8)
    result = run_trial(trial, recipe, dataset, bench)
    assert (result.status, result.error) == ("finished", None)
    assert (result.train_rows, result.validation_rows, result.steps) == (40, 8, 4)
    assert [step for step, _ in result.curve] == [1, 2, 3, 4]
    assert (result.initial_loss, result.final_loss) == (result.curve[0][1], result.curve[-1][1])
    assert result.execution_accuracy is not None
    assert (result.objective, result.execution_accuracy.n) == (result.execution_accuracy.value, 3)
    assert result.low <= result.objective <= result.high
    assert bench.store.exists(result.predictions_key)
    assert bench.store.exists(result.scorecard_key)
    assert result.eval_loss > 0
    assert 0 < result.trainable < result.total_parameters
    # Where each question is a sequence of its own, a step of 8 rows has eight rows' tokens.
    assert result.tokens / (4 * 8) == pytest.approx(result.tokens_per_second / result.samples_per_second, rel=0.02)
    assert record_trial(bench.store, "s", result) == result == read_trials(bench.store, "s")[0]
    forget_work(0, bench)
    assert not (bench.work / "0").exists()


@pytest.mark.night
def test_a_trial_that_was_stopped_goes_on_with_its_time_and_its_run(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_settings", None)
    tracking.configure(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts")
    recipe, looks, halfway = tiny("training.save_steps=1"), [], []
    parent = tracking.search_run("tiny", "k", "sweep k")

    def stop_after_a_step() -> None:
        looks.append(time.perf_counter())
        if list(bench.work.glob("0/*/checkpoint-*")):
            halfway.append(looks[-1] - looks[0])
            raise Interrupted("the search was stopped")

    bench = bench_in(tmp_path, models, questions=0, run=parent, check=stop_after_a_step)
    dataset = dataset_of(recipe, bench.store, tmp_path / "dataset")
    trial = Trial(number=0, name="trial 0", train=40, validation=8)
    with pytest.raises(Interrupted):
        run_trial(trial, recipe, dataset, bench)
    (run,) = tracking.client().search_runs(["1"], "tags.`nightshift.kind` = 'trial'")
    assert run.info.status == "KILLED"
    started = time.perf_counter()
    result = run_trial(trial, recipe, dataset, replace(bench, check=lambda: None))
    assert result.seconds > time.perf_counter() - started + halfway[0] - 1
    assert (result.steps, result.run_id) == (4, run.info.run_id)
    assert tracking.client().get_run(result.run_id).info.status == "FINISHED"


def test_what_a_trial_is_asked_is_no_part_of_its_data(models: Path, tmp_path: Path) -> None:
    recipe = tiny()
    benches = [bench_in(tmp_path, models, questions=q, split=s) for q, s in ((0, "validation"), (3, "test"))]
    dataset = dataset_of(recipe, benches[0].store, tmp_path / "dataset")
    trial = Trial(number=0, name="trial 0", train=10)
    drawn = [draw_rows(trial, recipe, dataset, bench) for bench in benches]
    assert [len(rows.asked) for rows in drawn] == [0, 3]
    assert len({rows.fingerprint for rows in drawn}) == 1
    assert (
        draw_rows(Trial(number=0, name="", train=11), recipe, dataset, benches[0]).fingerprint != drawn[0].fingerprint
    )


def test_smaller_samples_are_part_of_larger_ones(models: Path, tmp_path: Path) -> None:
    recipe, bench = tiny(), bench_in(tmp_path, models)
    dataset = dataset_of(recipe, bench.store, tmp_path / "dataset")
    drawn = [
        {split: {e.id for e in getattr(rows, split)} for split in ("train", "validation")}
        for count in (10, 25, None)
        for rows in [draw_rows(Trial(number=0, name="", train=count, validation=count), recipe, dataset, bench)]
    ]
    for small, large in pairwise(drawn):
        assert small["train"] < large["train"]
        assert small["validation"] < large["validation"]
    assert [len(rows["train"]) for rows in drawn[:2]] == [10, 25]
