"""Gates: the rules a challenger's scorecard must satisfy, and what each rule says about it.

Pure: scorecards in, outcomes out. Everything fails closed: a scorecard, metric, slice or example that is missing is a
failed gate with its reason, never a skipped one. A relative gate pairs the two models on the same examples; it asks
for the lower bound of the paired bootstrap, so that a tie or a lucky night promotes nothing. Limits: each gate is
judged at its own confidence; many relative gates on one night are not corrected for each other.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.evaluation.metrics import METRICS, SLICED
from tasks.evaluation.scorecard import Scorecard
from tasks.evaluation.statistics import PairedDifference, paired_bootstrap

Status = Literal["pass", "fail", "needs_approval"]
Versus = Literal["champion", "base"]

MINIMUM_PAIRS = 10  # below it the bootstrap's bound is made of too few distinct values to mean its confidence
ROUNDING = 1e-9  # a mean of tenths may miss its own threshold by a rounding error


class Gate(BaseModel):
    """One rule over scorecards, as a recipe states it; several rules in one gate must all hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str = Field(description="a metric id, such as execution_accuracy")
    slice: dict[str, str] | None = Field(
        default=None, description="judge only these examples: one dimension and its value, such as difficulty: hard"
    )
    min: float | None = Field(default=None, description="the challenger's value must be at least this")
    max: float | None = Field(default=None, description="the challenger's value must be at most this")
    versus: Versus | None = Field(default=None, description="whom the challenger is compared with, example by example")
    min_delta: float | None = Field(
        default=None,
        ge=0,
        description="better by at least this much, and proven better: the difference's lower bound is above zero",
    )
    max_drop: float | None = Field(
        default=None,
        gt=0,
        description="proven to be worse by less than this: the difference's lower bound is above -max_drop",
    )
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1, description="one-sided confidence of the lower bound of a comparison"
    )
    on_miss: Literal["fail", "needs_approval"] = Field(
        default="fail",
        description="what a measured miss means: reject, or ask a person; what could not be measured always fails",
    )

    @model_validator(mode="after")
    def _check(self) -> Gate:
        metric = METRICS.get(self.metric)
        if metric is None:
            near = difflib.get_close_matches(self.metric, METRICS, n=1, cutoff=0.0)
            raise ValueError(f"unknown metric {self.metric!r}; did you mean {near[0]!r}?")
        if not self.versus and (self.min_delta is not None or self.max_drop is not None):
            raise ValueError(f"gate on {self.metric}: min_delta and max_drop need versus: champion or versus: base")
        if self.min is None and self.max is None and self.versus is None:
            raise ValueError(f"gate on {self.metric} has no rule: give min, max, or versus with min_delta or max_drop")
        if self.versus and self.min_delta is None and self.max_drop is None:
            raise ValueError(
                f"gate on {self.metric} versus {self.versus} needs min_delta (better) or max_drop (no worse)"
            )
        if metric.direction == "lower" and self.min is not None:
            raise ValueError(f"{self.metric} is better when lower: use max instead of min")
        if metric.direction == "higher" and self.max is not None:
            raise ValueError(f"{self.metric} is better when higher: use min instead of max")
        for name in ("min", "max"):
            bound = getattr(self, name)
            if bound is not None and not metric.low <= bound <= metric.high:
                raise ValueError(f"{self.metric} lies between {metric.low:g} and {metric.high:g}; {name} is {bound:g}")
        if self.slice is not None and len(self.slice) != 1:
            raise ValueError(f"slice names one dimension and its value, such as {{difficulty: hard}}; got {self.slice}")
        if self.slice is not None and self.versus is None and self.metric not in SLICED:
            raise ValueError(f"{self.metric} is not measured per slice; these are: {', '.join(SLICED)}")
        return self


