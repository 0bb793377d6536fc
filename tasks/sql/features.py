"""What a query is made of: counts and flags from its tree, never from keywords in its text.

Limits: counts are of the statement as written; two spellings of one query may have different features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from sqlglot import exp

from tasks.sql.walking import walk

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
# What the walk looks for; a node may be several of them.
_TRAITS: tuple[tuple[str, tuple[type[exp.Expression], ...]], ...] = (
    ("table", (exp.Table,)),
    ("cte", (exp.CTE,)),
    ("join", (exp.Join,)),
    ("aggregate", (exp.AggFunc,)),
    ("where", (exp.Where,)),
    ("group", (exp.Group,)),
    ("having", (exp.Having,)),
    ("order", (exp.Order,)),
    ("limit", (exp.Limit, exp.Fetch)),
    ("distinct", (exp.Distinct,)),
    ("window", (exp.Window,)),
    ("query", (exp.Select, exp.SetOperation)),
    ("set_operation", (exp.SetOperation,)),
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
    """The features of a tree that `tasks.sql.parse.parse` returned, in one walk."""
    bodies: set[str] = set()
    names: list[str] = []
    seen: set[str] = set()
    joins = aggregates = conditions = subqueries = set_operations = 0
    order_by = False
    for node in walk(tree):
        traits = _traits(type(node))
        if not traits:  # most nodes
            continue
        seen.update(traits)
        for trait in traits:
            if trait == "table" and node.name:
                names.append(node.name.lower())
            elif trait == "cte":
                bodies.add(node.alias.lower())
            elif trait == "join":
                joins += 1
            elif trait == "aggregate":
                aggregates += not isinstance(node.parent, exp.Window)
            elif trait == "where":
                conditions += _leaves(node.this)
            elif trait == "order":
                order_by = order_by or not isinstance(node.parent, exp.Window)
            elif trait == "query":
                subqueries += _is_nested(node)
            elif trait == "set_operation":
                set_operations += 1
    kind = next((name for cls, name in _KINDS if isinstance(tree, cls)), tree.name.lower() or "other")
    return Features(
        kind=kind,
        tables=tuple(dict.fromkeys(name for name in names if name not in bodies)),
        joins=joins,
        aggregates=aggregates,
        conditions=conditions,
        group_by="group" in seen,
        having="having" in seen,
        order_by=order_by,
        limit="limit" in seen,
        distinct="distinct" in seen,
        window="window" in seen,
        cte=bool(bodies),
        subqueries=subqueries,
        set_operations=set_operations,
    )


@cache  # as many entries as sqlglot has classes
def _traits(kind: type[exp.Expression]) -> tuple[str, ...]:
    return tuple(name for name, kinds in _TRAITS if issubclass(kind, kinds))


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
