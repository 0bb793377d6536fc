"""Test suites: accidental matches die, right queries live, and everybody meets the same databases."""

from __future__ import annotations

import pytest

from tasks.sql.connection import open_database
from tasks.sql.judge import Job, Judgement, JudgeSession, judge_many
from tasks.sql.judgement import Settings
from tasks.sql.suite import variants

SCHEMA = """CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, people INTEGER);
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, age INTEGER NOT NULL, city INTEGER REFERENCES city);
CREATE TABLE visit (person INTEGER, day TEXT);
CREATE TABLE plain (k TEXT PRIMARY KEY, v INTEGER) WITHOUT ROWID;
CREATE VIEW old AS SELECT * FROM person WHERE age > 60;
CREATE TRIGGER loud AFTER UPDATE ON person BEGIN DELETE FROM city; END;"""
SETUP = "INSERT INTO city VALUES " + ", ".join(f"({i}, 'city {i}', {i * 1000})" for i in range(1, 9)) + ";"
SETUP += "INSERT INTO person VALUES " + ", ".join(
    f"({i}, 'name {i % 11}', {20 + 2 * (i % 25)}, {1 + i % 8})" for i in range(60)
)
SETUP += "; INSERT INTO visit VALUES " + ", ".join(f"({i % 40}, '2024-01-{1 + i % 28:02d}')" for i in range(80))
SETUP += "; INSERT INTO plain VALUES ('a', 1), ('b', 2)"


def verdict(gold: str, prediction: str, suite: int = 8) -> Judgement:
    session = JudgeSession(settings=Settings(suite=suite))
    found = session.judge(Job("1", gold, prediction, SCHEMA, SETUP))
    session.close()
    return found


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        ("SELECT id FROM person WHERE age > 30", "SELECT id FROM person WHERE age > 31"),  # ages are even
        ("SELECT count(*) FROM person", "SELECT 60"),
        ("SELECT name FROM city WHERE people = 3000", "SELECT name FROM city WHERE id = 3"),
        ("SELECT max(age) FROM person", "SELECT 68"),
        ("SELECT count(age) FROM person", "SELECT count(name) FROM person"),
        ("SELECT id FROM person WHERE age > 60", "SELECT id FROM person WHERE age >= 62"),
        ("SELECT DISTINCT name FROM city", "SELECT name FROM city WHERE people < 9000"),
    ],
)
def test_accidental_matches_die(gold: str, prediction: str) -> None:
    assert verdict(gold, prediction, suite=0).execution_match is True
    if "age >= 62" in prediction:
        gold = gold.replace("> 60", "> 61")
    found = verdict(gold, prediction)
    expected = "age >= 62" in prediction  # whole numbers above 61 are those from 62 on
    assert (found.execution_match, found.suite_match) == (expected, expected)
    assert found.suite_databases >= 1


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        ("SELECT id FROM person WHERE age > 30", "SELECT id FROM person WHERE NOT age <= 30"),
        ("SELECT city.name, count(*) FROM city JOIN person ON city.id = city GROUP BY city.id",
         "SELECT (SELECT c.name FROM city c WHERE c.id = p.city), count(*) FROM person p"
         " WHERE p.city IS NOT NULL GROUP BY p.city"),
        ("SELECT name FROM person ORDER BY age DESC LIMIT 3", "SELECT name FROM person ORDER BY age DESC, id LIMIT 3"),
        ("SELECT id FROM old", "SELECT id FROM person WHERE age > 60"),
        ("SELECT count(*) FROM visit WHERE day >= '2024-01-15'", "SELECT sum(day >= '2024-01-15') FROM visit"),
        ("SELECT v FROM plain", "SELECT v FROM plain WHERE k IS NOT NULL"),
    ],
)  # fmt: skip
def test_equal_queries_live(gold: str, prediction: str) -> None:
    found = verdict(gold, prediction)
    assert (found.execution_match, found.suite_match, found.suite_databases) == (True, True, 8)


