"""One way to write a query, so that a model learns what queries mean and not how their authors write.

Spacing and functions as sqlglot writes them, names as the schema spells them, text in single quotes, and no alias for
a table that a SELECT reads once: `select T1.NAME from singer as T1` becomes `SELECT singer.Name FROM singer`. A small
model copies names from its prompt; an alias asks it to promise in the SELECT what only the FROM clause binds.

Limits: a statement with a correlated subquery keeps its aliases; what does not parse, or changes data, stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlglot.errors
from sqlglot import exp
from sqlglot.optimizer.scope import Scope, traverse_scope

from tasks.sql.parse import parse


def uniform(sql: str, tables: Mapping[str, Sequence[str]]) -> str:
    """`sql` (SQLite) written the one way; `tables` are the schema's tables with their columns, as it spells them."""
    parsed = parse(sql)
    if not isinstance(parsed.tree, exp.Query):
        return sql
    tree = parsed.tree.copy()
    try:
        scopes = traverse_scope(tree)
    except sqlglot.errors.SqlglotError:
        return sql
    _quote_text(tree, tables)
    if not any(column.table for scope in scopes for column in scope.external_columns):
        for scope in scopes:
            _drop_aliases(scope)
    _spell(tree, _spellings(tuple((table, tuple(columns)) for table, columns in tables.items())))
    return tree.sql("sqlite")


def _quote_text(tree: exp.Expression, tables: Mapping[str, Sequence[str]]) -> None:
    """SQLite takes "France" for text where there is no such column; write it as text."""
    known = {name.lower() for columns in tables.values() for name in columns}
    known |= {alias.alias.lower() for alias in tree.find_all(exp.Alias)}
    for column in list(tree.find_all(exp.Column)):
        name = column.this
        quoted = isinstance(name, exp.Identifier) and name.args.get("quoted") and not column.table
        if quoted and name.name.lower() not in known:
            column.replace(exp.Literal.string(name.name))


def _drop_aliases(scope: Scope) -> None:
    read = [table.name.lower() for table in scope.tables]
    taken = {name.lower() for name in scope.sources}
    renamed: dict[str, str] = {}
    for table in scope.tables:
        alias = table.alias
        if alias and read.count(table.name.lower()) == 1 and (table.name.lower() not in taken or alias == table.name):
            renamed[alias.lower()] = table.name
            table.set("alias", None)
    for column in _columns(scope):
        if column.table.lower() in renamed:
            column.set("table", exp.to_identifier(renamed[column.table.lower()]))


def _columns(scope: Scope) -> list[Any]:
    return [*scope.columns, *(star for star in scope.stars if isinstance(star, exp.Column))]


def _spell(tree: exp.Expression, spelt: Mapping[str, str]) -> None:
    """Names in the schema's own letters; a name that it spells in two ways stays as it is."""
    for node in tree.find_all(exp.Table, exp.Column):
        for part in (node.this, node.args.get("table") if isinstance(node, exp.Column) else None):
            if isinstance(part, exp.Identifier) and part.name.lower() in spelt:
                part.set("this", spelt[part.name.lower()])


@lru_cache(maxsize=512)
def _spellings(tables: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for table, columns in tables:
        for name in (table, *columns):
            found.setdefault(name.lower(), set()).add(name)
    return {lower: next(iter(spelt)) for lower, spelt in found.items() if len(spelt) == 1}
