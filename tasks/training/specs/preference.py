"""`method: dpo` and `method: reward`: stages that learn from pairs of a right and a wrong answer."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from tasks.training.specs.pairs import PairSpec
from tasks.training.specs.stage import StageSpec


class DpoStage(StageSpec):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290) against the policy it starts from.

    The reference is the adapter of the stage before, frozen; without one, the base model.
    """

    method: Literal["dpo"] = "dpo"
    learning_rate: float = Field(1e-5, gt=0, description="peak learning rate; a tenth to a hundredth of sft's is usual")
    beta: float = Field(0.1, gt=0, description="how closely the policy is held to its reference")
    loss: Literal["sigmoid", "ipo", "hinge", "robust"] = Field("sigmoid", description="TRL's loss_type")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="share of pairs assumed to be the wrong way round")
    pairs: PairSpec = PairSpec()


class RewardStage(StageSpec):
    """A reward model: the base model with one output, taught to score the right answer above the wrong one.

    It scores prompt and answer together (Bradley-Terry loss) and serves a later `grpo` stage; it is no policy, and the
    next stage starts from the one before it.
    """

    yields: ClassVar[Literal["policy", "reward"]] = "reward"

    method: Literal["reward"] = "reward"
    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate")
    pairs: PairSpec = PairSpec(origins=("rules",))

    @model_validator(mode="after")
    def _check(self) -> RewardStage:
        if "policy" in self.pairs.origins:
            raise ValueError("a reward model answers no question: its pairs come from the origins rules and endpoint")
        return self
