"""Batches that fit: smaller ones where memory is short, the same course of training."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.errors import UserError
from tasks.training import fitting
from tasks.training.footprint import Memory
from tasks.training.job import StageResult, read_result
from tasks.training.memory import is_out_of_memory
from tasks.training.methods.sft import Sft
from tasks.training.session import run_session
from tasks.training.spec import TrainingSpec
from tasks.training.stage_memory import loaded_memory
from tests.tasks.training.test_stages import difference, plan

STAGES = [{"name": "s", "data": {"max_samples": 16}, "global_batch": 8}]


def spec(**changes: Any) -> TrainingSpec:
    shared = {"lora": {"r": 2, "alpha": 4}, "per_device_batch": 8, "save_steps": 1, "share_prefix": 1, "stages": STAGES}
    return TrainingSpec.model_validate(shared | changes)


def trained(model: Path, work: Path, **changes: Any) -> tuple[StageResult, Path]:
    job = plan(model, work, spec(**changes))
    run_session(job, work)
    found = read_result(work / job.stages[0].folder)
    assert found is not None
    return found, work / job.stages[0].folder


def test_the_next_smaller_batch_divides_the_global_one() -> None:
    found, sizes = spec(stages=[STAGES[0] | {"global_batch": 12}], per_device_batch=12), []
    while found is not None:
        sizes.append(found.sequences_at_once(found.stages[0]))
        found = found.smaller(found.stages[0])
    assert sizes == [12, 6, 4, 3, 2, 1]
    shared = spec(share_prefix=4).smaller(spec().stages[0])
    assert shared is not None
    assert (shared.per_device_batch, shared.sequences_at_once(spec().stages[0])) == (4, 1)


def test_short_memory_means_smaller_batches_and_the_same_losses(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, before = trained(tiny_model, tmp_path / "whole")
    estimates: list[Memory] = []

    def noted(*given: Any) -> Memory:
        estimates.append(loaded_memory(*given))
        return estimates[-1]

    monkeypatch.setattr(fitting, "loaded_memory", noted)
    monkeypatch.setattr(fitting, "device_memory", lambda _: int(whole.memory_estimate_mb * 2**20 * 0.6))
    fitted, after = trained(tiny_model, tmp_path / "fitted")
    assert (whole.metrics["batch"], fitted.metrics["batch"]) == (8, 4)
    assert fitted.steps == whole.steps
    assert len(estimates) == 2
    assert [loss for _, loss in fitted.curve] == pytest.approx([loss for _, loss in whole.curve], abs=2e-3)
    assert difference(before, after) < 2e-3
    monkeypatch.setattr(fitting, "device_memory", lambda _: 1000)
    with pytest.raises(UserError, match="in its smallest batches"):
        trained(tiny_model, tmp_path / "none")


def test_memory_that_runs_out_starts_the_stage_again_in_smaller_batches(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, before = trained(tiny_model, tmp_path / "whole")
    train, start, tried, models, held = Sft.train, Sft.start, [], [], []

    def watched(self: Sft, *given: Any) -> Any:
        held.append(sum(model() is not None for model in models))
        return start(self, *given)

    def starved(self: Sft, run: Any) -> Any:
        tried.append(run.engine.training.sequences_at_once(run.stage.spec))
        if tried[-1] > 2:
            models.append(weakref.ref(run.model))
            run.model.__dict__["trainer"] = run  # as trainers do: only the collector ends such a circle
            for tensor in run.model.parameters():
                tensor.data.zero_()  # a step that was half taken
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train(self, run)

    monkeypatch.setattr(Sft, "train", starved)
    monkeypatch.setattr(Sft, "start", watched)
    found, after = trained(tiny_model, tmp_path / "starved")
    assert tried == [8, 4, 2]
    assert held == [0, 0, 0]  # no model of before is in memory when the next one is loaded
    assert found.metrics["batch"] == 2
    assert [loss for _, loss in found.curve] == pytest.approx([loss for _, loss in whole.curve], abs=2e-3)
    assert difference(before, after) < 2e-3
    monkeypatch.setattr(Sft, "train", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(UserError, match="memory ran out with a single sequence a batch"):
        trained(tiny_model, tmp_path / "never")


def test_other_errors_of_the_trainer_are_told_as_they_are(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sft, "train", lambda *_: (_ for _ in ()).throw(RuntimeError("expected scalar type")))
    with pytest.raises(RuntimeError, match="expected scalar type"):
        trained(tiny_model, tmp_path)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("expected scalar type Float but found Half"), False),
    ],
)
def test_errors_that_say_memory_ran_out(error: RuntimeError, wanted: bool) -> None:
    assert is_out_of_memory(error) is wanted
