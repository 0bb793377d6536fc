"""The feature frame: what validation looks at, a narrow row of numbers and states for each example.

Everything slow (parsing, building databases, executing gold) happens here, once and grouped, so that expectations are
plain column checks. Equal rows are counted from the first that is sound: the order of the sources is their trust.
Examples come in chunks, so that the features of few rows are held at once; what is judged across rows is remembered
from chunk to chunk.

Limits: gold runs in this process under the executor's guard, on its database file (opened read-only) or on the rows
that its own `setup` gives; a schema without rows still proves that its tables and columns exist. Dialects other than
SQLite are transpiled before they run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from infra.errors import UserError
from tasks.data.dedupe import digest, question_key
from tasks.data.example import Example
from tasks.data.likeness import sql_spelling
from tasks.data.plain_ddl import is_plain_ddl
from tasks.data.schema import parse_schema
from tasks.sql.executor import Execution, Limits, clone, open_database, run_query
from tasks.sql.features import features
from tasks.sql.parse import parse, to_sqlite

_UNSEEN = {ord(sign): None for sign in " \t\r\n`\"'"}

# Validation meets every row of every source: a gold query that needs longer is not one to train on.
DEFAULT_LIMITS = Limits(seconds=2.0)


class FeatureRow(TypedDict):
    """One row of the frame. None means that the question does not arise: there is no text, or nothing to run."""

    id: str
    question_chars: int | None
    schema_chars: int | None
    sql_chars: int | None
    question_tokens: int | None  # of the model's tokenizer; None without one
    schema_tokens: int | None
    dialect: str
    difficulty: str
    domain: str
    parse_status: str  # of tasks.sql.parse; ok unasked for a query that SQLite runs
    parses: bool
    statement: str | None  # select, insert, ... when it parses
    schema_status: str | None  # ok, unreadable (no DDL), broken (does not run in SQLite), broken_setup
    runs: str | None  # status of executing gold on its own schema and setup
    runs_ok: bool | None
    result_rows: int | None
    repeated_id: bool  # an earlier example has this id
    repeats: str  # same or conflict: an earlier sound example asks this of the same schema, with the same or other SQL
    sql_in_question: bool  # the label stands in the question or its evidence


COLUMNS: tuple[str, ...] = tuple(FeatureRow.__annotations__)

# Token counts of texts, in their order.
TokenCounter = Callable[[Sequence[str]], list[int]]


class Repeats:
    """What earlier examples were called, asked and answered: 16 bytes each for a question and its answer."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._answers: dict[bytes, bytes] = {}

    def mark(self, rows: Sequence[FeatureRow], examples: Sequence[Example]) -> None:
        """Fill in `repeated_id` and `repeats` of the rows that follow those marked before."""
        for row, example in zip(rows, examples, strict=True):
            row["repeated_id"] = example.id in self._ids
            self._ids.add(example.id)
            key = question_key(example)
            if not key[0] or not row["parses"] or row["runs_ok"] is False:
                continue  # a row that asks nothing or is unsound contradicts nobody
            answer = digest((sql_spelling(example.sql),))
            known = self._answers.setdefault(digest(key), answer)
            if known is not answer:
                row["repeats"] = "same" if known == answer else "conflict"


def feature_rows(
    examples: Sequence[Example],
    *,
    execute: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    count_tokens: TokenCounter | None = None,
    earlier: Repeats | None = None,
) -> list[FeatureRow]:
    """The features of `examples`, in their order; `earlier` remembers the chunks before this one, and takes it in.

    With `execute` each (schema, setup) is built once and every gold query of it runs there; without it `runs` stays
    None and a schema is only read. Never raises on bad data.
    """
    rows = [_static(example) for example in examples]
    databases: dict[tuple[str, str, str, str], list[int]] = {}
    for record, example in enumerate(examples):
        place = (example.database, example.schema, example.setup, example.dialect)
        databases.setdefault(place, []).append(record)
    for (file, schema, setup, dialect), records in databases.items():
        status, connection = _database(file, schema, setup, dialect, execute, limits)
        try:
            gold: dict[str, dict[str, Any]] = {}
            for record in records:
                sql = examples[record].sql
                if sql not in gold:
                    gold[sql] = _gold(sql, dialect, connection, limits)
                rows[record].update(gold[sql], schema_status=status)
        finally:
            if connection is not None:
                connection.close()
    (earlier or Repeats()).mark(rows, examples)
    if count_tokens is not None:
        _count(rows, examples, count_tokens)
    return rows


