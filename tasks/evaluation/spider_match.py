"""Spider's exact-set match (Yu and others, 2018): equal clause by clause, each clause as a set, values ignored.

As the benchmark has it: literals and the number after LIMIT do not count, DISTINCT does not count, nor do the
conditions of joins, and columns that foreign keys connect are one column. Unlike its published evaluator this reads
any SQL that `sqlglot` parses, so that `INNER JOIN`, `<>` or brackets in a prediction are no mismatch.

Limits: it knows no values, so that a match is no proof of a right answer; and a right query in other clauses misses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable

from tasks.sql.outline import outline_of
from tasks.sql.outline_parts import Condition, Outline


def spider_exact_match(
    gold: str, prediction: str, schema: str, dialect: str = "sqlite", database: str | None = None
) -> bool | None:
    """Whether both are the same query by Spider's rules; None where gold is no SELECT that parses."""
    wanted = outline_of(gold, dialect, schema, database)
    if wanted is None:
        return None
    if prediction == gold:
        return True
    found = outline_of(prediction, dialect, schema, database)
    return found is not None and same_outline(wanted, found)


def same_outline(one: Outline | None, two: Outline | None) -> bool:
    """Whether two outlines agree in every clause; None agrees with None."""
    if one is None or two is None:
        return one is two
    return (
        one.tables == two.tables
        and one.sides == two.sides
        and one.operator == two.operator
        and one.connectors == two.connectors
        and one.order == two.order
        and (one.limit is None) == (two.limit is None)
        and _bag(output.text for output in one.outputs) == _bag(output.text for output in two.outputs)
        and _columns(one) == _columns(two)
        and _same_conditions(one.where, two.where)
        and _same_conditions(one.having, two.having)
        and same_outline(one.other, two.other)
        and _all_same(one.derived, two.derived)
        and _all_same(one.common, two.common)
    )


def _bag(items: Iterable[Hashable]) -> Counter[Hashable]:
    return Counter(items)


def _columns(outline: Outline) -> list[str]:
    # The benchmark compares GROUP BY by the column's name alone.
    return sorted(key.rpartition(".")[2] for key in outline.group)


def _same_conditions(ones: tuple[Condition, ...], twos: tuple[Condition, ...]) -> bool:
    if len(ones) != len(twos) or _bag(map(_shape, ones)) != _bag(map(_shape, twos)):
        return False
    # Conditions of one shape come in the order of the text; their nested queries are compared in that order.
    queries = [[query for c in sorted(some, key=_shape) for query in c.queries] for some in (ones, twos)]
    return _all_same(tuple(queries[0]), tuple(queries[1]))


def _shape(condition: Condition) -> tuple[bool, str, str, int]:
    return (condition.negated, condition.operator, condition.left, len(condition.queries))


def _all_same(ones: tuple[Outline, ...], twos: tuple[Outline, ...]) -> bool:
    return len(ones) == len(twos) and all(same_outline(one, two) for one, two in zip(ones, twos, strict=True))
