"""The memory estimate: what it is made of, and that what does not fit is refused before it starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import NightshiftError, UserError
from tasks.training.memory import Shape, check_room, estimate_memory
from tasks.training.preflight import check_gradients
from tasks.training.spec import TrainingSpec

# Qwen3-0.6B in bfloat16 with 10 million adapter weights.
SHAPE = Shape(weight_bytes=1_192_099_840, trained=10_092_544, layers=28, width=1024, vocabulary=151_936)


def estimate(shape: Shape = SHAPE, stage: dict | None = None, **training: object) -> int:
    settings = {"share_prefix": 1, "per_device_batch": 4} | training
    spec = TrainingSpec.model_validate(settings | {"stages": [{"name": "a", "global_batch": 64} | (stage or {})]})
    return estimate_memory(shape, spec.stages[0], spec, longest=256, taught=40)


def test_an_estimate_is_the_sum_of_its_parts() -> None:
    activations = 34 * 1024 * 256 * 4 * 28
    scores = 2 * 4 * 151_936 * 40 * 4
    assert estimate() == 1_192_099_840 + 12 * 10_092_544 + activations + scores


def test_what_saves_memory_lowers_the_estimate() -> None:
    assert estimate(gradient_checkpointing=True) < estimate()
    assert estimate(per_device_batch=2) < estimate()
    assert estimate(stage={"optimizer": "adamw_8bit"}) == estimate() - 6 * SHAPE.trained
    assert estimate(replace(SHAPE, heads=16)) > estimate()
    # Full fine-tuning: every weight has a gradient and the optimiser's two averages.
    assert estimate(replace(SHAPE, trained=596_049_920)) - estimate() == 12 * (596_049_920 - SHAPE.trained)


def test_several_processes_hold_buckets_of_gradients_or_their_share_of_all() -> None:
    whole = replace(SHAPE, trained=596_049_920, weight_bytes=4 * 596_049_920)
    alone, together = estimate(whole), estimate(whole, processes=4)
    divided = estimate(whole, processes=4, sharding="fsdp")
    assert together - alone == 4 * whole.trained
    embeddings, layers = 2 * 4 * 151_936 * 1024, 2 * whole.weight_bytes // 28
    assert alone - divided == 16 * whole.trained - 16 * whole.trained // 4 - embeddings - layers


def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    check_room("a", 10, 20, SHAPE, tmp_path)
    with pytest.raises(
        UserError, match=r"stage a needs about 30\.0 GB of memory in its smallest batches and there are 16\.0 GB; lower"
    ) as told:
        check_room("a", 30 * 10**9, 16 * 10**9, SHAPE, tmp_path)
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="of disk for checkpoints"):
        check_room("a", 10, 20, replace(SHAPE, trained=10**15), tmp_path)


def test_weights_that_no_gradient_reaches_are_found() -> None:
    import torch

    model = torch.nn.Linear(2, 1)
    with pytest.raises(NightshiftError, match="no gradient reaches"):
        check_gradients(model)
    (model(torch.ones(1, 2)) * 0).sum().backward()
    with pytest.raises(NightshiftError, match="no gradient reaches"):
        check_gradients(model)
    model(torch.ones(1, 2)).sum().backward()
    check_gradients(model)
