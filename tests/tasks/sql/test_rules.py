"""Both sides of every rule: through the whole judge, so that what is written down is what is done."""

from __future__ import annotations

import sqlite3
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.sql.judge import Job, judge
from tasks.sql.rules import NAME, RULES, VERSION

SCHEMA = """CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c REAL, d BLOB, day TEXT);
CREATE TABLE none (x INTEGER, y TEXT);"""
SETUP = """INSERT INTO t VALUES (1, 'x', 1.5, x'61', '2024-01-05'), (2, 'y', 2.5, x'62', '2024-02-01'),
(3, 'x', 2.5, NULL, '2024-02-01'), (4, 'Été', 0.5, x'', '2024-03-01 00:00:00');"""

# rule -> (gold, prediction, verdict)
CASES: dict[str, list[tuple[str, str, bool | None]]] = {
    "arity": [
        ("SELECT a FROM t", "SELECT a AS something_else FROM t", True),
        ("SELECT a FROM t", "SELECT a, b FROM t", False),
        ("SELECT x, y FROM none", "SELECT x AS p, y AS q FROM none", True),
        ("SELECT x, y FROM none", "SELECT x FROM none", False),
    ],
    "bag": [
        ("SELECT b FROM t", "SELECT b FROM t ORDER BY a DESC", True),
        ("SELECT b FROM t", "SELECT DISTINCT b FROM t", False),
        ("SELECT DISTINCT b FROM t", "SELECT b FROM t", False),
        ("SELECT b FROM (SELECT b FROM t ORDER BY a)", "SELECT b FROM t ORDER BY a DESC", True),
        ("SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 2", "SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 2", False),
    ],
    "order": [
        ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t ORDER BY -a", True),
        ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t ORDER BY a", False),
        ("SELECT a FROM t UNION SELECT 9 ORDER BY 1", "SELECT a FROM t UNION SELECT 9 ORDER BY 1 DESC", False),
    ],
    "ties": [
        ("SELECT a FROM t ORDER BY c", "SELECT a FROM t ORDER BY c, a DESC", True),
        ("SELECT a FROM t ORDER BY c", "SELECT a FROM t ORDER BY c DESC", False),
    ],
    "cut_tie": [
        ("SELECT a FROM t ORDER BY c DESC LIMIT 1", "SELECT 3", True),
        ("SELECT a FROM t ORDER BY c DESC LIMIT 1", "SELECT 2", True),
        ("SELECT a FROM t ORDER BY c DESC LIMIT 1", "SELECT 1", False),
        ("SELECT a FROM t ORDER BY c DESC LIMIT 2", "SELECT 3 UNION ALL SELECT 3 ORDER BY 1", False),
    ],
    "limit_without_order": [
        ("SELECT a FROM t LIMIT 2", "SELECT a FROM t WHERE a > 2", True),
        ("SELECT a FROM t LIMIT 2", "SELECT a FROM t LIMIT 3", False),
        ("SELECT a FROM t LIMIT 2", "SELECT a + 9 FROM t LIMIT 2", False),
    ],
    "storage_order": [
        ("SELECT a FROM t ORDER BY a", "SELECT a FROM t", False),
        ("SELECT a FROM t ORDER BY a", "SELECT a FROM (SELECT a FROM t) ORDER BY 1", True),
        ("SELECT max(a) FROM t ORDER BY 1", "SELECT max(a) FROM t", True),
    ],
    "column_order": [
        ("SELECT a, b FROM t", "SELECT b, a FROM t", True),
        ("SELECT 'x', 1 UNION SELECT 'y', 2", "SELECT 'x', 2 UNION SELECT 'y', 1", False),
        ("SELECT 1, 2 UNION SELECT 3, 4", "SELECT 2, 1 UNION SELECT 4, 3", True),
        ("SELECT 1, 2 UNION SELECT 3, 4", "SELECT 2, 1 UNION SELECT 3, 4", False),
    ],
    "integers": [
        ("SELECT 9007199254740993", "SELECT 9007199254740992 + 1", True),
        ("SELECT 9007199254740993", "SELECT 9007199254740992", False),
        ("SELECT 1000000", "SELECT 1000001", False),
        ("SELECT a > 0 FROM t WHERE a = 1", "SELECT 1", True),
    ],
    "floats": [
        ("SELECT 0.1 + 0.2", "SELECT 0.3", True),
        ("SELECT 1", "SELECT 1.0", True),
        ("SELECT 1e6", "SELECT 1000000.5", True),
        ("SELECT 1e6", "SELECT 1000002.0", False),
        ("SELECT -0.0", "SELECT 0", True),
        ("SELECT avg(c) FROM t", "SELECT round(avg(c), 1) FROM t", False),
        ("SELECT 9e999", "SELECT 9e998 * 10", True),
        ("SELECT 9e999", "SELECT 1e308", False),
    ],
    "text": [
        ("SELECT b FROM t WHERE a = 4", "SELECT 'Été'", True),
        ("SELECT b FROM t WHERE a = 4", "SELECT 'été'", False),
        ("SELECT b FROM t WHERE a = 1", "SELECT 'x '", False),
        ("SELECT b FROM t WHERE a = 1", "SELECT 'X'", False),
    ],
    "text_and_number": [
        ("SELECT 1", "SELECT '1'", False),
        ("SELECT 1.0", "SELECT '1.0'", False),
        ("SELECT '1'", "SELECT CAST(1 AS TEXT)", True),
    ],
    "blob": [
        ("SELECT d FROM t WHERE a = 1", "SELECT x'61'", True),
        ("SELECT d FROM t WHERE a = 1", "SELECT 'a'", False),
        ("SELECT d FROM t WHERE a = 4", "SELECT NULL", False),
    ],
    "null": [
        ("SELECT d FROM t WHERE a = 3 UNION ALL SELECT 1", "SELECT NULL UNION ALL SELECT 1", True),
        ("SELECT d FROM t WHERE a = 3 UNION ALL SELECT 1", "SELECT 0 UNION ALL SELECT 1", False),
        ("SELECT d FROM t WHERE a = 3 UNION ALL SELECT 1", "SELECT '' UNION ALL SELECT 1", False),
    ],
    "date": [
        ("SELECT day FROM t WHERE a = 1", "SELECT date('2024-01-04', '+1 day')", True),
        ("SELECT day FROM t WHERE a = 1", "SELECT '05/01/2024'", False),
        ("SELECT day FROM t WHERE a = 4", "SELECT '2024-03-01'", False),
        ("SELECT strftime('%Y', day) FROM t WHERE a = 1", "SELECT '2024'", True),
        ("SELECT strftime('%Y', day) FROM t WHERE a = 1", "SELECT 2024", False),
    ],
    "empty": [
        ("SELECT x FROM none", "SELECT a FROM t WHERE a > 9", True),
        ("SELECT x FROM none", "SELECT a FROM t", False),
        ("SELECT a FROM t", "SELECT x FROM none", False),
        ("SELECT x FROM none", "SELECT max(x) FROM none", False),
    ],
    "one_statement": [
        ("SELECT a FROM t", "SELECT a FROM t; -- done", True),
        ("SELECT a FROM t", "/* the ids */ SELECT a FROM t;", True),
        ("SELECT a FROM t", "SELECT a FROM t; SELECT a FROM t", False),
        ("SELECT a FROM t", "", False),
    ],
    "state": [
        ("UPDATE t SET c = c + 1", "UPDATE t SET c = 1 + c", True),
        ("UPDATE t SET c = c + 1", "UPDATE t SET c = c + 2", False),
        ("INSERT INTO none VALUES (1, 'z')", "INSERT INTO none (y, x) VALUES ('z', 1)", True),
        ("INSERT INTO none VALUES (1, 'z')", "DELETE FROM t", False),
        ("CREATE VIEW v AS SELECT a FROM t", "CREATE VIEW v AS SELECT a FROM t WHERE a", True),
        ("CREATE VIEW v AS SELECT a FROM t", "CREATE VIEW v AS SELECT a FROM t LIMIT 1", False),
        ("CREATE INDEX i ON t (b)", "CREATE INDEX j ON t(b)", True),
        ("CREATE INDEX i ON t (b)", "CREATE UNIQUE INDEX i ON t (day, a)", False),
        ("ALTER TABLE t ADD COLUMN e TEXT", "ALTER TABLE t ADD e TEXT", True),
        ("ALTER TABLE t ADD COLUMN e TEXT", "ALTER TABLE t ADD COLUMN e INTEGER", False),
        ("DROP TABLE none", "DROP TABLE IF EXISTS none", True),
        ("DROP TABLE none", "DELETE FROM none", False),
    ],
    "returning": [
        ("DELETE FROM t WHERE a = 1 RETURNING b", "DELETE FROM t WHERE a < 2 RETURNING b", True),
        ("DELETE FROM t WHERE a = 1 RETURNING b", "DELETE FROM t WHERE a = 1 RETURNING a", False),
        ("DELETE FROM t WHERE a = 1 RETURNING b", "DELETE FROM t WHERE a = 1", False),
    ],
    "read_only": [
        ("SELECT x FROM none", "DELETE FROM t", False),
        ("DELETE FROM none", "SELECT 1", False),
        ("DELETE FROM none", "DELETE FROM none WHERE 1", True),
    ],
    "gold_failed": [
        ("SELECT nowhere FROM t", "SELECT a FROM t", None),
        ("SELECT a FROM t; SELECT a FROM t", "SELECT a FROM t", None),
        ("SELECT a FROM t", "SELECT a FROM t", True),
        ("SELECT a FROM t", "SELECT nowhere FROM t", False),
    ],
}


