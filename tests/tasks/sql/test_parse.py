from __future__ import annotations

import pytest

from tasks.sql.features import clauses, difficulty, features
from tasks.sql.parse import parse, to_sqlite, writes


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("hello", "not_sql"),
        ("Yes", "not_sql"),
        ("1", "not_sql"),
        ("SELECT", "syntax_error"),
        ("SHOW TABLES", "not_sql"),
        ("Explain this", "not_sql"),
        ("EXPLAIN SELECT 1", "not_sql"),
        ("PRAGMA table_info(t)", "not_sql"),
        ("```sql\nSELECT 1\n```", "not_sql"),
        ("(1)", "not_sql"),
        ("CREATE", "not_sql"),
        ("UPDATE t", "syntax_error"),
        ("SELECT FROM t", "syntax_error"),
        ("SELECT * FROM", "syntax_error"),
        ("SELECT 'open", "syntax_error"),
        ("", "empty"),
        ("-- only a comment", "empty"),
        ("SELECT 1; SELECT 2", "multiple_statements"),
        ("SELECT 1; DROP TABLE t;", "multiple_statements"),
        ("SELECT " + "(" * 3000 + "1" + ")" * 3000, "syntax_error"),
    ],
)
def test_refuses(text: str, status: str) -> None:
    assert parse(text).status == status
    assert parse(text).tree is None


@pytest.mark.parametrize(
    "text",
    [
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "SELECT 1;",
        "SELECT 1; -- done",
        "-- first\nSELECT 1 /* last */",
        "INSERT INTO t VALUES (1)",
        "WITH a AS (SELECT 1 AS x) INSERT INTO t SELECT x FROM a",
        "REPLACE INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "CREATE TABLE t (a INTEGER)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; DELETE FROM u; END;",
        "ALTER TABLE t ADD COLUMN b",
        "DROP TABLE t",
        "VALUES (1)",
        "SELECT ';' AS a",
    ],
)
def test_accepts_one_statement(text: str) -> None:
    assert parse(text).status == "ok", parse(text).message
    assert parse(text).tree is not None


def test_same_text_is_parsed_once() -> None:
    assert parse("SELECT 41") is parse("SELECT 41")


def test_writes_looks_through_with() -> None:
    assert writes("WITH a AS (SELECT 1) DELETE FROM t")
    assert writes("-- why\nreplace into t values (1)")
    assert not writes("WITH a AS (SELECT 1) SELECT * FROM a")
    assert not writes("SELECT 'DELETE FROM t'")


def test_to_sqlite_keeps_what_it_cannot_read() -> None:
    assert to_sqlite("SELECT `a` FROM t", "mysql") == 'SELECT "a" FROM t'
    assert to_sqlite("SELECT FROM WHERE", "mysql") == "SELECT FROM WHERE"


def _features(sql: str):
    return features(parse(sql).tree)


@pytest.mark.parametrize(
    ("sql", "names", "level"),
    [
        ("SELECT a FROM t", (), "easy"),
        ("SELECT count(*) FROM t WHERE a > 1 ORDER BY a LIMIT 1", ("where", "order_by", "limit", "aggregate"), "easy"),
        ("SELECT 'GROUP BY x HAVING' FROM downloads", (), "easy"),
        ("SELECT DISTINCT t.a FROM t JOIN u ON t.id = u.id", ("join", "distinct"), "medium"),
        ("SELECT a FROM t, u", ("join",), "medium"),
        ("SELECT a, sum(b) FROM t GROUP BY a", ("group_by", "aggregate"), "medium"),
        ("SELECT a FROM t GROUP BY a HAVING count(*) > 1", ("group_by", "having", "aggregate"), "hard"),
        ("SELECT a FROM t WHERE b IN (SELECT b FROM u)", ("where", "subquery"), "hard"),
        ("SELECT a FROM t UNION SELECT a FROM u", ("set_operation",), "hard"),
        ("SELECT rank() OVER (ORDER BY a) FROM t", ("window",), "hard"),
        ("WITH c AS (SELECT a FROM t) SELECT a FROM c", ("cte",), "hard"),
    ],
)
def test_clauses_and_difficulty(sql: str, names: tuple[str, ...], level: str) -> None:
    found = _features(sql)
    assert clauses(found) == names
    assert difficulty(found) == level


def test_features_count_nodes_not_keywords() -> None:
    found = _features(
        "WITH big AS (SELECT id FROM Orders WHERE total > 5 AND (paid = 1 OR NOT late)) "
        "SELECT c.name FROM customers c JOIN big ON big.id = c.id "
        "WHERE c.id IN (SELECT id FROM vip UNION SELECT id FROM staff) AND c.name LIKE '%or%'"
    )
    assert found.kind == "select"
    assert sorted(found.tables) == ["customers", "orders", "staff", "vip"]
    assert (found.joins, found.conditions, found.subqueries, found.set_operations) == (1, 5, 1, 1)


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("INSERT INTO t SELECT * FROM u", "insert"),
        ("UPDATE t SET a = 1 WHERE b = 2", "update"),
        ("DELETE FROM t", "delete"),
        ("CREATE TABLE t AS SELECT 1", "create"),
        ("DROP TABLE t", "drop"),
        ("CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END", "create"),
    ],
)
def test_kinds(sql: str, kind: str) -> None:
    assert _features(sql).kind == kind
    assert _features(sql).subqueries == 0
