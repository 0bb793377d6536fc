"""PostgreSQL by URL: its schema in SQLite's words, and one reading statement at a time.

What stops what: the statement is parsed, must be one query over tables of the schema with functions that sqlglot knows,
and is written anew from its tree, so that nothing unparsed reaches the server; it is declared as a cursor, which takes
queries only, in a read-only transaction with a deadline; rows and bytes are capped while fetching. What the role of
the URL may read is the last line: give it one that can only read.

Limits: SQLite's dialect is translated by sqlglot; what it cannot translate fails with the server's own message.
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing, suppress
from functools import lru_cache
from typing import Any

from sqlglot import exp

from infra.errors import UserError, first_line
from tasks.sql.databases import Database
from tasks.sql.executor import DEFAULT_LIMITS, Execution, Limits
from tasks.sql.guard import Status
from tasks.sql.parse import parse

_BATCH = 500
_CONNECT_SECONDS = 5
# Functions without a class of their own in sqlglot that only compute.
_HARMLESS = frozenset({"printf", "format", "total", "age", "btrim", "ltrim", "rtrim", "char_length", "to_number"})
STATUS: dict[str, Status] = {  # SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html
    "57014": "timeout",
    "42601": "syntax_error",
    "42501": "forbidden",
    "25006": "forbidden",
    "42P01": "schema_error",
    "42703": "schema_error",
    "42702": "schema_error",
    "53200": "resource_limit",
    "54000": "resource_limit",
}


class Postgres(Database):
    """A PostgreSQL database; a connection is opened for each question and closed behind it."""

    def __init__(self, url: str) -> None:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):
            raise UserError("the database URL cannot be read; write postgresql://USER@HOST/NAME") from None
        self._url = parsed.set(drivername="postgresql+psycopg2")
        self.name = parsed.database or "postgres"
        self._tables: set[str] = set()
        self._names: dict[str, set[str]] = {}  # lower-case name -> how tables and columns really write it

    def _engine(self, seconds: float) -> Any:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        given = self._url.query.get("options", "")
        options = f"{given} -c default_transaction_read_only=on -c statement_timeout={int(seconds * 1000)}".strip()
        arguments = {"connect_timeout": _CONNECT_SECONDS, "options": options, "application_name": "nightshift"}
        return create_engine(self._url.difference_update_query(["options"]), connect_args=arguments, poolclass=NullPool)

    def _connect(self, engine: Any) -> Any:
        import psycopg2

        try:
            return engine.raw_connection()
        except psycopg2.OperationalError as error:
            raise UserError(f"database {self.name} cannot be reached: {first_line(error)}") from None

    def schema(self) -> str:
        from sqlalchemy import inspect

        engine = self._engine(30)
        self._connect(engine).close()  # says what is wrong in one line
        found = inspect(engine)
        columns, keys = found.get_multi_columns(), found.get_multi_pk_constraint()
        references = found.get_multi_foreign_keys()
        if not columns:
            raise UserError(f"database {self.name} holds no table in the schema {found.default_schema_name}")
        statements: list[str] = []
        self._tables, self._names = {place[1].lower() for place in columns}, {}
        for table in sorted(columns, key=lambda place: place[1]):
            name = table[1]
            self._names.setdefault(name.lower(), set()).add(name)
            lines = []
            for column in columns[table]:
                self._names.setdefault(column["name"].lower(), set()).add(column["name"])
                lines.append(f"{_quoted(column['name'])} {_type(column['type'])}")
            primary = keys.get(table, {}).get("constrained_columns") or []
            if primary:
                lines.append(f"PRIMARY KEY ({', '.join(map(_quoted, primary))})")
            for foreign in references.get(table, []):
                own, other = foreign["constrained_columns"], foreign["referred_columns"]
                lines.append(
                    f"FOREIGN KEY ({', '.join(map(_quoted, own))})"
                    f" REFERENCES {_quoted(foreign['referred_table'])}({', '.join(map(_quoted, other))})"
                )
            statements.append(f"CREATE TABLE {_quoted(name)} ({', '.join(lines)});")
        engine.dispose()
        return "\n".join(statements)

    def translate(self, sql: str) -> tuple[Status, str]:
        """("ok", the statement in PostgreSQL's dialect), or why it may not run."""
        if not self._tables:
            self.schema()
        parsed = parse(sql)
        if parsed.tree is None:
            status: Status = "multiple_statements" if parsed.status == "multiple_statements" else "syntax_error"
            return status, parsed.message
        if not isinstance(parsed.tree, exp.Query):
            return "forbidden", f"{parsed.tree.key} is not allowed: only queries run here"
        tree = parsed.tree.copy()
        changing = tree.find(exp.Insert, exp.Update, exp.Delete, exp.Create, exp.Drop, exp.Command, exp.Into, exp.Lock)
        if changing is not None:
            return "forbidden", f"{changing.key} is not allowed: only queries run here"
        made_here = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
        for table in tree.find_all(exp.Table):
            if isinstance(table.this, exp.Func):
                return "forbidden", f"{table.this.sql()} cannot be read from"
            if table.db or table.catalog or table.name.lower() not in self._tables | made_here:
                return "schema_error", f"no such table: {table.sql()}"
        for function in tree.find_all(exp.Anonymous):
            if function.name.lower() not in _HARMLESS:
                return "forbidden", f"function {function.name} is not allowed"
        for identifier in tree.find_all(exp.Identifier):
            exact = self._names.get(identifier.name.lower(), set())
            if len(exact) == 1:  # PostgreSQL folds unquoted names to lower case: others need quotes
                spelling = next(iter(exact))
                identifier.replace(exp.to_identifier(spelling, quoted=spelling != spelling.lower()))
        return "ok", tree.sql("postgres")

    def run(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Execution:
        began = time.monotonic()
        status, text = self.translate(sql)
        if status != "ok":
            return Execution(status, seconds=time.monotonic() - began, message=text)
        return self._ask(text, limits, began)

    def _ask(self, text: str, limits: Limits, began: float) -> Execution:
        import psycopg2

        def over(status: Status, message: str) -> Execution:
            return Execution(status, seconds=time.monotonic() - began, message=message)

        engine = self._engine(limits.seconds)
        with closing(self._connect(engine)) as connection:
            rows: list[tuple[Any, ...]] = []
            size = 0
            try:
                with connection.cursor(name="nightshift") as cursor:
                    cursor.itersize = _BATCH
                    cursor.execute(text)
                    while batch := cursor.fetchmany(_BATCH):
                        rows += batch
                        size += sum(len(value) for row in batch for value in row if isinstance(value, str | memoryview))
                        if len(rows) > limits.rows:
                            return over("resource_limit", f"more than {limits.rows:,} rows")
                        if size > limits.result_mb << 20:
                            return over("resource_limit", f"a result of more than {limits.result_mb} MB")
                        if time.monotonic() - began > limits.seconds + 1:  # each fetch has a deadline of its own
                            return over("timeout", f"no result within {limits.seconds:g} s")
                    columns = tuple(column[0] for column in cursor.description or ())
            except psycopg2.Error as error:
                message = first_line(error)
                status = STATUS.get(error.pgcode or "", "sql_error")
                return over(status, f"no result within {limits.seconds:g} s" if status == "timeout" else message)
            finally:
                connection.rollback()
        engine.dispose()
        return Execution("ok", columns, rows, time.monotonic() - began)

    def plan(self, sql: str) -> list[str]:
        import psycopg2

        status, text = self.translate(sql)
        if status != "ok":
            return []
        engine = self._engine(5)
        with closing(self._connect(engine)) as connection, connection.cursor() as cursor:
            try:
                cursor.execute(f"EXPLAIN {text}")
                return [line for (line,) in cursor.fetchall()]
            except psycopg2.Error:
                return []
            finally:
                connection.rollback()


def _quoted(name: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and _is_free(name):
        return name
    return '"' + name.replace('"', '""') + '"'


@lru_cache(maxsize=4096)
def _is_free(name: str) -> bool:
    """Whether SQLite takes the name without quotes; it knows best which of its keywords may be names."""
    with closing(sqlite3.connect(":memory:")) as connection, suppress(sqlite3.Error):
        connection.execute(f"CREATE TABLE {name} ({name} INTEGER)")
        return True
    return False


def _type(kind: Any) -> str:
    """The column's type in the few words that SQLite schemas use."""
    import datetime
    import decimal

    words = {
        bool: "BOOLEAN",
        int: "INTEGER",
        float: "REAL",
        decimal.Decimal: "NUMERIC",
        datetime.datetime: "TIMESTAMP",
        datetime.date: "DATE",
        bytes: "BLOB",
    }
    try:
        return words.get(kind.python_type, "TEXT")
    except NotImplementedError:
        return "TEXT"
