"""A PostgreSQL database through SQLAlchemy, in read-only transactions with a time limit for every statement.

Limits: the first schema of the search path; a type that SQLite has no like of (arrays, JSON, ranges, enumerations of
the user) is declared as text.
"""

from __future__ import annotations

import datetime
import math
import uuid
from decimal import Decimal
from typing import Any

from infra.errors import UserError, first_line
from tasks.data.introspect import ColumnFacts, ForeignKey, QueryFailed, TableFacts, quoted
from tasks.sql.executor import Limits

_SEED = 7  # of the sampling, not of the questions: the same rows every time


class PostgresReader:
    """A database behind a `postgresql://` URL."""

    dialect = "postgres"

    def __init__(self, url: str, limits: Limits) -> None:
        import sqlalchemy
        from sqlalchemy.exc import ArgumentError, SQLAlchemyError

        try:
            parsed = sqlalchemy.make_url("postgresql" + url.removeprefix("postgresql").removeprefix("postgres"))
        except ArgumentError:
            raise UserError("the database's URL cannot be read; write postgresql://USER@HOST:PORT/NAME") from None
        self.name, self.limits = parsed.database or "postgres", limits
        try:
            self.engine = sqlalchemy.create_engine(parsed, pool_size=1, max_overflow=0)
        except (ImportError, SQLAlchemyError) as error:
            raise UserError(f"no driver for {parsed.drivername}: {first_line(error)}") from None
        sqlalchemy.event.listen(self.engine, "connect", self._prepare)
        try:
            with self.engine.connect() as connection:
                self.found = self._tables(sqlalchemy.inspect(connection))
        except SQLAlchemyError as error:
            told = parsed.render_as_string(hide_password=True)
            raise UserError(f"database {told} cannot be read: {first_line(error)}") from None

    def _prepare(self, connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        cursor.execute(f"SET statement_timeout = {math.ceil(self.limits.seconds * 1000)}")
        connection.commit()
        cursor.close()

    def tables(self) -> tuple[TableFacts, ...]:
        return self.found

    def _tables(self, inspector: Any) -> tuple[TableFacts, ...]:
        found = []
        for name in sorted(inspector.get_table_names()):
            columns = tuple(
                ColumnFacts(column["name"], _declared(column["type"]))
                for column in inspector.get_columns(name)
                if not column.get("computed")
            )
            keys = tuple(
                ForeignKey(tuple(key["constrained_columns"]), key["referred_table"], tuple(key["referred_columns"]))
                for key in inspector.get_foreign_keys(name)
                if key["referred_schema"] is None
            )
            primary = tuple(inspector.get_pk_constraint(name)["constrained_columns"])
            found.append(TableFacts(name, columns, primary, keys))
        return tuple(found)

    def sample(self, table: TableFacts, rows: int, total: int) -> list[tuple[Any, ...]]:
        name = quoted(table.name, self.dialect)
        chosen = ", ".join(quoted(column.name, self.dialect) for column in table.columns)
        # TABLESAMPLE reads by place on disk, so that the rows stay the same as long as the table does.
        share = min(100.0, 130 * rows / total) if total else 100.0
        thin = f" TABLESAMPLE BERNOULLI ({share:.6f}) REPEATABLE ({_SEED})" if total > rows else ""
        order = f" ORDER BY {', '.join(quoted(key, self.dialect) for key in table.key)}" if table.key else ""
        return self.query(f"SELECT {chosen} FROM {name}{thin}{order} LIMIT {rows}")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self.engine.connect() as connection:
                # `stream_results` fetches no more rows than are read; `no_parameters` leaves a % of LIKE alone.
                asked = connection.execution_options(stream_results=True, no_parameters=True).exec_driver_sql(sql)
                rows = asked.fetchmany(self.limits.rows + 1)
                asked.close()
        except SQLAlchemyError as error:
            raise QueryFailed(first_line(error)) from None
        if len(rows) > self.limits.rows:
            raise QueryFailed(f"more than {self.limits.rows:,} rows")
        return [tuple(_plain(value) for value in row) for row in rows]

    def close(self) -> None:
        self.engine.dispose()


def _declared(type_: Any) -> str:
    """The type as it stands in the schema text; SQLAlchemy's generic name decides what SQLite can hold."""
    kind = type_.__class__.__name__
    known = ("INTEGER", "BIGINT", "SMALLINT", "NUMERIC", "REAL", "DOUBLE_PRECISION", "BOOLEAN", "DATE", "TIMESTAMP")
    if kind in (*known, "VARCHAR", "CHAR", "TEXT"):
        return str(type_).replace(" WITHOUT TIME ZONE", "")
    return "TEXT"


def _plain(value: Any) -> Any:
    """A value as SQLite would hold it: numbers and text, dates and UUIDs as text; anything else is left out (NULL)."""
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value() and value.as_tuple().exponent >= 0
        return int(value) if whole else float(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value) if isinstance(value, (datetime.date, datetime.time, uuid.UUID)) else None
