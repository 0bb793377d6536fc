"""Two models on the same examples: every metric's paired difference, slice by slice, and who changed sides.

The difference is always `other - reference`, in the metric's own unit. Of a 0/1 metric its p value is McNemar's exact
mid-p, of any other the sign-flip test's. Slices are asked many questions at once, so that theirs are corrected by
Holm's method over all slices of the pair. Models against one reference are corrected likewise.

Limits: pairs need the same examples; an example counts where both scorecards have the metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import UserError
from tasks.evaluation.metrics import METRICS, SLICED
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
MAIN = "execution_accuracy"
FEWEST = 10  # pairs; below it a slice is shown and not tested
_RESAMPLES = 4_000


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
    p_adjusted: float = Field(description="p after correction for how many were asked at once")
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
    pairs = [_pair(first, reference, name, card) for name, card in others]
    adjusted = holm([pair.metrics[MAIN].p if MAIN in pair.metrics else 1.0 for pair in pairs])
    return Comparison(
        test_fingerprint=reference.test_fingerprint,
        subjects={name: card.metrics for name, card in cards},
        pairs=[_adjust_main(pair, p) for pair, p in zip(pairs, adjusted, strict=True)],
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


def _pair(first: str, reference: Scorecard, name: str, card: Scorecard) -> Pair:
    metrics = {metric: found for metric in METRICS if (found := _difference(metric, reference, card)) is not None}
    main = metrics.get(MAIN)
    before = {example.id: example for example in reference.examples}
    changes = [(before[e.id], e) for e in card.examples if _changed(before[e.id], e)]
    return Pair(
        reference=first,
        other=name,
        n=len(card.examples),
        metrics=metrics,
        clustered=_clustered(reference, card),
        detectable=_detectable(main),
        slices=_slices(reference, card),
        errors={
            kind: {"reference": reference.errors.get(kind, 0), "other": card.errors.get(kind, 0)}
            for kind in sorted({*reference.errors, *card.errors}, key=lambda k: (-card.errors.get(k, 0), k))
        },
        won=[_change(one, two) for one, two in changes if two.execution_match],
        lost=[_change(one, two) for one, two in changes if not two.execution_match],
    )


def _adjust_main(pair: Pair, p: float) -> Pair:
    if MAIN not in pair.metrics:
        return pair
    main = _settle(MAIN, pair.metrics[MAIN], p)
    return pair.model_copy(update={"metrics": {**pair.metrics, MAIN: main}})


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
    p = (
        mcnemar_midp(better, worse)
        if exact
        else sign_flip_p([b - a for a, b in zip(one, two, strict=True)], _RESAMPLES)
    )
    plain = Difference(
        reference=sum(one) / len(one),
        other=sum(two) / len(two),
        difference=found.difference,
        low=found.low,
        high=found.high,
        n=found.n,
        wins=better,
        losses=worse,
        p=p,
        p_adjusted=p,
        verdict="",
    )
    return _settle(metric, plain, p)


def _settle(metric: str, found: Difference, p: float) -> Difference:
    """The difference with its corrected p, and the verdict that follows from it and from the interval."""
    telling = p < 1 - CONFIDENCE and (found.low > 0 or found.high < 0) and found.n >= FEWEST
    up = (found.difference > 0) == (METRICS[metric].direction == "higher")
    verdict = ("better" if up else "worse") if telling else "no_difference"
    return found.model_copy(update={"p_adjusted": p, "verdict": verdict})


def _slices(reference: Scorecard, card: Scorecard) -> dict[str, dict[str, dict[str, Difference]]]:
    asked: list[tuple[str, str, str, Difference]] = []
    for dimension, values in card.slices.items():
        for value in in_order(dimension, list(values)):
            for metric in SLICED:
                found = _difference(metric, reference, card, {dimension: value})
                if found is not None:
                    asked.append((dimension, value, metric, found))
    slices: dict[str, dict[str, dict[str, Difference]]] = {}
    for metric in SLICED:
        family = [row for row in asked if row[2] == metric and row[3].n >= FEWEST]
        adjusted = {row[:2]: p for row, p in zip(family, holm([row[3].p for row in family]), strict=True)}
        for dimension, value, _, found in (row for row in asked if row[2] == metric):
            settled = _settle(metric, found, adjusted.get((dimension, value), 1.0))
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
    """The slices whose execution accuracy differs beyond chance, the largest fall first."""
    found = [
        (dimension, value, metrics[MAIN])
        for dimension, values in pair.slices.items()
        for value, metrics in values.items()
        if MAIN in metrics and metrics[MAIN].verdict != "no_difference"
    ]
    yield from sorted(found, key=lambda row: (row[2].difference, row[0], row[1]))
