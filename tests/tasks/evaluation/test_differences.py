"""Faults of a query against its gold, and Spider's exact-set match: every rule on both sides."""

from __future__ import annotations

import pytest

from tasks.evaluation.differences import FAULTS, differences
from tasks.evaluation.spider_match import spider_exact_match

SCHEMA = """CREATE TABLE student (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, major TEXT, city TEXT);
CREATE TABLE course (id INTEGER PRIMARY KEY, title TEXT, points INTEGER, teacher TEXT);
CREATE TABLE takes (student_id INTEGER REFERENCES student(id), course_id INTEGER REFERENCES course(id), grade INTEGER);
CREATE TABLE waits (student_id INTEGER REFERENCES student(id), course_id INTEGER REFERENCES course(id), since TEXT);
CREATE TABLE pet (id INTEGER PRIMARY KEY, owner INTEGER, kind TEXT);"""
THREE = """SELECT s.name FROM student s JOIN {0} t ON s.id = t.student_id JOIN course c ON c.id = t.course_id
    WHERE c.title = 'SQL'"""
COUNTED = "SELECT major FROM student GROUP BY major HAVING COUNT(*) > 3"

# fault -> (gold, answer with the fault, answer without it that is written otherwise)
CASES = {
    "missing_set_operation": (
        "SELECT name FROM student INTERSECT SELECT teacher FROM course",
        "SELECT name FROM student",
        "select s.name from student as s INTERSECT select c.teacher from course as c",
    ),
    "extra_set_operation": (
        "SELECT name FROM student",
        "SELECT name FROM student UNION SELECT teacher FROM course",
        "(SELECT name FROM student)",
    ),
    "wrong_set_operation": (
        "SELECT name FROM student EXCEPT SELECT teacher FROM course",
        "SELECT name FROM student UNION SELECT teacher FROM course",
        "SELECT name FROM student EXCEPT SELECT teacher FROM course",
    ),
    "missing_join": (
        "SELECT s.name FROM student s JOIN takes t ON s.id = t.student_id",
        "SELECT s.name FROM student s",
        "SELECT name FROM student INNER JOIN takes ON student_id = id",
    ),
    "extra_join": (
        "SELECT name FROM student",
        "SELECT name FROM student JOIN takes ON id = student_id",
        "SELECT student.name FROM student",
    ),
    "wrong_bridge_table": (
        THREE.format("takes"),
        THREE.format("waits"),
        THREE.format("takes").replace("JOIN", "inner join"),
    ),
    "wrong_table": ("SELECT COUNT(*) FROM student", "SELECT COUNT(*) FROM course", "SELECT count(*) FROM Student"),
    "wrong_join": (
        "SELECT name FROM student JOIN pet ON student.id = pet.owner",
        "SELECT name FROM student JOIN pet ON student.id = pet.id",
        "SELECT name FROM student, pet WHERE pet.owner = student.id",
    ),
    "having_vs_where": (
        COUNTED,
        "SELECT major FROM student WHERE COUNT(*) > 3 GROUP BY major",
        "SELECT major FROM student GROUP BY major HAVING 3 < COUNT(*)",
    ),
    "missing_subquery": (
        "SELECT name FROM student WHERE age = (SELECT MAX(age) FROM student)",
        "SELECT name FROM student WHERE age = 30",
        "SELECT name FROM student WHERE (age = (SELECT MAX(s.age) FROM student s))",
    ),
    "extra_subquery": (
        "SELECT name FROM student WHERE age = 30",
        "SELECT name FROM student WHERE age = (SELECT MAX(age) FROM student)",
        "SELECT name FROM student WHERE 30 = age",
    ),
    "missing_group": (
        "SELECT major, COUNT(*) FROM student GROUP BY major",
        "SELECT major, COUNT(*) FROM student",
        "SELECT s.major, COUNT(*) FROM student s GROUP BY s.major",
    ),
    "extra_group": (
        "SELECT major, COUNT(*) FROM student",
        "SELECT major, COUNT(*) FROM student GROUP BY major",
        "SELECT COUNT(*), major FROM student",
    ),
    "wrong_group": (
        "SELECT COUNT(*) FROM student GROUP BY major",
        "SELECT COUNT(*) FROM student GROUP BY city",
        "SELECT COUNT(*) AS n FROM student GROUP BY student.major",
    ),
    "missing_condition": (
        "SELECT name FROM student WHERE age > 20 AND major = 'art'",
        "SELECT name FROM student WHERE age > 20",
        "SELECT name FROM student WHERE major = 'art' AND 20 < age",
    ),
    "extra_condition": (
        "SELECT name FROM student",
        "SELECT name FROM student WHERE age > 20",
        "SELECT name FROM student AS T1",
    ),
    "wrong_aggregate": ("SELECT MAX(age) FROM student", "SELECT AVG(age) FROM student", "SELECT max(age) FROM student"),
    "wrong_column": (
        "SELECT name FROM student WHERE major = 'x'",
        "SELECT name FROM student WHERE city = 'x'",
        'SELECT name FROM student WHERE "major" = "x"',
    ),
    "wrong_operator": (
        "SELECT name FROM student WHERE age > 20",
        "SELECT name FROM student WHERE age >= 20",
        "SELECT name FROM student WHERE 20 < age",
    ),
    "wrong_literal": (
        "SELECT name FROM student WHERE age IN (20, 30)",
        "SELECT name FROM student WHERE age IN (20, 31)",
        "SELECT name FROM student WHERE age IN (30, 20.0)",
    ),
    "wrong_connector": (
        "SELECT name FROM student WHERE age > 20 AND major = 'x'",
        "SELECT name FROM student WHERE age > 20 OR major = 'x'",
        "SELECT name FROM student WHERE (major = 'x') AND (age > 20)",
    ),
    "wrong_columns": (
        "SELECT name, age FROM student",
        "SELECT name FROM student",
        "SELECT age, name FROM student",
    ),
    "missing_distinct": (
        "SELECT DISTINCT major FROM student",
        "SELECT major FROM student",
        "SELECT DISTINCT s.major FROM student s",
    ),
    "extra_distinct": (
        "SELECT COUNT(major) FROM student",
        "SELECT COUNT(DISTINCT major) FROM student",
        "SELECT COUNT(student.major) FROM student",
    ),
    "missing_order": (
        "SELECT name FROM student ORDER BY age",
        "SELECT name FROM student",
        "SELECT name FROM student ORDER BY age ASC",
    ),
    "extra_order": (
        "SELECT name FROM student",
        "SELECT name FROM student ORDER BY age",
        "SELECT name FROM student",
    ),
    "wrong_direction": (
        "SELECT name FROM student ORDER BY age DESC",
        "SELECT name FROM student ORDER BY age",
        "SELECT name FROM student ORDER BY student.age DESC",
    ),
    "wrong_order": (
        "SELECT name FROM student ORDER BY age",
        "SELECT name FROM student ORDER BY city",
        "SELECT name AS n FROM student ORDER BY age",
    ),
    "missing_limit": (
        "SELECT name FROM student ORDER BY age LIMIT 1",
        "SELECT name FROM student ORDER BY age",
        "SELECT name FROM student ORDER BY age LIMIT 1",
    ),
    "extra_limit": ("SELECT name FROM student", "SELECT name FROM student LIMIT 3", "SELECT s.name FROM student s"),
    "wrong_limit": (
        "SELECT name FROM student LIMIT 1",
        "SELECT name FROM student LIMIT 3",
        "SELECT name FROM student limit 1",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_seen_and_no_spelling_is_taken_for_one(fault):
    gold, wrong, other_spelling = CASES[fault]
    assert differences(gold, wrong, SCHEMA)[:1] == (fault,)
    assert differences(gold, other_spelling, SCHEMA) == ()
    assert differences(gold, gold, SCHEMA) == ()


def test_all_faults_are_told_the_largest_first():
    gold = "SELECT name FROM student WHERE age > 20 ORDER BY age DESC LIMIT 1"
    found = differences(gold, "SELECT city FROM student WHERE age > 21 ORDER BY age", SCHEMA)
    assert found == ("wrong_column", "wrong_literal", "wrong_direction", "missing_limit")


def test_a_table_that_is_also_asked_about_is_no_bridge():
    gold = THREE.format("takes") + " AND t.grade > 1"
    found = differences(gold, THREE.format("waits") + " AND t.since > 1", SCHEMA)
    assert found[0] == "wrong_table"


def test_faults_of_nested_queries_count():
    gold = "SELECT name FROM student WHERE id IN (SELECT student_id FROM takes WHERE grade > 1)"
    assert differences(gold, gold.replace("> 1", "> 2"), SCHEMA) == ("wrong_literal",)
    assert differences(gold, gold.replace("takes", "waits").replace("grade", "since"), SCHEMA)[0] == "wrong_table"


@pytest.mark.parametrize("sql", ["", "hello", "SELECT FROM WHERE", "DELETE FROM student"])
def test_what_is_no_query_has_no_faults(sql):
    assert differences("SELECT name FROM student", sql, SCHEMA) == ()
    assert spider_exact_match("SELECT name FROM student", sql, SCHEMA) is False
    assert spider_exact_match(sql, "SELECT name FROM student", SCHEMA) is None


def test_deep_nesting_ends():
    bomb = "SELECT " + "(" * 3000 + "1" + ")" * 3000
    assert differences("SELECT name FROM student", bomb, SCHEMA) == ()


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("SELECT name FROM student WHERE age > 20", "SELECT name FROM student WHERE age > 99"),  # values do not count
        ("SELECT name FROM student LIMIT 1", "SELECT name FROM student LIMIT 5"),
        ("SELECT DISTINCT name FROM student", "SELECT name FROM student"),
        ("SELECT COUNT(DISTINCT name) FROM student", "SELECT COUNT(name) FROM student"),
        ("SELECT name, age FROM student", "SELECT age, name FROM student"),
        ("SELECT name FROM student WHERE age = 1 AND city = 'x'", "SELECT name FROM student WHERE city='y' AND age=2"),
        (
            "SELECT T1.name FROM student AS T1 JOIN takes AS T2 ON T1.id = T2.student_id",
            "SELECT name FROM student INNER JOIN takes ON student.age = takes.grade",  # nor do join conditions
        ),
        (
            "SELECT T1.id FROM student AS T1 JOIN takes AS T2 ON T1.id = T2.student_id",
            "SELECT T2.student_id FROM student AS T1 JOIN takes AS T2 ON T1.id = T2.student_id",  # a foreign key
        ),
        ("SELECT name FROM student WHERE age != 1", "SELECT name FROM student WHERE (age <> 1)"),
        ('SELECT name FROM student WHERE city = "Rome"', "SELECT name FROM student WHERE city = 'Rome'"),
    ],
)
def test_spider_match_passes_over(gold, answer):
    assert spider_exact_match(gold, answer, SCHEMA) is True


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("SELECT name FROM student", "SELECT city FROM student"),
        ("SELECT MAX(age) FROM student", "SELECT MIN(age) FROM student"),
        ("SELECT name FROM student WHERE age > 1", "SELECT name FROM student WHERE age < 1"),
        ("SELECT name FROM student WHERE age IN (1)", "SELECT name FROM student WHERE age NOT IN (1)"),
        ("SELECT name FROM student WHERE age = 1 OR id = 1", "SELECT name FROM student WHERE age = 1 AND id = 1"),
        ("SELECT name FROM student ORDER BY age", "SELECT name FROM student ORDER BY age DESC"),
        ("SELECT name FROM student ORDER BY age, id", "SELECT name FROM student ORDER BY id, age"),
        ("SELECT name FROM student LIMIT 1", "SELECT name FROM student"),
        ("SELECT COUNT(*) FROM student", "SELECT COUNT(*) FROM course"),
        (COUNTED, "SELECT major FROM student GROUP BY major"),
        (COUNTED, COUNTED.replace("GROUP BY major", "GROUP BY city")),
        ("SELECT id FROM student UNION SELECT id FROM pet", "SELECT id FROM student INTERSECT SELECT id FROM pet"),
        (
            "SELECT name FROM student WHERE id IN (SELECT student_id FROM takes)",
            "SELECT name FROM student WHERE id IN (SELECT student_id FROM waits)",
        ),
    ],
)
def test_spider_match_tells_apart(gold, answer):
    assert spider_exact_match(gold, answer, SCHEMA) is False
    assert spider_exact_match(gold, gold, SCHEMA) is True
    assert spider_exact_match(answer, answer, SCHEMA) is True
