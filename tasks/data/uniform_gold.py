"""Training rows whose queries are all written one way (`tasks.sql.uniform`); test rows keep the SQL they came with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache

from infra.errors import UserError
from tasks.data.example import Example
from tasks.data.schema import parse_schema
from tasks.sql.executor import compiles, open_database
from tasks.sql.uniform import uniform


def write_uniformly(examples: Sequence[Example]) -> list[Example]:
    """The examples with their SQL written uniformly.

    A row keeps its own SQL where its dialect is not SQLite's, its schema cannot be read, or SQLite does not prepare
    the rewritten query on it.
    """
    return [replace(example, sql=_rewritten(example)) for example in examples]


def _rewritten(example: Example) -> str:
    if example.dialect != "sqlite":
        return example.sql
    try:
        tables = _tables(example.schema)
    except UserError:
        return example.sql
    written = uniform(example.sql, tables)
    return written if written == example.sql or _prepares(example, written) else example.sql


@lru_cache(maxsize=1024)
def _tables(schema: str) -> dict[str, tuple[str, ...]]:
    return {table.name: tuple(column.name for column in table.columns) for table in parse_schema(schema).tables}


def _prepares(example: Example, sql: str) -> bool:
    try:
        connection = open_database(path=example.database) if example.database else open_database(example.schema)
    except UserError:
        return False
    with closing(connection):
        return compiles(connection, sql)
