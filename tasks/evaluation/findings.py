"""What a study set out to learn, answered by its own figures: each question names two runs.

An answer says how far the two are apart and whether the test set can tell, what each cost, and what else differs
between them. A confounded answer is not withheld; it is marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.evaluation.confounds import confounds
from tasks.evaluation.report_tables import percent, points
from tasks.evaluation.runs import Run
from tasks.evaluation.statistics import holm
from tasks.evaluation.telling_apart import Apart, PairOfRuns

Verdict = Literal["better", "worse", "not told apart", "not measured"]


class Question(BaseModel):
    """A question that two runs answer: how `one` stands against `other`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: str = Field(min_length=1, description="the question, for people")
    one: str = Field(description="name of a run")
    other: str = Field(description="name of the run it is measured against")


class Finding(BaseModel):
    """An answered question."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: str
    one: str
    other: str
    verdict: Verdict
    answer: str
    confounds: list[str] = Field(description="what differs besides what was studied; empty for a clean comparison")


def answer_questions(
    questions: Sequence[Question], runs: Sequence[Run], apart: Apart, varies: Sequence[str]
) -> list[Finding]:
    """The answers that the runs give; `not measured` where one of them is missing, failed or has no score.

    Questions were asked before anything was measured, so that p is corrected for them alone (Holm), not for all pairs.
    """
    pairs = [apart.pair(question.other, question.one) for question in questions]
    tested = [place for place, pair in enumerate(pairs) if pair is not None and pair.p is not None]
    corrected = dict(zip(tested, holm([pairs[place].p for place in tested]), strict=True))
    settled = [pair if place not in corrected else pair.settled(corrected[place]) for place, pair in enumerate(pairs)]
    return [_answer(question, runs, pair, varies) for question, pair in zip(questions, settled, strict=True)]


def _answer(question: Question, runs: Sequence[Run], pair: PairOfRuns | None, varies: Sequence[str]) -> Finding:
    by_name = {run.name: run for run in runs}
    one, other = by_name.get(question.one), by_name.get(question.other)
    kept = {"ask": question.ask, "one": question.one, "other": question.other}
    missing = [name for name, run in ((question.one, one), (question.other, other)) if run is None or not run.finished]
    if one is None or other is None or missing:
        return Finding(**kept, verdict="not measured", answer=f"No figures of {' and '.join(missing)}.", confounds=[])
    return Finding(
        **kept,
        verdict=_verdict(pair),
        answer=" ".join([*_score(one, other, pair), *_costs(one, other)]),
        confounds=confounds(one, other, varies),
    )


def _verdict(pair: PairOfRuns | None) -> Verdict:
    if pair is None:
        return "not measured"
    if not pair.apart:
        return "not told apart"
    return "better" if pair.difference > 0 else "worse"


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
        f"p = {pair.p_adjusted:.3f} corrected for these questions, {told}.",
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
