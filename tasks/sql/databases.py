"""A user's database, opened to be asked and never to be changed: a SQLite file, PostgreSQL by URL, or a pasted script.

All three give their schema as CREATE TABLE statements that SQLite understands (what models are taught on), run one
reading statement within limits, and show the plan they would run it by.

Limits: tables of PostgreSQL's search path only; views are not offered to the model.
"""

from __future__ import annotations

import math
import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Any

from infra.errors import UserError
from tasks.sql.connection import Sealed, open_live, seal
from tasks.sql.executor import DEFAULT_LIMITS, Execution, Limits, open_database, run_query
from tasks.sql.guard import read_only
from tasks.sql.introspection import database_schema
from tasks.sql.judgement import safe_text


class Database(ABC):
    """A database that can be asked. `name` is shown to people; `setup` holds the INSERTs of a pasted one."""

    name: str
    setup: str = ""

    @abstractmethod
    def schema(self) -> str:
        """Its tables as CREATE TABLE statements; raises UserError when it cannot be read or holds no table."""

    @abstractmethod
    def run(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Execution:
        """Run one reading statement in SQLite's dialect; every failure of the statement is a status."""

    @abstractmethod
    def plan(self, sql: str) -> list[str]:
        """How the database would run the statement, a line a step; empty when it does not prepare."""


class SqliteFile(Database):
    """A SQLite file."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"no database file {path}: check the path")
        self.path, self.name = path, path.stem

    def schema(self) -> str:
        return database_schema(self.path)

    def run(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Execution:
        with closing(self._open()) as connection:
            return run_query(connection, sql, limits)

    def plan(self, sql: str) -> list[str]:
        with closing(self._open()) as connection:
            return _plan(connection, sql)

    def _open(self) -> Sealed:
        try:
            return seal(open_live(self.path))
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{self.path} cannot be read as a SQLite database: {error}") from None


class Script(Database):
    """CREATE TABLE and INSERT statements, run in memory anew for every question."""

    def __init__(self, schema: str, setup: str = "", name: str = "pasted schema") -> None:
        self._schema, self.setup, self.name = schema, setup, name

    def schema(self) -> str:
        return self._schema

    def run(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Execution:
        with closing(open_database(self._schema, self.setup, limits=limits)) as connection:
            return run_query(connection, sql, limits)

    def plan(self, sql: str) -> list[str]:
        with closing(open_database(self._schema, self.setup)) as connection:
            return _plan(connection, sql)


def connect_database(text: str) -> Database:
    """The database behind a file path or a `postgresql://` URL; nothing is read yet.

    Raises UserError for a missing file and for a URL of another kind.
    """
    if "://" not in text:
        return SqliteFile(Path(text))
    kind = text.partition("://")[0].partition("+")[0]
    if kind == "sqlite":
        return SqliteFile(Path(text.partition("://")[2].removeprefix("/")))
    if kind not in ("postgresql", "postgres"):
        raise UserError(f"database of kind {kind!r}: give a SQLite file or postgresql://USER@HOST/NAME")
    from tasks.sql.postgres import Postgres

    return Postgres(text)


def _plan(connection: Sealed, sql: str) -> list[str]:
    connection.set_guard(read_only)
    try:
        steps = connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        return []
    depth = {0: -1}
    lines = []
    for number, parent, _, detail in steps:
        depth[number] = depth.get(parent, -1) + 1
        lines.append("  " * depth[number] + safe_text(detail))
    return lines


def plain_cell(value: Any) -> Any:
    """A result's cell as JSON can hold it: bytes as hex, dates and decimals as text, half a surrogate pair replaced."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return safe_text(str(value))


def plain_rows(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows as JSON can hold them."""
    return [[plain_cell(cell) for cell in row] for row in rows]
