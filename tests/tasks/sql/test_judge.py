from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.sql.extraction import extract_sql
from tasks.sql.judge import Job, Judgement, judge, judge_many
from tasks.sql.judgement import to_row

SCHEMA = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c REAL)"
SETUP = "INSERT INTO t VALUES (1, 'x', 1.5), (2, 'y', 2.5), (3, 'x', 2.5), (4, 'w', 0.5)"


def verdict(gold: str, prediction: str, schema: str = SCHEMA, setup: str = SETUP, **more) -> Judgement:
    return judge(Job("1", gold, prediction, schema, setup, **more))


def match(gold: str, prediction: str) -> bool | None:
    return verdict(gold, prediction).execution_match


# --- gold that changes data ------------------------------------------------------------------------------------------

INSERT = "INSERT INTO t VALUES (5, 'z', 0)"


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        (INSERT, "DELETE FROM t"),
        (INSERT, "SELECT 1"),
        (INSERT, "INSERT INTO t VALUES (5, 'Z', 0)"),
        ("DELETE FROM t", ""),
        ("DELETE FROM t", "-- x"),
        ("DELETE FROM t", "DELETE FROM t WHERE a < 4"),
        ("UPDATE t SET c = c + 1", "UPDATE t SET c = c + 99"),
        ("CREATE VIEW v AS SELECT a FROM t", "CREATE VIEW v AS SELECT b FROM t"),
        ("CREATE VIEW v AS SELECT a FROM t", "CREATE TABLE v AS SELECT a FROM t"),
        ("CREATE TABLE u (a INTEGER)", "CREATE TABLE u (a TEXT)"),
        ("CREATE INDEX i ON t (b)", "CREATE INDEX i ON t (c)"),
        ("DELETE FROM t WHERE a = 1 RETURNING a", "DELETE FROM t WHERE a = 1 RETURNING b"),
    ],
)
def test_different_effects_do_not_match(gold: str, prediction: str) -> None:
    assert match(gold, prediction) is False


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        (INSERT, INSERT),
        (INSERT, "insert into t (c, a, b) values (0.0, 5, 'z');"),
        ("DELETE FROM t", "DELETE FROM t WHERE a > 0"),
        ("UPDATE t SET c = c / 3", "UPDATE t SET c = c * (1.0 / 3)"),
        ("CREATE VIEW v AS SELECT a FROM t", "CREATE VIEW v AS SELECT a FROM t"),
        ("CREATE VIEW v AS SELECT a FROM t", "CREATE VIEW v AS SELECT t.a FROM t WHERE 1"),
        ("CREATE TABLE u (a INTEGER)", "create table U(A integer)"),
        ("CREATE INDEX i ON t (b)", "CREATE INDEX another ON t(b)"),
        ("DROP TABLE t", "DROP TABLE IF EXISTS t"),
        ("WITH x AS (SELECT 1 AS n) DELETE FROM t WHERE a IN (SELECT n FROM x)", "DELETE FROM t WHERE a = 1"),
    ],
)
def test_equal_effects_match(gold: str, prediction: str) -> None:
    found = verdict(gold, prediction)
    assert (found.execution_match, found.gold_status, found.vacuous) == (True, "ok", False), found


def test_gold_that_changes_nothing_is_vacuous() -> None:
    found = verdict("DELETE FROM t WHERE a = 99", "DELETE FROM t WHERE a = 98")
    assert (found.execution_match, found.vacuous, found.gold_status) == (True, True, "empty")
    assert verdict("DELETE FROM t WHERE a = 99", "SELECT 1").execution_match is False


def test_a_changing_prediction_cannot_win_a_reading_gold() -> None:
    found = verdict("SELECT a FROM t WHERE a = 99", "DELETE FROM t")
    assert (found.execution_match, found.status, found.prepares, found.parses) == (False, "forbidden", False, True)


def test_changes_of_one_job_are_not_seen_by_the_next() -> None:
    jobs = [Job("1", "DELETE FROM t", "DELETE FROM t", SCHEMA, SETUP)]
    jobs += [Job("2", "SELECT count(*) FROM t", "SELECT 4", SCHEMA, SETUP)]
    assert [found.execution_match for found in judge_many(jobs)] == [True, True]


# --- reading ---------------------------------------------------------------------------------------------------------


