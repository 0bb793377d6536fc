"""`rewards:` of a `grpo` stage: what an answer is rewarded for, and how much each thing counts."""

from __future__ import annotations

from pydantic import Field, model_validator

from tasks.training.specs.stage import Spec


class RewardSpec(Spec):
    """Weights of the parts of a reward, each of which is in [0, 1]; the reward is their weighted sum."""

    execution: float = Field(0.0, ge=0, description="1 when running the answer gives what gold gives")
    hybrid_score: float = Field(0.0, ge=0, description="1 for the same result, else 0.7 times ROUGE-L against gold")
    syntax: float = Field(0.0, ge=0, description="half for one statement that parses, half if the database prepares it")
    format: float = Field(0.0, ge=0, description="half for an answer that ends, half for nothing but one statement")
    reward_model: float = Field(0.0, ge=0, description="sigmoid of the score that a `reward` stage's model gives")

    @model_validator(mode="after")
    def _check(self) -> RewardSpec:
        if not any(self.weights().values()):
            raise ValueError("rewards: at least one weight must be above 0")
        return self

    def weights(self) -> dict[str, float]:
        """The weights by part."""
        return self.model_dump()
