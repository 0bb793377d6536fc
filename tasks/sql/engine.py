"""One interface for the databases that queries are judged on: SQLite, DuckDB and PostgreSQL.

Values come back as SQLite has them, so that one comparison serves all: booleans as 0 and 1, whole decimals as integers
and others as floats, dates, times, intervals and UUIDs as text in ISO form, lists and structs as JSON.

Limits: only SQLite can judge statements that change data, and only SQLite can scan backwards; elsewhere a prediction
that does not ask for the order that gold asks for is wrong as soon as it has two rows.
"""

from __future__ import annotations

import datetime
import json
import math
from abc import ABC, abstractmethod
from decimal import Decimal
from pathlib import Path
from typing import Any

from tasks.sql.connection import Sealed, clone, open_database
from tasks.sql.executor import compiles, run_query
from tasks.sql.limits import Execution, Limits
from tasks.sql.state import State, read_state


class Engine(ABC):
    """A database on which one untrusted statement after another is run. `dialect` is its name for sqlglot."""

    name: str
    dialect: str

    @abstractmethod
    def run(self, sql: str, limits: Limits) -> Execution:
        """Run one statement; every failure is a status."""

    @abstractmethod
    def compiles(self, sql: str, limits: Limits) -> bool:
        """Whether the database prepares the statement, without running it."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database."""

    def run_backwards(self, sql: str, limits: Limits) -> Execution | None:
        """Run the statement with tables scanned the other way round; None where that cannot be asked for."""
        return None

    def copy(self) -> SqliteEngine | None:
        """A private copy that statements may change; None where there is none."""
        return None


class SqliteEngine(Engine):
    """A SQLite file, read-only, or a database built in memory; `writable` for a private copy."""

    name = dialect = "sqlite"

    def __init__(self, connection: Sealed, writable: bool = False) -> None:
        self._connection, self._writable = connection, writable

    def run(self, sql: str, limits: Limits) -> Execution:
        return run_query(self._connection, sql, limits, writable=self._writable)

    def compiles(self, sql: str, limits: Limits) -> bool:
        return compiles(self._connection, sql, limits, writable=self._writable)

    def run_backwards(self, sql: str, limits: Limits) -> Execution | None:
        self._connection.set_guard(None)
        self._connection.execute("PRAGMA reverse_unordered_selects = ON")
        try:
            return self.run(sql, limits)
        finally:
            self._connection.set_guard(None)
            self._connection.execute("PRAGMA reverse_unordered_selects = OFF")

    def copy(self) -> SqliteEngine | None:
        return SqliteEngine(clone(self._connection), writable=True)

    def state(self, limits: Limits) -> State:
        """The whole state of the database; raises OverflowError when it is too large to compare."""
        return read_state(self._connection, limits)

    @property
    def connection(self) -> Sealed:
        """For statements of our own."""
        return self._connection

    def close(self) -> None:
        self._connection.close()


def open_engine(database: str | None, schema: str, setup: str, dialect: str, limits: Limits) -> Engine:
    """The engine of a file or URL, or of a schema with rows built in memory.

    A `postgresql://` URL is PostgreSQL, a file with DuckDB's mark is DuckDB, every other file SQLite. A script in
    DuckDB's dialect is built by DuckDB, any other one by SQLite. Raises UserError when the database cannot be opened.
    """
    if database is not None and database.startswith(("postgresql://", "postgres://")):
        from tasks.sql.postgres_engine import PostgresEngine

        return PostgresEngine(database)
    if (dialect == "duckdb" and database is None) or (database is not None and _is_duckdb(Path(database))):
        from tasks.sql.duckdb_engine import DuckdbEngine

        return DuckdbEngine(database, f"{schema.rstrip().rstrip(';')};\n{setup}", limits)
    return SqliteEngine(open_database(schema, setup, database, limits))


def _is_duckdb(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(12)[8:] == b"DUCK"
    except OSError:
        return False


def plain(value: Any) -> Any:
    """A value of another database as SQLite would have it."""
    if value is None or isinstance(value, (str, bytes)):
        return value
    if isinstance(value, (bool, int)):
        return int(value)
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value
    if isinstance(value, Decimal):
        if not value.is_finite():
            return str(value)
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, default=lambda inner: plain(inner), sort_keys=True, ensure_ascii=False)
    return str(value)
