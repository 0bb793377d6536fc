"""How often a search finds the planted optimum, and for how much: `python -m tests.benchmarks.search [SURFACES]`.

Surfaces are those of `tests.tasks.training.planted`: 480 points, noise that shrinks with the rows, another optimum
each. A grid tries every point on all rows.
"""

from __future__ import annotations

import sys
import time

from tasks.training.search.space import size
from tests.tasks.training.planted import FULL, Surface, searched, spec_of


def main(surfaces: int = 12) -> None:
    """Print a row for each sampler."""
    print(f"{'sampler':10}{'found':>8}{'trials':>8}{'of a grid':>11}{'rows of a grid':>16}{'seconds':>9}")
    for sampler in ("tpe", "random"):
        found, trials, rows, started = 0, 0, 0, time.perf_counter()
        for seed in range(surfaces):
            surface, spec = Surface(seed), spec_of(seed=seed, sampler=sampler)
            now, results = searched(spec, surface)
            found += now.winner is not None and now.winner.values == surface.optimum
            trials += len(results)
            rows += sum(result.train_rows or 0 for result in results)
        points = size(spec.space) or 0
        seconds = time.perf_counter() - started
        share = f"{trials / surfaces / points:.0%}"
        spent = f"{rows / surfaces / points / FULL:.1%}"
        print(f"{sampler:10}{found:>5}/{surfaces}{trials / surfaces:>8.0f}{share:>11}{spent:>16}{seconds:>9.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
