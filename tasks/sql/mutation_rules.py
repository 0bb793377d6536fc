"""The rules by which a right query is made wrong: each looks at one node and says what may stand in its place.

They are the mistakes that models make: a column of the right table but not the right one, a lost condition, a missing
DISTINCT, the other end of an order.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

_MOST = 2  # replacements tried at one place

_OPPOSITE: dict[type[exp.Expression], tuple[type[exp.Expression], ...]] = {
    exp.EQ: (exp.NEQ,),
    exp.NEQ: (exp.EQ,),
    exp.GT: (exp.LT, exp.GTE),
    exp.LT: (exp.GT, exp.LTE),
    exp.GTE: (exp.GT, exp.LTE),
    exp.LTE: (exp.LT, exp.GTE),
    exp.And: (exp.Or,),
    exp.Or: (exp.And,),
}
_AGGREGATES: dict[type[exp.Expression], tuple[type[exp.Expression], ...]] = {
    exp.Sum: (exp.Avg, exp.Count),
    exp.Avg: (exp.Sum, exp.Max),
    exp.Max: (exp.Min,),
    exp.Min: (exp.Max,),
}
_SETS: dict[type[exp.Expression], tuple[type[exp.Expression], ...]] = {
    exp.Union: (exp.Intersect, exp.Except),
    exp.Intersect: (exp.Union, exp.Except),
    exp.Except: (exp.Intersect, exp.Union),
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a rule may draw on: columns by table and tables by alias (both in lower case), texts found in the data."""

    columns: Mapping[str, Sequence[str]]
    aliases: Mapping[str, str]
    texts: Sequence[str]
    chance: random.Random

    def some(self, options: Sequence[str]) -> list[str]:
        """A few of the options, by chance."""
        return self.chance.sample(list(options), min(_MOST, len(options)))


# A rule looks at one node and gives what may stand in its place; None takes the node away.
Rule = Callable[[exp.Expression, Surroundings], Sequence[exp.Expression | None]]


def _wrong_column(node: exp.Expression, around: Surroundings) -> Sequence[exp.Expression | None]:
    if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier):
        return ()
    own = node.name.lower()
    read = [around.aliases.get(node.table.lower(), "")] if node.table else sorted(set(around.aliases.values()))
    found = [table for table in read if own in (column.lower() for column in around.columns.get(table, ()))]
    others = [column for table in found[:1] for column in around.columns[table] if column.lower() != own]
    swapped = []
    for name in around.some(others):
        other = node.copy()
        other.set("this", exp.to_identifier(name, quoted=node.this.quoted or not re.fullmatch(r"[^\W\d]\w*", name)))
        swapped.append(other)
    return swapped


def _wrong_literal(node: exp.Expression, around: Surroundings) -> Sequence[exp.Expression | None]:
    if not isinstance(node, exp.Literal) or node.find_ancestor(exp.Limit, exp.Offset):
        return ()
    if node.is_string:
        return [exp.Literal.string(text) for text in around.some([t for t in around.texts if t != node.this])]
    if re.fullmatch(r"\d+", node.this):
        number = int(node.this)
        return [exp.Literal.number(n) for n in (number + 1, number * 10 or 10)]
    return [exp.Literal.number(f"1{node.this}")] if re.fullmatch(r"\d+\.\d+", node.this) else ()


def _wrong_operator(node: exp.Expression, _: Surroundings) -> Sequence[exp.Expression | None]:
    if node.find_ancestor(exp.Join):
        return ()
    if isinstance(node, exp.In):
        parent = node.parent
        return () if isinstance(parent, exp.Not) else (exp.Not(this=node.copy()),)
    if isinstance(node, exp.Not) and isinstance(node.this, exp.In | exp.Exists | exp.Like):
        return (node.this.copy(),)
    if isinstance(node, exp.Like | exp.Exists) and not isinstance(node.parent, exp.Not):
        return (exp.Not(this=node.copy()),)
    return [kind(**_parts(node)) for kind in _OPPOSITE.get(type(node), ())]


