"""Which of many runs the test set can tell apart, and which it cannot.

Two runs with answers to the same examples are compared by McNemar's exact mid-p test on the examples where they differ;
p is corrected for all pairs by Holm's method. Where answers are missing, two runs count as told apart only when their
95% intervals do not overlap, a cruder rule, and the pair says so. Letters then mark what is one: runs that share a
letter cannot be told apart (a compact letter display, Piepho 2004, by insertion and absorption).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.evaluation.runs import Outcomes, Run
from tasks.evaluation.statistics import CONFIDENCE, holm, mcnemar_midp, paired_bootstrap, sign_flip_p

_RESAMPLES = 4_000
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class PairOfRuns(BaseModel):
    """`other - one` in execution accuracy, and whether that is more than chance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    one: str
    other: str
    difference: float
    low: float | None = Field(description="95% interval of the difference; None without answers to pair")
    high: float | None
    p: float | None = Field(description="two-sided; None without answers to pair")
    p_adjusted: float | None = Field(description="corrected for all pairs of the comparison")
    apart: bool
    basis: Literal["paired answers", "intervals"]

    def settled(self, p: float) -> PairOfRuns:
        """The pair with its corrected p, and what follows from that."""
        return self.model_copy(update={"p_adjusted": p, "apart": p < 1 - CONFIDENCE})


class Apart(BaseModel):
    """All pairs of the judged runs, and the letters that follow from them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: list[PairOfRuns]
    letters: dict[str, str] = Field(description="run -> its letters; runs that share one are one")
    groups: list[list[str]] = Field(description="the runs of each letter, best first; those of a single run among them")

    def letter_of(self, group: Sequence[str]) -> str:
        """The letter of one of `groups`."""
        return _letter(self.groups.index(list(group)))

    def pair(self, one: str, other: str) -> PairOfRuns | None:
        """The pair, turned so that it begins with `one`; None where one of them was not judged."""
        for pair in self.pairs:
            if (pair.one, pair.other) == (one, other):
                return pair
            if (pair.other, pair.one) == (one, other):
                turned = {"low": _minus(pair.high), "high": _minus(pair.low), "difference": -pair.difference}
                return pair.model_copy(update=turned | {"one": one, "other": other})
        return None


def tell_apart(runs: Sequence[Run], outcomes: Outcomes) -> Apart:
    """Compare every pair of runs that have an execution accuracy."""
    judged = sorted((run for run in runs if run.execution_accuracy is not None), key=_best_first)
    plain = [_pair(one, other, outcomes) for one, other in combinations(judged, 2)]
    tested = [pair for pair in plain if pair.p is not None]
    corrected = dict(zip(map(id, tested), holm([pair.p or 0.0 for pair in tested]), strict=True))
    pairs = [pair.settled(corrected[id(pair)]) if id(pair) in corrected else pair for pair in plain]
    groups = _groups([run.name for run in judged], [(pair.one, pair.other) for pair in pairs if pair.apart])
    letters = {
        run.name: "".join(_letter(number) for number, group in enumerate(groups) if run.name in group) for run in judged
    }
    return Apart(pairs=pairs, letters=letters, groups=groups)


def _best_first(run: Run) -> tuple[float, str]:
    assert run.execution_accuracy is not None
    return -run.execution_accuracy.value, run.name


def _pair(one: Run, other: Run, outcomes: Outcomes) -> PairOfRuns:
    """The pair before any correction; by intervals where there is nothing to pair."""
    ours, theirs = outcomes.get(other.name, {}), outcomes.get(one.name, {})
    shared = [id for id in ours if id in theirs]
    first, second = one.execution_accuracy, other.execution_accuracy
    assert first is not None
    assert second is not None
    if not shared:
        return PairOfRuns(
            one=one.name,
            other=other.name,
            difference=second.value - first.value,
            low=None,
            high=None,
            p=None,
            p_adjusted=None,
            apart=first.low > second.high or second.low > first.high,
            basis="intervals",
        )
    found = paired_bootstrap([ours[id] for id in shared], [theirs[id] for id in shared], resamples=_RESAMPLES)
    return PairOfRuns(
        one=one.name,
        other=other.name,
        difference=found.difference,
        low=found.low,
        high=found.high,
        p=mcnemar_midp(found.wins, found.losses),
        p_adjusted=None,
        apart=False,
        basis="paired answers",
    )


def pair_repeated(pairs: Sequence[tuple[str, str]], outcomes: Outcomes) -> PairOfRuns | None:
    """Several (one, other) as one pair: each example counts once, with its mean difference over the repetitions.

    So that a question answered alike by every seed is one piece of evidence and not several. p is the sign-flip
    test's. What is told is about these seeds: with a few of them their own chance is averaged, not bounded. None where
    one of the runs has no answers, or they share no example.
    """
    answers = [(outcomes.get(one), outcomes.get(other)) for one, other in pairs]
    known = [found for pair in answers for found in pair if found]
    shared = sorted(set.intersection(*map(set, known))) if len(known) == 2 * len(pairs) else []
    if not shared:
        return None

    def means(side: int) -> list[float]:
        given = [pair[side] or {} for pair in answers]
        return [sum(found[id] for found in given) / len(given) for id in shared]

    ours, theirs = means(1), means(0)
    found = paired_bootstrap(ours, theirs, resamples=_RESAMPLES)
    return PairOfRuns(
        one=", ".join(one for one, _ in pairs),
        other=", ".join(other for _, other in pairs),
        difference=found.difference,
        low=found.low,
        high=found.high,
        p=sign_flip_p([a - b for a, b in zip(ours, theirs, strict=True)]),
        p_adjusted=None,
        apart=False,
        basis="paired answers",
    )


def _groups(names: Sequence[str], apart: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The largest sets of `names`, best first, none of whose pairs is `apart`; every name is in one at least."""
    sets = [frozenset(names)] if names else []
    for one, other in apart:
        split = [part for found in sets for part in _split(found, one, other)]
        sets = [part for part in dict.fromkeys(split) if not any(part < larger for larger in split)]
    order = {name: place for place, name in enumerate(names)}
    ordered = [sorted(found, key=order.__getitem__) for found in sets]
    return sorted(ordered, key=lambda group: [order[name] for name in group])


def _split(found: frozenset[str], one: str, other: str) -> tuple[frozenset[str], ...]:
    return (found - {one}, found - {other}) if {one, other} <= found else (found,)


def _letter(number: int) -> str:
    """a, b, ... z, a2, b2, ...: a study of more than 26 groups is unlikely, and still told right."""
    turn, place = divmod(number, len(_LETTERS))
    return _LETTERS[place] + (str(turn + 1) if turn else "")


def _minus(value: float | None) -> float | None:
    return None if value is None else -value
