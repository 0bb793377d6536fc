"""Scripts: statements end where SQLite ends them."""

from __future__ import annotations

import sqlite3

import pytest

from tasks.data.scripts import schema_and_setup, split_script

TRIGGER = "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = 'x;'; DELETE FROM t; END"


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        (" ;; -- only a comment;\n", []),
        ("SELECT 1", ["SELECT 1"]),
        ("INSERT INTO t VALUES ('a;b''c;'); SELECT 2;", ["INSERT INTO t VALUES ('a;b''c;')", "SELECT 2"]),
        ('SELECT ";", `;`, [;]; /* ; */ SELECT 2', ['SELECT ";", `;`, [;]', "/* ; */ SELECT 2"]),
        (f"{TRIGGER}; SELECT 1", [TRIGGER, "SELECT 1"]),
        ("CREATE TABLE a (x)\n\nCREATE TABLE b (y)", ["CREATE TABLE a (x)", "CREATE TABLE b (y)"]),
        ("CREATE TABLE a (x DEFAULT (1), created TEXT)", ["CREATE TABLE a (x DEFAULT (1), created TEXT)"]),
    ],
)
def test_split(script, statements):
    assert split_script(script) == statements


def test_rows_leave_the_schema_and_order_is_kept():
    schema, setup = schema_and_setup(
        "CREATE TABLE t (a); INSERT INTO t VALUES (1); -- why\nCREATE TABLE u (b);\n"
        f"{TRIGGER}; CREATE TABLE s AS SELECT a FROM t; UPDATE t SET a = 2 -- last"
    )
    assert schema == "CREATE TABLE t (a);\n-- why\nCREATE TABLE u (b);"
    assert setup.splitlines()[0] == "INSERT INTO t VALUES (1);"
    connection = sqlite3.connect(":memory:")
    connection.executescript(schema)
    connection.executescript(setup)  # the trigger would have emptied t, had it come before the INSERT
    assert connection.execute("SELECT (SELECT a FROM t), (SELECT a FROM s)").fetchone() == (2, 1)


@pytest.mark.parametrize("context", ["CREATE TABLE t (a)", "please update the roster", "", "t(a, b)"])
def test_what_holds_no_rows_or_no_schema_is_unchanged(context):
    assert schema_and_setup(context) == (context, "")