def _dropped_condition(node: exp.Expression, _: Surroundings) -> Sequence[exp.Expression | None]:
    if isinstance(node, exp.Where | exp.Having):
        return (None,)
    if isinstance(node, exp.And) and node.find_ancestor(exp.Where, exp.Having):
        return (node.left.copy(), node.right.copy())
    return ()


def _distinct(node: exp.Expression, _: Surroundings) -> Sequence[exp.Expression | None]:
    if isinstance(node, exp.Distinct):
        if isinstance(node.parent, exp.Count):
            return [expression.copy() for expression in node.expressions[:1]]
        return (None,)
    if isinstance(node, exp.Count) and isinstance(node.this, exp.Column):
        return (exp.Count(this=exp.Distinct(expressions=[node.this.copy()])),)
    if isinstance(node, exp.Select) and not node.args.get("distinct") and not node.find(exp.AggFunc):
        return (node.copy().distinct(),)
    return ()


def _order(node: exp.Expression, _: Surroundings) -> Sequence[exp.Expression | None]:
    if isinstance(node, exp.Order) and isinstance(node.parent, exp.Query):
        return (None,)
    if isinstance(node, exp.Ordered):
        turned = node.copy()
        turned.set("desc", None if node.args.get("desc") else True)
        turned.set("nulls_first", bool(node.args.get("desc")))  # SQLite's own place for NULL: it is not written then
        return (turned,)
    return ()


def _limit(node: exp.Expression, _: Surroundings) -> Sequence[exp.Expression | None]:
    if not isinstance(node, exp.Limit):
        return ()
    wanted = node.expression
    if isinstance(wanted, exp.Literal) and re.fullmatch(r"\d+", wanted.this):
        return (None, exp.Limit(expression=exp.Literal.number(int(wanted.this) + 1)))
    return (None,)


def _wrong_aggregate(node: exp.Expression, _: Surroundings) -> Sequence[exp.Expression | None]:
    return [kind(this=node.this.copy()) for kind in _AGGREGATES.get(type(node), ())]


def _wrong_join(node: exp.Expression, _: Surroundings) -> Sequence[exp.Expression | None]:
    if not isinstance(node, exp.Join) or not node.args.get("on"):
        return ()
    other = node.copy()
    if node.side:
        other.set("side", None)
        other.set("kind", None)
    else:
        other.set("side", "LEFT")
        other.set("kind", None)
    return (other,)


def _dropped_group(node: exp.Expression, _: Surroundings) -> Sequence[exp.Expression | None]:
    return (None,) if isinstance(node, exp.Group) else ()


def _dropped_output(node: exp.Expression, _: Surroundings) -> Sequence[exp.Expression | None]:
    parent = node.parent
    several = isinstance(parent, exp.Select) and node.arg_key == "expressions" and len(parent.expressions) > 1
    return (None,) if several else ()


def _wrong_set(node: exp.Expression, _: Surroundings) -> Sequence[exp.Expression | None]:
    parts = _parts(node) | {"distinct": True}
    found: list[exp.Expression] = [kind(**parts) for kind in _SETS.get(type(node), ())]
    if isinstance(node, exp.Union):
        other = node.copy()
        other.set("distinct", not node.args.get("distinct"))
        found.append(other)
    return found


RULES: dict[str, Rule] = {
    "wrong_column": _wrong_column,
    "wrong_literal": _wrong_literal,
    "wrong_operator": _wrong_operator,
    "dropped_condition": _dropped_condition,
    "distinct": _distinct,
    "order": _order,
    "limit": _limit,
    "wrong_aggregate": _wrong_aggregate,
    "wrong_join": _wrong_join,
    "dropped_group": _dropped_group,
    "dropped_output": _dropped_output,
    "wrong_set": _wrong_set,
}


def _parts(node: exp.Expression) -> dict[str, object]:
    return {key: value.copy() if isinstance(value, exp.Expression) else value for key, value in node.args.items()}