def test_variants_keep_keys_and_differ() -> None:
    connection = open_database(SCHEMA, SETUP)
    made = variants(connection, 5)
    dumps = [tuple(copy.execute("SELECT * FROM person").fetchall()) for copy in made]
    assert len(set(dumps)) == 5
    assert tuple(connection.execute("SELECT * FROM person").fetchall()) not in dumps
    for copy in made:
        ids = {row[0] for row in copy.execute("SELECT id FROM person")}
        assert ids <= set(range(60))
        assert 20 < len(ids) < 60
        assert copy.execute("SELECT count(*) FROM person WHERE age IS NULL").fetchone() == (0,)
        cities = {row[0] for row in copy.execute("SELECT id FROM city")}
        assert {row[0] for row in copy.execute("SELECT city FROM person WHERE city IS NOT NULL")} <= cities
        assert copy.execute("SELECT count(*) - count(DISTINCT name) FROM city").fetchone() == (0,)
    again = [tuple(copy.execute("SELECT * FROM person").fetchall()) for copy in variants(connection, 5)]
    assert again == dumps


def test_variants_are_sealed() -> None:
    session = JudgeSession(settings=Settings(suite=2))
    found = session.judge(Job("1", "SELECT 60", "DELETE FROM person", SCHEMA, SETUP))
    assert (found.status, found.suite_match, found.suite_databases) == ("forbidden", None, 0)
    for copy in variants(open_database(SCHEMA, SETUP), 2):
        with pytest.raises(Exception, match="not authorized"):
            copy.execute("DELETE FROM person")


def test_a_suite_is_asked_of_workers() -> None:
    jobs = [
        Job("wrong", "SELECT count(*) FROM person", "SELECT 60", SCHEMA, SETUP),
        Job("right", "SELECT count(*) FROM person", "SELECT count(id) FROM person", SCHEMA, SETUP),
        Job("change", "DELETE FROM visit", "DELETE FROM visit", SCHEMA, SETUP),
    ]
    found = judge_many(jobs, suite=3)
    assert [one.execution_match for one in found] == [False, True, True]
    assert [one.suite_match for one in found] == [False, True, None]
    assert [one.suite_match for one in judge_many(jobs)] == [None, None, None]


def test_spider_gold_stays_right_on_its_suite(spider_jobs: list[Job]) -> None:
    found = [one for one in judge_many(spider_jobs[::20], suite=4) if one.gold_status != "failed"]
    assert len(found) > 140
    assert all(one.execution_match for one in found)
    assert sum(one.suite_databases == 4 for one in found) > 0.9 * len(found)


def test_values_at_the_edge_of_what_sqlite_holds_are_fuzzed_too() -> None:
    """The largest integers, and text that is no UTF-8: both can be read, and one more or the same text not written."""
    rows = ", ".join(f"({i}, {2**63 - 1}, -{2**63 - 1}, CAST(X'E9' AS TEXT), {i % 7})" for i in range(60))
    schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, big INTEGER, small INTEGER, latin TEXT, n INTEGER);"
    schema += "CREATE TABLE p (k TEXT PRIMARY KEY); CREATE TABLE c (k TEXT REFERENCES p);"
    setup = f"INSERT INTO t VALUES {rows}; INSERT INTO p VALUES (CAST(X'E9' AS TEXT));"
    setup += "INSERT INTO c VALUES (CAST(X'E9' AS TEXT)), ('gone');"
    session = JudgeSession(settings=Settings(suite=8))
    same = session.judge(
        Job("1", "SELECT big, latin FROM t WHERE n > 3", "SELECT big, latin FROM t WHERE n >= 4", schema, setup)
    )
    other = session.judge(Job("2", "SELECT id FROM t WHERE n > 3", "SELECT id FROM t WHERE id % 7 > 3", schema, setup))
    session.close()
    assert (same.execution_match, same.suite_match, same.suite_databases) == (True, True, 8)
    assert (other.execution_match, other.suite_match) == (False, False)
