"""The course of a search: which trials come next, after those that are recorded.

    stage 1, few rows    many trials, chosen together a few at a time
    stage 2, more rows   the best of stage 1 again, the incumbent first, and further ones
    stage 3, all rows    the best of stage 2 again                                            -> the winner

The course is replayed from the recorded trials at every call: nothing else is remembered. What is chosen together
(`together` trials) knows of the trials before it and not of its own, so that neither the number of workers nor their
speed changes what is tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.training.rungs import Rung
from tasks.training.search.budget import room
from tasks.training.search.sampling import Known, suggest
from tasks.training.search.space import Values
from tasks.training.search.spec import SweepSpec
from tasks.training.trials import Trial, TrialResult


@dataclass(frozen=True)
class Course:
    """Where a search stands: trials to run now (none: it is over), its stage, and the best so far.

    `why` says what ended it; `chosen` are all trials up to now, the recorded ones and those to run.
    """

    trials: tuple[Trial, ...]
    stage: int
    winner: TrialResult | None
    why: str = ""
    chosen: tuple[Trial, ...] = ()
    carried: dict[int, int] = field(default_factory=dict)  # number of a trial -> the one whose values it takes over


def course(
    spec: SweepSpec,
    results: Sequence[TrialResult],
    rows: int,
    fits: Callable[[Values], bool] = lambda _: True,
) -> Course:
    """Where the search of `spec` stands after `results`; `rows` are the training rows of its dataset."""
    by_number = {result.number: result for result in results}
    before: list[list[TrialResult]] = []
    chosen: list[Trial] = []
    carried: dict[int, int] = {}
    why = "every stage is done"
    for place in range(len(spec.stages)):
        kept = best(spec, before[-1])[: spec.stages[place - 1].keep] if before else []
        if before and not kept:
            why = f"no trial of stage {place} finished"
            break
        done: list[TrialResult] = []
        start = len(chosen)
        while True:
            known = [result for stage in before for result in stage] + done
            index = len(done)
            left = room(spec, place, known, max(0, len(kept) - index), rows)
            batch = _batch(spec, place, start, index, kept, before, done, min(left, spec.together), by_number, fits)
            if not batch:
                if left <= 0 and index < (spec.stages[place].trials or index + 1):
                    why = "the budget is spent"
                break
            chosen += batch
            carried |= {
                trial.number: kept[trial.number - start].number for trial in batch if trial.number - start < len(kept)
            }
            if missing := [trial for trial in batch if trial.number not in by_number]:
                leader = _leader(spec, [*before, done])
                return Course(tuple(missing), place, leader, "", tuple(chosen), carried)
            done += [by_number[trial.number] for trial in batch]
        if not done:
            break
        before.append(done)
    winner = _leader(spec, before)
    if winner is None:
        why = "no trial finished"
    return Course((), max(0, len(before) - 1), winner, why, tuple(chosen), carried)


def best(spec: SweepSpec, results: Sequence[TrialResult]) -> list[TrialResult]:
    """Finished trials, the best first; of equal ones the smaller, then the earlier one."""
    finished = [result for result in results if result.status == "finished" and result.objective is not None]
    return sorted(finished, key=lambda r: (score(spec, r), r.trainable or 0, r.number))


def score(spec: SweepSpec, result: TrialResult) -> float:
    """The objective with its sign, so that less is better; infinite for a trial that has none."""
    if result.status != "finished" or result.objective is None:
        return math.inf
    return result.objective if spec.minimise else -result.objective


def _leader(spec: SweepSpec, stages: Sequence[Sequence[TrialResult]]) -> TrialResult | None:
    """The best of the last stage in which a trial finished: losses on more rows decide over those on fewer."""
    return next((ranked[0] for stage in reversed(stages) if (ranked := best(spec, stage))), None)


def _batch(
    spec: SweepSpec,
    place: int,
    start: int,
    index: int,
    kept: Sequence[TrialResult],
    before: Sequence[Sequence[TrialResult]],
    done: Sequence[TrialResult],
    most: int,
    recorded: Mapping[int, TrialResult],
    fits: Callable[[Values], bool],
) -> list[Trial]:
    """The next trials of stage `place`, which has `index` already; empty when the stage is over."""
    stage = spec.stages[place]
    total = stage.trials if stage.trials is not None else (len(kept) if kept else index + most)
    known = knowledge(spec, before, done)
    taken = [result.values for result in kept] + [result.values for result in done]
    batch: list[Trial] = []
    for position in range(index, min(index + most, total)):
        number = start + position
        values: Values | None
        if position < len(kept):
            values = kept[position].values
        elif number in recorded and recorded[number].stage == place:  # else it is of the stage that follows
            values = recorded[number].values
        else:
            lies = [(trial.values, _worst(known)) for trial in batch] if known else []
            had = taken + [trial.values for trial in batch]
            values = suggest(spec.space, spec.sampler, spec.seed, number, [*known, *lies], had, startup(spec), fits)
        if values is None:
            break
        batch.append(
            Trial(
                number=number,
                name=f"trial {number}",
                stage=place,
                values=values,
                train=stage.train,
                validation=stage.validation,
                rungs=rungs(spec, done, position < len(kept)),
            )
        )
    return batch


def rungs(spec: SweepSpec, done: Sequence[TrialResult], kept: bool) -> tuple[Rung, ...]:
    """The looks at a trial beside the trials `done` of its stage; one that is kept is looked at and never ended."""
    if spec.halving is None:
        return ()
    found = []
    for share in spec.halving.at:
        losses = sorted(loss for result in done for at, loss in result.rungs if at == share)
        # Among the best 1/factor of all that were looked at there, itself included.
        places = int((len(losses) + 1) / spec.halving.factor)
        worst = losses[places - 1] if not kept and 0 < places <= len(losses) else None
        found.append(Rung(share=share, worst=worst))
    return tuple(found)


def startup(spec: SweepSpec) -> int:
    """Trials drawn at random before what they told is used: a quarter of the first stage, ten at most."""
    return min(10, max(spec.together, math.ceil((spec.stages[0].trials or 1) / 4)))


def knowledge(spec: SweepSpec, before: Sequence[Sequence[TrialResult]], done: Sequence[TrialResult]) -> Known:
    """Scored values to choose by: those of the latest stage that has enough of them.

    Losses on few rows and on many are not compared with each other (Falkner et al. 2018, arXiv:1807.01774, section 3).
    A trial that failed or was ended counts as bad as the worst, so that the search keeps away from it.
    """
    for results in (done, *reversed(before)):
        finished = [score(spec, result) for result in results if result.status == "finished"]
        if len(finished) >= (startup(spec) if before else 1):
            worst = max(finished)
            return [(result.values, min(score(spec, result), worst)) for result in results]
    return []


def _worst(known: Known) -> float:
    """What a trial that is chosen beside others is taken to score, so that they do not all go to one place."""
    return max(value for _, value in known)
