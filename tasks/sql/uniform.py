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
from tasks.sql.walking import sources_of

_ROW_NUMBER = frozenset(["rowid", "oid", "_rowid_"])  # columns that every table has


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
    columns = {table.lower(): frozenset(map(str.lower, names)) for table, names in tables.items()}
    _quote_text(tree, columns)
    if not any(column.table for scope in scopes for column in scope.external_columns):
        for scope in scopes:
            _drop_aliases(scope)
    _spell(tree, _spellings(tuple((table, tuple(names)) for table, names in tables.items())), columns)
    return tree.sql("sqlite")


def _quote_text(tree: exp.Expression, columns: Mapping[str, frozenset[str]]) -> None:
    """SQLite takes "France" for text where no such column is read; write it as text.

    Nothing is changed where something is read whose columns are not known, such as a view.
    """
    made = {alias.alias.lower() for alias in tree.find_all(exp.CTE)}
    read = {table.name.lower() for table in tree.find_all(exp.Table)} - made
    if not read <= columns.keys():
        return
    known = _ROW_NUMBER.union(*(columns[table] for table in read))
    known |= {alias.alias.lower() for alias in tree.find_all(exp.Alias)}
    known |= {name.name.lower() for alias in tree.find_all(exp.TableAlias) for name in alias.columns}
    for column in list(tree.find_all(exp.Column)):
        if _may_be_text(column) and column.name.lower() not in known:
            column.replace(exp.Literal.string(column.name))


def _may_be_text(node: exp.Expression) -> bool:
    """Whether a node is a name in quotes that stands alone: text where no table in sight has such a column."""
    return isinstance(node, exp.Column) and not node.table and bool(node.this.args.get("quoted"))


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


def _spell(tree: exp.Expression, spelt: Mapping[str, str], columns: Mapping[str, frozenset[str]]) -> None:
    """Names in the schema's own letters; a name that it spells in two ways, or that may be text, stays as it is."""
    for node in tree.find_all(exp.Table, exp.Column):
        if _may_be_text(node) and not _is_read(node, columns):
            continue
        for part in (node.this, node.args.get("table") if isinstance(node, exp.Column) else None):
            if isinstance(part, exp.Identifier) and part.name.lower() in spelt:
                part.set("this", spelt[part.name.lower()])


def _is_read(column: exp.Expression, columns: Mapping[str, frozenset[str]]) -> bool:
    """Whether a table of the very SELECT that a column stands in has it."""
    select = column.parent_select
    sources = sources_of(select) if isinstance(select, exp.Select) else []
    tables = [source.name.lower() for source in sources if isinstance(source, exp.Table)]
    return any(column.name.lower() in columns.get(table, ()) for table in tables)


@lru_cache(maxsize=512)
def _spellings(tables: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for table, columns in tables:
        for name in (table, *columns):
            found.setdefault(name.lower(), set()).add(name)
    return {lower: next(iter(spelt)) for lower, spelt in found.items() if len(spelt) == 1}
