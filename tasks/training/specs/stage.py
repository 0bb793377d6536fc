"""What every stage has, whatever its method: a name, rows, and how the optimiser steps."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.data.example import Difficulty

Optimizer = Literal["adamw", "adam", "nadam", "adamax", "adamw_8bit", "paged_adamw_8bit"]
EIGHT_BIT = ("adamw_8bit", "paged_adamw_8bit")


class Spec(BaseModel):
    """A part of the recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StageData(Spec):
    """Which training rows a stage sees."""

    difficulty: tuple[Difficulty, ...] = Field(
        ("easy", "medium", "hard"), min_length=1, description="difficulties taken"
    )
    max_samples: int | None = Field(None, ge=1, description="rows drawn from them; all when absent")
    replay: float = Field(
        0.0, ge=0, lt=1, description="share of the stage's rows drawn from earlier stages' difficulties"
    )


class StageSpec(Spec):
    """A stage of any method. A method's own class adds `method` and its options.

    `yields` says what the stage trains: the `policy` that answers questions, from which the next stage starts, or a
    `reward` model beside it. `architecture` is the kind of base model it needs.
    """

    yields: ClassVar[Literal["policy", "reward"]] = "policy"
    architecture: ClassVar[Literal["causal", "seq2seq"]] = "causal"

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name of the stage, lower case")
    data: StageData = StageData()
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    epochs: float = Field(1.0, gt=0, description="passes over the stage's rows")
    max_steps: int | None = Field(None, ge=1, description="stop after so many optimiser steps")
    global_batch: int = Field(16, ge=1, description="rows per optimiser step, whatever the machine")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    scheduler: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        "cosine", description="learning rate after it"
    )
    optimizer: Optimizer = Field("adamw", description="the optimiser; those in 8 bit need bitsandbytes and a GPU")
    betas: tuple[float, float] = Field((0.9, 0.999), description="decay of the optimiser's two averages")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of the optimiser")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are scaled down to this length")
    evaluations: int = Field(
        1,
        ge=1,
        description="times the validation loss is measured, evenly over the stage; of several, the best is kept, and "
        "checkpoints are written then",
    )
    patience: int | None = Field(
        None, ge=1, description="stop after so many evaluations without a better loss; needs several evaluations"
    )
    min_delta: float = Field(0.0, ge=0, description="with patience: how much better counts as better")

    @model_validator(mode="after")
    def _check_patience(self) -> StageSpec:
        if self.patience is not None and self.evaluations <= self.patience:
            raise ValueError(f"patience {self.patience} needs more evaluations than {self.evaluations}")
        return self
