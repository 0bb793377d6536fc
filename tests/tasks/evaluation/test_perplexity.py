"""Perplexity is told of a loss of tokens, and of no other."""

from __future__ import annotations

import pytest

from tasks.evaluation.perplexity import perplexity


@pytest.mark.parametrize(
    ("method", "loss", "expected"),
    [("sft", 0.5652, 1.7598), ("seq2seq", 0.0, 1.0), ("prompt_tuning", 7.22, 1366.5), ("sft", None, None),
     ("dpo", 0.5, None), ("reward", 0.5, None), ("grpo", 0.0, None)],
)  # fmt: skip
def test_perplexity(method: str, loss: float | None, expected: float | None) -> None:
    assert perplexity(method, loss) == (None if expected is None else pytest.approx(expected, rel=1e-4))


def test_a_loss_that_ran_away_is_still_a_number() -> None:
    assert perplexity("sft", 1e6) == perplexity("sft", 700.0)
