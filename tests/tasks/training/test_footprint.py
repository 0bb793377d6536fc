"""The memory rules against PyTorch's memory tracker: every term on two layers, whole models at their true size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.errors import UserError
from tasks.models.families import PRODUCTS
from tasks.models.precision import Precision
from tasks.models.shape import shape_of
from tasks.training.footprint import Step, step_memory
from tests.tasks.training.fake_step import fake_peak
from tests.tasks.training.sizes import LLAMA_3, MISTRAL_7, QWEN3_06, QWEN3_8, QWEN3_17, QWEN25_15

BF16 = Precision("bfloat16", "bfloat16")
FP16 = Precision("float16", "float16")


def variant(content: dict, precision: Precision, sequences: int, length: int, answers: int, **more: Any) -> tuple:
    return content, Step(shape_of(content), precision, sequences, length, answers, **more)


VARIANTS = {
    "Qwen3-0.6B LoRA": variant(QWEN3_06, BF16, 4, 640, 640),
    "Qwen3-0.6B full": variant(QWEN3_06, BF16, 2, 640, 320, tune="full"),
    "Qwen2.5-1.5B LoRA on a T4, upper half": variant(QWEN25_15, FP16, 4, 640, 640, first_layer=14),
    "Qwen3-1.7B full": variant(QWEN3_17, BF16, 2, 512, 320, tune="full"),
    "Llama-3.2-3B LoRA": variant(LLAMA_3, BF16, 2, 1024, 320),
    "Mistral-7B LoRA": variant(MISTRAL_7, BF16, 2, 640, 320),
    "Qwen3-8B LoRA r64": variant(QWEN3_8, BF16, 1, 1024, 160, rank=64),
}
PARAMETERS = {"Qwen3-0.6B LoRA": 0.596e9, "Qwen2.5-1.5B LoRA on a T4, upper half": 1.544e9, "Qwen3-8B LoRA r64": 8.19e9}


def shallow(content: dict, step: Step, layers: int, **more: Any) -> tuple[dict, Step]:
    """The same model with fewer layers, all widths kept."""
    content = content | {"num_hidden_layers": layers}
    return content, replace(step, **({"shape": shape_of(content), "first_layer": 0} | more))


def check(content: dict, step: Step, tolerance: float) -> None:
    measured, planned = fake_peak(content, step), step_memory(step).total
    assert planned == pytest.approx(measured, rel=tolerance), f"planned {planned:,}, measured {measured:,}"


@pytest.mark.parametrize(
    "more",
    [
        {"answers": 160},
        {"sequences": 8, "length": 320},
        {"rank": 256, "targets": ("q_proj", "v_proj")},
        {"checkpointing": True, "sequences": 8},
        {"precision": Precision("float32", None)},
        {"precision": Precision("bfloat16", "bfloat16", "eager")},
        {"precision": Precision("float32", None, "eager")},
        {"precision": Precision("bfloat16", "bfloat16", PRODUCTS), "sequences": 8},
        {"tune": "full"},
    ],
    ids=lambda more: ", ".join(more),
)
def test_each_term_is_right_with_two_layers(more: dict[str, Any]) -> None:
    check(*shallow(*VARIANTS["Qwen3-0.6B LoRA"], 2, **more), tolerance=0.1)


def test_untouched_lower_layers_keep_nothing() -> None:
    check(*shallow(*VARIANTS["Qwen2.5-1.5B LoRA on a T4, upper half"], 4, first_layer=3), tolerance=0.1)


@pytest.mark.night
@pytest.mark.parametrize("name", VARIANTS)
def test_planned_memory_is_the_trackers_at_true_size(name: str) -> None:
    check(*VARIANTS[name], tolerance=0.1)


def test_shapes_count_the_weights_that_publishers_state() -> None:
    for name, parameters in PARAMETERS.items():
        assert VARIANTS[name][1].shape.parameters == pytest.approx(parameters, rel=0.005)


def test_four_bits_shrink_the_linear_layers_alone() -> None:
    _, step = VARIANTS["Mistral-7B LoRA"]
    plain, small = step_memory(step), step_memory(replace(step, quantized=True))
    # QLoRA's paper and its users see about 4 GB for a 7B model.
    assert plain.weights == 2 * step.shape.parameters
    assert 3.4e9 < small.weights < 4.3e9
    assert small.activations == plain.activations


def test_an_optimiser_in_8_bits_keeps_two_bytes_a_weight() -> None:
    _, step = VARIANTS["Qwen3-0.6B full"]
    small = step_memory(replace(step, optimizer="adamw_8bit"))
    assert small.optimiser == 2 * step.shape.parameters == step_memory(step).optimiser / 4


def test_several_processes_hold_buckets_of_gradients_or_their_share_of_all() -> None:
    _, step = VARIANTS["Qwen3-0.6B full"]
    alone, together = step_memory(step), step_memory(replace(step, processes=4))
    divided = step_memory(replace(step, processes=4, shards=4))
    assert together.gradients - alone.gradients == 4 * step.trained
    assert divided.optimiser == alone.optimiser // 4
    shape = step.shape
    whole = shape.vocabulary * shape.hidden + 2 * shape.linear_parameters // shape.layers  # tied embeddings, two layers
    assert divided.weights == alone.weights // 4 + 2 * whole
    # While it is loaded the model is whole, however many share it.
    many = step_memory(replace(step, processes=512, shards=512, sequences=1, length=8, answers=1))
    assert many.total >= 4 * step.trained


def test_a_family_without_rules_is_refused() -> None:
    with pytest.raises(UserError, match="'bert'"):
        shape_of({"model_type": "bert"})
