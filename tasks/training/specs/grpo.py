"""`method: grpo`: reinforcement learning from the answers' own results."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tasks.training.specs.rewards import RewardSpec
from tasks.training.specs.stage import StageSpec


class GrpoStage(StageSpec):
    """Group relative policy optimisation (Shao et al. 2024, arXiv:2402.03300).

    `global_batch` counts answers: it holds global_batch / generations questions. A whole stage costs epochs x rows x
    generations answers, so bound it by `max_steps` or `data.max_samples`.
    """

    method: Literal["grpo"] = "grpo"
    learning_rate: float = Field(1e-5, gt=0, description="peak learning rate; 1e-6 to 1e-5 is usual")
    generations: int = Field(8, ge=2, description="answers drawn to each question, compared with one another")
    temperature: float = Field(1.0, gt=0, le=2, description="temperature at which they are drawn")
    max_new_tokens: int = Field(96, ge=1, description="longest answer")
    beta: float = Field(0.0, ge=0, description="weight of the divergence from the policy it starts from")
    clip: float = Field(0.2, gt=0, lt=1, description="epsilon of the clipped objective")
    rewards: RewardSpec = RewardSpec(hybrid_score=1.0)
    reward_model: str = Field("", description="name of the earlier `reward` stage whose model scores answers")
    eval_rows: int = Field(64, ge=0, description="validation rows answered greedily before and after, for their reward")

    @model_validator(mode="after")
    def _check(self) -> GrpoStage:
        if self.global_batch % self.generations:
            raise ValueError(
                f"global_batch {self.global_batch} counts answers: make it a multiple of generations={self.generations}"
            )
        if self.evaluations > 1:
            raise ValueError("grpo has no validation loss: leave evaluations out, eval_rows are looked at in its place")
        if bool(self.reward_model) != bool(self.rewards.reward_model):
            raise ValueError("reward_model names the stage, rewards.reward_model its weight: give both or neither")
        return self
