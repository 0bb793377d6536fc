"""`training.lora`: the low-rank adapter that stages train."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.training.specs.stage import Spec


class LoraSpec(Spec):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) through PEFT."""

    r: int = Field(16, ge=1, description="rank of the adapter matrices")
    alpha: int = Field(32, ge=1, description="scale; the adapter is multiplied by alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the adapter's input")
    targets: tuple[str, ...] | Literal["all-linear"] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="names of the linear layers that get an adapter, or all-linear: all but the output layer",
    )
    first_layer: int = Field(
        0, ge=0, description="transformer layers below this one stay untouched; their backward pass is saved"
    )
    rslora: bool = Field(False, description="scale by alpha / sqrt(r) instead (Kalajdzievski 2023, arXiv:2312.03732)")
    dora: bool = Field(False, description="train magnitudes and directions apart (Liu et al. 2024, arXiv:2402.09353)")
