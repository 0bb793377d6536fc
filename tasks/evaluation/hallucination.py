"""Schema hallucination: does a query name a table or column that the schema lacks?

SQLite reads an unknown double-quoted name as text, so `SELECT "salry" FROM staff` runs and returns a constant. A real
fifth of human queries quote text that way, and rightly; such a name counts only where text makes no sense: as an
output column, in GROUP BY or ORDER BY, inside an aggregate, or compared with a constant.
Limits: a known column of the wrong table is an error (the classes show it), not a hallucination; a query that cannot
be parsed names nothing.
"""

from __future__ import annotations

from contextlib import closing
from functools import lru_cache

from sqlglot import exp

from infra.errors import UserError
from tasks.sql.executor import open_database
from tasks.sql.parse import parse, to_sqlite

_ROW_ID = frozenset({"rowid", "oid", "_rowid_"})
_CATALOGUE = frozenset({"sqlite_master", "sqlite_schema"})
_CATALOGUE_OF = """SELECT item.name, part.name FROM sqlite_master AS item, pragma_table_info(item.name) AS part
    WHERE item.type IN ('table', 'view')"""
_COMPARED = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.Between, exp.In)


def hallucinates(
    sql: str, schema: str, dialect: str = "sqlite", prepares: bool = False, database: str | None = None
) -> bool | None:
    """Whether `sql` names what the file `database`, else the DDL `schema`, lacks; None when that cannot be read.

    `prepares` says that the database compiled the query: then all plain names exist and only quoted ones are asked.
    """
    names = _names(schema, dialect, database)
    if names is None:
        return None
    tree = parse(sql, dialect).tree
    if tree is None:
        return False
    tables, columns = names
    made = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    own = {alias.alias.lower() for alias in tree.find_all(exp.Alias)}
    own |= {column.name.lower() for alias in tree.find_all(exp.TableAlias) for column in alias.columns}
    if not prepares:
        used = {table.name.lower() for table in tree.find_all(exp.Table) if isinstance(table.this, exp.Identifier)}
        if used - tables - made - _CATALOGUE:
            return True
    for column in tree.find_all(exp.Column):
        if isinstance(column.this, exp.Star) or column.name.lower() in columns | own | _ROW_ID:
            continue
        if column.this.quoted and not column.table:
            if _wants_a_column(column):
                return True
        elif not prepares:
            return True
    return False


def _wants_a_column(node: exp.Column) -> bool:
    parent = node.parent
    if isinstance(parent, exp.Distinct | exp.Alias):
        parent = parent.parent
    if isinstance(parent, exp.Select | exp.Group | exp.Ordered | exp.AggFunc):
        return True
    if not isinstance(parent, _COMPARED) or parent.this is not node:
        return False
    others = [value for key, value in parent.args.items() if key != "this" and isinstance(value, exp.Expression)]
    others += parent.expressions if isinstance(parent, exp.In) else []
    return any(isinstance(other, exp.Literal) for other in others)


@lru_cache(maxsize=4096)
def _names(schema: str, dialect: str, database: str | None) -> tuple[frozenset[str], frozenset[str]] | None:
    """Tables (and views) and all their columns as SQLite itself understands the schema, in lower case."""
    try:
        connection = open_database("" if database else schema, path=database)
    except UserError:
        return _names(to_sqlite(schema, dialect), "sqlite", None) if dialect != "sqlite" and not database else None
    with closing(connection):
        connection.set_authorizer(None)  # no text from outside runs from here on
        found = connection.execute(_CATALOGUE_OF).fetchall()
    return frozenset(table.lower() for table, _ in found), frozenset(column.lower() for _, column in found)
