"""Drawing tokens by chance, for several different answers to one question.

Noise is added to the scores and the best token is taken, whatever the rule by which tokens are chosen: the best of
scores / temperature + Gumbel noise is a draw from their softmax (Gumbel 1954; Maddison and others, 2014), and the best
one that a schema allows is a draw from the softmax over what it allows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

Choose = Callable[[Sequence[int], Sequence[list[int]], Any], list[int]]


def drawing(choose: Choose, temperature: float, seed: int) -> Choose:
    """`choose` over scores (rows, vocabulary) as chance has them; `temperature` is above 0.

    The noise is made on the CPU: the same seed draws the same on every device, as far as its scores are the same.
    """
    import torch

    source = torch.Generator().manual_seed(seed)

    def chosen(rows: Sequence[int], answers: Sequence[list[int]], scores: Any) -> list[int]:
        # -log(e) of an exponential e is Gumbel noise; torch draws e above zero.
        noise = torch.empty(scores.shape, dtype=torch.float32).exponential_(generator=source).log_().neg_()
        return choose(rows, answers, scores.float() / temperature + noise.to(scores.device))

    return chosen


def seed_of(asked: Sequence[str]) -> int:
    """A seed made of the ids of what is asked, so that the same part of a run, begun anew, draws the same."""
    return int.from_bytes(hashlib.sha256("|".join(asked).encode()).digest()[:4], "big")
