"""Schema hallucination: does a query name a table or column that the schema lacks?

SQLite reads an unknown double-quoted name as text, so `SELECT "salry" FROM staff` runs and returns a constant. A real
fifth of human queries quote text that way, and rightly; such a name counts only where text makes no sense: as an
output column, in GROUP BY or ORDER BY, inside an aggregate, or compared with a constant.
Limits: a known column of the wrong table is an error (the classes show it), not a hallucination; a query that cannot
be parsed names nothing.
"""

from __future__ import annotations

from sqlglot import exp

from tasks.sql.catalogue import catalogue_of
from tasks.sql.parse import parse
from tasks.sql.walking import walk

_ROW_ID = frozenset({"rowid", "oid", "_rowid_"})
_CATALOGUE = frozenset({"sqlite_master", "sqlite_schema"})
_QUOTES = '"`['
_COMPARED = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.Between, exp.In)


def hallucinates(
    sql: str, schema: str, dialect: str = "sqlite", prepares: bool = False, database: str | None = None
) -> bool | None:
    """Whether `sql` names what the file `database`, else the DDL `schema`, lacks; None when that cannot be read.

    `prepares` says that the database compiled the query: then all plain names exist and only quoted ones are asked.
    """
    catalogue = catalogue_of(schema, dialect, database)
    if catalogue is None:
        return None
    if prepares and not any(quote in sql for quote in _QUOTES):
        return False
    tree = parse(sql, dialect).tree
    if tree is None:
        return False
    named: list[exp.Column] = []
    used: set[str] = set()
    own: set[str] = set()  # names that the query itself gives
    made: set[str] = set()
    for node in walk(tree):
        if isinstance(node, exp.Column):
            named.append(node)
        elif isinstance(node, exp.Table):
            if isinstance(node.this, exp.Identifier):
                used.add(node.name.lower())
        elif isinstance(node, exp.CTE):
            made.add(node.alias.lower())
        elif isinstance(node, exp.Alias):
            own.add(node.alias.lower())
        elif isinstance(node, exp.TableAlias):
            own.update(column.name.lower() for column in node.columns)
    if not prepares and used - catalogue.tables.keys() - made - _CATALOGUE:
        return True
    for column in named:
        name = column.name.lower()
        if name in catalogue.columns or isinstance(column.this, exp.Star) or name in own or name in _ROW_ID:
            continue
        if column.this.args.get("quoted") and not column.table:
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
