"""Spider's hardness of a query: easy, medium, hard or extra, by the rules of its benchmark (Yu and others, 2018).

Three counts decide. *Clauses*: WHERE, GROUP BY, ORDER BY, LIMIT, each further table in FROM, each OR, each LIKE.
*Nesting*: a set operation, and every query that a condition holds. *Others*: more than one aggregate, more than one
output column, more than one condition in WHERE, more than one GROUP BY column.

The benchmark's published counts include two habits of its evaluator, kept here so that our figures are its figures: a
NOT in WHERE or HAVING, and a connector in HAVING, count as an aggregate, while an aggregate inside HAVING does not;
and the order and limit of a set operation belong to its last branch, so that they do not count.

Limits: the rules know SELECT alone. What they do not know is placed by the nearest rule: a common table expression
counts as a nested query, window functions and CASE count nothing; a data change has no hardness.
"""

from __future__ import annotations

from typing import Literal

from sqlglot import exp

from tasks.sql.walking import conditions_of, first_select, sources_of, unwrapped, walk

Hardness = Literal["easy", "medium", "hard", "extra"]
HARDNESS: tuple[Hardness, ...] = ("easy", "medium", "hard", "extra")


def hardness(tree: exp.Expression) -> Hardness | None:
    """The hardness of a tree that `tasks.sql.parse.parse` returned; None when it is no query."""
    select = first_select(tree)
    if select is None:
        return None
    counts = _Counts(tree, select)
    return _level(counts.clauses, counts.nested, counts.others)


def _level(clauses: int, nested: int, others: int) -> Hardness:
    if nested == 0:
        if clauses <= 1 and others == 0:
            return "easy"
        if (clauses <= 1 and others <= 2) or (clauses <= 2 and others < 2):
            return "medium"
        if (clauses <= 2 and others > 2) or (clauses == 3 and others <= 2):
            return "hard"
    elif nested == 1 and clauses <= 1 and others == 0:
        return "hard"
    return "extra"


class _Counts:
    """The three counts of one query."""

    def __init__(self, tree: exp.Expression, select: exp.Select) -> None:
        args = select.args
        alone = not isinstance(unwrapped(tree), exp.SetOperation)
        order, limit, group = (args.get(name) for name in ("order", "limit", "group"))
        where, in_where = _parts(args.get("where"))
        having, in_having = _parts(args.get("having"))
        joined, in_joins = _joins(select)
        leaves = joined + where + having

        keys = group.expressions if group is not None else []
        ordered = order.expressions if order is not None else []
        likes = sum(isinstance(_positive(leaf), exp.Like) for leaf in leaves)
        self.clauses = (
            sum(part is not None for part in (args.get("where"), group, order, limit))
            + max(0, len(sources_of(select)) - 1)
            + in_where[1]
            + in_having[1]
            + in_joins[1]
            + likes
        )
        self.nested = sum(_queries(leaf) for leaf in leaves) + (not alone)
        self.nested += sum(1 for node in _withs(tree) for _ in node.expressions)

        negations = sum(_positive(leaf) is not leaf for leaf in where + having)
        aggregates = sum(_aggregates(item) > 0 for item in select.expressions)
        aggregates += sum(_aggregates(key) for key in ordered) + negations + sum(in_having)
        self.others = int(aggregates > 1) + int(len(select.expressions) > 1) + int(len(where) > 1) + int(len(keys) > 1)


def _parts(clause: exp.Expression | None) -> tuple[list[exp.Expression], tuple[int, int]]:
    if clause is None:
        return [], (0, 0)
    leaves, ands, ors = conditions_of(clause.this)
    return leaves, (ands, ors)


def _joins(select: exp.Select) -> tuple[list[exp.Expression], tuple[int, int]]:
    leaves: list[exp.Expression] = []
    ors = 0
    for join in select.args.get("joins") or []:
        on = join.args.get("on")
        if on is not None:
            found, _, more = conditions_of(on)
            leaves, ors = leaves + found, ors + more
    return leaves, (0, ors)


def _positive(leaf: exp.Expression) -> exp.Expression:
    while isinstance(leaf, (exp.Not, exp.Paren)):
        leaf = leaf.this
    return leaf


def _queries(leaf: exp.Expression) -> int:
    """The queries that a condition holds itself, not those inside them."""
    return sum(isinstance(node, (exp.Select, exp.SetOperation)) for node in walk(leaf, into_queries=False))


def _aggregates(node: exp.Expression) -> int:
    return sum(isinstance(part, exp.AggFunc) for part in walk(node, into_queries=False))


def _withs(tree: exp.Expression) -> list[exp.With]:
    found = tree.args.get("with_") or tree.args.get("with")
    return [found] if found is not None else []
