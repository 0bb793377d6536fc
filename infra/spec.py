"""Where a recipe's steps run when a night dispatches them: pools by step, in the order in which they are tried."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from infra.errors import UserError
from infra.gpu import gpu_class

PoolNames = tuple[str, ...]


class InfraSpec(BaseModel):
    """Pools of the steps, and a cap. No part of what a night is: on other machines it is the same night."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prepare: PoolNames = Field(("cpu",), min_length=1, description="pools for preparing the data, first choice first")
    train: PoolNames = Field(("gpu-l4", "gpu-h100"), min_length=1, description="pools for training, first choice first")
    evaluate: PoolNames = Field(("gpu-t4", "gpu-l4"), min_length=1, description="pools for generating and judging")
    promote: PoolNames = Field(("cpu",), min_length=1, description="pools for gates and promotion")
    patience_minutes: float = Field(
        30, gt=0, description="how long a step waits for a place on a pool before the next pool is tried"
    )

    max_gpu_hours: float | None = Field(
        None,
        gt=0,
        description="GPU hours that a night may take to train and evaluate, in all its attempts; then it ends failed",
    )

    @field_validator("prepare", "train", "evaluate", "promote")
    @classmethod
    def _check_pools(cls, names: PoolNames) -> PoolNames:
        for name in names:
            try:
                gpu_class(name)
            except UserError as error:
                raise ValueError(str(error)) from None
        return names

    def pools(self, step: str) -> PoolNames:
        """The pools of a step: prepare, train, evaluate or promote."""
        return getattr(self, step)
