"""`method: prompt_tuning`: a soft prompt before every question."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tasks.training.specs.stage import StageSpec


class PromptTuningStage(StageSpec):
    """Trains vectors that stand before every prompt (Lester et al. 2021, arXiv:2104.08691); the model stays frozen.

    It needs a learning rate some hundred times that of LoRA: with 1e-5 and less nothing moves.
    """

    method: Literal["prompt_tuning"] = "prompt_tuning"
    learning_rate: float = Field(3e-2, gt=0, description="peak learning rate; 1e-3 to 3e-1 is usual")
    virtual_tokens: int | None = Field(
        None, ge=1, le=1024, description="length of the soft prompt; that of init_text when absent, else 20"
    )
    init_text: str = Field("", description="text whose embeddings it begins with; random vocabulary rows when empty")

    @model_validator(mode="after")
    def _check(self) -> PromptTuningStage:
        if self.init_text and self.virtual_tokens is not None:
            raise ValueError("give init_text or virtual_tokens: the text's own length is the soft prompt's")
        return self
