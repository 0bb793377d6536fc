"""What the Spider and BIRD evaluators would say: numbers to put beside published ones, never mixed with ours.

Written from their definitions, with what follows from them: `bird_ex` compares sets, so that duplicates and order are
lost; `bird_soft_f1` drops duplicates and then compares rows by their position, so that the right rows in another order
may score 0; `spider_ts` removes every DISTINCT before running, takes "order by" anywhere in gold's text for an order,
and lets empty results of any width match. Those are reasons not to trust these numbers, and they are kept.

Limits: BIRD's VES and R-VES are left out, because they are ratios of times that gold does not reach even against
itself; the metric `ves` is their stable form. The search for a permutation of columns is capped, where Spider's can run
for ever; beyond it the answer is no. Results larger than the executor's limits fail here and not there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import zip_longest

from tasks.sql.comparison import Row
from tasks.sql.limits import Execution
from tasks.sql.tokens import TOKEN

MODES = ("bird_ex", "bird_soft_f1", "spider_ts", "spider_ts_keep_distinct")
_WORK = 2_000_000  # values one search for a permutation may look at


def verdicts(
    gold_sql: str, gold: Execution, sql: str, predicted: Execution, run: Callable[[str], Execution]
) -> dict[str, float]:
    """Every mode's verdict on two executed SELECTs, True and False but for the share of `bird_soft_f1`; `run` executes
    the statements without their DISTINCT."""
    ordered = "order by" in gold_sql.lower()
    kept = _both_ran(gold, predicted) and spider_equal(gold.rows, predicted.rows, ordered)
    found: dict[str, float] = {
        "bird_ex": _both_ran(gold, predicted) and set(gold.rows) == set(predicted.rows),
        "bird_soft_f1": bird_soft_f1(gold.rows, predicted.rows) if _both_ran(gold, predicted) else 0.0,
        "spider_ts": kept,
        "spider_ts_keep_distinct": kept,
    }
    plain_gold, plain = without_distinct(gold_sql), without_distinct(sql)
    if plain_gold != gold_sql or plain != sql:
        one = run(plain_gold) if plain_gold != gold_sql else gold
        two = run(plain) if plain != sql else predicted
        found["spider_ts"] = _both_ran(one, two) and spider_equal(one.rows, two.rows, ordered)
    return found


def _both_ran(one: Execution, two: Execution) -> bool:
    return one.status == "ok" and two.status == "ok"


def bird_soft_f1(gold: list[Row], rows: list[Row]) -> float:
    """BIRD's soft F1 of two results: of row i on either side, the cells whose value the other one holds anywhere.

    A cell of gold without a like counts as missed, one of the prediction as made up, both as shares of gold's width.
    """
    ours, theirs = list(dict.fromkeys(rows)), list(dict.fromkeys(gold))
    if ours == theirs:
        return 1.0
    hit = extra = missed = 0.0
    for wanted, found in zip_longest(theirs, ours):
        if found is None:
            missed += 1
        elif wanted is None:
            extra += 1
        else:
            width, held = len(wanted), set(wanted)
            alike = sum(value in held for value in found)
            hit += alike / width
            extra += (len(found) - alike) / width
            missed += (width - sum(map(set(found).__contains__, wanted))) / width
    return 2 * hit / (2 * hit + extra + missed)


def without_distinct(sql: str) -> str:
    """`sql` without the word DISTINCT, wherever it stands outside strings, names and comments."""
    if re.search("distinct", sql, re.IGNORECASE) is None:
        return sql
    return "".join(token.group() for token in TOKEN.finditer(sql) if token.group().lower() != "distinct")


def spider_equal(gold: list[Row], rows: list[Row], ordered: bool) -> bool:
    """Spider's comparison of two results: exact values, any permutation of columns, bag or sequence of rows."""
    if not gold and not rows:
        return True
    if len(gold) != len(rows) or len(gold[0]) != len(rows[0]):
        return False
    ours, theirs = [_unordered(row) for row in gold], [_unordered(row) for row in rows]
    if ours != theirs if ordered else set(ours) != set(theirs):
        return False
    return _permuted(gold, rows, ordered)


def _unordered(row: Row) -> Row:
    return tuple(sorted(row, key=lambda value: f"{value}{type(value)}"))


def _permuted(gold: list[Row], rows: list[Row], ordered: bool) -> bool:
    width, left = len(gold[0]), _WORK
    columns = [Counter(column) for column in zip(*gold, strict=True)]
    others = [Counter(column) for column in zip(*rows, strict=True)]
    options = [[j for j in range(width) if others[j] == columns[i]] for i in range(width)]
    wanted = gold if ordered else Counter(gold)
    stack: list[tuple[int, ...]] = [()]
    while stack and left > 0:
        chosen = stack.pop()
        left -= len(rows)
        if len(chosen) < width:
            stack += [(*chosen, j) for j in reversed(options[len(chosen)]) if j not in chosen]
            continue
        permuted = [tuple(row[j] for j in chosen) for row in rows]
        left -= len(rows) * width
        if wanted == (permuted if ordered else Counter(permuted)):
            return True
    return False