def test_weak_gold_is_flagged() -> None:
    found = verdict("SELECT a FROM t WHERE a = 99", "SELECT b FROM t WHERE b = 'nope'")
    assert (found.execution_match, found.vacuous, found.gold_status) == (True, True, "empty")
    found = verdict("SELECT * FROM t WHERE a = 99", "SELECT b FROM t WHERE b = 'nope'")
    assert (found.execution_match, found.vacuous) == (False, True)
    assert verdict("SELECT sum(a) FROM t WHERE a = 99", "SELECT NULL").vacuous
    assert verdict("SELECT count(*) FROM t WHERE a = 99", "SELECT 0").vacuous
    assert not verdict("SELECT count(*) FROM t", "SELECT 4").vacuous
    assert not verdict("SELECT a FROM t WHERE a = 99", "SELECT a FROM t").vacuous


def test_two_statements_are_rejected_and_a_semicolon_is_not() -> None:
    found = verdict("SELECT a FROM t", "SELECT a FROM t; SELECT 1")
    assert (found.execution_match, found.status, found.parses) == (False, "multiple_statements", False)
    assert match("SELECT a FROM t", "SELECT a FROM t;") is True


def test_row_order_counts_only_under_order_by() -> None:
    assert match("SELECT a FROM t", "SELECT a FROM t ORDER BY a DESC") is True
    assert match("SELECT a FROM t ORDER BY a", "SELECT a FROM t ORDER BY a DESC") is False


def test_an_order_by_luck_is_not_an_order() -> None:
    assert match("SELECT a FROM t ORDER BY a", "SELECT a FROM t") is False
    assert match("SELECT a FROM t ORDER BY a", "SELECT a FROM t ORDER BY a + 0") is True
    assert match("SELECT max(a) FROM t ORDER BY 1", "SELECT max(a) FROM t") is True


@pytest.mark.parametrize(
    ("gold", "prediction", "expected"),
    [
        ("SELECT b FROM t ORDER BY c", "SELECT b FROM t ORDER BY c, a DESC", True),  # rows 2 and 3 tie
        ("SELECT b FROM t ORDER BY c", "SELECT b FROM t ORDER BY b DESC", False),
        ("SELECT b, c FROM t ORDER BY 2", "SELECT c, b FROM t ORDER BY c, a DESC", True),
        ("SELECT *, c * 2 AS d FROM t ORDER BY d DESC", "SELECT *, c * 2 FROM t ORDER BY c DESC, a DESC", True),
        ("SELECT b FROM t ORDER BY c DESC LIMIT 1", "SELECT b FROM t ORDER BY c DESC, a DESC LIMIT 1", True),
        ("SELECT b FROM t ORDER BY c DESC LIMIT 1", "SELECT 'w'", False),
        ("SELECT a FROM t ORDER BY c LIMIT 1 OFFSET 2", "SELECT 3", True),
        ("SELECT a FROM t ORDER BY c LIMIT 1 OFFSET 2", "SELECT 1", False),
        (
            "SELECT b, count(*) FROM t GROUP BY b ORDER BY count(*) DESC LIMIT 2",
            "SELECT 'x', 2 UNION SELECT 'y', 1 ORDER BY 2 DESC",
            True,
        ),
        ("SELECT b FROM t GROUP BY b ORDER BY count(*) DESC LIMIT 1", "SELECT 'y'", False),
        ("SELECT DISTINCT c FROM t ORDER BY c", "SELECT c FROM t GROUP BY c ORDER BY c", True),
        ("SELECT a FROM t LIMIT 2", "SELECT a FROM t ORDER BY a DESC LIMIT 2", True),
        ("SELECT a FROM t LIMIT 2", "SELECT a FROM t LIMIT 3", False),
        ("SELECT a FROM t LIMIT 2", "SELECT a + 10 FROM t LIMIT 2", False),
        (
            "SELECT b FROM t UNION SELECT b FROM t ORDER BY b LIMIT 2",
            "SELECT DISTINCT b FROM t ORDER BY b LIMIT 2",
            True,
        ),
    ],
)
def test_ties_and_limits(gold: str, prediction: str, expected: bool) -> None:
    assert match(gold, prediction) is expected


TIMBER_SCHEMA = """CREATE TABLE salesperson (salesperson_id INT, name TEXT);
CREATE TABLE timber_sales (salesperson_id INT, volume REAL);"""
TIMBER_GOLD = (
    "SELECT salesperson_id, name, SUM(volume) AS total FROM timber_sales JOIN salesperson "
    "ON timber_sales.salesperson_id = salesperson.salesperson_id GROUP BY salesperson_id, name ORDER BY total DESC"
)


