"""The profile: every figure against rows counted by hand, and a page that no data can break.

Run: pytest tests/tasks/data/test_profile.py
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.data.example import Example
from tasks.data.ingest import read_sources
from tasks.data.mapping import BadRecord
from tasks.data.profile import profile_examples
from tasks.data.profile_document import Profile
from tasks.data.profile_numbers import distribution, joint
from tasks.data.profile_page import render_profile
from tasks.data.sources import FileSource
from tests.pages import Page

PETS = "CREATE TABLE pets (id INT, name TEXT, kind TEXT);\nCREATE TABLE owners (id INT, pet_id INT);"
CARS = "CREATE TABLE cars (id INT, maker TEXT)"
ROWS = [
    ("a", "pets", PETS, "How many pets are there?", "SELECT COUNT(*) FROM pets"),
    ("b", "pets", PETS, "How many pets are there?", "SELECT COUNT(id) FROM pets"),  # conflicts with a
    ("c", "pets", PETS, "how many PETS are there", "select count(*)  from pets;"),  # repeats a
    ("d", "pets", PETS, "Names of owned pets", "SELECT name FROM pets JOIN owners ON pets.id = owners.pet_id"),
    ("e", "cars", CARS, "Which makers have two cars?", "SELECT maker FROM cars GROUP BY maker HAVING COUNT(*) = 2"),
    ("f", "cars", CARS, "All makers?", "SELECT maker FROM cars WHERE id IN (SELECT MAX(id) FROM cars)"),
    ("f", "cars", CARS, "Broken", "SELEC maker"),
]


@pytest.fixture(scope="module")
def found() -> Profile:
    examples = [Example(i, d, q, s, sql, source="mine", domain="zoo") for i, d, s, q, sql in ROWS]
    return profile_examples("rows.jsonl", examples, [BadRecord("rows.jsonl", 8, "8", ("bad_json",), "{")])


def test_rows_databases_and_gaps_are_counted(found: Profile) -> None:
    assert (found.rows, found.unreadable, found.unreadable_reasons) == (7, 1, {"bad_json": 1})
    assert found.databases == {"pets": 4, "cars": 3}
    assert (found.sources, found.domains) == ({"mine": 7}, {"zoo": 7})
    assert found.missing["evidence"] == 7
    assert found.missing["schema"] == 0


def test_sql_is_read_off_its_tree(found: Profile) -> None:
    assert found.parsed == 6
    assert found.complexity == {"aggregation": 4, "single join": 1, "subqueries": 1}
    assert found.difficulty == {"easy": 3, "medium": 1, "hard": 2, "unparsed": 1}
    assert (found.clauses["join"], found.clauses["having"], found.clauses["subquery"]) == (1, 1, 1)
    assert found.tables_used == {"1": 5, "2": 1}
    assert found.tables_in_schema == {"1": 3, "2": 4}
    assert found.keywords["COUNT"] == 4
    assert found.domain_complexity == {"zoo": {"aggregation": 4, "single join": 1, "subqueries": 1}}


def test_repeats_are_told_apart(found: Profile) -> None:
    assert found.duplicates == {
        "same id": 1,
        "same question and schema": 2,
        "same question and schema, other SQL": 1,
        "same question, any schema": 2,
        "same SQL and schema": 1,
        "same SQL, any schema": 1,
    }


def test_words_and_lengths(found: Profile) -> None:
    assert found.openings["how many"] == 3
    assert found.words["pets"] == 4
    assert found.vocabulary["words"] == sum(len(q.split()) for _, _, _, q, _ in ROWS)
    assert found.characters["question"].maximum == max(len(q) for _, _, _, q, _ in ROWS)
    assert found.tokens["question"].maximum == 6  # How many pets are there ?
    assert "evidence" not in found.characters


def test_tokens_are_counted_by_the_tokenizer_that_is_given() -> None:
    examples = [Example("a", "d", "one two", CARS, "SELECT 1")]
    found = profile_examples("x", examples, [], tokenizer="mine", count_tokens=lambda texts: [7] * len(texts))
    assert found.tokenizer == "mine"
    assert found.tokens["question"].median == 7


def test_a_distribution_loses_no_value_and_names_its_quantiles() -> None:
    one = distribution([*range(1, 101), 5000])
    assert one is not None
    assert (one.minimum, one.median, one.p95, one.maximum) == (1, 51, 96, 5000)
    assert sum(one.bins) + one.beyond == 101
    assert one.beyond == 1
    assert len(one.edges) == len(one.bins) + 1 <= 31
    same = distribution([3, 3, 3])
    assert same is not None
    assert same.bins == [3]
    assert distribution([]) is None


def test_correlation_is_pearsons() -> None:
    one = joint([1, 2, 3, 4], [2, 4, 6, 8])
    other = joint([1, 2, 3, 4], [1, -1, 1, -1])
    flat = joint([1, 2], [5, 5])
    assert one is not None
    assert one.correlation == 1.0
    assert sum(map(sum, one.grid)) == 4
    assert other is not None
    assert other.correlation == pytest.approx(-0.447)
    assert flat is not None
    assert flat.correlation is None


def test_the_page_needs_nothing_else_and_escapes_everything() -> None:
    evil = '<script>alert(1)</script><img src=x onerror=1> & "quotes"'
    rows = [
        Example(
            f"{i}{evil}",
            f"db{i % 3}{evil}",
            evil * (i + 1),
            evil,
            f"SELECT 1 -- {evil}",
            evil,
            source=evil,
            domain=evil,
        )
        for i in range(9)
    ]
    html = render_profile(profile_examples(evil, rows, [BadRecord("f", 1, "1", (evil,), "")]))
    page = Page(html)
    assert page.requests == page.links == []
    assert "<script" not in html
    assert "svg" in page.tags
    assert "http:" not in html
    assert "prefers-color-scheme: dark" in html
    html.encode("utf-8")


def test_no_rows_still_make_a_page(found: Profile) -> None:
    empty = profile_examples("x", [], [BadRecord("f", 1, "1", ("bad_json",), "")])
    assert Profile.model_validate_json(empty.model_dump_json()) == empty
    assert "bad_json" in render_profile(empty)
    assert Profile.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("path", "rows", "figures"),
    [
        ("gretel/synthetic_text_to_sql.recovered21.jsonl", 21, {}),
        ("bird/dev_minus_minidev_500.jsonl", 500, {"evidence": 40}),
    ],
)
def test_real_files_give_a_page(real_data: Path, path: str, rows: int, figures: dict[str, int]) -> None:
    read = read_sources([FileSource(path=str(real_data / path))])
    found = profile_examples(path, read.examples, read.bad)
    assert found.rows == rows
    assert found.parsed == rows
    assert {name: found.missing[name] for name in figures} == figures
    assert Page(render_profile(found)).requests == []
