"""Result comparison: when do two results answer the same question? `tasks.sql.rules` has its name and version.

1. The numbers of columns are equal, also for empty results.
2. Rows are a bag. They are a sequence when gold's outermost query has ORDER BY; rows whose sort keys are equal may
   swap, and where LIMIT cuts a tie any rows of the tie do (`tasks.sql.ordering` finds these segments).
3. One permutation of the columns, the same for every row, may turn the prediction into gold.
4. Integers are compared exactly; as soon as one side is a float, within 1e-6 relative or 1e-9 absolute. Text never
   equals a number and is case-sensitive, blobs are apart, NULL equals NULL only, -0.0 equals 0.

Limits: the search for a permutation is capped; results with many interchangeable columns beyond the cap count as
different. Tolerant matching of rows is greedy, which can only matter when distinct values lie within the tolerance.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.sql.limits import Execution
from tasks.sql.tokens import order_matters

__all__ = ["Row", "Segment", "close", "compare", "fits", "order_matters", "same_bag"]

RELATIVE, ABSOLUTE = 1e-6, 1e-9
_WORK = 4_000_000  # rows one comparison may look at, about two seconds

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` consecutive rows of the answer, taken in any order from `rows`; fewer than all of them at a cut tie."""

    rows: list[Row]
    count: int


class _GaveUp(Exception):
    pass


class _Work:
    """What is left of the budget of one comparison; raises when it is spent."""

    def __init__(self) -> None:
        self.left = _WORK

    def spend(self, rows: int) -> None:
        self.left -= rows + 1
        if self.left < 0:
            raise _GaveUp


def compare(gold: Execution, predicted: Execution, ordered: bool, segments: Sequence[Segment] | None = None) -> bool:
    """Whether two executed results agree under the rules above; False unless both ran.

    `segments` refine the order where it is known which rows tie; without them an ordered result must agree row by
    row, an unordered one as a bag.
    """
    if gold.status != "ok" or predicted.status != "ok" or len(gold.columns) != len(predicted.columns):
        return False
    if len(gold.rows) != len(predicted.rows):
        return False
    if gold.rows == predicted.rows:
        return True
    if segments is None:
        segments = [Segment([row], 1) for row in gold.rows] if ordered else [Segment(gold.rows, len(gold.rows))]
    pool = [row for segment in segments for row in segment.rows]
    work = _Work()
    try:
        for order in _permutations(pool, predicted.rows, len(gold.columns), work):
            rows = predicted.rows if order is None else [tuple(row[i] for i in order) for row in predicted.rows]
            if _fits(segments, rows, work):
                return True
    except _GaveUp:
        pass
    return False


def fits(segments: Sequence[Segment], rows: list[Row]) -> bool:
    """Whether `rows`, cut by the segments' counts, are sub-bags of the segments in turn."""
    try:
        return _fits(segments, rows, _Work())
    except _GaveUp:
        return False


def same_bag(one: list[Row], two: list[Row]) -> bool:
    """Whether two lists of rows are equal as bags under the value rules."""
    return fits([Segment(two, len(two))], one)


def _fits(segments: Sequence[Segment], rows: list[Row], work: _Work) -> bool:
    at = 0
    for segment in segments:
        part = rows[at : at + segment.count]
        if len(part) != segment.count or not _bag_within(part, segment.rows, work):
            return False
        at += segment.count
    return at == len(rows)


def _bag_within(some: list[Row], pool: list[Row], work: _Work) -> bool:
    """Whether `some` is a sub-bag of `pool`; with equal lengths this is equality of bags."""
    if len(some) > len(pool):
        return False
    work.spend(len(some) + len(pool))
    if len(some) == len(pool) == 1:
        return _close_rows(some[0], pool[0])
    wanted, there = Counter(some), Counter(pool)
    missing = list((wanted - there).elements())
    if not missing:
        return True
    spare = list((there - wanted).elements())
    if not any(isinstance(value, float) for rows in (missing, spare) for row in rows for value in row):
        return False
    return _tolerant(missing, spare, work)


def _tolerant(some: list[Row], pool: list[Row], work: _Work) -> bool:
    groups: dict[Row, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((some, pool)):
        for row in rows:
            shape = tuple(("number",) if isinstance(value, (int, float)) else value for value in row)
            groups[shape][side].append(row)
    return all(_pair(wanted, there, work) for wanted, there in groups.values())


def _pair(wanted: list[Row], there: list[Row], work: _Work) -> bool:
    """Give each wanted row a close row of its own, both lists sharing everything but their numbers."""
    if not wanted:
        return True
    if len(wanted) > len(there):
        return False
    numeric = [i for i, value in enumerate(wanted[0]) if isinstance(value, (int, float))]
    lead = max(numeric, key=lambda i: len({row[i] for row in there}))  # the column that tells rows apart best
    there = sorted(there, key=lambda row: (row[lead], [row[i] for i in numeric]))
    keys = [row[lead] for row in there]
    used = [False] * len(there)
    for row in sorted(wanted, key=lambda row: (row[lead], [row[i] for i in numeric])):
        slack = max(ABSOLUTE, abs(row[lead]) * RELATIVE * 1.01)
        at = bisect_left(keys, row[lead] - slack)
        while at < len(there) and (used[at] or not _close_rows(row, there[at])):
            work.spend(1)
            if keys[at] > row[lead] + slack:
                return False
            at += 1
        if at == len(there):
            return False
        used[at] = True
    return True


def _close_rows(one: Row, two: Row) -> bool:
    return all(close(a, b) for a, b in zip(one, two, strict=True))


def close(a: Any, b: Any) -> bool:
    """Whether two SQLite values are equal under rule 4."""
    if isinstance(a, float) or isinstance(b, float):
        if not isinstance(a, (int, float)) or not isinstance(b, (int, float)):
            return False
        return a == b or math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return a == b


def _permutations(pool: list[Row], rows: list[Row], width: int, work: _Work) -> Iterator[tuple[int, ...] | None]:
    """Column orders worth trying: the identity (None) first, then those whose columns and prefixes fit."""
    yield None
    if width < 2 or not rows:
        return
    ours, theirs = list(zip(*pool, strict=True)), list(zip(*rows, strict=True))
    options = [[j for j in range(width) if _column_fits(theirs[j], ours[i], work)] for i in range(width)]
    if not all(options):
        return
    floats = [any(isinstance(value, float) for value in column) for column in ours]
    theirs_float = [any(isinstance(value, float) for value in column) for column in theirs]
    turns = sorted(range(width), key=lambda i: len(options[i]))

    def extend(chosen: dict[int, int]) -> Iterator[tuple[int, ...]]:
        if len(chosen) == width:
            yield tuple(chosen[i] for i in range(width))
            return
        target = turns[len(chosen)]
        tried: set[tuple[Any, ...]] = set()
        for j in options[target]:
            if j in chosen.values() or theirs[j] in tried:  # a twin column has been tried in this place
                continue
            work.spend(len(pool) + len(rows))
            tried.add(theirs[j])
            wider = {**chosen, target: j}
            exact = [(i, k) for i, k in wider.items() if not floats[i] and not theirs_float[k]]
            if len(exact) > 1:
                some = Counter(zip(*(theirs[k] for _, k in exact), strict=True))
                if some - Counter(zip(*(ours[i] for i, _ in exact), strict=True)):
                    continue
            yield from extend(wider)

    yield from extend({})


def _column_fits(theirs: Row, ours: Row, work: _Work) -> bool:
    return _bag_within([(value,) for value in theirs], [(value,) for value in ours], work)
