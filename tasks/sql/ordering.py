"""Which rows of an ordered gold result tie, and which rows a LIMIT cut off from a tie.

Gold runs once more without LIMIT and with its ORDER BY expressions as hidden columns; equal keys make a segment. The
segments are used only if gold's own answer fits them, so that a mistake in rewriting can make the comparison strict
again but never lenient in another way.

Limits: for DISTINCT and set operations the sort keys must be output columns, since a hidden column would change the
rows; LIMIT and OFFSET must be whole numbers; collations are ignored, so that rows equal under NOCASE do not tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from sqlglot import exp

from tasks.sql.comparison import Segment, fits
from tasks.sql.executor import Execution
from tasks.sql.parse import parse


@dataclass(frozen=True, slots=True)
class Keyed:
    """A query whose rows are gold's rows before LIMIT, followed by `hidden` sort keys.

    `keys` index the sort keys in a row of it; none means that gold has a LIMIT but no order.
    """

    sql: str
    hidden: int
    keys: tuple[int, ...]
    offset: int


@lru_cache(maxsize=4096)
def keyed(gold_sql: str, width: int, dialect: str = "sqlite") -> Keyed | None:
    """The keyed query of a gold SELECT with `width` output columns; None where the rules above cannot be followed."""
    tree = parse(gold_sql, dialect).tree
    if not isinstance(tree, (exp.Select, exp.SetOperation)):
        return None
    order, limit = tree.args.get("order"), tree.args.get("limit")
    offset = tree.args.get("offset")
    skipped = _whole(offset.expression) if offset is not None else 0
    if (order is None and limit is None) or skipped is None:
        return None
    tree = tree.copy()
    tree.set("limit", None)
    tree.set("offset", None)
    keys: list[int] = []
    extra: list[exp.Expression] = []
    plain = isinstance(tree, exp.Select) and tree.args.get("distinct") is None
    for term in order.expressions if order is not None else ():
        expression = term.this if isinstance(term, exp.Ordered) else term
        at = _output(tree, expression, width)
        if at is None and plain:
            extra.append(_without_aliases(tree, expression.copy()))
            at = width + len(extra) - 1
        if at is None:
            return None
        keys.append(at)
    if extra:
        tree.set("expressions", [*tree.expressions, *extra])
    return Keyed(tree.sql(dialect), len(extra), tuple(keys), skipped)


def _whole(node: exp.Expression) -> int | None:
    return int(node.name) if isinstance(node, exp.Literal) and node.is_int else None


def _output(tree: exp.Expression, term: exp.Expression, width: int) -> int | None:
    """The output column that an ORDER BY term names: by number, by alias or by being the same expression."""
    number = _whole(term)
    if number is not None:
        return number - 1 if 1 <= number <= width else None
    while isinstance(tree, (exp.SetOperation, exp.Subquery)):
        tree = tree.this
    outputs = tree.expressions
    if len(outputs) != width or any(item.is_star for item in outputs):
        return None
    if isinstance(term, exp.Column) and not term.table:
        for at, item in enumerate(outputs):
            if item.alias_or_name.lower() == term.name.lower():
                return at
    return next((at for at, item in enumerate(outputs) if item.unalias() == term), None)


def _without_aliases(tree: exp.Expression, expression: exp.Expression) -> exp.Expression:
    """`expression` as it must read in the select list, where SQLite does not see the output's aliases."""
    aliases = {item.alias.lower(): item.this for item in tree.expressions if isinstance(item, exp.Alias)}

    def replaced(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Column) and not node.table and node.name.lower() in aliases:
            return exp.paren(aliases[node.name.lower()].copy())
        return node

    return expression.transform(replaced)


def segments(gold: Execution, full: Execution, plan: Keyed) -> list[Segment] | None:
    """The segments of `gold`, given the execution `full` of `plan.sql`; None if gold does not fit them."""
    if full.status != "ok" or len(full.columns) != len(gold.columns) + plan.hidden:
        return None
    width, found, at = len(gold.columns), [], 0
    first, last = plan.offset, plan.offset + len(gold.rows)
    for _, rows in groupby(full.rows, key=lambda row: tuple(row[i] for i in plan.keys)):
        block = [row[:width] for row in rows]
        count = min(at + len(block), last) - max(at, first)
        if count > 0:
            found.append(Segment(block, count))
        at += len(block)
    return found if fits(found, gold.rows) else None
