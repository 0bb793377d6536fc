"""What a query is made of: counts and flags from its tree, never from keywords in its text.

Limits: counts are of the statement as written; two spellings of one query may have different features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlglot import exp

_KINDS: tuple[tuple[type[exp.Expression], str], ...] = (
    (exp.Query, "select"),
    (exp.Values, "select"),
    (exp.Insert, "insert"),
    (exp.Update, "update"),
    (exp.Delete, "delete"),
    (exp.Create, "create"),
    (exp.Drop, "drop"),
    (exp.Alter, "alter"),
)


@dataclass(frozen=True, slots=True)
class Features:
    """The parts of one statement.

    `tables` are base tables in the order of the tree, lower case, each once, without CTE names; `conditions` counts the
    leaf conditions of WHERE clauses; `subqueries` counts nested queries (CTE bodies and set operation branches apart).
    """

    kind: str
    tables: tuple[str, ...]
    joins: int
    aggregates: int
    conditions: int
    group_by: bool
    having: bool
    order_by: bool
    limit: bool
    distinct: bool
    window: bool
    cte: bool
    subqueries: int
    set_operations: int


def features(tree: exp.Expression) -> Features:
    """The features of a tree that `tasks.sql.parse.parse` returned."""
    bodies = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    names = [table.name.lower() for table in tree.find_all(exp.Table, bfs=False) if table.name]
    kind = next((name for cls, name in _KINDS if isinstance(tree, cls)), tree.name.lower() or "other")
    return Features(
        kind=kind,
        tables=tuple(dict.fromkeys(name for name in names if name not in bodies)),
        joins=_count(tree, exp.Join),
        aggregates=sum(1 for node in tree.find_all(exp.AggFunc) if not isinstance(node.parent, exp.Window)),
        conditions=sum(_leaves(where.this) for where in tree.find_all(exp.Where)),
        group_by=tree.find(exp.Group) is not None,
        having=tree.find(exp.Having) is not None,
        order_by=any(not isinstance(order.parent, exp.Window) for order in tree.find_all(exp.Order)),
        limit=tree.find(exp.Limit, exp.Fetch) is not None,
        distinct=tree.find(exp.Distinct) is not None,
        window=tree.find(exp.Window) is not None,
        cte=bool(bodies),
        subqueries=sum(_is_nested(node) for node in tree.find_all(exp.Select, exp.SetOperation)),
        set_operations=_count(tree, exp.SetOperation),
    )


def _count(tree: exp.Expression, kind: type[exp.Expression]) -> int:
    return sum(1 for _ in tree.find_all(kind))


def _leaves(condition: exp.Expression) -> int:
    total, waiting = 0, [condition]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (exp.Connector, exp.Paren, exp.Not)):
            waiting.extend(node.iter_expressions())
        else:
            total += 1
    return total


def _is_nested(node: exp.Expression) -> bool:
    parent = node.parent
    while isinstance(parent, (exp.Subquery, exp.Paren)):
        parent = parent.parent
    return parent is not None and not isinstance(parent, (exp.SetOperation, exp.CTE, exp.Insert, exp.Create))


def clauses(found: Features) -> tuple[str, ...]:
    """The names of the clauses a query uses, for slices; a query without any is in no clause slice."""
    present = {
        "where": found.conditions > 0,
        "join": found.joins > 0,
        "group_by": found.group_by,
        "having": found.having,
        "order_by": found.order_by,
        "limit": found.limit,
        "distinct": found.distinct,
        "subquery": found.subqueries > 0,
        "set_operation": found.set_operations > 0,
        "aggregate": found.aggregates > 0,
        "window": found.window,
        "cte": found.cte,
    }
    return tuple(name for name, there in present.items() if there)


def difficulty(found: Features) -> Literal["easy", "medium", "hard"]:
    """hard: subquery, HAVING, set operation, CTE or window; medium: several tables or GROUP BY; easy: the rest."""
    if found.subqueries or found.having or found.set_operations or found.cte or found.window:
        return "hard"
    if found.joins or found.group_by or len(found.tables) > 1:
        return "medium"
    return "easy"
