"""Cases that fooled published evaluators, through the whole scorecard: verdict, statuses, text metrics."""

from __future__ import annotations

import pytest

from tasks.data.example import Example
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.scorecard import Subject
from tasks.evaluation.scorecard_build import build_scorecard
from tasks.sql.parse import parse

SCHEMA = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT);"
SETUP = "INSERT INTO t VALUES (1, 'x'), (2, 'y');"
STAFF = "CREATE TABLE Employees (Name TEXT, Salary INTEGER);"
PAID = "INSERT INTO Employees VALUES ('Ann', 10), ('Bob', 20);"
TIMBER = """CREATE TABLE salesperson (salesperson_id INT, name TEXT, region TEXT);
CREATE TABLE timber_sales (sales_id INT, salesperson_id INT, volume REAL, sale_date DATE);"""
TIMBER_ROWS = """INSERT INTO salesperson VALUES (1, 'John Doe', 'North'), (2, 'Jane Smith', 'South');
INSERT INTO timber_sales VALUES (1, 1, 120, '2021-01-01'), (2, 1, 150, '2021-02-01'), (3, 2, 180, '2021-01-01');"""
TIMBER_GOLD = """SELECT salesperson_id, name, SUM(volume) AS total_volume FROM timber_sales
JOIN salesperson ON timber_sales.salesperson_id = salesperson.salesperson_id GROUP BY salesperson_id, name"""


def judged(gold, answer, schema=SCHEMA, setup=SETUP):
    example = Example("q", "d", "?", schema, gold, setup=setup)
    card = build_scorecard([example], [Prediction("q", answer)], Subject(role="base", name="n", fingerprint=""), "t")
    return card, card.examples[0]


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("INSERT INTO t VALUES (3, 'z')", "DELETE FROM t"),
        ("DELETE FROM t", ""),
        ("DELETE FROM t", "-- x"),
        ("UPDATE t SET b = b || '1'", "UPDATE t SET b = b || '99'"),
        ("UPDATE t SET a = a + 1 WHERE a = 2", "UPDATE t SET a = a + 99 WHERE a = 2"),
    ],
)
def test_different_changes_do_not_match(gold, answer):
    _, outcome = judged(gold, answer)
    assert outcome.execution_match is False


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("INSERT INTO t VALUES (3, 'z')", "INSERT INTO t VALUES (3, 'z')"),
        ("CREATE VIEW v AS SELECT a FROM t", "CREATE VIEW v AS SELECT a FROM t"),
        ("SELECT a FROM t", "SELECT a FROM t ORDER BY a DESC"),
    ],
)
def test_equal_changes_and_rows_in_another_order_match(gold, answer):
    _, outcome = judged(gold, answer)
    assert outcome.execution_match is True


def test_agreement_of_two_empty_results_is_flagged_and_counted_apart():
    card, outcome = judged("SELECT * FROM t WHERE a = 99", "SELECT a, b FROM t WHERE b = 'nope'")
    assert outcome.vacuous is True
    assert card.gold.empty == 1
    assert card.metrics["execution_accuracy_nonvacuous"].n == 0


def test_two_statements_are_refused_and_a_final_semicolon_is_not():
    assert judged("SELECT a FROM t", "SELECT a FROM t;")[1].execution_match is True
    raw = judged("SELECT a FROM t", "SELECT a FROM t; DELETE FROM t")[0]
    assert raw.metrics["execution_accuracy_raw"].value == 0.0
    assert raw.health["multiple_statements"].value == 1.0


@pytest.mark.parametrize(
    "text", ["hello", "Yes", "1", "SELECT", "SHOW TABLES", "Explain this", "```sql\nSELECT 1\n```"]
)
def test_what_a_lenient_parser_accepts_is_no_sql(text):
    assert parse(text).status != "ok"


def test_a_common_table_expression_is_sql():
    assert parse("WITH a AS (SELECT 1) SELECT * FROM a").status == "ok"


def test_rouge_gives_wrong_sql_seven_tenths_and_execution_gives_it_nothing():
    card, outcome = judged("SELECT b FROM t WHERE a > 1;", "SELECT b FROM t WHERE a < 2;")
    assert outcome.values["hybrid_score"] < 0.7
    card, outcome = judged("SELECT b FROM t WHERE a > 1;", "SELECT b FROM t WHERE a < 1;")
    assert outcome.values["rougeL"] == 1.0
    assert outcome.values["hybrid_score"] == pytest.approx(0.7)
    assert card.metrics["execution_accuracy"].value == 0.0


def test_a_fence_costs_the_raw_text_and_not_the_answer():
    gold = "SELECT SUM(Salary) FROM Employees;"
    card, outcome = judged(gold, f"```sql\n{gold}\n```", STAFF, PAID)
    assert outcome.values["execution_accuracy"] == 1.0
    assert outcome.values["execution_accuracy_raw"] == 0.0
    assert outcome.health == ["fenced"]
    assert card.errors == {}


def test_gold_that_does_not_run_is_no_fault_of_the_model():
    card, outcome = judged(TIMBER_GOLD, TIMBER_GOLD, TIMBER, TIMBER_ROWS)
    assert outcome.execution_match is None
    assert "ambiguous column name" in outcome.gold_message
    assert (card.gold.failed, card.metrics["execution_accuracy"].n, card.errors) == (1, 0, {})
