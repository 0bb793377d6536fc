"""What to try next: from what is recorded, and from nothing else.

A suggestion is a pure function of the seed, the trial's number and the trials before it. No sampler lives from one
suggestion to the next, so that a search which was killed suggests what it would have suggested. TPE (Bergstra et al.
2011) is Optuna's, fed anew each time; numbers in ascending order are one dimension to it, not unrelated names.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from infra.hashing import canonical_json, fingerprint
from tasks.training.search.space import Choices, Range, Space, Values, draw, grid, mark
from tasks.training.search.spec import Sampler

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Known = Sequence[tuple[Values, float]]  # values and their score, less is better
TRIES = 64  # suggestions that were had before, or do not fit the recipe, before the space itself is searched
CANDIDATES = 24  # points that TPE compares for one suggestion, its default


def suggest(
    space: Space,
    sampler: Sampler,
    seed: int,
    number: int,
    known: Known,
    taken: Sequence[Values],
    startup: int,
    fits: Callable[[Values], bool],
) -> Values | None:
    """Values for trial `number` that are none of `taken`; None where the space has no more.

    `known` are scored values; until there are `startup` of them TPE draws at random. `fits` refuses values that make
    no recipe.
    """
    had = {mark(values) for values in taken}

    def is_new(values: Values) -> bool:
        return mark(values) not in had and fits(values)

    if sampler != "grid":
        for attempt in range(TRIES):
            chance = int(fingerprint([seed, number, attempt]), 16)
            if sampler == "tpe" and len(known) >= startup:
                values = _tpe(space, chance % 2**32, known)
            else:
                values = draw(space, random.Random(chance))
            if is_new(values):
                return values
        if not all(isinstance(parameter, Choices) or _ends(parameter) for parameter in space.values()):
            return None
    return next(filter(is_new, grid(space)), None)


def _ends(parameter: Range) -> bool:
    return parameter.step is not None or parameter.is_whole


def _tpe(space: Space, seed: int, known: Known) -> Values:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, n_ei_candidates=CANDIDATES)
    study = optuna.create_study(sampler=sampler)
    distributions = {path: distribution(parameter) for path, parameter in space.items()}
    for values, score in known:
        params = {path: to_optuna(parameter, values[path]) for path, parameter in space.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=score))
    asked = study.ask(distributions)
    return {path: _from_optuna(parameter, asked.params[path]) for path, parameter in space.items()}


def distribution(parameter: Choices | Range) -> BaseDistribution:
    """A parameter as Optuna knows it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(parameter, Choices):
        last = len(parameter.choices) - 1
        return IntDistribution(0, last) if parameter.is_scale else CategoricalDistribution(list(range(last + 1)))
    if parameter.step is not None:
        return IntDistribution(0, len(parameter.all()) - 1)
    if parameter.is_whole:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def to_optuna(parameter: Choices | Range, value: Any) -> Any:
    """A value as Optuna knows it: what is chosen from a list by its place there."""
    if isinstance(parameter, Choices):
        return [canonical_json(choice) for choice in parameter.choices].index(canonical_json(value))
    return parameter.all().index(value) if parameter.step is not None else value


def _from_optuna(parameter: Choices | Range, value: Any) -> Any:
    if isinstance(parameter, Choices):
        return parameter.choices[value]
    return parameter.all()[value] if parameter.step is not None else parameter.rounded(value)
