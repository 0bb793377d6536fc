"""Perplexity: a validation loss as people compare it, exp of the mean loss of an answer's tokens."""

from __future__ import annotations

import math

TOKEN_LOSS = ("sft", "seq2seq", "prompt_tuning")  # methods whose loss is the mean over the tokens of answers
_LARGEST = 700.0  # of a loss; exp of more is no float


def perplexity(method: str, loss: float | None) -> float | None:
    """exp(loss) of a loss in nats a token; None for methods whose loss is of another kind, and without a loss.

    >>> round(perplexity("sft", 0.5), 3), perplexity("dpo", 0.5)
    (1.649, None)
    """
    return math.exp(min(loss, _LARGEST)) if method in TOKEN_LOSS and loss is not None else None