def _static(example: Example) -> FeatureRow:
    return {
        "id": example.id,
        "question_chars": len(example.question.strip()) or None,
        "schema_chars": len(example.schema.strip()) or None,
        "sql_chars": len(example.sql.strip()) or None,
        "question_tokens": None,
        "schema_tokens": None,
        "dialect": example.dialect,
        "difficulty": example.difficulty,
        "domain": example.domain,
        "parse_status": "",
        "parses": False,
        "statement": None,
        "schema_status": None,
        "runs": None,
        "runs_ok": None,
        "result_rows": None,
        "repeated_id": False,
        "repeats": "",
        "sql_in_question": _contains(example),
    }


def _contains(example: Example) -> bool:
    """Whether the SQL stands in the question or the evidence, spaces, quotes and case aside."""
    sql = example.sql.translate(_UNSEEN).lower().rstrip(";")
    if not sql:
        return False
    return any(
        len(text) >= len(sql) and sql in text.translate(_UNSEEN).lower()
        for text in (example.question, example.evidence)
    )


def _count(rows: list[FeatureRow], examples: Sequence[Example], count_tokens: TokenCounter) -> None:
    """Fill in the token counts, every distinct text counted once."""
    texts = list(dict.fromkeys(text for e in examples for text in (e.question, e.schema) if text.strip()))
    counted = dict(zip(texts, count_tokens(texts), strict=True))
    for row, example in zip(rows, examples, strict=True):
        row["question_tokens"] = counted.get(example.question)
        row["schema_tokens"] = counted.get(example.schema)


def _database(
    file: str, schema: str, setup: str, dialect: str, execute: bool, limits: Limits
) -> tuple[str | None, sqlite3.Connection | None]:
    """The state of a schema, and its database when it is to be used and can be built."""
    if not schema.strip():
        return None, None
    status = "ok" if _readable(schema, dialect) else "unreadable"
    if not execute:
        return status, None
    if file:
        try:
            return status, open_database(path=file)
        except UserError:
            return "broken", None
    ddl = _for_sqlite(schema, dialect)
    try:
        return status, open_database(ddl, _for_sqlite(setup, dialect), limits=limits)
    except UserError:
        pass
    try:  # who is to blame, the schema or its rows?
        open_database(ddl, limits=limits).close()
    except UserError:
        return "broken", None
    return "broken_setup", None


def _readable(schema: str, dialect: str) -> bool:
    if is_plain_ddl(schema):
        return True
    try:
        parse_schema(schema, dialect)
    except (UserError, RecursionError):
        return False
    return True


def _for_sqlite(sql: str, dialect: str) -> str:
    return sql if dialect == "sqlite" else to_sqlite(sql, dialect)


def _gold(sql: str, dialect: str, connection: sqlite3.Connection | None, limits: Limits) -> dict[str, Any]:
    """The columns that one gold query sets.

    A query that SQLite runs read-only is one statement and a SELECT: the parser, forty times slower, is only asked
    about the others.
    """
    outcome = None
    if connection is not None and dialect == "sqlite":
        outcome = run_query(connection, sql, limits)
        if outcome.status == "ok":
            return _columns("ok", "select", outcome)
    parsed = parse(sql, dialect)
    if parsed.tree is None:
        return _columns(parsed.status, None, None)
    statement = features(parsed.tree).kind
    if connection is not None and statement != "select":  # gold that changes data does so on a copy of its own
        copy = clone(connection)
        outcome = run_query(copy, _for_sqlite(sql, dialect), limits, writable=True)
        copy.close()
    elif connection is not None and outcome is None:
        outcome = run_query(connection, _for_sqlite(sql, dialect), limits)
    return _columns("ok", statement, outcome)


def _columns(parse_status: str, statement: str | None, outcome: Execution | None) -> dict[str, Any]:
    return {
        "parse_status": parse_status,
        "parses": parse_status == "ok",
        "statement": statement,
        "runs": outcome.status if outcome else None,
        "runs_ok": outcome.status == "ok" if outcome else None,
        "result_rows": len(outcome.rows) if outcome and outcome.status == "ok" else None,
    }
