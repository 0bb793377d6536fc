"""A model divided among two trainer processes (FSDP2 over gloo) trains as one process does, and resumes as it would."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from infra.errors import NightshiftError
from tasks.models.precision import Precision
from tasks.models.process import child_main
from tasks.training import session, trainer
from tasks.training.checkpoints import last_checkpoint, mark_complete
from tasks.training.job import ADAPTER, TrainingJob, read_result
from tests.night.test_processes import train
from tests.tasks.training.test_stages import plan, spec

pytestmark = pytest.mark.night

# Losses, and weights in the mean of a tensor, of one process and of two differ by the order in which their sums are
# rounded, and where products are in 16 bits by what they are rounded to.
BOUNDS = {"float32": (1e-4, 1e-6), "own": (2e-3, 1e-4)}
BREAKS_AT = 2
BREAKS, PRECISION = "TEST_TRAINER_BREAKS", "TEST_TRAINER_PRECISION"  # the environment of the trainer below


def divided(tiny_model: Path, work: Path, processes: int, tune: str) -> TrainingJob:
    stages = [stage.model_dump() for stage in spec().stages]
    stages[1]["evaluations"] = 2  # the best checkpoint is loaded at the end
    changes = {
        "processes": processes,
        "sharding": "fsdp" if processes > 1 else "none",
        "share_prefix": 1,
        "per_device_batch": 2,
        "tune": tune,
        "gradient_checkpointing": tune == "full",
        "stages": stages,
    }
    return plan(tiny_model, work, spec(**changes))


def written(folder: Path) -> dict:
    from safetensors.torch import load_file

    found = sorted((folder / ADAPTER).glob("*.safetensors"))
    assert len(found) == 1
    return load_file(found[0])


def assert_alike(one: Path, two: Path, loss: float, weight: float) -> None:
    alone, together = read_result(one), read_result(two)
    assert alone is not None
    assert together is not None
    assert (together.steps, together.tokens, together.trainable) == (alone.steps, alone.tokens, alone.trainable)
    assert [found for _, found in together.curve] == pytest.approx([found for _, found in alone.curve], abs=loss)
    # The validation loss is a mean over batches, which two processes cut otherwise.
    assert together.eval_loss == pytest.approx(alone.eval_loss, abs=0.02)
    here, there = written(one), written(two)
    assert here.keys() == there.keys()
    assert max(float((here[name] - there[name]).abs().mean()) for name in here) < weight


@pytest.mark.parametrize(("tune", "precision"), [("lora", "own"), ("full", "own"), ("full", "float32")])
def test_a_divided_model_broken_off_ends_where_a_whole_one_does(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tune: str, precision: str
) -> None:
    monkeypatch.setenv(PRECISION, precision)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    first, second = divided(tiny_model, whole, 1, tune), divided(tiny_model, parts, 2, tune)
    module = "tests.night.test_sharding"
    train(first, whole, 1, module)
    monkeypatch.setenv(BREAKS, "yes")
    with pytest.raises(NightshiftError):
        train(second, parts, 2, module)
    monkeypatch.delenv(BREAKS)
    easy, hard = (parts / stage.folder for stage in second.stages)
    assert read_result(easy) is not None
    assert read_result(hard) is None
    assert last_checkpoint(hard) == hard / f"checkpoint-{BREAKS_AT}"
    train(second, parts, 2, module)
    assert read_result(hard).resumed_from == BREAKS_AT
    for one, two in zip(first.stages, second.stages, strict=True):
        assert_alike(whole / one.folder, parts / two.folder, *BOUNDS[precision])


def break_off(folder: Path, step: int) -> None:
    """Mark a checkpoint as whole, and in the second stage end all of a sudden."""
    mark_complete(folder, step)
    if folder.name.startswith("2-") and step == BREAKS_AT:
        os._exit(1)


if __name__ == "__main__":  # a trainer that breaks off, or computes in float32 on every machine
    if BREAKS in os.environ:
        trainer.mark_complete = break_off
    if os.environ[PRECISION] == "float32":
        session.training_precision = lambda _: Precision("float32", None)
    raise SystemExit(child_main(session.run, sys.argv))
