"""What a study set out to learn, answered by its own figures: each question names two runs, or two lots of them.

An answer says how far the two are apart and whether the test set can tell, what each cost, and what else differs
between them. A confounded answer is not withheld; it is marked. Runs that were repeated with other seeds are named
together: the first of one lot is paired with the first of the other, and a test question counts once, with the mean of
its repetitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.evaluation.confounds import confounds
from tasks.evaluation.report_tables import p_sign, percent, points
from tasks.evaluation.runs import Outcomes, Run
from tasks.evaluation.statistics import holm
from tasks.evaluation.telling_apart import Apart, PairOfRuns, pair_repeated

Names = str | tuple[str, ...]
Verdict = Literal["better", "worse", "not told apart", "not measured"]


class Question(BaseModel):
    """A question that two runs answer, or two lots of repeated runs: how `one` stands against `other`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: str = Field(min_length=1, description="the question, for people")
    one: Names = Field(description="name of a run, or of several that differ in their seed alone")
    other: Names = Field(description="name of the run it is measured against, or of as many, in the same order")

    @model_validator(mode="after")
    def _check(self) -> Question:
        if len(_names(self.one)) != len(_names(self.other)) or not self.pairs:
            raise ValueError(f"{self.ask!r}: one and other must name as many runs as each other, at least one")
        return self

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The runs that are held against each other."""
        return tuple(zip(_names(self.one), _names(self.other), strict=True))

    @property
    def runs(self) -> set[str]:
        """Every run the question names."""
        return {name for pair in self.pairs for name in pair}


def _names(given: Names) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else given


class Finding(BaseModel):
    """An answered question."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: str
    one: Names
    other: Names
    verdict: Verdict
    answer: str
    confounds: list[str] = Field(description="what differs besides what was studied; empty for a clean comparison")


def answer_questions(
    questions: Sequence[Question], runs: Sequence[Run], apart: Apart, outcomes: Outcomes, varies: Sequence[str]
) -> list[Finding]:
    """The answers that the runs give; `not measured` where one of them is missing, failed or has no score.

    Questions were asked before anything was measured, so that p is corrected for them alone (Holm), not for all pairs.
    """
    by_name = {run.name: run for run in runs}
    pairs = [_pair(question, apart, outcomes) for question in questions]
    tested = [place for place, pair in enumerate(pairs) if pair is not None and pair.p is not None]
    corrected = dict(zip(tested, holm([pairs[place].p for place in tested]), strict=True))
    settled = [pair if place not in corrected else pair.settled(corrected[place]) for place, pair in enumerate(pairs)]
    return [_answer(question, by_name, pair, varies) for question, pair in zip(questions, settled, strict=True)]


def _pair(question: Question, apart: Apart, outcomes: Outcomes) -> PairOfRuns | None:
    if len(question.pairs) == 1:
        one, other = question.pairs[0]
        return apart.pair(other, one)
    return pair_repeated([(other, one) for one, other in question.pairs], outcomes)


def _answer(question: Question, by_name: Mapping[str, Run], pair: PairOfRuns | None, varies: Sequence[str]) -> Finding:
    kept = {"ask": question.ask, "one": question.one, "other": question.other}
    held = [(by_name.get(one), by_name.get(other)) for one, other in question.pairs]
    missing = sorted(name for name in question.runs if (run := by_name.get(name)) is None or not run.finished)
    if missing:
        return Finding(**kept, verdict="not measured", answer=f"No figures of {' and '.join(missing)}.", confounds=[])
    found = [(one, other) for one, other in held if one is not None and other is not None]
    return Finding(
        **kept,
        verdict=_verdict(pair),
        answer=" ".join([*_scores(found, pair), *(_costs(*found[0]) if len(found) == 1 else ())]),
        confounds=list(dict.fromkeys(text for one, other in found for text in confounds(one, other, varies))),
    )


def _verdict(pair: PairOfRuns | None) -> Verdict:
    if pair is None:
        return "not measured"
    if not pair.apart:
        return "not told apart"
    return "better" if pair.difference > 0 else "worse"


def _scores(found: Sequence[tuple[Run, Run]], pair: PairOfRuns | None) -> list[str]:
    if len(found) == 1:
        return _score(*found[0], pair)
    if pair is None or pair.low is None or pair.high is None:
        return ["Not all of the repeated runs were judged on the same test questions."]
    each = ", ".join(f"{_accuracy(one)} against {_accuracy(other)}" for one, other in found)
    told = "more than chance" if pair.apart else "the test set cannot tell them apart"
    return [
        f"{each}: {points(pair.difference)} points on average ({points(pair.low)} to {points(pair.high)}), "
        f"p {p_sign(pair.p_adjusted)} corrected for these questions, {told}."
    ]


def _accuracy(run: Run) -> str:
    return percent(run.execution_accuracy.value) if run.execution_accuracy else "no score"


def _score(one: Run, other: Run, pair: PairOfRuns | None) -> list[str]:
    if pair is None or one.execution_accuracy is None or other.execution_accuracy is None:
        return [f"{one.title} and {other.title} were not both judged on the test questions."]
    ours, theirs = one.execution_accuracy.value, other.execution_accuracy.value
    reached = f", {percent(ours / theirs)} of it" if theirs > 0 and 0 < ours < theirs else ""
    said = [f"{one.title} scores {percent(ours)}, {other.title} {percent(theirs)}{reached}:"]
    if pair.p_adjusted is None or pair.low is None or pair.high is None:
        overlap = "do not overlap" if pair.apart else "overlap"
        return [
            *said,
            f"{points(pair.difference)} points; there are no answers to pair, and their intervals {overlap}.",
        ]
    told = "more than chance" if pair.apart else "the test set cannot tell them apart"
    return [
        *said,
        f"{points(pair.difference)} points ({points(pair.low)} to {points(pair.high)}), "
        f"p {p_sign(pair.p_adjusted)} corrected for these questions, {told}.",
    ]


def _costs(one: Run, other: Run) -> list[str]:
    """How `one`'s costs compare with `other`'s, where both were measured and both train."""
    parts = []
    if one.trainable and other.trainable and one.trainable != other.trainable:
        parts.append(f"{_times(one.trainable / other.trainable)} the trained weights")
    if one.peak_memory_mb and other.peak_memory_mb:
        parts.append(f"{_times(one.peak_memory_mb / other.peak_memory_mb)} the memory")
    if one.samples_per_second and other.samples_per_second:
        parts.append(f"{_times(one.samples_per_second / other.samples_per_second)} the samples a second")
    elif one.seconds and other.seconds:
        parts.append(f"{_times(one.seconds / other.seconds)} the time")
    return [f"{one.title} has {', '.join(parts)}."] if parts else []


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times" if ratio >= 0.01 else f"{ratio:.1g} times"
