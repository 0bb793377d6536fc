"""The state of a database, for judging statements that change data: two statements are equal if their effects are.

Limits: rows that SQLite keeps for itself (`sqlite_sequence`, statistics) and temporary tables are left out; row ids and
table constraints are not compared.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, replace

from tasks.sql.comparison import Row, same_bag
from tasks.sql.connection import Sealed
from tasks.sql.executor import Execution, Limits, run_query


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or a view: its columns (name, type, not null, default, key) and its rows, or why it has none."""

    columns: tuple[Row, ...]
    rows: list[Row]
    problem: str


@dataclass(frozen=True, slots=True)
class State:
    """Tables and views by lower-case name, and the normalised text of views, indexes and triggers."""

    tables: dict[str, Relation]
    views: dict[str, Relation]
    objects: dict[tuple[str, str], str]


def read_state(connection: Sealed, limits: Limits) -> State:
    """The whole state of a database; a table may have a hundred times `limits.rows`. Raises OverflowError beyond."""
    wide = replace(limits, rows=limits.rows * 100)
    listed = run_query(connection, "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name", wide)
    if listed.status != "ok":  # or two databases that nobody could read would be the same
        raise OverflowError(f"what the database holds cannot be listed: {listed.message}")
    tables, views, objects = {}, {}, {}
    for kind, name, table, sql in listed.rows:
        if name.lower().startswith("sqlite_"):
            continue
        if kind in ("table", "view"):
            (tables if kind == "table" else views)[name.lower()] = _relation(connection, name, wide)
        if kind == "trigger":
            objects[kind, name.lower()] = _normal(sql)
        elif kind == "index":  # the name of an index is nobody's answer
            body = re.sub(r"^create\s+(unique\s+)?index\s+.*?\bon\b", r"\1on", _normal(sql))
            objects[kind, f"{table.lower()} {body}"] = ""
    return State(tables, views, objects)


def _relation(connection: Sealed, name: str, limits: Limits) -> Relation:
    quoted = '"' + name.replace('"', '""') + '"'
    found: Execution = run_query(connection, f"SELECT * FROM {quoted}", limits)
    if found.status in ("timeout", "resource_limit"):
        raise OverflowError(f"{name} is too large to compare: {found.message}")
    return Relation(_columns(connection, quoted), found.rows, found.message)


def _columns(connection: Sealed, quoted: str) -> tuple[Row, ...]:
    connection.set_guard(None)  # our own pragma, on our own clone; run_query sets the guard again
    try:
        rows = connection.execute(f"PRAGMA table_info({quoted})").fetchall()
    except sqlite3.Error:
        return ()  # a view that no longer compiles; its `problem` says so
    return tuple((row[1].lower(), row[2].upper(), row[3], row[4], row[5]) for row in rows)


def _normal(sql: str | None) -> str:
    """Text with its spacing, case and quotes of names evened out; string literals stay as they are."""
    parts = re.split(r"('[^']*(?:''[^']*)*')", sql or "")
    return "".join(part if at % 2 else _normal_code(part) for at, part in enumerate(parts)).strip()


def _normal_code(code: str) -> str:
    code = re.sub(r"\s+", " ", re.sub(r'["`\[\]]', "", code))
    return re.sub(r"\s*([(),=<>;])\s*", r"\1", code).lower()


def same_state(one: State, two: State) -> bool:
    """Whether two states hold the same tables, columns, bags of rows, views, indexes and triggers."""
    return one.objects == two.objects and _same(one.tables, two.tables) and _same(one.views, two.views)


def _same(one: dict[str, Relation], two: dict[str, Relation]) -> bool:
    return one.keys() == two.keys() and all(
        left.columns == right.columns and left.problem == right.problem and same_bag(left.rows, right.rows)
        for left, right in ((one[name], two[name]) for name in one)
    )
