"""How sure a number is: intervals of one scorecard's means and of the paired difference between two scorecards.

A 0/1 metric gets Wilson's interval, any other the percentile bootstrap. Two models judged on the same examples are
compared by the paired bootstrap of their per-example outcomes and by McNemar's exact mid-p test on the examples where
they differ; many comparisons at once are corrected by Holm's method. Everything is seeded: the same outcomes give the
same interval on any machine. Limits: examples count as independent; questions about one database are not quite, so
that with few databases `clustered_interval`, which resamples databases, is the more honest one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 20_260_101
_CELLS = 2_000_000  # numbers drawn at once: 16 MB
_CACHED = 100_000  # the same where each is looked up: what a processor's cache holds takes half the time


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """What the paired bootstrap says about `mean(challenger) - mean(champion)` over `n` shared examples.

    `low` and `high` bound the difference from both sides at `confidence`; `lower_bound` is the one-sided bound at
    the same confidence (what a gate asks: "at least this much better"). `probability` is the share of resamples in
    which the challenger is strictly ahead. `wins` and `losses` count the examples where one is ahead of the other.
    """

    n: int
    difference: float
    low: float
    high: float
    lower_bound: float
    probability: float
    wins: int
    losses: int
    confidence: float


def wilson_interval(successes: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval (1927) of a proportion `successes / n`; (0, 1) when n is 0.

    Unlike the textbook interval it has a width at 0 of n and n of n, and never leaves [0, 1].
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}: must lie between 0 and n")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the algebra is exact and only rounding could leave a stray 1e-17.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def bootstrap_interval(
    values: Sequence[float], confidence: float = CONFIDENCE, resamples: int = 2_000, seed: int = SEED
) -> tuple[float, float]:
    """The percentile bootstrap interval (Efron 1979) of the mean of `values` (one number an example, at least one)."""
    return bootstrap_intervals([values], confidence, resamples, seed)[0]


def bootstrap_intervals(
    columns: Sequence[Sequence[float]], confidence: float = CONFIDENCE, resamples: int = 2_000, seed: int = SEED
) -> list[tuple[float, float]]:
    """What `bootstrap_interval` says of each of several columns of one length, from samples drawn once for all."""
    data = np.asarray(columns, dtype=float)
    if data.size == 0:
        raise ValueError("no values to resample")
    means = _resampled_means(data, resamples, np.random.default_rng(seed))
    quantiles = [(1 - confidence) / 2, (1 + confidence) / 2]
    return [(float(low), float(high)) for low, high in (np.quantile(column, quantiles) for column in means)]


def paired_bootstrap(
    challenger: Sequence[float],
    champion: Sequence[float],
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> PairedDifference:
    """The paired bootstrap (Koehn 2004) of `challenger - champion`: index i of both is the same example.

    Higher is taken to be better; negate both sides for a metric where lower is better. Raises ValueError when the
    two differ in length or are empty.
    """
    ours, theirs = np.asarray(challenger, dtype=float), np.asarray(champion, dtype=float)
    if ours.shape != theirs.shape or ours.ndim != 1 or ours.size == 0:
        raise ValueError(f"paired outcomes need two equal, non-empty lists; got {ours.shape} and {theirs.shape}")
    differences = ours - theirs
    n, wins, losses = differences.size, int((differences > 0).sum()), int((differences < 0).sum())
    rng = np.random.default_rng(seed)
    if np.isin(differences, (-1.0, 0.0, 1.0)).all():
        # For 0/1 outcomes resampling examples is a multinomial draw of wins and losses: the same law, 100x faster.
        drawn = rng.multinomial(n, [wins / n, losses / n, (n - wins - losses) / n], size=resamples)
        means = (drawn[:, 0] - drawn[:, 1]) / n
    else:
        means = _resampled_means(differences[np.newaxis], resamples, rng)[0]
    tail = 1 - confidence
    low, high, bound = (float(q) for q in np.quantile(means, [tail / 2, 1 - tail / 2, tail]))
    return PairedDifference(
        n=n,
        difference=float(differences.mean()),
        low=low,
        high=high,
        lower_bound=bound,
        probability=float((means > 0).mean()),
        wins=wins,
        losses=losses,
        confidence=confidence,
    )


def mcnemar_midp(wins: int, losses: int) -> float:
    """The two-sided exact mid-p value of McNemar's test on the discordant pairs (Fagerland and others, 2013).

    `wins` and `losses` count the examples that only one of two models got right. 1.0 when they never differ.
    """
    n, smaller = wins + losses, min(wins, losses)
    if n == 0:
        return 1.0
    # Integers until the last division: 2**n has no float beyond n = 1023.
    tail = sum(math.comb(n, k) for k in range(smaller + 1))
    return min(1.0, (2 * tail - math.comb(n, smaller)) / 2**n)


def sign_flip_p(differences: Sequence[float], resamples: int = RESAMPLES, seed: int = SEED) -> float:
    """The two-sided p value of paired differences of any size: how often random signs give a mean as far from 0.

    The permutation test of Fisher and Pitman; for differences of -1, 0 and 1 use `mcnemar_midp`, which is exact.
    """
    data = np.asarray([d for d in differences if d], dtype=float)
    if data.size == 0:
        return 1.0
    rng = np.random.default_rng(seed)
    seen, observed = 0, abs(data.sum()) * (1 - 1e-12)
    for block in _blocks(resamples, data.size):
        signs = rng.integers(0, 2, size=(block, data.size), dtype=np.int8)
        seen += int((np.abs((2 * signs - 1) @ data) >= observed).sum())
    return (seen + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979): compare with 0.05 and the chance of even one false alarm stays below it."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def clustered_interval(
    differences: Sequence[float],
    clusters: Sequence[str],
    confidence: float = CONFIDENCE,
    resamples: int = 4_000,
    seed: int = SEED,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a mean where whole clusters (databases) are drawn, not examples.

    `clusters[i]` names the cluster of `differences[i]`. Raises ValueError when the lengths differ or nothing is given.
    """
    if len(differences) != len(clusters) or not differences:
        raise ValueError(f"{len(differences)} differences in {len(clusters)} clusters: needs one each, at least one")
    numbers = {name: number for number, name in enumerate(sorted(set(clusters)))}
    which = np.array([numbers[name] for name in clusters])
    sums = np.bincount(which, weights=np.asarray(differences, dtype=float))
    sizes = np.bincount(which)
    rng, means = np.random.default_rng(seed), []
    for block in _blocks(resamples, len(numbers)):
        drawn = rng.integers(0, len(numbers), size=(block, len(numbers)))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def smallest_detectable_gain(n: int, discordance: float = 0.15, power: float = 0.8) -> float:
    """The smallest true gain that `n` paired examples show with `power` at 95%, as a share of 1.

    `discordance` is the share of examples on which the two models differ. Normal approximation of McNemar's test.
    """
    if n < 1:
        raise ValueError("needs at least one example")
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) + NormalDist().inv_cdf(power)
    return min(1.0, z * math.sqrt(discordance / n))


def _resampled_means(data: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means of `resamples` samples with replacement of each row of `data`: an array (rows, resamples)."""
    size, parts = data.shape[1], []
    for block in _blocks(resamples, size, _CACHED):
        drawn = rng.integers(0, size, size=(block, size))
        parts.append([row.take(drawn).mean(axis=1) for row in data])
    return np.concatenate(parts, axis=1)


def _blocks(resamples: int, size: int, cells: int = _CELLS) -> Iterator[int]:
    """`resamples` in parts, so that samples of `size` numbers are drawn `cells` at once and no more."""
    most = max(1, cells // size)
    for start in range(0, resamples, most):
        yield min(most, resamples - start)
