"""Judging gates: scorecards and facts in, outcomes out.

Pure. Everything fails closed: a scorecard, metric, slice, example or fact that is missing is a failed gate with its
reason, never a skipped one. A relative gate pairs the two models on the same examples; it asks for the lower bound of
the paired bootstrap and, for 0/1 outcomes, for an exact test too, so that a tie or a lucky night promotes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

from registry.facts import FACTS
from registry.gates import Gate, GateOutcome, Status
from registry.proof import chance_of_as_many_wins, margin_score
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.scorecard import Scorecard
from tasks.evaluation.statistics import PairedDifference, paired_bootstrap

MINIMUM_PAIRS = 10  # below it the bootstrap's bound is made of too few distinct values to mean its confidence
ROUNDING = 1e-9  # a mean of tenths may miss its own threshold by a rounding error
SHOWN = 4  # examples or slices named in a line of evidence


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that gates are judged on; what is None was not measured.

    `champion_absent` says that the ledger was read and holds no promotion: only then does a comparison with the
    champion pass without one. `fixed` are the ids of the examples that some version in Production once had right.
    """

    challenger: Scorecard | None
    champion: Scorecard | None = None
    base: Scorecard | None = None
    champion_absent: bool = False
    facts: Mapping[str, float] | None = None
    fixed: AbstractSet[str] | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    key: Literal["min", "max", "min_delta", "max_drop", "keep_fixed"]
    words: str
    threshold: float


@dataclass(frozen=True, slots=True)
class _Found:
    """One rule judged on one part: `shortfall` orders parts, the largest is the worst."""

    value: float | None
    held: bool
    evidence: str
    shortfall: float = 0.0
    part: dict[str, str] | None = None


class _Unmeasurable(Exception):
    """Why a gate cannot be judged, and what to do about it."""

    def __init__(self, evidence: str, resolution: str) -> None:
        super().__init__(evidence)
        self.evidence, self.resolution = evidence, resolution


def judge_gates(gates: Sequence[Gate], evidence: Evidence) -> list[GateOutcome]:
    """One outcome for every rule of every gate, in order.

    A champion that merely could not be scored is a failed gate. Raises ValueError when a champion's scorecard is given
    although the champion is said to be absent.
    """
    if evidence.champion_absent and evidence.champion is not None:
        raise ValueError("a champion's scorecard was given together with champion_absent=True")
    outcomes: list[GateOutcome] = []
    for gate in gates:
        for rule in _rules(gate):
            outcome = _judge(gate, rule, evidence)
            taken = sum(o.id == outcome.id or o.id.startswith(outcome.id + " #") for o in outcomes)
            outcomes.append(outcome.model_copy(update={"id": f"{outcome.id} #{taken + 1}"}) if taken else outcome)
    return outcomes


def _rules(gate: Gate) -> list[_Rule]:
    rules = []
    if gate.min is not None:
        rules.append(_Rule("min", "at least", gate.min))
    if gate.max is not None:
        rules.append(_Rule("max", "at most", gate.max))
    if gate.min_delta is not None:
        rules.append(_Rule("min_delta", f"better than {gate.versus}", gate.min_delta))
    if gate.max_drop is not None:
        rules.append(_Rule("max_drop", f"not worse than {gate.versus}", -gate.max_drop))
    if gate.keep_fixed:
        rules.append(_Rule("keep_fixed", "nothing once fixed breaks", 1.0))
    return rules


def _judge(gate: Gate, rule: _Rule, evidence: Evidence) -> GateOutcome:
    found = _Found(None, False, "")
    try:
        found = _judge_fact(gate, rule, evidence) if gate.metric in FACTS else _judge_scorecards(gate, rule, evidence)
        status: Status = "pass" if found.held else gate.on_miss
        text, resolution = found.evidence, "" if found.held else _advice(gate, rule)
    except _Unmeasurable as reason:
        status, text, resolution = "fail", reason.evidence, reason.resolution
    parts = gate.slice or ({gate.every: "every"} if gate.every else {})
    where = "".join(f"[{dimension}={value}]" for dimension, value in parts.items())
    versus = f" {gate.versus}" if rule.key in {"min_delta", "max_drop"} else ""
    return GateOutcome(
        id=f"{gate.metric}{where} {rule.key}{versus}",
        metric=gate.metric,
        slice=gate.slice or found.part,
        rule=rule.words,
        value=found.value,
        threshold=rule.threshold,
        status=status,
        evidence=text,
        resolution=resolution,
    )


