"""What is different between a predicted query and its gold: the faults of the SQL itself, read off both outlines.

Faults are named from the large to the small: the set operation, the tables, the joins, nesting, grouping, conditions,
output columns, order, limit. The first is the one to mend first; what follows it may be its consequence.

Limits: gold is one right query of many. A right answer written another way has differences too, so that they say
something only about answers whose result is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from tasks.sql.outline import outline_of
from tasks.sql.outline_parts import Condition, Outline, Output

# What each fault means, the most telling first.
FAULTS: dict[str, str] = {
    "missing_set_operation": "no UNION, INTERSECT or EXCEPT where gold has one",
    "extra_set_operation": "a UNION, INTERSECT or EXCEPT that gold lacks",
    "wrong_set_operation": "another set operation than gold's",
    "missing_join": "a table too few in FROM",
    "extra_join": "a table too many in FROM",
    "wrong_bridge_table": "the right tables, joined through the wrong one",
    "wrong_table": "reads another table than gold",
    "wrong_join": "the right tables, joined otherwise",
    "having_vs_where": "a condition in HAVING that belongs in WHERE, or the reverse",
    "missing_subquery": "no subquery where gold has one",
    "extra_subquery": "a subquery that gold lacks",
    "missing_group": "no GROUP BY where gold has one",
    "extra_group": "a GROUP BY that gold lacks",
    "wrong_group": "grouped by other columns",
    "missing_condition": "a condition of gold is not there",
    "extra_condition": "a condition that gold lacks",
    "wrong_aggregate": "another aggregate function, or none",
    "wrong_column": "another column, in a condition or in the output",
    "wrong_operator": "the right condition with another comparison",
    "wrong_literal": "another value in the right condition",
    "wrong_connector": "AND where gold has OR, or the reverse",
    "wrong_columns": "more or fewer output columns",
    "missing_distinct": "no DISTINCT where gold has it",
    "extra_distinct": "a DISTINCT that gold lacks",
    "missing_order": "no ORDER BY where gold has one",
    "extra_order": "an ORDER BY that gold lacks",
    "wrong_direction": "sorted by the right column, the other way round",
    "wrong_order": "sorted by something else",
    "missing_limit": "no LIMIT where gold has one",
    "extra_limit": "a LIMIT that gold lacks",
    "wrong_limit": "another number of rows",
}
_RANK = {name: number for number, name in enumerate(FAULTS)}


def differences(
    gold: str, prediction: str, schema: str, dialect: str = "sqlite", database: str | None = None
) -> tuple[str, ...]:
    """The faults of `prediction`, each once, the most telling first; none where either is no query that parses."""
    wanted = outline_of(gold, dialect, schema, database)
    found = outline_of(prediction, dialect, schema, database)
    if wanted is None or found is None:
        return ()
    return tuple(sorted(set(_of_outlines(wanted, found)), key=_RANK.__getitem__))


def _of_outlines(gold: Outline, found: Outline) -> Iterator[str]:
    if gold.operator != found.operator:
        yield f"{_kind(gold.operator, found.operator)}_set_operation"
    elif gold.other is not None and found.other is not None:
        yield from _of_outlines(gold.other, found.other)
    ours, theirs = _Moved(gold), _Moved(found)
    tables = list(_tables(gold, found))
    yield from tables
    if not tables and (ours.links != theirs.links or gold.sides != found.sides):
        yield "wrong_join"
    yield from _nesting(gold, found)
    yield from _groups(gold, found)
    yield from _conditions(ours, theirs)
    yield from _outputs(gold.outputs, found.outputs)
    if gold.distinct != found.distinct:
        yield "missing_distinct" if gold.distinct else "extra_distinct"
    yield from _order(gold, found)
    if gold.limit != found.limit:
        yield f"{_kind(gold.limit, found.limit)}_limit"


def _kind(gold: object, found: object) -> str:
    return "missing" if not found else "extra" if not gold else "wrong"


class _Moved:
    """Conditions of a SELECT; those in WHERE that join two tables are moved to the links, where ON would have them."""

    def __init__(self, outline: Outline) -> None:
        joining = [c for c in outline.where if c.joins is not None and len(outline.tables) > 1]
        self.links = _connected([*outline.links, *(c.joins for c in joining if c.joins is not None)])
        self.where = [c for c in (*outline.on, *outline.where) if c not in joining]
        self.having = list(outline.having)
        self.connectors = outline.connectors


def _connected(pairs: Iterable[tuple[str, str]]) -> frozenset[frozenset[str]]:
    """Which columns are equal, so that `a = b AND b = c` is the same as `a = b AND a = c`."""
    groups: dict[str, frozenset[str]] = {}
    for one, two in pairs:
        merged = groups.get(one, frozenset({one})) | groups.get(two, frozenset({two}))
        groups.update(dict.fromkeys(merged, merged))
    return frozenset(groups.values())


def _tables(gold: Outline, found: Outline) -> Iterator[str]:
    missing, extra = Counter(gold.tables) - Counter(found.tables), Counter(found.tables) - Counter(gold.tables)
    if missing and extra:
        bridge = len(gold.tables) > 2 and missing.total() == extra.total() == 1 and not _speaks_of(gold, *missing)
        yield "wrong_bridge_table" if bridge else "wrong_table"
    elif missing:
        yield "missing_join"
    elif extra:
        yield "extra_join"


def _speaks_of(outline: Outline, table: str) -> bool:
    """Whether a table does more than connect others: it gives an output, a condition, a group or an order."""
    texts = [output.text for output in outline.outputs] + list(outline.group) + [key for key, _ in outline.order]
    texts += [text for c in (*outline.where, *outline.having) if c.joins is None for text in (c.left, *c.right)]
    return any(f"{table}." in text for text in texts)


def _nesting(gold: Outline, found: Outline) -> Iterator[str]:
    ours, theirs = _nested(gold), _nested(found)
    if len(ours) != len(theirs):
        yield "missing_subquery" if len(ours) > len(theirs) else "extra_subquery"
        return
    for one, two in zip(ours, theirs, strict=True):
        yield from _of_outlines(one, two)


def _nested(outline: Outline) -> list[Outline]:
    held = [query for c in (*outline.on, *outline.where, *outline.having) for query in c.queries]
    return [*outline.common, *outline.derived, *held]


def _groups(gold: Outline, found: Outline) -> Iterator[str]:
    if gold.group != found.group:
        yield f"{_kind(gold.group, found.group)}_group"


def _conditions(gold: _Moved, found: _Moved) -> Iterator[str]:
    misplaced = [c for c in found.where if _alike(c, gold.having) and not _alike(c, gold.where)]
    misplaced += [c for c in found.having if _alike(c, gold.where) and not _alike(c, gold.having)]
    if misplaced:
        yield "having_vs_where"
    ours, theirs = gold.where + gold.having, found.where + found.having
    missing, extra = _unmatched(ours, theirs), _unmatched(theirs, ours)
    while missing and extra:
        one = missing.pop(0)
        two = extra.pop(min(range(len(extra)), key=lambda number: _distance(one, extra[number])))
        yield from _of_conditions(one, two)
    if missing:
        yield "missing_condition"
    if extra:
        yield "extra_condition"
    if gold.connectors != found.connectors and len(ours) == len(theirs):
        yield "wrong_connector"


def _alike(condition: Condition, others: Sequence[Condition]) -> bool:
    return any(condition.left == other.left and condition.operator == other.operator for other in others)


def _unmatched(some: Sequence[Condition], others: Sequence[Condition]) -> list[Condition]:
    """Those of `some` without an equal in `others`; nested queries are compared elsewhere."""
    left = Counter(map(_plain, others))
    found = []
    for condition in some:
        plain = _plain(condition)
        if left[plain] > 0:
            left[plain] -= 1
        else:
            found.append(condition)
    return found


def _plain(condition: Condition) -> Condition:
    return replace(condition, queries=()) if condition.queries else condition


def _distance(one: Condition, two: Condition) -> int:
    return (
        4 * (one.left != two.left)
        + 2 * (one.literals != two.literals)
        + (one.right != two.right)
        + (one.operator != two.operator or one.negated != two.negated)
    )


def _of_conditions(gold: Condition, found: Condition) -> Iterator[str]:
    if gold.left != found.left:
        aggregates = "(" in gold.left or "(" in found.left
        yield "wrong_aggregate" if aggregates else "wrong_column"
    elif gold.operator != found.operator or gold.negated != found.negated:
        yield "wrong_operator"
    elif gold.right != found.right:
        yield "wrong_column"
    elif gold.literals != found.literals:
        yield "wrong_literal"


def _outputs(gold: Sequence[Output], found: Sequence[Output]) -> Iterator[str]:
    if len(gold) != len(found):
        yield "wrong_columns"
        return
    wanted, there = Counter(output.text for output in gold), Counter(output.text for output in found)
    if wanted != there:
        functions = [sorted(name for output in some for name in output.aggregates) for some in (gold, found)]
        yield "wrong_aggregate" if functions[0] != functions[1] else "wrong_column"
    else:
        ours, theirs = sum(output.distinct for output in gold), sum(output.distinct for output in found)
        if ours != theirs:
            yield "missing_distinct" if ours > theirs else "extra_distinct"


def _order(gold: Outline, found: Outline) -> Iterator[str]:
    if gold.order == found.order:
        return
    if not gold.order or not found.order:
        yield f"{_kind(gold.order, found.order)}_order"
    elif [key for key, _ in gold.order] == [key for key, _ in found.order]:
        yield "wrong_direction"
    else:
        yield "wrong_order"