class GateOutcome(BaseModel):
    """What one rule said. `value` and `threshold` are in the metric's unit; for a comparison `value` is the mean
    difference, positive when the challenger is better. `value` is None where nothing could be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(description="metric, slice and rule; unique within one verdict")
    metric: str = Field(description="the metric's id")
    slice: dict[str, str] | None = Field(description="the slice judged, None for all examples")
    rule: str = Field(description="the rule in words, such as 'better than champion'")
    value: float | None = Field(description="what was measured")
    threshold: float = Field(description="what was asked for")
    status: Status = Field(description="the outcome")
    evidence: str = Field(description="the figures behind the outcome, or why there are none")
    resolution: str = Field(default="", description="what to do about a miss; empty when passed")


@dataclass(frozen=True, slots=True)
class _Rule:
    key: Literal["min", "max", "min_delta", "max_drop"]
    words: str
    threshold: float


class _Unmeasurable(Exception):
    """Why a gate cannot be judged, and what to do about it."""

    def __init__(self, evidence: str, resolution: str) -> None:
        super().__init__(evidence)
        self.evidence, self.resolution = evidence, resolution


def judge_gates(
    gates: Sequence[Gate],
    challenger: Scorecard | None,
    champion: Scorecard | None = None,
    base: Scorecard | None = None,
    *,
    champion_absent: bool = False,
) -> list[GateOutcome]:
    """One outcome for every rule of every gate, in order.

    `champion_absent` says that the ledger was read and holds no promotion: only then does a comparison with the
    champion pass without one. A champion that merely could not be scored is a failed gate. Raises ValueError when a
    champion is given and said to be absent.
    """
    if champion_absent and champion is not None:
        raise ValueError("a champion's scorecard was given together with champion_absent=True")
    outcomes: list[GateOutcome] = []
    for gate in gates:
        for rule in _rules(gate):
            outcome = _judge(gate, rule, challenger, champion, base, champion_absent)
            taken = sum(o.id == outcome.id or o.id.startswith(outcome.id + " #") for o in outcomes)
            outcomes.append(outcome.model_copy(update={"id": f"{outcome.id} #{taken + 1}"}) if taken else outcome)
    return outcomes


def worst(outcomes: Sequence[GateOutcome]) -> Status:
    """The status of a whole verdict: its worst outcome, and `fail` when nothing was judged at all."""
    statuses = {outcome.status for outcome in outcomes}
    if not statuses or "fail" in statuses:
        return "fail"
    return "needs_approval" if "needs_approval" in statuses else "pass"


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
    return rules


def _judge(
    gate: Gate,
    rule: _Rule,
    challenger: Scorecard | None,
    champion: Scorecard | None,
    base: Scorecard | None,
    champion_absent: bool,
) -> GateOutcome:
    where = "".join(f"[{dimension}={value}]" for dimension, value in (gate.slice or {}).items())
    value: float | None = None
    try:
        if challenger is None:
            raise _Unmeasurable("the challenger has no scorecard", "evaluate the challenger, then judge again")
        if rule.key in {"min", "max"}:
            value, held, evidence = _absolute(gate, rule, challenger)
        elif gate.versus == "champion" and champion_absent:
            held, evidence = True, "no champion yet"
        else:
            value, held, evidence = _relative(gate, rule, challenger, champion if gate.versus == "champion" else base)
        status: Status = "pass" if held else gate.on_miss
        resolution = "" if held else _advice(gate, rule)
    except _Unmeasurable as reason:
        status, evidence, resolution = "fail", reason.evidence, reason.resolution
    versus = f" {gate.versus}" if rule.key in {"min_delta", "max_drop"} else ""
    return GateOutcome(
        id=f"{gate.metric}{where} {rule.key}{versus}",
        metric=gate.metric,
        slice=gate.slice,
        rule=rule.words,
        value=value,
        threshold=rule.threshold,
        status=status,
        evidence=evidence,
        resolution=resolution,
    )


def _advice(gate: Gate, rule: _Rule) -> str:
    if gate.on_miss == "needs_approval":
        return "a named person approves or rejects this release"
    if rule.key in {"min", "max"}:
        return "look at the report's error classes: they say which examples to add"
    return f"{gate.versus} stays; look at the examples that only {gate.versus} gets right"


def _absolute(gate: Gate, rule: _Rule, card: Scorecard) -> tuple[float, bool, str]:
    table = card.metrics
    if gate.slice:
        ((dimension, name),) = gate.slice.items()
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
    bound = rule.threshold
    held = interval.value >= bound - ROUNDING if rule.key == "min" else interval.value <= bound + ROUNDING
    evidence = f"{interval.value:.4f} (95% interval {interval.low:.4f} to {interval.high:.4f}, n={interval.n})"
    return interval.value, held, evidence


def _relative(gate: Gate, rule: _Rule, card: Scorecard, other: Scorecard | None) -> tuple[float, bool, str]:
    found = _compare(gate.metric, gate.slice, card, other, gate.versus or "", gate.confidence)
    held = found.lower_bound > 0 and found.difference >= rule.threshold - ROUNDING
    if rule.key == "max_drop":
        held = found.lower_bound > rule.threshold
    evidence = (
        f"difference {found.difference:+.4f}, {gate.confidence:.0%} sure of at least {found.lower_bound:+.4f}; "
        f"better on {found.wins}, worse on {found.losses} of {found.n} examples"
    )
    return found.difference, held, evidence


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