def _advice(gate: Gate, rule: _Rule) -> str:
    if gate.on_miss == "needs_approval":
        return "a named person approves or rejects this release"
    if gate.metric in FACTS:
        return f"lower it in the recipe, or change this gate: {FACTS[gate.metric].description}"
    if rule.key == "keep_fixed":
        return "look at the named examples; add rows like them to the training data"
    if rule.key in {"min", "max"}:
        return "look at the report's error classes: they say which examples to add"
    return f"{gate.versus} stays; look at the examples that only {gate.versus} gets right"


def _judge_fact(gate: Gate, rule: _Rule, evidence: Evidence) -> _Found:
    value = (evidence.facts or {}).get(gate.metric)
    if value is None or not math.isfinite(value):
        raise _Unmeasurable(f"the night recorded no {gate.metric}", f"needed is {FACTS[gate.metric].description}")
    held = value >= rule.threshold - ROUNDING if rule.key == "min" else value <= rule.threshold + ROUNDING
    return _Found(value, held, f"{value:,.4g} measured, {rule.words} {rule.threshold:,.4g} asked")


def _judge_scorecards(gate: Gate, rule: _Rule, evidence: Evidence) -> _Found:
    card = evidence.challenger
    if card is None:
        raise _Unmeasurable("the challenger has no scorecard", "evaluate the challenger, then judge again")
    if rule.key == "keep_fixed":
        return _kept(card, evidence.fixed)
    if rule.key in {"min_delta", "max_drop"} and gate.versus == "champion" and evidence.champion_absent:
        return _Found(None, True, "no champion yet")
    if gate.every is None:
        return _one(gate, rule, gate.slice, evidence, card)
    parts = _parts(card, gate.every)
    large = [name for name, count in parts.items() if count >= gate.min_examples]
    if not large:
        raise _Unmeasurable(
            f"no value of {gate.every} has {gate.min_examples} examples", "enlarge the test set, or lower min_examples"
        )
    found = [_one(gate, rule, {gate.every: name}, evidence, card) for name in large]
    worst = max(found, key=lambda one: (not one.held, one.shortfall))
    missed = [one.part[gate.every] for one in found if not one.held and one.part]
    text = f"{len(found) - len(missed)} of {len(found)} values of {gate.every} hold"
    text += f"; missed by {_some(missed)}" if missed else ""
    text += f"; worst {(worst.part or {})[gate.every]}: {worst.evidence}"
    if small := [name for name in parts if name not in large]:
        text += f"; too few examples to judge: {_some(small)}"
    return replace(worst, held=not missed, evidence=text)


def _one(gate: Gate, rule: _Rule, part: dict[str, str] | None, evidence: Evidence, card: Scorecard) -> _Found:
    if rule.key in {"min", "max"}:
        return replace(_absolute(gate, rule, part, card), part=part)
    other = evidence.champion if gate.versus == "champion" else evidence.base
    return replace(_relative(gate, rule, part, card, other), part=part)


def _parts(card: Scorecard, dimension: str) -> dict[str, int]:
    """The values of a dimension and how many examples with running gold each has."""
    counts: dict[str, int] = {}
    for example in card.examples:
        for value in example.slices.get(dimension, ()) if example.values else ():
            counts[value] = counts.get(value, 0) + 1
    if not counts:
        raise _Unmeasurable(f"no example has a {dimension}", f"use one of {sorted(card.slices)}")
    return dict(sorted(counts.items()))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _kept(card: Scorecard, fixed: AbstractSet[str] | None) -> _Found:
    if fixed is None:
        raise _Unmeasurable("the list of fixed examples was not read", "judge again when the store can be read")
    right = {example.id: example.execution_match for example in card.examples}
    missing = sorted(fixed - right.keys())
    if missing:
        raise _Unmeasurable(
            f"{len(missing)} examples once fixed are not in tonight's test set: {_some(missing)}",
            "put them back into the regression split",
        )
    broken = sorted(id for id in fixed if right[id] is not True)
    share = 1.0 if not fixed else 1 - len(broken) / len(fixed)
    text = f"{len(fixed) - len(broken)} of {len(fixed)} examples once fixed are right"
    return _Found(share, not broken, text + (f"; broken: {_some(broken)}" if broken else ""))


