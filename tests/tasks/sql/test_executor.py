"""Attacks. Every one must end with a status, quickly, and leave nothing behind."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.sql.executor import Limits, clone, compiles, open_database, run_query, run_readonly
from tests.tasks.sql.hostile import ATTACKS, BOMBS, FILES, SETTINGS, WRITES

SCHEMA = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)"
SETUP = "INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, NULL)"
QUICK = Limits(seconds=0.1, memory_mb=128)


@pytest.fixture
def database():
    connection = open_database(SCHEMA, SETUP)
    yield connection
    connection.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a db#1?.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(f"{SCHEMA};{SETUP}")
    connection.close()
    return path


FORBIDDEN = {**WRITES, **FILES, **SETTINGS}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_on_a_file(file: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sql, allowed = ATTACKS[name]
    monkeypatch.chdir(file.parent)
    before = file.read_bytes()
    found = run_readonly(file, sql)
    assert found.status in allowed, found
    assert found.rows == []
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH 'evil.db' AS evil",
        "VACUUM INTO 'evil.db'",
        "PRAGMA journal_mode = WAL",
        "DETACH main",
        "BEGIN",
        "CREATE VIRTUAL TABLE f USING fts5(a)",
        "INSERT INTO t SELECT 7, load_extension('x')",
    ],
)
def test_a_clone_may_change_but_reach_nothing_else(database, tmp_path, monkeypatch, sql: str) -> None:
    monkeypatch.chdir(tmp_path)
    copy = clone(database)
    assert run_query(copy, "INSERT INTO t VALUES (9, 'z')", writable=True).status == "ok"
    assert run_query(copy, sql, writable=True).status in ("forbidden", "sql_error")
    assert list(tmp_path.iterdir()) == []
    assert run_query(copy, "SELECT count(*) FROM t").rows == [(4,)]
    assert run_query(database, "SELECT count(*) FROM t").rows == [(3,)]
    assert run_query(copy, "DELETE FROM t").status == "forbidden"  # the permission was for one statement


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_in_time(database, name: str) -> None:
    began = time.monotonic()
    found = run_query(database, BOMBS[name], QUICK)
    assert found.status in ("timeout", "resource_limit"), (found.status, found.message)
    assert found.rows == []
    assert found.message
    assert time.monotonic() - began < 60  # tenths of a second where nothing else runs
    assert run_query(database, "SELECT count(*) FROM t").rows == [(3,)]  # the connection survives


@pytest.mark.parametrize(
    ("sql", "status"),
    [
        ("", "syntax_error"),
        (" ; ", "syntax_error"),
        ("-- only this", "syntax_error"),
        ("hello", "syntax_error"),
        ("SELECT a FROM", "syntax_error"),
        ("SELECT 'open", "syntax_error"),
        ("SELECT \x00 1", "syntax_error"),
        ("SELECT '\ud800'", "syntax_error"),
        ("SELECT 1; SELECT 2", "multiple_statements"),
        ("SELECT 1; DROP TABLE t", "multiple_statements"),
        ("SELECT c FROM t", "schema_error"),
        ("SELECT a FROM u", "schema_error"),
        ("SELECT a FROM t x, t y", "schema_error"),
        ("SELECT nosuch(a) FROM t", "sql_error"),
        ("SELECT abs(-9223372036854775808)", "sql_error"),
    ],
)
def test_failures_have_their_status(database, sql: str, status: str) -> None:
    found = run_query(database, sql)
    assert (found.status, found.columns, found.rows) == (status, (), [])
    assert found.message


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT a FROM t;", [(1,), (2,), (3,)]),
        ("SELECT 1; -- done", [(1,)]),
        ("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 3) SELECT x FROM c", [(1,), (2,), (3,)]),
        ("SELECT upper(b), row_number() OVER (ORDER BY a DESC) FROM t WHERE a = 1", [("X", 1)]),
        ("SELECT value FROM json_each('[1, 2]')", [(1,), (2,)]),
        ("SELECT name FROM sqlite_master", [("t",)]),
        ('SELECT "literal" FROM t LIMIT 1', [("literal",)]),
    ],
)
def test_reading_is_allowed(database, sql: str, rows: list[tuple]) -> None:
    found = run_query(database, sql)
    assert found.status == "ok", found.message
    assert found.rows == rows


def test_empty_results_have_columns(database) -> None:
    assert run_query(database, "SELECT a, b FROM t WHERE a = 99").columns == ("a", "b")


def test_row_cap_is_exact(database) -> None:
    assert run_query(database, "SELECT a FROM t", Limits(rows=3)).status == "ok"
    assert run_query(database, "SELECT a FROM t", Limits(rows=2)).status == "resource_limit"


def test_undecodable_text_is_read() -> None:
    connection = open_database("CREATE TABLE l (a TEXT)", "INSERT INTO l VALUES (CAST(x'e9' AS TEXT))")
    assert run_query(connection, "SELECT a FROM l").rows == [("\udce9",)]


def test_compiles_asks_sqlite_without_running(database) -> None:
    assert compiles(database, BOMBS["recursion"])
    assert compiles(database, "SELECT abs(-9223372036854775808)")
    assert not compiles(database, "SELECT c FROM t")
    assert not compiles(database, "SELECT 1; SELECT 2")
    assert not compiles(database, "DELETE FROM t")
    assert compiles(clone(database), "DELETE FROM t", writable=True)
    assert run_query(database, "SELECT count(*) FROM t").rows == [(3,)]


@pytest.mark.parametrize(
    "setup",
    [
        "ATTACH 'evil.db' AS evil",
        "VACUUM INTO 'evil.db'",
        "SELECT load_extension('x')",
        "INSERT INTO nowhere VALUES (1)",
        "CREATE TABLE b AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
    ],
)
def test_hostile_setup_is_an_error_for_people(tmp_path, monkeypatch, setup: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="cannot be built"):
        open_database(SCHEMA, setup, limits=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_dump_with_pragmas_and_a_transaction_is_built() -> None:
    dump = "PRAGMA foreign_keys = OFF; BEGIN TRANSACTION; CREATE TABLE d (a); INSERT INTO d VALUES (1); COMMIT;"
    assert run_query(open_database(dump), "SELECT a FROM d").rows == [(1,)]


def test_files_that_are_no_database(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no database file"):
        open_database(path=tmp_path / "absent.sqlite")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text.sqlite").write_text("not a database at all, but long enough to be one" * 10)
    with pytest.raises(UserError, match="cannot be read"):
        open_database(path=tmp_path / "text.sqlite")
