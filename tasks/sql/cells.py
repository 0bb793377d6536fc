"""How much of gold's result a wrong result holds: the F1 of its cells, after BIRD's soft F1.

Rows are paired: equal rows first, then the rest in order. In a pair of rows, the cells that both hold are found
whatever their column; rows and cells without a partner are missing or too many.

BIRD's own script drops repeated rows and pairs by position alone, so that right rows in another order score 0; its
figure is therefore not this one. Limits: pairing the rest by order is cheap, not optimal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

Row = Sequence[Any]


def soft_f1(gold: Sequence[Row], found: Sequence[Row]) -> float:
    """The F1 of cells in [0, 1]: 1.0 for equal bags of rows (two empty ones among them), 0.0 for nothing in common."""
    wanted, there = _rows(gold), _rows(found)
    if not wanted or not there:
        return float(not wanted and not there)
    left = Counter(there)
    equal = Counter(wanted) & left
    shared = sum(count * len(row) for row, count in equal.items())
    total = sum(map(len, wanted)) + sum(map(len, there))
    for one, two in zip_longest(_without(wanted, equal), _without(there, equal), fillvalue=()):
        shared += (Counter(one) & Counter(two)).total()
    return 2 * shared / total if total else 1.0


def _rows(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    return [tuple(_cell(value) for value in row) for row in rows]


def _cell(value: Any) -> Any:
    # 1 and 1.0 are equal to Python too; floats are cut to the digits that sums in another order still share.
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _without(rows: Sequence[tuple[Any, ...]], equal: Counter[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    left = Counter(equal)
    kept = []
    for row in rows:
        if left[row] > 0:
            left[row] -= 1
        else:
            kept.append(row)
    return kept


def digest(rows: Sequence[Row]) -> str:
    """A short text that equal bags of rows share, whatever their order; to group results, not to judge them."""
    import hashlib

    lines = sorted(repr(row) for row in _rows(rows))
    return hashlib.blake2b("\n".join(lines).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
