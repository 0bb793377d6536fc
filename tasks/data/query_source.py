"""Rows of a SQL database as a source: a query over a SQLAlchemy url, read-only and streamed, 200 rows at a time.

Limits: read-only is asked of the database (SQLite `query_only`, PostgreSQL and MySQL a READ ONLY transaction) and the
transaction is rolled back everywhere; other databases rely on the account's rights. Rows are numbered as they come, so
a query should have an ORDER BY: without one its fingerprint may change from night to night.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

from pydantic import Field, field_validator

from infra.errors import UserError, first_line
from tasks.data.containers import Record
from tasks.data.example import Example
from tasks.data.layouts import named_surroundings
from tasks.data.mapping import BadRecord, RowReader
from tasks.data.row_source import RowSource

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SECRET = re.compile(r"pass|pwd|secret|token|credential", re.IGNORECASE)  # names of a url's options: ?password=…
_READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET TRANSACTION READ ONLY",
    "mysql": "SET TRANSACTION READ ONLY",
}
_BATCH = 200  # the next batch is fetched while the last one is still held


class QuerySource(RowSource):
    """Examples that a query returns, one a row; columns are named as fields of files are."""

    kind: Literal["query"] = Field("query", description="rows of a query over a SQL database")
    url: str = Field(
        min_length=1,
        description="SQLAlchemy url; passwords come from the environment: postgresql://etl:${DB_PASSWORD}@db/questions",
    )
    query: str = Field(min_length=1, description="SELECT that returns the rows, best with an ORDER BY")

    @field_validator("url")
    @classmethod
    def _no_secret(cls, url: str) -> str:
        _, _, options = url.partition("?")
        given = re.findall(r"://[^/@:]*:([^@]*)@", url)
        given += [value for name, value in parse_qsl(options) if _SECRET.search(name)]
        if not all(_VARIABLE.fullmatch(value) for value in given):
            raise ValueError("a password does not belong in a recipe; write ${NAME} and set NAME in the environment")
        return url


def read_query(source: QuerySource) -> Iterator[Example | BadRecord]:
    """Every row in order; ids that rows lack are `<name>-<number>`. Raises UserError when the query cannot be run."""
    told = source.name or _VARIABLE.sub("…", source.url)
    reader = RowReader(source, told, source.name or "query", named_surroundings(source))
    for row, values in enumerate(_rows(source), 1):
        yield reader.example(Record(row, values))


def query_digest(source: QuerySource) -> str:
    """The content: a hash over all rows that the query returns now, read as a stream."""
    digest = hashlib.sha256()
    for values in _rows(source):
        digest.update(json.dumps(values, ensure_ascii=True, default=str).encode() + b"\n")
    return digest.hexdigest()


def _rows(source: QuerySource) -> Iterator[dict[str, Any]]:
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    url = _VARIABLE.sub(_from_environment, source.url)
    try:
        engine = create_engine(url)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise UserError(f"source {source.name or source.url}: {_problem(error, url)}") from None
    try:
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
            raise UserError(f"source {source.name or source.url}: there is no such database file")
        with engine.connect() as connection:
            if engine.dialect.name in _READ_ONLY:
                connection.execute(text(_READ_ONLY[engine.dialect.name]))
            found = connection.execution_options(stream_results=True, yield_per=_BATCH).execute(text(source.query))
            for row in found.mappings():
                yield dict(row)
            connection.rollback()
    except SQLAlchemyError as error:
        raise UserError(f"source {source.name or source.url}: {_problem(error, url)}") from None
    finally:
        engine.dispose()


def _from_environment(match: re.Match[str]) -> str:
    value = os.environ.get(match.group(1))
    if value is None:
        raise UserError(f"the environment variable {match.group(1)} is not set; a source's url asks for it")
    return value


def _problem(error: Exception, url: str) -> str:
    """The first line of an error, without the url, which may hold a password."""
    return first_line(error).replace(url, "the url")
