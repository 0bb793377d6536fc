"""One estimate of memory: the planner's, from config.json alone, is the trainer's, which sees the loaded model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.models.loading import load_base
from tasks.models.precision import Precision
from tasks.models.shape import nearest_shape, shape_of
from tasks.models.tiny import TINY, write_tiny_model
from tasks.training.parts import add_adapter
from tasks.training.spec import TrainingSpec
from tasks.training.stage_memory import loaded_memory, training_memory

BF16 = Precision("bfloat16", "bfloat16")
ROW = {"input_ids": [5] * 256, "completion_mask": [0] * 216 + [1] * 40}


def spec(**training: Any) -> TrainingSpec:
    stage = {"name": "a", "global_batch": 16} | training.pop("stage", {})
    settings = {"share_prefix": 1, "per_device_batch": 4, "max_length": 256, "stages": [stage]}
    return TrainingSpec.model_validate(settings | training)


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"tune": "full"},
        {"gradient_checkpointing": True},
        {"stage": {"optimizer": "adamw_8bit"}},
        {"lora": {"first_layer": 1}},
    ],
    ids=str,
)
def test_planner_and_trainer_compute_the_same(training: dict[str, Any], tiny_model: Path) -> None:
    wanted = spec(**training)
    full = wanted.tune == "full"
    precision = Precision("float32", "bfloat16") if full else BF16
    base = load_base(tiny_model, precision)
    model = base if full else add_adapter(base, wanted.lora)
    config = json.loads((tiny_model / "config.json").read_text())
    planned = training_memory(wanted, shape_of(config), precision, answer_tokens=40)
    found = loaded_memory(wanted, wanted.stages[0], model, precision, [ROW, ROW])
    assert found == planned


def test_shorter_rows_and_smaller_batches_need_less(tiny_model: Path) -> None:
    model = add_adapter(load_base(tiny_model, BF16), spec().lora)

    def total(wanted: TrainingSpec, length: int = 256) -> int:
        row = {"input_ids": [5] * length, "completion_mask": [0] * (length - 40) + [1] * 40}
        return loaded_memory(wanted, wanted.stages[0], model, BF16, [row]).total

    assert total(spec(), 128) < total(spec())
    assert total(spec(per_device_batch=2)) < total(spec())
    assert total(spec(share_prefix=4)) < total(spec(per_device_batch=4)) < 4 * total(spec(share_prefix=4))


def test_every_family_has_a_shape_when_it_is_loaded(tmp_path: Path) -> None:
    from transformers import AutoConfig

    for name in TINY:
        write_tiny_model(tmp_path / name, name)
        shape = nearest_shape(AutoConfig.from_pretrained(tmp_path / name))
        assert (shape.hidden, shape.intermediate, shape.heads, shape.head_dim) == (64, 128, 4, 16)
        assert shape.layers == (4 if name == "t5-tiny" else 2)