def test_gold_that_does_not_run_is_no_fault_of_the_prediction() -> None:
    good = TIMBER_GOLD.replace("SELECT salesperson_id", "SELECT salesperson.salesperson_id").replace(
        "BY salesperson_id", "BY salesperson.salesperson_id"
    )
    found = verdict(TIMBER_GOLD, good, TIMBER_SCHEMA, "")
    assert (found.gold_status, found.execution_match, found.status, found.runs) == ("failed", None, "ok", True)
    assert "ambiguous column" in found.gold_message


def test_a_schema_that_does_not_build_fails_gold() -> None:
    found = verdict("SELECT 1", "SELECT 1", "CREATE TABLE (", "")
    assert (found.gold_status, found.execution_match) == ("failed", None)
    assert "cannot be built" in found.message


def test_a_fenced_answer_counts_after_extraction() -> None:
    fenced = "```sql\nSELECT sum(a) FROM t;\n```"
    assert match("SELECT sum(a) FROM t", fenced) is False
    assert match("SELECT sum(a) FROM t", extract_sql(fenced)) is True
    assert match("SELECT a FROM t WHERE a > 3", "SELECT a FROM t WHERE a < 3") is False  # rougeL says 1.0


def test_parses_prepares_and_runs_are_apart() -> None:
    def flags(prediction: str) -> tuple[bool, bool, bool]:
        found = verdict("SELECT 1", prediction)
        return found.parses, found.prepares, found.runs

    assert flags("SELECT a FROM t") == (True, True, True)
    assert flags("SELECT abs(-9223372036854775808)") == (True, True, False)
    assert flags("SELECT nosuch FROM t") == (True, False, False)
    assert flags("hello") == (False, False, False)
    assert flags("SELECT") == (False, False, False)


def test_other_dialects_are_transpiled_with_gold() -> None:
    found = verdict("SELECT CONCAT(b, '!') FROM t", "SELECT CONCAT(b, '!') FROM t", dialect="mysql")
    assert found.execution_match is True
    assert found.gold_sql == "SELECT b || '!' FROM t" or "CONCAT" in found.gold_sql  # newer SQLite has concat()
    assert found.sql == found.gold_sql
    assert verdict("SELECT nosuch(b) FROM t", "SELECT 1", dialect="mysql").execution_match is None


def test_judgements_are_json_whatever_the_values() -> None:
    setup = "INSERT INTO t VALUES (1, CAST(x'e9' AS TEXT), 9e999), (2, x'00ff', NULL)"
    found = verdict("SELECT * FROM t", "SELECT * FROM t", SCHEMA, setup)
    assert found.execution_match is True
    assert json.dumps(to_row(found), ensure_ascii=False, allow_nan=False).encode("utf-8")
    assert found.rows == [[1, "?", "inf"], [2, "00ff", None]]


QUERIES = st.sampled_from(
    [
        "SELECT {0}, {1} FROM t WHERE {0} > {2}",
        "SELECT {1}, count(*), avg({0}) FROM t GROUP BY {1}",
        "SELECT DISTINCT {1} FROM t ORDER BY {1} DESC LIMIT {2}",
        "SELECT {0} FROM t ORDER BY {1} LIMIT {2}",
        "SELECT {1} FROM t EXCEPT SELECT {0} FROM t",
        "UPDATE t SET c = {2} WHERE {0} = {2}",
        "INSERT INTO t SELECT a + 10, b, {2} FROM t WHERE {1} IS NOT NULL",
    ]
)


@settings(deadline=None, max_examples=60)
@given(QUERIES, st.sampled_from("abc"), st.sampled_from("abc"), st.integers(0, 4))
def test_every_query_equals_itself(query: str, one: str, two: str, number: int) -> None:
    sql = query.format(one, two, number)
    found = verdict(sql, sql)
    assert (found.execution_match, found.parses, found.prepares, found.runs) == (True, True, True, True)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("xyz")), min_size=1, max_size=6), st.randoms())
def test_row_order_without_order_by_never_matters(rows: list[tuple[int, str]], dice) -> None:
    schema = "CREATE TABLE r (p INTEGER, q TEXT)"
    gold = " UNION ALL ".join(f"SELECT {p}, '{q}'" for p, q in rows)
    mixed = " UNION ALL ".join(f"SELECT {p}, '{q}'" for p, q in dice.sample(rows, len(rows)))
    assert verdict(gold, mixed, schema, "").execution_match is True
