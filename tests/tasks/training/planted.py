"""A response surface with a known optimum, in place of trainings: what a search over it finds is known beforehand."""

from __future__ import annotations

import math
import random
from typing import Any

from infra.hashing import fingerprint
from tasks.training.search.spec import SweepSpec
from tasks.training.search.stages import Course, course
from tasks.training.trials import Trial, TrialResult

FULL = 97_500  # rows of the whole training split
LEARNING_RATES = [1e-6, 5e-6, 1e-5, 5e-5, 1e-4]
OPTIMIZERS = ["adam", "adamw", "nadam", "adamax"]
RANKS = [4, 8, 16, 32]
WARMUPS = [0.05, 0.1, 0.2]
DROPOUTS = [False, True]
SPACE = {
    "lr": {"choices": LEARNING_RATES},
    "optimizer": {"choices": OPTIMIZERS},
    "r": {"choices": RANKS},
    "warmup": {"choices": WARMUPS},
    "dropout": {"choices": DROPOUTS},
}
STAGES = [
    {"train": 4096, "validation": 1024, "trials": 60, "keep": 6},
    {"train": 8192, "validation": 2048, "trials": 20, "keep": 3},
    {"keep": 1},
]


class Surface:
    """Loss by values and rows: bowls over the ordered values, a table over the others, an interaction, and noise.

    Few rows make a noisy loss and let the wrong learning rate look a little better than it is.
    """

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.seed = seed
        self.optimum = {path: chance.choice(parameter["choices"]) for path, parameter in SPACE.items()}

    def loss(self, values: dict[str, Any], rows: int) -> float:
        def away(path: str) -> int:
            choices = SPACE[path]["choices"]
            return abs(choices.index(values[path]) - choices.index(self.optimum[path]))

        rate, rank = away("lr"), away("r")
        other = 0.0 if values["optimizer"] == self.optimum["optimizer"] else 0.06
        dropout = 0.0 if values["dropout"] == self.optimum["dropout"] else 0.03
        true = 0.5 + 0.12 * rate**1.5 + 0.04 * rank + 0.02 * away("warmup") + 0.02 * rate * rank + other + dropout
        chance = random.Random(int(fingerprint([self.seed, values, rows]), 16))
        return true + (1 + 0.3 * chance.gauss(0, 1)) / math.sqrt(rows)


def result_of(trial: Trial, loss: float | None, **more: Any) -> TrialResult:
    told = {
        **trial.model_dump(include={"number", "name", "stage", "values"}),
        "status": "finished" if loss is not None else "failed",
        "objective": loss,
        "seconds": 1.0,
        "train_rows": trial.train or FULL,
        "steps": 10,
        "data_fingerprint": "d",
        "prompt_fingerprint": "p",
    }
    return TrialResult.model_validate(told | more)


def spec_of(**changed: Any) -> SweepSpec:
    return SweepSpec.model_validate({"space": SPACE, "stages": STAGES, **changed})


def searched(spec: SweepSpec, surface: Surface) -> tuple[Course, list[TrialResult]]:
    """The whole search, one trial after another."""
    results: list[TrialResult] = []
    while (now := course(spec, results, FULL)).trials:
        results += [result_of(trial, surface.loss(trial.values, trial.train or FULL)) for trial in now.trials]
    return now, results
