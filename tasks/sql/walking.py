"""Walking a syntax tree once, and what kind of node each one is.

`sqlglot`'s own `find_all` is a full walk for every question asked; whoever has several questions walks here instead.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

_NODE = exp.Expression  # asked for at every turn


def walk(tree: exp.Expression, into_queries: bool = True) -> Iterator[exp.Expression]:
    """Every node of `tree`, itself first, depth first in the order of the text as `sqlglot` keeps it.

    Without `into_queries` the nodes of queries below `tree` are left out; the queries themselves come.
    """
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not into_queries and node is not tree and isinstance(node, exp.Query) and not isinstance(node, exp.Subquery):
            continue
        for value in reversed(node.args.values()):
            if isinstance(value, _NODE):
                waiting.append(value)
            elif value.__class__ is list:
                waiting += [item for item in reversed(value) if isinstance(item, _NODE)]


def conditions_of(condition: exp.Expression) -> tuple[list[exp.Expression], int, int]:
    """The leaves of a condition joined by AND and OR, brackets and all, with the numbers of ANDs and of ORs.

    A leaf keeps its NOT, and `NOT (a AND b)` is one leaf.
    """
    leaves: list[exp.Expression] = []
    ands = ors = 0
    waiting = [condition]
    while waiting:
        node = waiting.pop()
        if isinstance(node, exp.Paren):
            waiting.append(node.this)
        elif isinstance(node, (exp.And, exp.Or)):
            ands, ors = ands + isinstance(node, exp.And), ors + isinstance(node, exp.Or)
            waiting += [node.expression, node.this]
        else:
            leaves.append(node)
    return leaves, ands, ors


def unwrapped(tree: exp.Expression) -> exp.Expression:
    """The query inside any number of brackets."""
    while isinstance(tree, (exp.Subquery, exp.Paren)) and isinstance(tree.this, (exp.Query, exp.Paren)):
        tree = tree.this
    return tree


def first_select(tree: exp.Expression) -> exp.Select | None:
    """The first SELECT of a query, which of a set operation is the leftmost branch; None for anything else."""
    tree = unwrapped(tree)
    while isinstance(tree, exp.SetOperation):
        tree = unwrapped(tree.this)
    return tree if isinstance(tree, exp.Select) else None


def sources_of(select: exp.Select) -> list[exp.Expression]:
    """What a SELECT reads from, in order: tables and queries in brackets, the joined ones among them."""
    # sqlglot 28 renamed the argument of FROM.
    first = select.args.get("from_") or select.args.get("from")
    joins = select.args.get("joins") or []
    return ([first.this] if first is not None else []) + [join.this for join in joins]
