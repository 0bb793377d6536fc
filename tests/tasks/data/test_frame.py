"""The feature frame: what it says of sound, broken and repeated examples."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.data import frame
from tasks.data.example import Example
from tasks.data.frame import COLUMNS, feature_rows
from tasks.sql.executor import Limits

SCHEMA = "CREATE TABLE pupils (id INTEGER PRIMARY KEY, name TEXT);"
SETUP = "INSERT INTO pupils VALUES (1, 'Ann'), (2, 'Bo');"
GOOD = Example("a", "school", "Who are the pupils?", SCHEMA, "SELECT name FROM pupils", setup=SETUP)


def row(**changes) -> frame.FeatureRow:
    return feature_rows([replace(GOOD, **changes)])[0]


def test_a_sound_example():
    found = row()
    assert tuple(found) == COLUMNS
    assert found == {
        "id": "a",
        "question_chars": 19,
        "schema_chars": len(SCHEMA),
        "sql_chars": 23,
        "question_tokens": None,
        "schema_tokens": None,
        "dialect": "sqlite",
        "difficulty": "",
        "domain": "",
        "parse_status": "ok",
        "parses": True,
        "statement": "select",
        "schema_status": "ok",
        "runs": "ok",
        "runs_ok": True,
        "result_rows": 2,
        "repeated_id": False,
        "repeats": "",
        "sql_in_question": False,
    }


@pytest.mark.parametrize(
    ("sql", "parse_status", "statement", "runs"),
    [
        ("SELECT nme FROM pupils", "ok", "select", "schema_error"),
        ("SELECT name FROM teachers", "ok", "select", "schema_error"),
        ("SELECT name FROM pupils; SELECT 1", "multiple_statements", None, None),
        ("All pupils, please", "not_sql", None, None),
        ("SELECT name FROM pupils WHERE (", "syntax_error", None, None),
        ("", "empty", None, None),
        ("INSERT INTO pupils VALUES (3, 'Cy')", "ok", "insert", "ok"),
        ("WITH o AS (SELECT 1 AS i) DELETE FROM pupils WHERE id IN (SELECT i FROM o)", "ok", "delete", "ok"),
        ("DROP TABLE teachers", "ok", "drop", "schema_error"),
        ("VALUES (1), (2)", "ok", "select", "ok"),
    ],
)
def test_gold_is_parsed_and_run(sql, parse_status, statement, runs):
    found = row(sql=sql)
    assert (found["parse_status"], found["statement"], found["runs"]) == (parse_status, statement, runs)
    assert found["parses"] == (parse_status == "ok")
    assert found["runs_ok"] == (None if runs is None else runs == "ok")


LOOKALIKES = "CREATE TABLE downloads (id INT, attachments TEXT, detached INT, load TEXT)"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT attachments FROM downloads WHERE detached = 1",
        "SELECT load FROM downloads WHERE attachments = 'PRAGMA; ATTACH'",
    ],
)
def test_names_and_texts_that_look_like_commands_are_none(sql):
    found = row(schema=LOOKALIKES, setup="", sql=sql)
    assert (found["parse_status"], found["statement"], found["runs"]) == ("ok", "select", "ok")


@pytest.mark.parametrize("command", ["PRAGMA table_info(pupils)", "ATTACH 'x' AS y", "DETACH y", "INSTALL httpfs",
    "LOAD httpfs", "DESCRIBE pupils", "SUMMARIZE pupils", "SHOW TABLES", "VACUUM", "EXPLAIN SELECT 1"])  # fmt: skip
def test_commands_are_no_gold(command):
    assert row(sql=command)["parse_status"] == "not_sql"
    assert feature_rows([replace(GOOD, sql=command)], execute=False)[0]["parse_status"] == "not_sql"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id::text FROM pupils",
        "SELECT id FROM pupils WHERE name ILIKE 'a%'",
        "SELECT id FROM pupils WHERE name SIMILAR TO 'a'",
        "SELECT unnest([1, 2])",
        "SELECT a FROM pupils, LATERAL (SELECT 1 AS a)",
        "SELECT * FROM generate_series(1, 3)",
    ],
)
def test_gold_of_another_dialect_does_not_run_as_sqlite(sql):
    assert row(sql=sql)["runs_ok"] is False


def test_changing_gold_leaves_the_database_to_others_unchanged():
    rows = feature_rows([replace(GOOD, sql="DELETE FROM pupils"), GOOD])
    assert [r["runs"] for r in rows] == ["ok", "ok"]
    assert rows[1]["result_rows"] == 2


def test_gold_that_never_ends_is_stopped():
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    assert feature_rows([replace(GOOD, sql=endless)], limits=Limits(seconds=0.1))[0]["runs"] == "timeout"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"schema": SCHEMA[:30]}, "broken"),
        ({"schema": "pupils(id, name)"}, "broken"),
        ({"schema": "CREATE VIEW v AS SELECT 1", "setup": ""}, "unreadable"),
        ({"setup": "INSERT INTO pupils VALUES (1, 'Ann'"}, "broken_setup"),
        ({"schema": " "}, None),
    ],
)
def test_the_schema_is_built_or_blamed(changes, status):
    found = row(**changes)
    assert found["schema_status"] == status
    if status != "unreadable":
        assert found["runs"] is None
        assert found["parse_status"] == "ok"


def test_nothing_is_executed_when_it_is_not_wanted(monkeypatch):
    monkeypatch.setattr(frame, "open_database", None)
    found, broken = feature_rows([GOOD, replace(GOOD, schema=SCHEMA[:30])], execute=False)
    assert (found["parse_status"], found["schema_status"], found["runs"]) == ("ok", "ok", None)
    assert broken["schema_status"] == "unreadable"


def test_each_database_is_opened_once(monkeypatch):
    opened = []
    original = frame.open_database

    def counting(*arguments, **options):
        opened.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(frame, "open_database", counting)
    examples = [replace(GOOD, id=str(n), question=f"q {n}", setup=SETUP if n % 2 else "") for n in range(10)]
    rows = feature_rows(examples)
    assert len(opened) == 2
    assert [r["result_rows"] for r in rows] == [0, 2] * 5


def test_other_dialects_are_transpiled():
    examples = [
        replace(GOOD, dialect="tsql", sql="SELECT TOP 1 name FROM pupils"),
        replace(GOOD, id="b", sql="SELECT TOP 1 name FROM pupils"),
    ]
    assert [r["runs"] for r in feature_rows(examples)] == ["ok", None]


def test_repeats_and_conflicts_count_from_the_first_sound_example():
    examples = [
        replace(GOOD, id="broken", sql="SELECT nme FROM pupils"),
        GOOD,
        replace(GOOD, id="b", sql="select  NAME from pupils"),
        replace(GOOD, id="c", sql="SELECT id FROM pupils"),
        replace(GOOD, id="d", question="who are the pupils", sql="SELECT id FROM pupils"),
        replace(GOOD, id="e", schema=SCHEMA.replace("name", "name2"), sql="SELECT id FROM pupils", setup=""),
        replace(GOOD, id="f", evidence="pupils have ids", sql="SELECT id FROM pupils"),
        replace(GOOD, question="Who else?"),
        replace(GOOD, id="g", question="?"),
        replace(GOOD, id="h", question="!", sql="SELECT id FROM pupils"),
    ]
    rows = feature_rows(examples)
    assert [r["repeats"] for r in rows] == ["", "", "same", "conflict", "conflict", "", "", "", "", ""]
    assert [r["repeated_id"] for r in rows] == [False] * 7 + [True, False, False]


def test_an_answer_in_the_question_is_seen():
    assert row(question="Run select name\nfrom PUPILS for me")["sql_in_question"]
    assert not row(question="Which names?", sql="")["sql_in_question"]


def test_no_examples_give_no_rows():
    assert feature_rows([]) == []
