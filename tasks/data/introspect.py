"""A user's database, read and never written: its tables, keys and foreign keys, counts, sampled rows, queries.

SQLite files are opened read-only and every query runs under the safe executor's authorizer; PostgreSQL is in
`tasks.data.introspect_postgres`. Limits: tables only, no views; one schema of PostgreSQL, the first of the search path;
generated and hidden columns, virtual tables and their shadows are passed over.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from infra.errors import UserError
from tasks.sql.connection import open_live
from tasks.sql.executor import Limits, run_query

_TYPE = re.compile(r"[A-Za-z][A-Za-z_]*( [A-Za-z][A-Za-z_]*)*(\(\d+(, ?\d+)?\))?")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# PostgreSQL's reserved words (documentation, appendix C).
_RESERVED_IN_POSTGRES = frozenset(
    """ALL ANALYSE ANALYZE AND ANY ARRAY AS ASC ASYMMETRIC AUTHORIZATION BINARY BOTH CASE CAST CHECK COLLATE COLLATION
    COLUMN CONCURRENTLY CONSTRAINT CREATE CROSS CURRENT_CATALOG CURRENT_DATE CURRENT_ROLE CURRENT_SCHEMA CURRENT_TIME
    CURRENT_TIMESTAMP CURRENT_USER DEFAULT DEFERRABLE DESC DISTINCT DO ELSE END EXCEPT FALSE FETCH FOR FOREIGN FREEZE
    FROM FULL GRANT GROUP HAVING ILIKE IN INITIALLY INNER INTERSECT INTO IS ISNULL JOIN LATERAL LEADING LEFT LIKE LIMIT
    LOCALTIME LOCALTIMESTAMP NATURAL NOT NOTNULL NULL OFFSET ON ONLY OR ORDER OUTER OVERLAPS PLACING PRIMARY REFERENCES
    RETURNING RIGHT SELECT SESSION_USER SIMILAR SOME SYMMETRIC SYSTEM_USER TABLE TABLESAMPLE THEN TO TRAILING TRUE UNION
    UNIQUE USER USING VARIADIC VERBOSE WHEN WHERE WINDOW WITH""".split()  # noqa: SIM905 - a list of 80 strings would fill a page
)


class QueryFailed(Exception):
    """A query that the database refused, or that took more time or rows than it may."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One column as the database declares it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`columns` of a table refer to `parent_columns` of the table `parent`."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table; `key` are the columns of its primary key, empty when it has none."""

    name: str
    columns: tuple[ColumnFacts, ...]
    key: tuple[str, ...]
    foreign_keys: tuple[ForeignKey, ...]

    def has(self, names: Sequence[str]) -> bool:
        """Whether all `names` are columns of the table."""
        return set(names) <= {column.name for column in self.columns}


class Reader(Protocol):
    """A database that is only read. `name` holds no password; queries are in the database's own `dialect`."""

    dialect: str
    name: str

    def tables(self) -> tuple[TableFacts, ...]:
        """All tables, sorted by name."""

    def sample(self, table: TableFacts, rows: int, total: int) -> list[tuple[Any, ...]]:
        """At most about `rows` rows spread over the table's `total`, the same every time; all of a small table."""

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of one SELECT; raises QueryFailed."""

    def close(self) -> None:
        """End the connection."""


def open_reader(database: str, limits: Limits) -> Reader:
    """The database at a path, a `sqlite:///` or a `postgresql://` URL, for reading.

    Raises UserError when it cannot be reached or is of another kind.
    """
    scheme, separator, rest = database.partition("://")
    if not separator:
        return SqliteReader(Path(database), limits)
    if scheme == "sqlite" and rest.startswith("/"):
        return SqliteReader(Path(rest[1:]), limits)
    if scheme.partition("+")[0] in ("postgresql", "postgres"):
        from tasks.data.introspect_postgres import PostgresReader

        return PostgresReader(database, limits)
    raise UserError(f"database {scheme}://…: give a SQLite file, sqlite:///FILE or postgresql://USER@HOST/NAME")


def fetch_counts(reader: Reader, table: TableFacts) -> tuple[int, dict[str, int]]:
    """The rows of a table, and for every column how many of them are not NULL, by one scan. Raises QueryFailed."""
    asked = ", ".join(f"COUNT({quoted(column.name, reader.dialect)})" for column in table.columns)
    ((rows, *filled),) = reader.query(f"SELECT COUNT(*), {asked} FROM {quoted(table.name, reader.dialect)}")
    return rows, {column.name: count for column, count in zip(table.columns, filled, strict=True)}


def quoted(name: str, dialect: str) -> str:
    """An identifier as it must be written in `dialect`: bare where that means the same."""
    if _PLAIN.fullmatch(name) and _is_bare(name, dialect):
        return name
    return '"' + name.replace('"', '""') + '"'


def ddl(tables: Sequence[TableFacts], dialect: str) -> str:
    """CREATE TABLE statements, one a line: names, types, keys and foreign keys, and nothing else."""
    statements = []
    for table in tables:
        alone = table.key if len(table.key) == 1 else ()
        parts = []
        for column in table.columns:
            declared = f" {column.type}" if _TYPE.fullmatch(column.type) else ""
            parts.append(f"{quoted(column.name, dialect)}{declared}{' PRIMARY KEY' if column.name in alone else ''}")
        if len(table.key) > 1:
            parts.append(f"PRIMARY KEY ({_list(table.key, dialect)})")
        for key in table.foreign_keys:
            target = f"{quoted(key.parent, dialect)}({_list(key.parent_columns, dialect)})"
            parts.append(f"FOREIGN KEY ({_list(key.columns, dialect)}) REFERENCES {target}")
        statements.append(f"CREATE TABLE {quoted(table.name, dialect)} ({', '.join(parts)});")
    return "\n".join(statements)


def _list(names: Sequence[str], dialect: str) -> str:
    return ", ".join(quoted(name, dialect) for name in names)


@lru_cache(maxsize=4096)
def _is_bare(name: str, dialect: str) -> bool:
    """Whether a name of letters, digits and _ can stand without quotes."""
    if dialect == "postgres":
        return name == name.lower() and name.upper() not in _RESERVED_IN_POSTGRES
    with closing(sqlite3.connect(":memory:")) as connection:
        try:  # SQLite itself knows best which of its keywords may be names
            connection.execute(f"CREATE TABLE {name} ({name} TEXT)")
            connection.execute(f"SELECT {name}.{name}, {name} FROM {name} GROUP BY {name} ORDER BY {name}")
        except sqlite3.Error:
            return False
    return True


class SqliteReader:
    """A SQLite file. The file, its journal and its folder stay as they are."""

    dialect = "sqlite"

    def __init__(self, path: Path, limits: Limits) -> None:
        if not path.is_file():
            raise UserError(f"no database file at {path}: check the path")
        self.name, self.limits = path.stem, limits
        try:
            self.connection = open_live(path)
            self.connection.text_factory = lambda value: value.decode("utf-8", "replace")
            self.found = self._tables()
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{path} cannot be read as a SQLite database: {error}") from None

    def tables(self) -> tuple[TableFacts, ...]:
        return self.found

    def _tables(self) -> tuple[TableFacts, ...]:
        listed = self.connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
            "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
        ).fetchall()
        return tuple(self._table(name) for (name,) in listed)

    def _table(self, name: str) -> TableFacts:
        ask = self.connection.execute
        columns = ask("SELECT name, type, pk FROM pragma_table_info(?)", (name,)).fetchall()
        links: dict[int, tuple[str, list[tuple[str, str | None]]]] = {}
        for number, parent, own, other in ask(
            'SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq', (name,)
        ):
            links.setdefault(number, (parent, []))[1].append((own, other))
        return TableFacts(
            name,
            tuple(ColumnFacts(column, type_) for column, type_, _ in columns),
            tuple(column for column, _, place in sorted(columns, key=lambda c: c[2]) if place),
            tuple(key for parent, pairs in links.values() if (key := self._foreign_key(parent, pairs))),
        )

    def _foreign_key(self, parent: str, pairs: list[tuple[str, str | None]]) -> ForeignKey | None:
        """A foreign key with the names as the parent spells them; None when it names what does not exist."""
        ask = self.connection.execute
        spelled = ask("SELECT name FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?)", (parent,))
        found = spelled.fetchone()
        if found is None:
            return None
        columns = ask("SELECT name, pk FROM pragma_table_info(?)", found).fetchall()
        names = {column.lower(): column for column, _ in columns}
        key = [column for column, place in sorted(columns, key=lambda c: c[1]) if place]
        others = [other for _, other in pairs] if all(other for _, other in pairs) else key
        if len(others) != len(pairs) or any(other.lower() not in names for other in others if other):
            return None
        return ForeignKey(tuple(own for own, _ in pairs), found[0], tuple(names[str(o).lower()] for o in others))

    def sample(self, table: TableFacts, rows: int, total: int) -> list[tuple[Any, ...]]:
        name = quoted(table.name, self.dialect)
        chosen = ", ".join(quoted(column.name, self.dialect) for column in table.columns)
        every = -(-total // rows)
        if every > 1 and self.connection.execute(
            "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?", (table.name,)
        ).fetchone() == (0,):
            return self.query(f"SELECT {chosen} FROM {name} WHERE rowid % {every} = 0 LIMIT {rows}")
        return self.query(f"SELECT {chosen} FROM {name} LIMIT {rows}")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        found = run_query(self.connection, sql, self.limits)
        # The executor leaves its read-only authorizer in place; the catalogue's pragmas need it gone.
        self.connection.set_guard(None)
        if found.status != "ok":
            raise QueryFailed(found.message)
        return found.rows

    def close(self) -> None:
        self.connection.close()
