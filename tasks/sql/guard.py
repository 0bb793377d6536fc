"""The rules of the safe executor: what SQLite's authorizer allows, and what its error messages mean.

Limits: SQLite gives one error code for most failures, so that the status is read off its (stable) English messages.
"""

from __future__ import annotations

import sqlite3
from typing import Literal

Status = Literal[
    "ok", "forbidden", "timeout", "resource_limit", "multiple_statements", "syntax_error", "schema_error", "sql_error"
]

_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_NEVER = frozenset(
    {
        sqlite3.SQLITE_ATTACH,
        sqlite3.SQLITE_DETACH,
        sqlite3.SQLITE_PRAGMA,
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_SAVEPOINT,
        sqlite3.SQLITE_CREATE_VTABLE,
        sqlite3.SQLITE_DROP_VTABLE,
        sqlite3.SQLITE_ANALYZE,
    }
)
_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "sqlite_dbpage"})
REFUSED = frozenset(
    {"EXPLAIN", "PRAGMA", "ATTACH", "DETACH", "REINDEX", "VACUUM", "ANALYZE", "BEGIN", "COMMIT", "END"}
    | {"ROLLBACK", "SAVEPOINT", "RELEASE"}
)
_MESSAGES: tuple[tuple[str, Status], ...] = (
    ("one statement at a time", "multiple_statements"),
    ("not authorized", "forbidden"),
    ("prohibited", "forbidden"),
    ("readonly database", "forbidden"),
    ("unsafe use of", "forbidden"),
    ("too big", "resource_limit"),
    ("too large", "resource_limit"),
    ("too complex", "resource_limit"),
    ("tables in a join", "resource_limit"),
    ("too many columns in", "resource_limit"),
    ("too many terms", "resource_limit"),
    ("too many references", "resource_limit"),
    ("too many from clause", "resource_limit"),
    ("parser stack overflow", "resource_limit"),
    ("expression tree is too large", "resource_limit"),
    ("out of memory", "resource_limit"),
    ("database or disk is full", "resource_limit"),
    ("syntax error", "syntax_error"),
    ("incomplete input", "syntax_error"),
    ("unrecognized token", "syntax_error"),
    ("null character", "syntax_error"),
    ("no such function", "sql_error"),
    ("no such", "schema_error"),
    ("ambiguous column", "schema_error"),
    ("has no column named", "schema_error"),
    ("already exists", "schema_error"),
    ("values for", "schema_error"),
    ("values were supplied", "schema_error"),
)


def status_of(message: str) -> Status:
    """The status that an error message of SQLite stands for; `sql_error` when it is none of the known ones."""
    lower = message.lower()
    return next((status for part, status in _MESSAGES if part in lower), "sql_error")


def read_only(action: int, _one: str | None, two: str | None, _database: str | None, _trigger: str | None) -> int:
    """Allow reading and calling functions, nothing else."""
    if action in _READING or (action == sqlite3.SQLITE_FUNCTION and (two or "").lower() not in _FUNCTIONS):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def changing(action: int, _one: str | None, two: str | None, _database: str | None, _trigger: str | None) -> int:
    """Allow changes to a throw-away clone; refuse whatever reaches beyond it."""
    if action in _NEVER or (action == sqlite3.SQLITE_FUNCTION and (two or "").lower() in _FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def building(action: int, _one: str | None, two: str | None, _database: str | None, _trigger: str | None) -> int:
    """Allow a script that builds a database in memory; skip its pragmas, refuse files and extensions."""
    if action == sqlite3.SQLITE_PRAGMA:
        return sqlite3.SQLITE_IGNORE  # dumps open with PRAGMA foreign_keys=OFF: skip it, keep the rest
    if action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH):
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (two or "").lower() in _FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
