"""Sample values of columns: read from the data, carried as comment lines behind a schema, shown in prompts.

A schema keeps them as `-- values singer.country: 'France', 'Italy'`, which SQLite passes over, so that they travel with
an example wherever its schema goes. The most frequent values of the first 10,000 rows are taken, ties in order.

Limits: text longer than 40 characters, text of several lines, blobs and NULL are no samples. Values show what is in the
database: a recipe asks for them, they are never there by default.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from tasks.data.example import Example
from tasks.data.schema import Schema, parse_schema, split_values
from tasks.sql.executor import Limits, open_database, run_query

_LONGEST = 40
_LOOKED_AT = 10_000
_LIMITS = Limits(seconds=5.0, rows=1000)


def add_values(examples: Iterable[Example], most: int) -> list[Example]:
    """The examples with up to `most` sample values of each column behind their schemas; unchanged when it is 0.

    Raises UserError when a database cannot be opened or built.
    """
    if most < 1:
        return list(examples)
    return [
        replace(e, schema=schema_with_values(e.schema, e.setup, e.database, most)) if e.dialect == "sqlite" else e
        for e in examples
    ]


@lru_cache(maxsize=1024)
def schema_with_values(schema: str, setup: str, database: str, most: int) -> str:
    """`schema` with sample values, read from the file `database` or from the rows of `setup`."""
    bare, _ = split_values(schema)
    connection = open_database(path=database) if database else open_database(bare, setup)
    try:
        return _with_values(bare, connection, most)
    finally:
        connection.close()


def _with_values(schema: str, connection: sqlite3.Connection, most: int) -> str:
    lines = []
    for table, column in _columns(parse_schema(schema)):
        values = _samples(connection, table, column, most)
        if values:
            lines.append(f"-- values {table}.{column}: {', '.join(values)}")
    return "\n".join([schema.rstrip(), *lines])


def _columns(schema: Schema) -> Iterable[tuple[str, str]]:
    return ((table.name, column.name) for table in schema.tables for column in table.columns)


def _samples(connection: sqlite3.Connection, table: str, column: str, most: int) -> tuple[str, ...]:
    """Literals; none where the column cannot be read, as when the schema says more than the file has."""
    name, source = _quoted(column), _quoted(table)
    sql = (
        f"SELECT v FROM (SELECT {name} AS v FROM {source} LIMIT {_LOOKED_AT}) WHERE v IS NOT NULL "
        f"AND typeof(v) <> 'blob' AND length(v) <= {_LONGEST} GROUP BY v ORDER BY count(*) DESC, v LIMIT {most + 20}"
    )
    found = run_query(connection, sql, _LIMITS)
    literals = (_literal(row[0]) for row in found.rows)
    return tuple(literal for literal in literals if literal)[:most]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: object) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'" if value.isprintable() and value.strip() else ""
    return repr(value)
