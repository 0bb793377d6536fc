"""How fast a right query is next to gold: the reward of BIRD's R-VES, measured so that gold itself gets exactly 1.

Both run once before the clock counts, then in turns gold, prediction, prediction, gold, so that neither gains from
caches or from a machine that slows down; medians are compared. Ratios within 5 % of 1, and differences below 50
microseconds, are noise and count as equal.

Limits: times of one machine at one moment: the only metric here that two runs may give differently.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median

DEAD_BAND = 0.05
NOISE = 50e-6  # seconds
BUDGET = 0.1  # seconds of timing for one pair of queries, beyond the one run that each gets
ROUNDS = 5
# BIRD's steps: gold's time over the prediction's -> reward.
_STEPS = ((2.0, 1.25), (1.0, 1.0), (0.5, 0.75), (0.25, 0.5))
_SLOWEST = 0.25
BEST = math.sqrt(_STEPS[0][1])


def time_ratio(gold: Callable[[], object], prediction: Callable[[], object]) -> float:
    """Gold's time over the prediction's; 1.0 where the difference is noise. Both must have run before."""
    times: tuple[list[float], list[float]] = ([], [])
    runs = (gold, prediction)
    began = time.perf_counter()
    for which in (0, 1, 1, 0) * ROUNDS:
        # Once both are timed equally often: long queries are timed once, their noise is small.
        if len(times[0]) == len(times[1]) > 0 and time.perf_counter() - began > BUDGET:
            break
        start = time.perf_counter()
        runs[which]()
        times[which].append(time.perf_counter() - start)
    return settled(median(times[0]), median(times[1]))


def settled(gold: float, prediction: float) -> float:
    """The ratio of two times in seconds, with noise taken for equality."""
    if abs(gold - prediction) < NOISE:
        return 1.0
    ratio = gold / max(prediction, 1e-9)
    return 1.0 if abs(ratio - 1) <= DEAD_BAND else ratio


def efficiency_score(ratio: float) -> float:
    """The square root of R-VES's reward for a right query, in [0.5, 1.118]; a wrong query scores 0."""
    return math.sqrt(next((reward for bound, reward in _STEPS if ratio >= bound), _SLOWEST))
