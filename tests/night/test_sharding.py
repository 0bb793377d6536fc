"""A model divided among two trainer processes (FSDP2 over gloo) trains as one process does, and resumes as it would."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from infra.errors import NightshiftError
from tasks.models.process import child_main
from tasks.training import session, trainer
from tasks.training.checkpoints import last_checkpoint, mark_complete
from tasks.training.job import ADAPTER, TrainingJob, read_result
from tests.night.test_processes import train
from tests.tasks.training.test_stages import plan, spec

pytestmark = pytest.mark.night

# Losses and weights of one process and of two differ by the order in which their sums are rounded.
LOSS, WEIGHT = 2e-3, 1e-3
BREAKS_AT = 2


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


def assert_alike(one: Path, two: Path) -> None:
    alone, together = read_result(one), read_result(two)
    assert alone is not None
    assert together is not None
    assert (together.steps, together.tokens, together.trainable) == (alone.steps, alone.tokens, alone.trainable)
    assert [loss for _, loss in together.curve] == pytest.approx([loss for _, loss in alone.curve], abs=LOSS)
    # The validation loss is a mean over batches, which two processes cut otherwise.
    assert together.eval_loss == pytest.approx(alone.eval_loss, abs=0.02)
    here, there = written(one), written(two)
    assert here.keys() == there.keys()
    assert max(float((here[name].float() - there[name].float()).abs().max()) for name in here) < WEIGHT


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_a_divided_model_broken_off_ends_where_a_whole_one_does(tiny_model: Path, tmp_path: Path, tune: str) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    first, second = divided(tiny_model, whole, 1, tune), divided(tiny_model, parts, 2, tune)
    train(first, whole, 1)
    with pytest.raises(NightshiftError):
        train(second, parts, 2, "tests.night.test_sharding")
    easy, hard = (parts / stage.folder for stage in second.stages)
    assert read_result(easy) is not None
    assert read_result(hard) is None
    assert last_checkpoint(hard) == hard / f"checkpoint-{BREAKS_AT}"
    train(second, parts, 2)
    assert read_result(hard).resumed_from == BREAKS_AT
    for one, two in zip(first.stages, second.stages, strict=True):
        assert_alike(whole / one.folder, parts / two.folder)


def break_off(folder: Path, step: int) -> None:
    """Mark a checkpoint as whole, and in the second stage end all of a sudden."""
    mark_complete(folder, step)
    if folder.name.startswith("2-") and step == BREAKS_AT:
        os._exit(1)


if __name__ == "__main__":  # a trainer that breaks off
    trainer.mark_complete = break_off
    raise SystemExit(child_main(session.run, sys.argv))
