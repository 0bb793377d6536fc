"""AST match: whether two queries are the same syntax tree once spelling no database cares about is taken out.

Equal are: letter case of names, `JOIN` and `INNER JOIN`, `<>` and `!=`, parentheses, table aliases, the qualifier of
a column when one table is in scope, names of output columns, `ASC`, operand order of `=`, `<>`, `AND`, `OR`, `IN`,
and `a < b` with `b > a`. Limits: no algebra, no schema: `count(*)` and `count(id)`, or a join written the other way
round, differ. A miss is therefore no proof of a wrong answer; a match comes close to a proof of a right one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from sqlglot import exp

from tasks.sql.parse import parse
from tasks.sql.walking import walk

_FLIPPED: dict[type[exp.Expression], type[exp.Expression]] = {exp.GT: exp.LT, exp.GTE: exp.LTE}
_CLAUSES = (exp.Where, exp.Group, exp.Having, exp.Limit, exp.Distinct, exp.SetOperation)
_COMMUTATIVE = (exp.EQ, exp.NEQ)


def ast_match(gold: str, prediction: str, dialect: str = "sqlite") -> bool:
    """Whether both parse and their normalised syntax trees are equal."""
    ours, theirs = parse(prediction, dialect).tree, parse(gold, dialect).tree
    if ours is None or theirs is None:
        return False
    if prediction == gold:
        return True
    try:
        return _marks(prediction, dialect) == _marks(gold, dialect) and (
            _canonical_of(prediction, dialect) == _canonical_of(gold, dialect)
        )
    except RecursionError:  # a prediction of a thousand nested brackets is not gold
        return False


@lru_cache(maxsize=8192)
def _marks(sql: str, dialect: str) -> frozenset[Any]:
    """What no normalisation changes, cheap to have: the tables, the literals and the kinds of clauses of a query."""
    found: set[Any] = set()
    for node in walk(parse(sql, dialect).tree):
        if isinstance(node, exp.Literal):
            found.add((node.is_string, node.name))
        elif isinstance(node, exp.Table):
            found.add(("table", node.name.lower()))
        elif isinstance(node, _CLAUSES):
            found.add(type(node))
    return frozenset(found)


@lru_cache(maxsize=8192)
def _canonical_of(sql: str, dialect: str) -> Any:
    return _canonical(parse(sql, dialect).tree)


def _canonical(tree: exp.Expression) -> Any:
    tree = _copied(tree)
    nodes = list(walk(tree))
    for node in nodes:
        if isinstance(node, exp.Paren):
            node.replace(node.this)  # the tree itself says what belongs together
    # Innermost first: an outer scope's names are resolved after its subqueries have lost their aliases.
    for select in [node for node in reversed(nodes) if isinstance(node, exp.Select)]:
        _drop_output_names(select)
        _drop_table_aliases(select)
    return _key(tree)


def _copied(node: exp.Expression) -> exp.Expression:
    """The tree without comments and positions, on which `copy` would spend most of its time."""
    args = {}
    for name, value in node.args.items():
        if isinstance(value, exp.Expression):
            args[name] = _copied(value)
        elif isinstance(value, list):
            args[name] = [_copied(item) if isinstance(item, exp.Expression) else item for item in value]
        else:
            args[name] = value
    return type(node)(**args)


def _drop_output_names(select: exp.Select) -> None:
    """Remove `AS name` from output columns and put the expression where ORDER BY, GROUP BY or HAVING say the name.

    Only where the name reaches nobody else: derived tables and common table expressions keep theirs.
    """
    if isinstance(select.parent, exp.Subquery | exp.CTE | exp.SetOperation):
        return
    named = {item.alias.lower(): item.this for item in select.expressions if isinstance(item, exp.Alias)}
    for part in ("order", "group", "having"):
        clause = select.args.get(part)
        for column in list(clause.find_all(exp.Column)) if clause is not None else []:
            if not column.table and column.name.lower() in named:
                column.replace(named[column.name.lower()].copy())
    select.set("expressions", [item.unalias() for item in select.expressions])


def _drop_table_aliases(select: exp.Select) -> None:
    """Qualify columns by table name instead of alias, numbered where a table is joined to itself.

    Where a scope has a single table its own columns lose the qualifier: SQL looks there first anyway.
    """
    # sqlglot 28 renamed the argument of FROM.
    first = select.args.get("from_") or select.args.get("from")
    sources = [first.this] if first is not None else []
    sources += [join.this for join in select.args.get("joins") or []]
    tables = [source for source in sources if isinstance(source, exp.Table)]
    new_names: dict[str, str] = {}
    seen: dict[str, int] = {}
    for table in tables:
        name = table.name.lower()
        seen[name] = seen.get(name, 0) + 1
        # The mark keeps a resolved name apart from an alias of the scope around this one.
        new_names[table.alias_or_name.lower()] = f"={name}#{seen[name]}"
        table.set("alias", None)
    alone = len(sources) == len(tables) == 1
    for column in walk(select):
        if isinstance(column, exp.Column) and column.table.lower() in new_names:
            name = None if alone and column.parent_select is select else new_names[column.table.lower()]
            column.set("table", exp.Identifier(this=name) if name else None)


def _key(node: Any) -> Any:
    """A node as nested tuples: equal tuples, equal trees."""
    if isinstance(node, list):
        return tuple(_key(item) for item in node)
    if not isinstance(node, exp.Expression):
        return node or None
    if isinstance(node, exp.Identifier):
        return ("name", node.name.lower())
    if isinstance(node, exp.Literal):
        return ("text" if node.is_string else "number", node.name)
    if isinstance(node, exp.And | exp.Or):
        return (type(node).__name__, _sorted(_key(part) for part in node.flatten()))
    if isinstance(node, _COMMUTATIVE):
        return (type(node).__name__, _sorted([_key(node.this), _key(node.expression)]))
    if type(node) in _FLIPPED:
        return (_FLIPPED[type(node)].__name__, (("expression", _key(node.this)), ("this", _key(node.expression))))
    parts = []
    for name, value in sorted(node.args.items()):
        key = _key(value)
        if name == "expressions" and isinstance(node, exp.In):
            key = _sorted(key)
        if key in (None, ()) or (isinstance(node, exp.Join) and (name, key) == ("kind", "INNER")):
            continue
        parts.append((name, key))
    return (type(node).__name__, tuple(parts))


def _sorted(keys: Iterable[Any]) -> tuple[Any, ...]:
    # Keys mix tuples and text, which do not compare; their representations do.
    return tuple(sorted(keys, key=repr))