def match(gold: str, prediction: str) -> bool | None:
    return judge(Job("1", gold, prediction, SCHEMA, SETUP)).execution_match


def test_every_rule_has_cases_on_both_sides() -> None:
    assert set(CASES) == set(RULES)
    assert all({True, False} <= {verdict for *_, verdict in cases} for cases in CASES.values())
    assert (NAME, VERSION) == ("strict-bag", 1)


@pytest.mark.parametrize(
    ("rule", "gold", "prediction", "verdict"), [(rule, *case) for rule, cases in CASES.items() for case in cases]
)
def test_rules(rule: str, gold: str, prediction: str, verdict: bool | None) -> None:
    assert match(gold, prediction) is verdict, RULES[rule]


def test_a_blob_is_not_its_text_either_way() -> None:
    assert match("SELECT 'a'", "SELECT d FROM t WHERE a = 1") is False


# --- properties ------------------------------------------------------------------------------------------------------

ROWS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["x", "y", "z", None])), min_size=1, max_size=8)
SHAPES = st.sampled_from(
    [
        "SELECT p, q FROM r WHERE p > {n}",
        "SELECT p, q FROM r WHERE p = {n} OR q = '{s}'",
        "SELECT q, count(*), 'k' FROM r WHERE p <> {n} GROUP BY q",
        "SELECT p, q FROM r WHERE p IN ({n}, 5) AND q = '{s}' ORDER BY p, q",
        "SELECT count(*), '{s}' FROM r WHERE p <= {n}",
        "SELECT q, p + {n} FROM r",
        "SELECT q FROM r WHERE q < '{s}' UNION ALL SELECT '{s}' FROM r WHERE p = {n}",
    ]
)
LITERALS = st.tuples(st.integers(0, 5), st.sampled_from("xyz"))


