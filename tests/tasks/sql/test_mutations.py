"""Mutations of gold: one edit each, in gold's own style, and every rule makes queries that the judge calls wrong."""

from __future__ import annotations

from itertools import islice

import pytest

from tasks.sql.judge import Job, JudgeSession
from tasks.sql.mutation_rules import RULES
from tasks.sql.mutations import Mutation, mutations
from tasks.sql.parse import parse

COLUMNS = {"cars": ["id", "name", "price", "maker"], "makers": ["id", "country"]}
DDL = "CREATE TABLE cars (id INT, name TEXT, price REAL, maker INT); CREATE TABLE makers (id INT, country TEXT)"
SETUP = """
INSERT INTO cars VALUES (1, 'Saab', 30, 1), (2, 'BMW', 50, 2), (3, 'Volvo', 20, 1), (4, 'Audi', 60, 2);
INSERT INTO cars VALUES (5, 'Saab', 9, 7);
INSERT INTO makers VALUES (1, 'Sweden'), (2, 'Germany'), (3, 'Italy');
"""


def wrong(sql: str, rule: str = "", **more: object) -> list[str]:
    return [m.sql for m in mutations(sql, COLUMNS, ["Volvo", "Audi"], **more) if not rule or m.rule == rule]


@pytest.mark.parametrize(
    ("rule", "sql", "expected"),
    [
        ("wrong_column", "SELECT country FROM makers", "SELECT id FROM makers"),
        ("wrong_column", "SELECT c.id FROM cars AS c JOIN makers AS m ON c.maker = m.id", "c.maker = m.country"),
        ("wrong_literal", "SELECT name FROM cars WHERE price > 30", "price > 31"),
        ("wrong_literal", "SELECT id FROM cars WHERE name = 'Saab'", "name = 'Volvo'"),
        ("wrong_operator", "SELECT name FROM cars WHERE price > 30", "price < 30"),
        ("wrong_operator", "SELECT name FROM cars WHERE price > 30 AND id = 2", "id != 2"),
        ("wrong_operator", "SELECT name FROM cars WHERE id NOT IN (1, 2)", "WHERE id IN (1, 2)"),
        ("wrong_operator", "SELECT name FROM cars WHERE id IN (1, 2)", "WHERE id NOT IN (1, 2)"),
        ("dropped_condition", "SELECT name FROM cars WHERE price > 30 AND id = 2", "WHERE id = 2"),
        ("dropped_condition", "DELETE FROM cars WHERE id = 2", "DELETE FROM cars"),
        ("distinct", "SELECT DISTINCT name FROM cars", "SELECT name FROM cars"),
        ("distinct", "SELECT COUNT(DISTINCT name) FROM cars", "SELECT COUNT(name) FROM cars"),
        ("order", "SELECT name FROM cars ORDER BY price DESC LIMIT 1", "ORDER BY price LIMIT 1"),
        ("order", "SELECT name FROM cars ORDER BY price LIMIT 1", "SELECT name FROM cars LIMIT 1"),
        ("limit", "SELECT name FROM cars LIMIT 1", "SELECT name FROM cars"),
        ("wrong_aggregate", "SELECT MAX(price) FROM cars", "SELECT MIN(price) FROM cars"),
        ("wrong_join", "SELECT c.id FROM cars AS c JOIN makers AS m ON c.maker = m.id", "AS c LEFT JOIN makers"),
        ("dropped_group", "SELECT name, COUNT(*) FROM cars GROUP BY name", "SELECT name, COUNT(*) FROM cars"),
        ("dropped_output", "SELECT name, id FROM cars", "SELECT id FROM cars"),
        ("wrong_set", "SELECT id FROM cars UNION SELECT id FROM makers", "cars EXCEPT SELECT id"),
    ],
)
def test_a_rule_makes_the_mistake_it_is_named_after(rule: str, sql: str, expected: str) -> None:
    assert any(expected in text for text in wrong(sql, rule)), wrong(sql, rule)


def test_the_style_of_gold_stays() -> None:
    gold = "select  count(distinct T1.name)\nfrom cars as t1 join makers t2 on t1.maker=t2.id where t1.price>2;"
    found = wrong(gold)
    assert "select  count(T1.name)\nfrom cars as t1 join makers t2 on t1.maker=t2.id where t1.price>2;" in found
    assert (
        "select  count(distinct T1.name)\nfrom cars as t1 left join makers t2 on t1.maker=t2.id where t1.price>2;"
        in found
    )
    assert (
        "select  count(distinct T1.name)\nfrom cars as t1 join makers t2 on t1.maker=t2.id where t1.price>=2;" in found
    )
    assert all(text.startswith("select  count(") and text.endswith(";") for text in found)


def test_every_rule_makes_queries_that_run_and_are_wrong() -> None:
    golds = [
        "SELECT c.name, c.price FROM cars AS c JOIN makers AS m ON c.maker = m.id WHERE c.price > 20 AND m.id = 2 "
        "ORDER BY c.price DESC LIMIT 1",
        "SELECT name, COUNT(*), MAX(price) FROM cars WHERE id < 5 GROUP BY name HAVING COUNT(*) < 2",
        "SELECT DISTINCT maker FROM cars WHERE name = 'Saab' UNION SELECT id FROM makers",
        "SELECT name, MAX(price) FROM cars GROUP BY name ORDER BY name",
        "SELECT c.name FROM cars AS c JOIN makers AS m ON c.maker = m.id",
        "SELECT DISTINCT name FROM cars",
    ]
    shown = set()
    session = JudgeSession()
    for gold in golds:
        assert session.judge(Job("gold", gold, gold, DDL, SETUP)).execution_match
        for one in mutations(gold, COLUMNS, ["Volvo"]):
            judged = session.judge(Job("x", gold, one.sql, DDL, SETUP))
            assert judged.parses, one
            shown |= {one.rule} if judged.runs and not judged.execution_match else set()
    session.close()
    assert shown == set(RULES)


def test_mutations_are_distinct_deterministic_and_take_turns() -> None:
    sql = "SELECT name, id FROM cars WHERE price > 30 AND maker = 1 ORDER BY price LIMIT 3"
    first = list(mutations(sql, COLUMNS, seed="a"))
    assert first == list(mutations(sql, COLUMNS, seed="a"))
    assert first != list(mutations(sql, COLUMNS, seed="b"))
    assert len({m.sql for m in first}) == len(first)
    assert len({m.rule for m in first[:6]}) == 6


@pytest.mark.parametrize("sql", ["", "hello", "SELECT", "SELECT 1; SELECT 2", "SELECT " + "1 + " * 3000 + "1"])
def test_what_is_no_query_has_no_mutations(sql: str) -> None:
    assert list(mutations(sql, COLUMNS)) == []


def test_most_spider_queries_have_mutations_that_parse(spider_jobs: list) -> None:
    sample = spider_jobs[::40]
    found: list[list[Mutation]] = [list(islice(mutations(job.gold, {}), 3)) for job in sample]
    assert sum(map(bool, found)) >= 0.9 * len(sample)
    assert all(parse(m.sql).status == "ok" for one in found for m in one)
