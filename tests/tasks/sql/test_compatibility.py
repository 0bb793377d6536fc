"""The verdicts of the Spider and BIRD evaluators, on both sides, where they differ from ours."""

from __future__ import annotations

import pytest

from tasks.sql.compatibility import bird_soft_f1, spider_equal, without_distinct
from tasks.sql.judge import Job, JudgeSession, judge_many
from tasks.sql.judgement import Settings

SCHEMA = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c INTEGER)"
SETUP = "INSERT INTO t VALUES (1, 'x', 5), (2, 'y', 5), (3, 'x', 7)"


def verdicts(gold: str, prediction: str) -> tuple[bool | None, bool, bool, bool]:
    session = JudgeSession(settings=Settings(compatibility=True))
    found = session.judge(Job("1", gold, prediction, SCHEMA, SETUP))
    session.close()
    modes = ("bird_ex", "spider_ts", "spider_ts_keep_distinct")
    return found.execution_match, *(found.compatible[mode] for mode in modes)


@pytest.mark.parametrize(
    ("gold", "prediction", "expected"),  # ours, bird_ex, spider_ts, spider_ts_keep_distinct
    [
        ("SELECT b FROM t", "SELECT b FROM t", (True, True, True, True)),
        ("SELECT b FROM t", "SELECT c FROM t", (False, False, False, False)),
        ("SELECT b FROM t", "SELECT DISTINCT b FROM t", (False, True, True, False)),
        ("SELECT count(DISTINCT b) FROM t", "SELECT count(b) FROM t", (False, False, True, False)),
        ("SELECT a, b FROM t", "SELECT b, a FROM t", (True, False, True, True)),
        ("SELECT a FROM t ORDER BY a", "SELECT a FROM t ORDER BY a DESC", (False, True, False, False)),
        ("SELECT a FROM t ORDER BY a", "SELECT a FROM t", (False, True, True, True)),
        ("SELECT a FROM t ORDER BY c", "SELECT a FROM t ORDER BY c, a DESC", (True, True, False, False)),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", "SELECT a FROM t ORDER BY a DESC", (True, True, False, False)),
        ("SELECT a FROM t WHERE a > 9", "SELECT a, b FROM t WHERE a > 9", (False, True, True, True)),
        ("SELECT 0.1 + 0.2", "SELECT 0.3", (True, False, False, False)),
        ("SELECT 1, 10", "SELECT 1.0, 10", (True, True, False, False)),
        ("SELECT a FROM t", "SELECT nowhere FROM t", (False, False, False, False)),
    ],
)
def test_verdicts_side_by_side(gold: str, prediction: str, expected: tuple[bool, ...]) -> None:
    assert verdicts(gold, prediction) == expected


@pytest.mark.parametrize(
    ("gold", "rows", "expected"),
    [
        ([(1, 2)], [(1, 1)], 0.8),
        ([(1,), (2,), (3,)], [(2,), (3,), (1,)], 0.0),  # the right rows, in another order
        ([(1,), (2,)], [(1,), (1,), (2,)], 1.0),  # duplicates go first
        ([(1, "a"), (2, "b")], [("a", 1), ("b", 2)], 1.0),
        ([(1,), (2,)], [(1,)], 2 / 3),
        ([(1,)], [(1,), (2,)], 2 / 3),
        ([], [], 1.0),
        ([], [(1,)], 0.0),
        ([(1,)], [], 0.0),
    ],
)
def test_birds_soft_f1(gold: list, rows: list, expected: float) -> None:
    assert bird_soft_f1(gold, rows) == pytest.approx(expected)


def test_soft_f1_of_what_does_not_run_is_nothing() -> None:
    session = JudgeSession(settings=Settings(compatibility=True))
    for prediction, expected in (("SELECT nowhere FROM t", 0.0), ("SELECT b FROM t", 1.0), ("SELECT c FROM t", 0.0)):
        found = session.judge(Job("1", "SELECT b FROM t", prediction, SCHEMA, SETUP))
        assert found.compatible["bird_soft_f1"] == expected
    session.close()


def test_they_are_asked_for_and_never_mixed() -> None:
    job = Job("1", "SELECT b FROM t", "SELECT DISTINCT b FROM t", SCHEMA, SETUP)
    assert [one.compatible for one in judge_many([job])] == [{}]
    found = judge_many([job], compatibility=True)[0]
    assert (found.execution_match, found.compatible["bird_ex"]) == (False, True)


def test_broken_gold_and_changes_have_no_verdict() -> None:
    session = JudgeSession(settings=Settings(compatibility=True))
    for gold in ("SELECT nowhere FROM t", "DELETE FROM t"):
        assert session.judge(Job("1", gold, "SELECT a FROM t", SCHEMA, SETUP)).compatible == {}


def test_distinct_is_removed_as_a_word_only() -> None:
    assert without_distinct("SELECT Distinct a, 'distinct' FROM t").split() == [
        "SELECT",
        "a,",
        "'distinct'",
        "FROM",
        "t",
    ]
    assert without_distinct('SELECT "distinct", distinctive FROM t') == 'SELECT "distinct", distinctive FROM t'


def test_the_search_for_a_permutation_ends() -> None:
    rows = [tuple(1 if i == j else 0 for i in range(12)) for j in range(12)]
    other = [*rows[:11], rows[0]]
    assert not spider_equal(rows, other, False)
    assert spider_equal(rows, [row[::-1] for row in rows], False)
