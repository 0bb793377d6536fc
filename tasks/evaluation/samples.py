"""Several answers to one question: pass@k, and the answer that their results vote for.

Limits: samples are judged like predictions, so that n of them cost n times as much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb

KS: tuple[int, ...] = (1, 2, 4, 5, 8, 10, 16)


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that one of `k` samples drawn from `n` is right when `right` of them are (Chen and others, 2021).

    Unbiased, where the share of questions solved by the first k samples would depend on their order. Raises
    ValueError unless `0 <= right <= n` and `1 <= k <= n`.
    """
    if not 0 <= right <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {right} right among {n}: needs 0 <= right <= n and 1 <= k <= n")
    return 1.0 - comb(n - right, k) / comb(n, k)


def execution_vote(results: Sequence[str | None]) -> int | None:
    """The number of the sample that the vote chooses: the first of those with the most frequent result.

    `results` hold a text for each sample that equal results share, None for one that did not run; None when none ran.
    Results that are as frequent are decided by who came first (Wang and others, 2023, self-consistency).
    """
    votes = Counter(result for result in results if result is not None)
    if not votes:
        return None
    winner = votes.most_common(1)[0][0]  # of equal counts the one met first
    return list(results).index(winner)
