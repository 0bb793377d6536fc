"""A query in plain words, read off its tree: which tables, how they are joined, what is kept, grouped, sorted, shown.

Limits: it says what the query does, not whether that is what was asked; subqueries and conditions are quoted as SQL.
"""

from __future__ import annotations

from sqlglot import exp

from tasks.sql.parse import parse

_SETS = {exp.Union: "together with", exp.Intersect: "only those also in", exp.Except: "without those in"}


def explain(sql: str, dialect: str = "sqlite") -> list[str]:
    """Sentences about one query, in the order in which it works; empty when the text is no query.

    >>> explain("SELECT name FROM singer WHERE age > 40 ORDER BY age DESC LIMIT 3")
    ['reads singer', 'keeps rows where age > 40', 'sorts by age, highest first', 'shows name, the first 3 rows']
    """
    tree = parse(sql, dialect).tree
    return _query(tree) if isinstance(tree, exp.Query) else []


def _query(tree: exp.Query) -> list[str]:
    lines = [f"first makes {cte.alias}: {'; '.join(_query(cte.this))}" for cte in tree.ctes]
    for kind, words in _SETS.items():
        if isinstance(tree, kind):
            left, right = ("; ".join(_query(side)) for side in (tree.left, tree.right))
            words = words if tree.args.get("distinct") or kind is not exp.Union else "followed by"
            return [*lines, left, f"{words}: {right}", *_sorted(tree), *_limited(tree)]
    if isinstance(tree, exp.Subquery):
        return [*lines, *_query(tree.this)]
    if not isinstance(tree, exp.Select):
        return lines
    return [*lines, *_reads(tree), *_keeps(tree), *_groups(tree), *_sorted(tree), _shows(tree)]


def _reads(tree: exp.Select) -> list[str]:
    source = tree.args.get("from_") or tree.args.get("from")
    if source is None:
        return []
    lines = [f"reads {_source(source.this)}"]
    for join in tree.args.get("joins") or []:
        side = (join.side or "").lower()
        kept = {"left": ", keeping rows without a match", "full": ", keeping rows without a match on both sides"}
        condition = join.args.get("on")
        matched = f" where {_said(condition)}" if condition is not None else ""
        if join.args.get("using"):
            matched = f" on equal {', '.join(name.name for name in join.args['using'])}"
        lines.append(f"joins each row with {_source(join.this)}{matched}{kept.get(side, '')}")
    return lines


def _source(node: exp.Expression) -> str:
    if isinstance(node, exp.Table):
        return f"{node.name} (called {node.alias})" if node.alias and node.alias != node.name else node.name
    if isinstance(node, exp.Subquery):
        return f"the result of ({'; '.join(_query(node.this))})"
    return _said(node)


def _keeps(tree: exp.Select) -> list[str]:
    condition = tree.args.get("where")
    return [f"keeps rows where {_said(condition.this)}"] if condition is not None else []


def _groups(tree: exp.Select) -> list[str]:
    group, having = tree.args.get("group"), tree.args.get("having")
    lines = [f"makes one group for each {', '.join(_said(e) for e in group.expressions)}"] if group is not None else []
    return [*lines, f"keeps groups where {_said(having.this)}"] if having is not None else lines


def _sorted(tree: exp.Query) -> list[str]:
    order = tree.args.get("order")
    if order is None:
        return []
    parts = [f"{_said(e.this)}, {'highest' if e.args.get('desc') else 'lowest'} first" for e in order.expressions]
    return [f"sorts by {', then '.join(parts)}"]


def _shows(tree: exp.Select) -> str:
    columns = ["all columns" if isinstance(e, exp.Star) else _said(e) for e in tree.expressions]
    different = ", each different row once" if tree.args.get("distinct") else ""
    return "".join([f"shows {', '.join(columns)}{different}", *(f", {line}" for line in _limited(tree))])


def _limited(tree: exp.Query) -> list[str]:
    limit, offset = tree.args.get("limit"), tree.args.get("offset")
    skipped = f" after skipping {_said(offset.expression)}" if offset is not None else ""
    if limit is None:
        return [f"all rows{skipped}"] if skipped else []
    count = _said(limit.expression)
    return [f"the first {'row' if count == '1' else f'{count} rows'}{skipped}"]


def _said(node: exp.Expression) -> str:
    return node.sql("sqlite")
