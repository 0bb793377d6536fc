"""Duplicates go, and training rows that meet a test row are found in whatever words and spelling."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.data.dedupe import DecontaminationSpec, TestRows, drop_contaminated, drop_duplicates
from tasks.data.example import Example
from tasks.data.likeness import NearQuestions, sql_parts, sql_spelling
from tasks.data.sources import FileSource, read_file

ALONE = DecontaminationSpec(question=False, sql=False, near=1)


def example(identifier: str, question: str, sql: str = "", db: str = "other", schema: str = "") -> Example:
    return Example(
        identifier, db, question, schema or f"CREATE TABLE {db} (a, b)", sql or f"SELECT {identifier} FROM x"
    )


def test_duplicates_have_the_same_question_schema_and_sql() -> None:
    rows = [
        example("1", "How many cars?", "SELECT count(*) FROM cars"),
        example("2", "how many  CARS", "select COUNT( * ) from cars;"),
        example("3", "How many cars?", "SELECT count(*) FROM cars", db="elsewhere"),
        example("4", "How many cars?", "SELECT count(a) FROM cars"),
    ]
    kept, dropped = drop_duplicates(rows)
    assert [e.id for e in kept] == ["1", "3", "4"]  # another answer is a conflict, which validation judges
    assert dropped == ["2"]


def test_what_a_training_row_shares_with_a_test_row_is_told() -> None:
    test = [
        example("t1", "Which singers are older than 20?", "SELECT name FROM singer WHERE age > 20", db="concerts"),
        example("t2", "What is the capacity of the stadium Glebe Park?", "SELECT capacity FROM stadium", db="concerts"),
    ]
    train = [
        example("db", "A question of its own", db="concerts"),
        example("schema", "Another question", db="renamed", schema="create table  concerts (a, b)"),
        example("question", "which singers are older than 20"),
        example("sql", "Who has lived for two decades?", "select s.NAME from singer as s where s.age > 20"),
        example("near", "Please give me the capacity of the Glebe Park stadium."),
        example("clean", "How many bookings has each hotel?"),
    ]
    found = drop_contaminated(train, TestRows(test, DecontaminationSpec()))
    assert found.dropped == {
        "database": ["db", "schema"],
        "question": ["question"],
        "sql": ["sql"],
        "near_question": ["near"],
    }
    assert [e.id for e in found.kept] == ["clean"]
    assert [e.id for e in drop_contaminated(train, TestRows(test, ALONE)).kept] == ["question", "sql", "near", "clean"]


def test_divided_by_row_a_database_is_no_contamination() -> None:
    test = [example("t", "Who?", db="d")]
    train = [example("1", "How much does it cost?", db="d"), example("2", "who", db="d")]
    assert [e.id for e in drop_contaminated(train, TestRows(test, DecontaminationSpec(), by_database=False)).kept] == [
        "1"
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "SELECT T1.name FROM singer AS T1 JOIN song AS T2 ON T1.id = T2.sid",
            "select a.name from song b join singer a on b.sid=a.id;",
        ),
        ("SELECT name FROM t WHERE country = 'France'", 'SELECT `name` FROM t WHERE country = "France"'),
        ("SELECT a FROM t WHERE b <> 3 ORDER BY a ASC", "SELECT a FROM t -- why\nWHERE b != 3 ORDER BY a"),
        ("SELECT count(*) AS total FROM t", "SELECT COUNT( * ) FROM t x"),
    ],
)
def test_one_query_in_two_spellings(one: str, other: str) -> None:
    assert sql_parts(one) == sql_parts(other)


def test_other_values_tables_and_functions_are_other_queries() -> None:
    queries = [
        "SELECT name FROM t WHERE a = 3",
        "SELECT name FROM t WHERE a = 4",
        "SELECT name FROM u WHERE a = 3",
        "SELECT max(name) FROM t WHERE a = 3",
        "WITH x AS (SELECT 1) SELECT name FROM t WHERE a = 3",
    ]
    assert len({sql_parts(sql) for sql in queries}) == len(queries)
    assert sql_spelling("SELECT a FROM t WHERE b = 'X'") != sql_spelling("SELECT a FROM t WHERE b = 'x'")
    assert sql_spelling('select "a" from T where b = "two words"') == sql_spelling(
        "SELECT a FROM t WHERE b='two words'"
    )


QUESTIONS = [
    "How many singers do we have?",
    "What is the name and capacity for the stadium with the highest average attendance?",
    "Find the average and maximum age for each type of pet.",
    "List the name of the conductors in ascending order of age.",
    "Which airlines have less than 200 flights?",
    "What is the first name and gender of all students who have more than one pet?",
]
REWORDED = [
    "Could you tell me the number of singers we have?",
    "Give me the capacity and the name of the stadium that has the highest average attendance.",
    "What is the mean and the largest age of every pet type?",
    "Please list conductor names ordered by age, ascending.",
    "Which airline has fewer than 200 flights?",
    "For students having more than one pet, return gender and first name.",
]
OTHERS = [
    "How many songs do we have?",
    "What is the name and capacity of the hotel with the lowest price?",
    "Find the average and maximum weight for each type of truck.",
    "Which airlines have a flight to Boston?",
    "What is the last name of all teachers who have no pet?",
]


def test_reworded_questions_are_near_and_others_are_not() -> None:
    index = NearQuestions(QUESTIONS, 0.9)
    assert [q for q in REWORDED if not index.near(q)] == []
    assert [q for q in OTHERS if index.near(q)] == []


def test_the_index_finds_what_comparing_all_pairs_finds() -> None:
    from rapidfuzz import fuzz

    from tasks.data.likeness import content_words

    words = [f"w{i % 7} w{i % 5} w{i % 3} thing{i % 11} place{i % 13}" for i in range(300)]
    index = NearQuestions(words[:150], 0.9)
    known = [" ".join(content_words(text)) for text in words[:150]]
    for text in words[150:]:
        best = max(fuzz.ratio(" ".join(content_words(text)), other) for other in known)
        assert index.near(text) == (best >= 90)


def test_spider_questions_in_sql_create_context_are_found(real_data: Path) -> None:
    def rows(path: str) -> list[Example]:
        return [row for row in read_file(FileSource(path=str(real_data / path))) if isinstance(row, Example)]

    def words(question: str) -> str:
        return re.sub(r"\W+", " ", question.lower()).strip()

    spider, copies = rows("spider/train_spider.jsonl"), rows("sql_create_context/*.jsonl")
    known = {words(row.question) for row in spider}
    planted = {row.id for row in copies if words(row.question) in known}
    assert len(planted) > 1500
    found = drop_contaminated(copies, TestRows(spider, DecontaminationSpec()))
    assert not planted & {row.id for row in found.kept}
    assert len(found.kept) > 2000