def script(rows: list[tuple[int, str | None]]) -> str:
    values = ", ".join(f"({p}, {'NULL' if q is None else repr(q)})" for p, q in rows)
    return f"INSERT INTO r VALUES {values}"


@settings(deadline=None, max_examples=80)
@given(ROWS, SHAPES, LITERALS, LITERALS)
def test_a_changed_literal_that_changes_the_result_never_matches(rows, shape, one, two) -> None:
    """SQLite itself, without the judge, says whether the result has changed."""
    schema = "CREATE TABLE r (p INTEGER, q TEXT)"
    gold, changed = (shape.format(n=n, s=s) for n, s in (one, two))
    connection = sqlite3.connect(":memory:")
    connection.executescript(f"{schema};{script(rows)}")
    results = [Counter(connection.execute(sql).fetchall()) for sql in (gold, changed)]
    connection.close()
    assume(gold != changed)
    found = judge(Job("1", gold, changed, schema, script(rows)))
    assert found.execution_match is (results[0] == results[1])
    assert judge(Job("1", gold, gold, schema, script(rows))).execution_match is True


@settings(deadline=None, max_examples=60)
@given(ROWS, st.randoms(), SHAPES, LITERALS)
def test_the_order_in_which_rows_are_stored_never_matters(rows, dice, shape, literals) -> None:
    """Gold's rows come from one database, the prediction's from the same rows stored in another order."""
    schema = "CREATE TABLE r (p INTEGER, q TEXT); CREATE TABLE s (p INTEGER, q TEXT)"
    mixed = script(dice.sample(rows, len(rows))).replace("INTO r", "INTO s")
    gold = shape.format(n=literals[0], s=literals[1])
    found = judge(Job("1", gold, gold.replace("FROM r", "FROM s"), schema, f"{script(rows)}; {mixed}"))
    assert found.execution_match is True
