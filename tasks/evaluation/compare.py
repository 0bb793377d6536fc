"""Two models on the same examples: every metric's paired difference, slice by slice, and who changed sides.

The difference is always `other - reference`, in the metric's own unit. Of a 0/1 metric its p value is McNemar's exact
mid-p, of any other the sign-flip test's. Who asks many questions at once finds something by chance, so that every p is
corrected by Holm's method within its family, and verdicts follow from that. The families: execution accuracy, the one
question a comparison is made for, of all models; every other metric of all models; each metric over all slices of a
pair.

Limits: pairs need the same examples, judged by the same rules; an example counts where both scorecards have the metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import UserError
from tasks.evaluation.metrics import MAIN, METRICS, SLICED
from tasks.evaluation.scorecard import ExampleOutcome, Interval, Scorecard
from tasks.evaluation.slices import in_order
from tasks.evaluation.statistics import (
    CONFIDENCE,
    clustered_interval,
    holm,
    mcnemar_midp,
    paired_bootstrap,
    sign_flip_p,
    smallest_detectable_gain,
)

SCHEMA_VERSION = 1
FEWEST = 10  # pairs; with fewer a difference is shown and not tested
_RESAMPLES = 4_000
_Key = TypeVar("_Key", bound=tuple[Any, ...])  # its last part is a metric


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Difference(_Frozen):
    """One metric of two models on the `n` examples that both have it."""

    reference: float = Field(description="mean of the reference")
    other: float = Field(description="mean of the other model")
    difference: float = Field(description="other - reference")
    low: float = Field(description="95% interval of the difference, by the paired bootstrap")
    high: float
    n: int
    wins: int = Field(description="examples where the other model is better")
    losses: int = Field(description="examples where the reference is better")
    p: float = Field(description="chance of such a difference between equal models, two-sided")
    p_adjusted: float = Field(description="p corrected for its family of questions; 1 where it is not tested")
    verdict: str = Field(description="better, worse, or no_difference that 95% confidence would call one")


class Change(_Frozen):
    """An example on which one of two models is right and the other wrong."""

    id: str
    question: str
    gold: str
    reference: str = Field(description="the reference's SQL")
    other: str = Field(description="the other model's SQL")
    error_class: str | None = Field(description="of whichever is wrong")


class Pair(_Frozen):
    """The reference against one other model."""

    reference: str
    other: str
    n: int = Field(description="examples that both were asked")
    metrics: dict[str, Difference]
    clustered: list[float] | None = Field(
        description="95% interval of the difference in execution accuracy when databases are drawn, not examples"
    )
    detectable: float = Field(description="smallest true gain in execution accuracy that these examples mostly show")
    slices: dict[str, dict[str, dict[str, Difference]]]
    errors: dict[str, dict[str, int]] = Field(description="error class -> counts of reference and other")
    won: list[Change]
    lost: list[Change]


class Comparison(_Frozen):
    """A reference and one model or more, all on one test split."""

    schema_version: int = SCHEMA_VERSION
    test_fingerprint: str
    judged_by: str = Field(description="the rules that all of them were judged by, and fuzzed databases if there were")
    subjects: dict[str, dict[str, Interval]] = Field(description="name -> its metrics")
    pairs: list[Pair]


def compare_scorecards(cards: Sequence[tuple[str, Scorecard]]) -> Comparison:
    """Compare every named scorecard with the first. Raises UserError unless they are of the same examples."""
    if len(cards) < 2:
        raise UserError("nothing to compare: give two scorecards or more")
    names = [name for name, _ in cards]
    if len(set(names)) < len(names):
        raise UserError(f"two subjects have the same name: {', '.join(names)}")
    (first, reference), *others = cards
    for name, card in others:
        _check_same(first, reference, name, card)
    plain = [_differences(reference, card) for _, card in others]
    asked = {(number, metric): found for number, metrics in enumerate(plain) for metric, found in metrics.items()}
    settled = _settle({key: found for key, found in asked.items() if key[1] == MAIN})
    settled |= _settle({key: found for key, found in asked.items() if key[1] != MAIN})
    return Comparison(
        test_fingerprint=reference.test_fingerprint,
        judged_by=_judged_by(reference),
        subjects={name: card.metrics for name, card in cards},
        pairs=[
            _pair(first, reference, name, card, {metric: settled[number, metric] for metric in metrics})
            for number, ((name, card), metrics) in enumerate(zip(others, plain, strict=True))
        ],
    )


def _check_same(first: str, reference: Scorecard, name: str, card: Scorecard) -> None:
    ours, theirs = {e.id: e.gold for e in reference.examples}, {e.id: e.gold for e in card.examples}
    if ours.keys() != theirs.keys():
        odd = sorted(ours.keys() ^ theirs.keys())[0]
        raise UserError(f"{first} and {name} are of different examples, {odd!r} for one; score both on the same file")
    changed = next((id for id, gold in ours.items() if gold != theirs[id]), None)
    if changed is not None:
        raise UserError(
            f"{first} and {name} have different gold SQL for example {changed!r}; score both on the same file"
        )
    if (one := _judged_by(reference)) != (two := _judged_by(card)):
        raise UserError(
            f"{first} and {name} were judged otherwise, by {one} and by {two}; score both again, in the same way"
        )


def _judged_by(card: Scorecard) -> str:
    return f"rules {card.rules or 'without a name'}" + (f" on {card.suite} fuzzed databases" if card.suite else "")


def _differences(reference: Scorecard, card: Scorecard) -> dict[str, Difference]:
    found = {metric: _difference(metric, reference, card) for metric in METRICS}
    return {metric: difference for metric, difference in found.items() if difference is not None}


def _pair(first: str, reference: Scorecard, name: str, card: Scorecard, metrics: dict[str, Difference]) -> Pair:
    before = {example.id: example for example in reference.examples}
    changes = [(before[e.id], e) for e in card.examples if _changed(before[e.id], e)]
    return Pair(
        reference=first,
        other=name,
        n=len(card.examples),
        metrics=metrics,
        clustered=_clustered(reference, card),
        detectable=_detectable(metrics.get(MAIN)),
        slices=_slices(reference, card),
        errors={
            kind: {"reference": reference.errors.get(kind, 0), "other": card.errors.get(kind, 0)}
            for kind in sorted({*reference.errors, *card.errors}, key=lambda k: (-card.errors.get(k, 0), k))
        },
        won=[_change(one, two) for one, two in changes if two.execution_match],
        lost=[_change(one, two) for one, two in changes if not two.execution_match],
    )


def _difference(
    metric: str, reference: Scorecard, card: Scorecard, slice: dict[str, str] | None = None
) -> Difference | None:
    ours, theirs = card.values(metric, slice), reference.values(metric, slice)
    shared = [id for id in ours if id in theirs]
    if not shared:
        return None
    one, two = [theirs[id] for id in shared], [ours[id] for id in shared]
    found = paired_bootstrap(two, one, resamples=_RESAMPLES)
    better, worse = found.wins, found.losses
    if METRICS[metric].direction == "lower":
        better, worse = worse, better
    exact = METRICS[metric].binary
    p = mcnemar_midp(better, worse) if exact else sign_flip_p([b - a for a, b in zip(one, two, strict=True)])
    return Difference(
        reference=sum(one) / len(one),
        other=sum(two) / len(two),
        difference=found.difference,
        low=found.low,
        high=found.high,
        n=found.n,
        wins=better,
        losses=worse,
        p=p,
        p_adjusted=1.0,
        verdict="no_difference",
    )


def _settle(family: Mapping[_Key, Difference]) -> dict[_Key, Difference]:
    """A family of differences, by keys that end with the metric, with corrected p values and what follows from them."""
    tested = [key for key, found in family.items() if found.n >= FEWEST]
    settled = dict(family)
    for key, p in zip(tested, holm([family[key].p for key in tested]), strict=True):
        found = family[key]
        telling = p < 1 - CONFIDENCE and (found.low > 0 or found.high < 0)
        up = (found.difference > 0) == (METRICS[key[-1]].direction == "higher")
        verdict = ("better" if up else "worse") if telling else "no_difference"
        settled[key] = found.model_copy(update={"p_adjusted": p, "verdict": verdict})
    return settled


def _slices(reference: Scorecard, card: Scorecard) -> dict[str, dict[str, dict[str, Difference]]]:
    slices: dict[str, dict[str, dict[str, Difference]]] = {}
    for metric in SLICED:
        family: dict[tuple[str, str, str], Difference] = {}
        for dimension, values in card.slices.items():
            for value in in_order(dimension, list(values)):
                found = _difference(metric, reference, card, {dimension: value})
                if found is not None:
                    family[dimension, value, metric] = found
        for (dimension, value, _), settled in _settle(family).items():
            slices.setdefault(dimension, {}).setdefault(value, {})[metric] = settled
    return slices


def _clustered(reference: Scorecard, card: Scorecard) -> list[float] | None:
    ours, theirs = card.values(MAIN), reference.values(MAIN)
    places = {e.id: e.slices.get("database", [""])[0] for e in card.examples}
    shared = [id for id in ours if id in theirs]
    if len({places[id] for id in shared}) < 2:
        return None
    return list(clustered_interval([ours[id] - theirs[id] for id in shared], [places[id] for id in shared]))


def _detectable(main: Difference | None) -> float:
    if main is None:
        return 1.0
    return smallest_detectable_gain(main.n, max(main.wins + main.losses, 1) / main.n)


def _changed(one: ExampleOutcome, two: ExampleOutcome) -> bool:
    return None not in (one.execution_match, two.execution_match) and one.execution_match != two.execution_match


def _change(one: ExampleOutcome, two: ExampleOutcome) -> Change:
    return Change(
        id=two.id,
        question=two.question,
        gold=two.gold,
        reference=one.sql,
        other=two.sql,
        error_class=two.error_class or one.error_class,
    )


def telling_slices(pair: Pair) -> Iterator[tuple[str, str, Difference]]:
    """The slices whose execution accuracy differs beyond chance, the largest fall first; never one of all examples."""
    found = [
        (dimension, value, metrics[MAIN])
        for dimension, values in pair.slices.items()
        for value, metrics in values.items()
        if MAIN in metrics and metrics[MAIN].verdict != "no_difference" and metrics[MAIN].n < pair.metrics[MAIN].n
    ]
    yield from sorted(found, key=lambda row: (row[2].difference, row[0], row[1]))
