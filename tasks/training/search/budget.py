"""What a search has spent and how many more trials it may begin.

Everything is computed from recorded trials, so that a search which broke off goes on with what it had left. Hours are
an estimate ahead: a trial of a later stage is taken to need time in proportion to its training rows. Limits: a trial
that runs is never stopped for the budget; what one that broke off took counts once it is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.training.search.spec import SweepSpec
from tasks.training.trials import TrialResult

HOUR = 3600.0


def gpu_hours(results: Sequence[TrialResult]) -> float:
    """Hours of all trials, one after another."""
    return sum(result.seconds for result in results) / HOUR


def wall_hours(results: Sequence[TrialResult]) -> float:
    """Hours in which at least one of the trials ran."""
    total, reached = 0.0, float("-inf")
    for begun, ended in sorted((result.ended - result.seconds, result.ended) for result in results):
        total += max(0.0, ended - max(begun, reached))
        reached = max(reached, ended)
    return total / HOUR


def room(spec: SweepSpec, stage: int, results: Sequence[TrialResult], carried: int, rows: int) -> int:
    """How many more trials stage `stage` may begin, after `results`.

    `carried` of them take over values of the stage before: for those the budget was set aside, and only hours that are
    all spent stop them. `rows` are the dataset's training rows, what a stage without `train` uses.
    """
    budget, rows = spec.budget, max(1, rows)
    free = 10**9  # no limit
    if budget.trials is not None:
        free = budget.trials - len(results) - spec.carried_after(stage)
    for limit, spent in ((budget.hours, wall_hours(results)), (budget.gpu_hours, gpu_hours(results))):
        if limit is None:
            continue
        if spent >= limit:
            return 0
        if results:
            each = _seconds_per_row(results) / HOUR
            aside = each * sum(
                spec.stages[i - 1].keep * (spec.stages[i].train or rows) for i in range(stage + 1, len(spec.stages))
            )
            free = min(free, int((limit - spent - aside) / (each * (spec.stages[stage].train or rows)) + 1e-9))
    return max(free, carried)


def _seconds_per_row(results: Sequence[TrialResult]) -> float:
    """Mean time of a training row; trials that failed before they trained tell nothing of it."""
    told = [result for result in results if result.train_rows and result.steps]
    seconds = sum(result.seconds for result in told or results)
    return max(1e-9, seconds / max(1, sum(result.train_rows or 1 for result in told or results)))
