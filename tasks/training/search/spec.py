"""What a recipe says about its search: `sweep:`."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from tasks.training.search.space import Parameter
from tasks.training.specs.stage import Spec

Objective = Literal["eval_loss", "execution_accuracy"]
Sampler = Literal["tpe", "random", "grid"]


class SearchStage(Spec):
    """One stage of the search: so many trials on so many rows. A stage's rows are part of the next one's."""

    train: int | None = Field(None, ge=1, description="training rows of each trial; all when absent")
    validation: int | None = Field(
        None, ge=1, description="rows of the validation split that trials are compared on; all when absent"
    )
    trials: int | None = Field(
        None, ge=1, description="trials of the stage, kept ones included; without it all of a grid, or the kept ones"
    )
    keep: int = Field(1, ge=1, description="best trials whose values are tried again in the next stage")


class Budget(Spec):
    """What a search may spend. What later stages need for the values they take over is set aside."""

    trials: int | None = Field(None, ge=1, description="trials in all")
    hours: float | None = Field(None, gt=0, description="hours in which at least one trial runs")
    gpu_hours: float | None = Field(None, gt=0, description="hours of all trials, one after another: a trial has a GPU")


class Halving(Spec):
    """Ending trials that fall behind (Li et al. 2020, asynchronous successive halving, arXiv:1810.05934).

    At each share of its last training stage a trial's training loss must be among the best `1 / factor` of those that
    earlier trials of the same stage of the search had there. Values that were kept are never ended.
    """

    at: tuple[float, ...] = Field(
        (0.25, 0.5), min_length=1, description="shares of the steps where trials are looked at"
    )
    factor: float = Field(2.0, gt=1, description="of so many trials one goes on")

    @model_validator(mode="after")
    def _check(self) -> Halving:
        if list(self.at) != sorted(set(self.at)) or not all(0 < share < 1 for share in self.at):
            raise ValueError(f"at: shares between 0 and 1 in ascending order, not {list(self.at)}")
        return self


class SweepSpec(Spec):
    """A search over values of the recipe."""

    space: dict[str, Parameter] = Field(
        min_length=1,
        description="path in the recipe -> {choices: […]} or {low, high, log, step}; * is every place of a list",
    )
    stages: tuple[SearchStage, ...] = Field(min_length=1, description="the stages of the search, in order")
    objective: Objective = Field("eval_loss", description="what trials are compared by, on validation rows")
    questions: int | None = Field(
        None,
        ge=1,
        description="validation rows that each trial answers where execution_accuracy is the objective; all of the "
        "stage's when absent",
    )
    sampler: Sampler = Field("tpe", description="how values are chosen: by what is known so far, at random, or all")
    seed: int = Field(0, description="seed of the choice of values")
    together: int = Field(
        4, ge=1, description="trials chosen at once, from what is known of those before: so many can run side by side"
    )
    budget: Budget = Budget()
    halving: Halving | None = Field(None, description="end trials that fall behind; all run to their end when absent")

    @model_validator(mode="after")
    def _check(self) -> SweepSpec:
        for before, after in pairwise(self.stages):
            for name in ("train", "validation"):
                small, large = getattr(before, name), getattr(after, name)
                if large is not None and (small is None or small > large):
                    raise ValueError(f"stages: {name} goes from {small or 'all'} to {large}; it must not shrink")
            if after.trials is not None and after.trials < before.keep:
                raise ValueError(
                    f"stages: the next stage has {after.trials} trials, too few for {before.keep} kept ones"
                )
        for stage in self.stages[:-1]:
            if stage.trials is not None and stage.keep > stage.trials:
                raise ValueError(f"stages: {stage.keep} cannot be kept of {stage.trials} trials")
        if self.sampler != "grid" and self.stages[0].trials is None:
            raise ValueError("stages: the first one needs trials, their number")
        if self.budget.trials is not None and self.budget.trials < 1 + self.carried_after(0):
            raise ValueError(
                f"budget: {self.budget.trials} trials are too few: later stages alone take over {self.carried_after(0)}"
            )
        return self

    @property
    def minimise(self) -> bool:
        """Whether less of the objective is better."""
        return self.objective == "eval_loss"

    def carried_after(self, stage: int) -> int:
        """Trials that the stages after `stage` need for the values they take over."""
        return sum(self.stages[i - 1].keep for i in range(stage + 1, len(self.stages)))
