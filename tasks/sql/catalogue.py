"""What a database holds: tables, their columns, and which columns refer to which, as SQLite itself reads the schema.

Limits: types and constraints other than foreign keys are of no interest here; all names are in lower case.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from infra.errors import UserError
from tasks.sql.executor import open_database
from tasks.sql.parse import to_sqlite

_COLUMNS = """SELECT item.name, part.name FROM sqlite_master AS item, pragma_table_info(item.name) AS part
    WHERE item.type IN ('table', 'view')"""
_LINKS = """SELECT item.name, link."from", link."table", link."to" FROM sqlite_master AS item,
    pragma_foreign_key_list(item.name) AS link WHERE item.type = 'table'"""
_KEYS = """SELECT item.name, part.name FROM sqlite_master AS item, pragma_table_info(item.name) AS part
    WHERE item.type = 'table' AND part.pk = 1"""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Tables and views with their columns in order; `linked` names one column for all that foreign keys make equal.

    Keys and values of `linked` are `table.column`; a column that no foreign key touches is not in it.
    """

    tables: Mapping[str, tuple[str, ...]]
    columns: frozenset[str]
    linked: Mapping[str, str]


@lru_cache(maxsize=4096)
def catalogue_of(schema: str, dialect: str = "sqlite", database: str | None = None) -> Catalogue | None:
    """The catalogue of the file `database`, else of the DDL `schema`; None when SQLite cannot read either."""
    try:
        connection = open_database("" if database else schema, path=database)
    except UserError:
        return catalogue_of(to_sqlite(schema, dialect)) if dialect != "sqlite" and not database else None
    with closing(connection):
        connection.set_authorizer(None)  # no text from outside runs from here on
        tables: dict[str, list[str]] = {}
        for table, column in connection.execute(_COLUMNS).fetchall():
            tables.setdefault(table.lower(), []).append(column.lower())
        links: list[tuple[str, str, str, str | None]] = []
        with contextlib.suppress(sqlite3.Error):  # a foreign key to a table that is not there
            links = connection.execute(_LINKS).fetchall()
        keys = {table.lower(): column for table, column in connection.execute(_KEYS).fetchall()}
    pairs = []
    for table, column, other, target in links:
        target = target or keys.get(other.lower())  # REFERENCES t alone means its primary key
        if target:
            pairs.append((f"{table}.{column}".lower(), f"{other}.{target}".lower()))
    return Catalogue(
        tables=MappingProxyType({table: tuple(columns) for table, columns in tables.items()}),
        columns=frozenset(column for columns in tables.values() for column in columns),
        linked=MappingProxyType(_groups(pairs)),
    )


def _groups(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Each name -> the first in the alphabet of all names that pairs connect it with."""
    group: dict[str, set[str]] = {}
    for one, two in pairs:
        merged = group.get(one, {one}) | group.get(two, {two})
        group.update(dict.fromkeys(merged, merged))
    return {name: min(members) for name, members in group.items()}
