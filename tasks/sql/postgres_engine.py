"""PostgreSQL databases by URL, for judging: native statements on one connection, each in a transaction of its own.

What stops what: the statement travels as a value and is opened by the server as a cursor, which takes exactly one
query and nothing that changes data; the transaction is read-only and rolled back; the server's statement timeout is set
again before every fetch; functions that reach the server's files, sessions, settings or other servers are refused by
name; roles that may use such functions are refused altogether, since names can be hidden.

Limits: the server's memory is the server's matter; one row is fetched whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from infra.errors import UserError, first_line
from tasks.sql.engine import Engine, plain
from tasks.sql.executor import refusal
from tasks.sql.guard import Status
from tasks.sql.limits import Counter, Execution, Limits, Stopwatch, TooMuch
from tasks.sql.postgres import STATUS
from tasks.sql.tokens import tokens

_BATCH = 100
_CONNECT_SECONDS = 5
_REFUSED = ("pg_", "lo_", "dblink", "set_config", "query_to_xml", "cursor_to_xml", "table_to_xml", "database_to_xml")
_POWERS = ("pg_read_server_files", "pg_write_server_files", "pg_execute_server_program", "pg_signal_backend")
_OPEN = (
    "DO $do$ DECLARE c refcursor := 'nightshift'; BEGIN OPEN c FOR EXECUTE current_setting('nightshift.sql'); END $do$"
)


class PostgresEngine(Engine):
    """A PostgreSQL database by URL; the role must be one without power over the server."""

    name, dialect = "postgresql", "postgres"

    def __init__(self, url: str) -> None:
        import psycopg2

        self._psycopg2: Any = psycopg2
        self._url, self._connection = url, None
        with self._transaction(Limits()) as cursor:
            cursor.execute(
                "SELECT rolname FROM pg_roles WHERE rolname = current_user AND (rolsuper OR EXISTS ("
                "SELECT 1 FROM unnest(%s) AS power WHERE pg_has_role(current_user, power, 'member')))",
                (list(_POWERS),),
            )
            if (found := cursor.fetchone()) is not None:
                raise UserError(
                    f"role {found[0]} has power over the PostgreSQL server (its files or sessions): "
                    "judge with a role that may only read tables"
                )

    def run(self, sql: str, limits: Limits) -> Execution:
        return self._ask(sql, limits, limits.rows + 1)

    def compiles(self, sql: str, limits: Limits) -> bool:
        return self._ask(sql, limits, 0).status == "ok"  # opening a cursor plans the query and runs nothing

    def _ask(self, sql: str, limits: Limits, most: int) -> Execution:
        clock = Stopwatch()
        refused = refusal(sql, limits) or _refused_function(sql)
        if refused is not None:
            return clock.over(*refused)
        try:
            with self._transaction(limits) as cursor:
                cursor.execute("SELECT set_config('nightshift.sql', %s, true)", (sql,))
                cursor.execute(_OPEN)
                counter, rows = Counter(limits), []
                while True:
                    left = limits.seconds - clock.seconds
                    if left <= 0:
                        raise TooMuch("timeout", f"no result within {limits.seconds:g} s")
                    cursor.execute(f"SET LOCAL statement_timeout = {max(1, int(left * 1000))}")
                    cursor.execute(f"FETCH {min(_BATCH, most)} FROM nightshift")
                    columns = tuple(column[0] for column in cursor.description)
                    batch = [tuple(plain(value) for value in row) for row in cursor.fetchall()]
                    counter.add(batch)
                    rows += batch
                    if len(batch) < _BATCH:
                        return Execution("ok", columns, rows, clock.seconds)
        except TooMuch as error:
            return clock.over(error.status, str(error))
        except UserError as error:
            return clock.over("sql_error", str(error))
        except (self._psycopg2.Error, ValueError, MemoryError) as error:
            status, message = _failure(error)
            return clock.over(status, f"no result within {limits.seconds:g} s" if status == "timeout" else message)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _transaction(self, limits: Limits) -> Iterator[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(
                    "SET TRANSACTION READ ONLY; SET LOCAL lock_timeout = '1s'; "
                    "SET LOCAL idle_in_transaction_session_timeout = '60s'; "
                    f"SET LOCAL statement_timeout = {int(limits.seconds * 1000)}"
                )
                yield cursor
            finally:
                if not self._connection.closed:
                    with contextlib.suppress(self._psycopg2.Error):  # a broken connection is opened anew
                        self._connection.rollback()

    def _connect(self) -> Any:
        try:
            return self._psycopg2.connect(self._url, connect_timeout=_CONNECT_SECONDS, application_name="nightshift")
        except self._psycopg2.Error as error:
            raise UserError(f"the PostgreSQL database cannot be reached: {first_line(error)}") from None


def _refused_function(sql: str) -> tuple[Status, str] | None:
    name = ""
    for token in tokens(sql):
        if token.group() == "(" and name.startswith(_REFUSED) and name != "pg_typeof":
            return "forbidden", f"{name} is not allowed"
        name = token.group().strip('"').lower() if token.lastgroup in ("word", "name") else ""
    return None


def _failure(error: Exception) -> tuple[Status, str]:
    message = first_line(error)
    if "multi-query plan" in message:
        return "multiple_statements", "more than one statement"
    if "query as cursor" in message or "is not implemented" in message or "EXECUTE of" in message:
        return "forbidden", message
    if isinstance(error, MemoryError):
        return "resource_limit", "out of memory"
    return STATUS.get(getattr(error, "pgcode", None) or "", "sql_error"), message