def _absolute(gate: Gate, rule: _Rule, part: dict[str, str] | None, card: Scorecard) -> _Found:
    table = card.metrics
    if part:
        ((dimension, name),) = part.items()
        values = card.slices.get(dimension)
        if values is None:
            raise _Unmeasurable(f"the scorecard has no slices by {dimension}", f"use one of {sorted(card.slices)}")
        if name not in values:
            raise _Unmeasurable(f"no example has {dimension}={name}", f"use one of {sorted(values)}")
        table = values[name]
    interval = table.get(gate.metric)
    if interval is None:
        raise _Unmeasurable(f"the scorecard has no {gate.metric}", "ask the evaluation for this metric")
    if interval.n == 0 or not math.isfinite(interval.value):
        raise _Unmeasurable(f"{gate.metric} has no value ({interval.n} examples)", "give the slice examples to judge")
    shortfall = rule.threshold - interval.value if rule.key == "min" else interval.value - rule.threshold
    text = f"{interval.value:.4f} (95% interval {interval.low:.4f} to {interval.high:.4f}, n={interval.n})"
    text += f", {rule.words} {rule.threshold:.4g} asked"
    return _Found(interval.value, shortfall <= ROUNDING, text, shortfall)


def _relative(gate: Gate, rule: _Rule, part: dict[str, str] | None, card: Scorecard, other: Scorecard | None) -> _Found:
    found = _compare(gate.metric, part, card, other, gate.versus or "", gate.confidence)
    binary = METRICS[gate.metric].binary
    text = (
        f"difference {found.difference:+.4f}, {gate.confidence:.1%} sure of at least {found.lower_bound:+.4f}; "
        f"better on {found.wins}, worse on {found.losses} of {found.n} examples"
    )
    if rule.key == "min_delta":
        held = found.lower_bound > 0 and found.difference >= rule.threshold - ROUNDING
        if binary:
            chance = chance_of_as_many_wins(found.wins, found.losses)
            held = held and chance <= 1 - gate.confidence + ROUNDING
            text += f"; by chance alone {chance:.2g}"
        text += f"; asked is {rule.threshold:+g}, surely above zero"
    else:
        held = found.lower_bound > rule.threshold
        if binary:
            sure = NormalDist().cdf(margin_score(found.wins, found.losses, found.n, -rule.threshold))
            held = held and sure >= gate.confidence - ROUNDING
            text += f"; {sure:.1%} sure of losing less than {-rule.threshold:g}"
        text += f"; asked is surely above {rule.threshold:+g}"
    return _Found(found.difference, held, text, -found.lower_bound)


def _compare(
    metric: str, part: dict[str, str] | None, card: Scorecard, other: Scorecard | None, versus: str, confidence: float
) -> PairedDifference:
    """The paired difference of `card` over `other`, positive when `card` is better whatever the metric's direction."""
    if other is None:
        raise _Unmeasurable(f"{versus} has no scorecard of this test set", f"score {versus} on tonight's examples")
    if card.test_fingerprint != other.test_fingerprint:
        raise _Unmeasurable(
            f"{versus} was scored on another test set ({other.test_fingerprint}, not {card.test_fingerprint})",
            f"score {versus} again on tonight's examples",
        )
    for ids in ([example.id for example in one.examples] for one in (card, other)):
        if len(set(ids)) != len(ids):
            raise _Unmeasurable("an example id occurs twice in a scorecard", "give every test example its own id")
    apart = {example.id for example in card.examples} ^ {example.id for example in other.examples}
    if apart:
        raise _Unmeasurable(
            f"{len(apart)} examples are in only one of the two scorecards",
            f"score {versus} again on tonight's examples",
        )
    ours, theirs = card.values(metric, part), other.values(metric, part)
    if ours.keys() != theirs.keys():
        raise _Unmeasurable(
            f"{metric} of {len(ours.keys() ^ theirs.keys())} examples exists for only one of the two",
            "score both again",
        )
    # Sorted, so that the order of a file does not change what the seeded bootstrap draws.
    pairs = [(ours[id], theirs[id]) for id in sorted(ours)]
    if len(pairs) < MINIMUM_PAIRS:
        raise _Unmeasurable(
            f"{len(pairs)} examples carry {metric} for both; a comparison needs {MINIMUM_PAIRS}",
            "enlarge the test set, or widen the slice",
        )
    sign = 1.0 if METRICS[metric].direction == "higher" else -1.0
    ours_signed, theirs_signed = ([sign * pair[side] for pair in pairs] for side in (0, 1))
    if not all(math.isfinite(x) for x in ours_signed + theirs_signed):
        raise _Unmeasurable(f"{metric} is not a number for some example", "score both again")
    return paired_bootstrap(ours_signed, theirs_signed, confidence=confidence)
