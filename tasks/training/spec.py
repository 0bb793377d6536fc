"""What a recipe says about training: the curriculum's stages and what they share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.data.example import Difficulty


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraSpec(_Spec):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) through PEFT."""

    r: int = Field(16, ge=1, description="rank of the adapter matrices")
    alpha: int = Field(32, ge=1, description="scale; the adapter is multiplied by alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the adapter's input")
    targets: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="names of the linear layers that get an adapter",
    )
    first_layer: int = Field(
        0, ge=0, description="transformer layers below this one stay untouched; their backward pass is saved"
    )


class StageData(_Spec):
    """Which training rows a stage sees."""

    difficulty: tuple[Difficulty, ...] = Field(
        ("easy", "medium", "hard"), min_length=1, description="difficulties taken"
    )
    max_samples: int | None = Field(None, ge=1, description="rows drawn from them; all when absent")
    replay: float = Field(
        0.0, ge=0, lt=1, description="share of the stage's rows drawn from earlier stages' difficulties"
    )


class SftStage(_Spec):
    """Supervised fine-tuning with loss on the SQL alone."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name of the stage, lower case")
    method: Literal["sft"] = "sft"
    data: StageData = StageData()
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    epochs: float = Field(1.0, gt=0, description="passes over the stage's rows")
    max_steps: int | None = Field(None, ge=1, description="stop after so many optimiser steps")
    global_batch: int = Field(16, ge=1, description="rows per optimiser step, whatever the machine")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    scheduler: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        "cosine", description="learning rate after it"
    )
    weight_decay: float = Field(0.0, ge=0, description="weight decay of AdamW")


class TrainingSpec(_Spec):
    """The curriculum."""

    seed: int = Field(42, description="seed of weights, sampling and data order")
    lora: LoraSpec = LoraSpec()
    max_length: int = Field(
        640, ge=64, description="tokens of prompt and SQL together; longer rows are left out, counted"
    )
    max_dropped_share: float = Field(0.02, ge=0, le=1, description="share of a stage's rows that may be too long")
    per_device_batch: int = Field(16, ge=1, description="rows per forward pass; accumulation makes up the global batch")
    share_prefix: int = Field(
        4,
        ge=1,
        description="questions over one schema trained in one sequence, each seeing the schema and itself alone",
    )
    save_steps: int = Field(10, ge=1, description="optimiser steps between checkpoints")
    stages: tuple[SftStage, ...] = Field(min_length=1, description="the stages, in order")

    @model_validator(mode="after")
    def _check(self) -> TrainingSpec:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("stage names must differ: a stage's folder is found by its name")
        for stage in self.stages:
            per_device = self.sequences_at_once(stage)
            if stage.global_batch % (per_device * self.share_prefix):
                raise ValueError(
                    f"stage {stage.name}: global_batch {stage.global_batch} is no multiple of "
                    f"per_device_batch {per_device * self.share_prefix} (sequences of share_prefix={self.share_prefix})"
                )
        return self

    def sequences_at_once(self, stage: SftStage) -> int:
        """Sequences per forward pass: the per-device batch in sequences of `share_prefix` rows, at least one."""
        return max(1, min(self.per_device_batch, stage.global_batch) // self.share_prefix)
