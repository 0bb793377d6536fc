"""Rewards of sampled answers: pure functions of the example, the answer and what the judge found.

Answers are run by the judge alone: read-only, within its limits, in guarded processes, so that a hostile one costs its
reward and nothing else. They are extracted from the text exactly as in evaluation.

Limits: an answer that agrees with a weak gold (an empty result) is easily rewarded for nothing; `usable` leaves such
examples out, and those whose gold does not run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.data.example import Example
from tasks.evaluation.text_metrics import hybrid_score, rouge_l
from tasks.sql.extraction import extract_sql
from tasks.sql.judgement import Judgement
from tasks.sql.parse import parse
from tasks.training.pairs import Judge, job_of
from tasks.training.specs.rewards import RewardSpec

Scorer = Callable[[Sequence[Example], Sequence[str]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A sampled answer's text, and whether the model ended it itself (rather than running into the length limit)."""

    text: str
    ended: bool = True


@dataclass(frozen=True, slots=True)
class Rewarded:
    """The reward of one answer and its parts, unweighted."""

    total: float
    parts: dict[str, float]


def parts_of(example: Example, answer: Answer, judgement: Judgement) -> dict[str, float]:
    """Every part of the reward that needs no model, each in [0, 1]."""
    sql, match = extract_sql(answer.text), bool(judgement.execution_match)
    return {
        "execution": float(match),
        "hybrid_score": hybrid_score(match, rouge_l(example.sql, sql)),
        "syntax": (judgement.parses + judgement.prepares) / 2,
        "format": format_reward(answer),
    }


def format_reward(answer: Answer) -> float:
    """Half for an answer that the model ended, half for one that is a single statement with nothing around it.

    >>> format_reward(Answer("SELECT 1")), format_reward(Answer("Sure: SELECT 1")), format_reward(Answer("SEL", False))
    (1.0, 0.5, 0.0)
    """
    bare = answer.text.strip().rstrip(";").rstrip()
    alone = bare == extract_sql(answer.text) and parse(bare).status == "ok"
    return (answer.ended + alone) / 2


def reward_answers(
    examples: Sequence[Example],
    answers: Sequence[Answer],
    spec: RewardSpec,
    judge: Judge,
    scorer: Scorer | None = None,
) -> list[Rewarded]:
    """The reward of each answer to the example beside it; `scorer` is the reward model, needed when it has a weight."""
    weights = spec.weights()
    judged = judge([job_of(e, extract_sql(a.text)) for e, a in zip(examples, answers, strict=True)])
    parts = [parts_of(*one) for one in zip(examples, answers, judged, strict=True)]
    if spec.reward_model:
        if scorer is None:
            raise ValueError("the reward has a part reward_model, and no model to score it")
        scores = scorer(examples, [answer.text for answer in answers])
        parts = [part | {"reward_model": score} for part, score in zip(parts, scores, strict=True)]
    return [Rewarded(sum(weights[name] * value for name, value in part.items()), part) for part in parts]


def usable(examples: Sequence[Example], judge: Judge) -> tuple[list[Example], Counter[str]]:
    """The examples whose gold says something, and how many were left out: `gold_failed`, `gold_empty`."""
    judged = judge([job_of(example, example.sql) for example in examples])
    left_out = Counter(f"gold_{one.gold_status}" for one in judged if one.gold_status != "ok")
    return [e for e, one in zip(examples, judged, strict=True) if one.gold_status == "ok"], left_out
