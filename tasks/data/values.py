"""Sample values of columns: read from the data, carried as comment lines behind a schema, shown in prompts.

A schema keeps them as `-- values singer.country: 'France', 'Italy'`, which SQLite passes over, so that they travel with
an example wherever its schema goes. The most frequent values of the first 10,000 rows are taken, ties in order; in
training, evaluation and serving by the same query.

Limits: text longer than 40 characters, text of several lines, blobs and NULL are no samples. Values show what is in the
database: a recipe asks for them, they are never there by default.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache

from tasks.data.example import Example
from tasks.data.schema import parse_schema, split_values
from tasks.sql.executor import Execution, Limits, open_database, run_query

VALUE_LIMITS = Limits(seconds=5.0, rows=1000)  # of the query for one column
_LONGEST = 40
_LOOKED_AT = 10_000


def add_values(examples: Iterable[Example], most: int) -> list[Example]:
    """The examples with up to `most` sample values of each column behind their schemas; unchanged when it is 0.

    Raises UserError when a database cannot be opened or built.
    """
    if most < 1:
        return list(examples)
    return [
        replace(e, schema=_schema_with_values(e.schema, e.setup, e.database, most)) if e.dialect == "sqlite" else e
        for e in examples
    ]


@lru_cache(maxsize=1024)
def _schema_with_values(schema: str, setup: str, database: str, most: int) -> str:
    """`schema` with sample values, read from the file `database` or from the rows of `setup`."""
    bare, _ = split_values(schema)
    with closing(open_database(path=database) if database else open_database(bare, setup)) as connection:
        return schema_with_values(bare, lambda sql: run_query(connection, sql, VALUE_LIMITS), most)


def schema_with_values(schema: str, run: Callable[[str], Execution], most: int) -> str:
    """A schema (DDL, SQLite) with up to `most` sample values of each column; `run` asks the database one query.

    A column that cannot be read, as when the schema says more than the database has, shows none. Raises UserError when
    the schema is unreadable.
    """
    lines = []
    for table in parse_schema(schema).tables:
        for column in table.columns:
            found = run(_query(column.name, table.name, most))
            literals = (_literal(row[0]) for row in found.rows)
            values = [literal for literal in literals if literal][:most]
            if values:
                lines.append(f"-- values {table.name}.{column.name}: {', '.join(values)}")
    return "\n".join([schema.rstrip(), *lines])


def _query(column: str, table: str, most: int) -> str:
    # More than are wanted: what is no literal is left out afterwards.
    return (
        f"SELECT v FROM (SELECT {_quoted(column)} AS v FROM {_quoted(table)} LIMIT {_LOOKED_AT}) AS looked_at "
        f"WHERE v IS NOT NULL AND LENGTH(CAST(v AS TEXT)) <= {_LONGEST} GROUP BY v ORDER BY COUNT(*) DESC, v "
        f"LIMIT {most + 20}"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: object) -> str:
    """A value as SQLite's literal; empty for what is no sample. Servers also have booleans, dates and decimals."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, Decimal):
        return f"{value:f}" if value.is_finite() else ""
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (datetime.date, datetime.time, uuid.UUID)):
        value = str(value)
    if not isinstance(value, str) or not value.isprintable() or not value.strip():
        return ""
    return "'" + value.replace("'", "''") + "'"
