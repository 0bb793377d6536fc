"""Text metrics against hand-counted vectors; AST match and hallucination on both sides of each rule."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from tasks.evaluation.ast_match import ast_match
from tasks.evaluation.hallucination import hallucinates
from tasks.evaluation.text_metrics import exact_match, flat_match, rouge_l, rouge_n, sentence_bleu, sql_tokens

GREATER, LESS = "SELECT a FROM t WHERE x > 5;", "SELECT a FROM t WHERE x < 5;"


def test_rouge_does_not_see_operators():
    assert rouge_l(GREATER, LESS) == 1.0


def test_rouge_of_a_fenced_answer():
    gold = "SELECT SUM(Salary) FROM Employees;"
    assert rouge_l(gold, f"```sql\n{gold}\n```") == pytest.approx(0.909, abs=5e-4)


def test_rouge_counts_by_hand():
    gold, answer = "the cat sat on the mat", "the the the cat on mat"
    assert rouge_n(gold, answer, 1) == pytest.approx(5 / 6)  # "the" counts twice, not three times
    assert rouge_n(gold, answer, 2) == pytest.approx(1 / 5)
    assert rouge_l(gold, answer) == pytest.approx(4 / 6)  # the cat on mat


@given(
    st.lists(st.sampled_from("abc"), max_size=12),
    st.lists(st.sampled_from("abcdef"), max_size=12),
    st.sampled_from((1, 2, 3)),
)
def test_rouge_counts_a_shared_run_as_often_as_it_comes_in_both(gold, answer, n):
    runs = [Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1)) for words in (gold, answer)]
    shared, total = (runs[0] & runs[1]).total(), runs[0].total() + runs[1].total()
    assert rouge_n(" ".join(gold), " ".join(answer), n) == pytest.approx(2 * shared / total if shared else 0.0)


def test_rouge_of_nothing_is_nothing():
    assert rouge_l("", "") == rouge_l("select", "") == rouge_n("select", "select", 2) == 0.0


def _slow_lcs(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(st.lists(st.sampled_from("abcd"), max_size=80), st.lists(st.sampled_from("abcd"), max_size=80))
def test_the_bit_parallel_subsequence_is_the_longest(a, b):
    length = _slow_lcs(a, b)
    expected = 2 * length / (len(a) + len(b)) if length else 0.0
    assert rouge_l(" ".join(b), " ".join(a)) == pytest.approx(expected)


def test_bleu():
    assert sentence_bleu(GREATER, GREATER) == pytest.approx(1.0)
    assert sentence_bleu(GREATER, "") == sentence_bleu(GREATER, "DROP") == 0.0
    # "select a from t" of 8 gold tokens: every n-gram matches, only brevity costs.
    assert sentence_bleu(GREATER, "SELECT a FROM t") == pytest.approx(math.exp(1 - 8 / 4))
    assert 0 < sentence_bleu(GREATER, LESS) < 1


def test_the_flat_match_of_published_figures_does_not_see_literals():
    gold = "SELECT a FROM t WHERE b = 'New York'"
    assert flat_match(gold, " select A from T\nwhere b='newyork'") is True
    assert exact_match(gold, "select a from t where b = 'newyork'") is False
    assert flat_match(gold, "SELECT a FROM t WHERE b = 'York'") is False


def test_exact_match_forgives_spelling_but_no_literal():
    assert exact_match("SELECT a FROM t WHERE n = 'Bob';", "select A\nfrom T where n='Bob' -- done")
    assert not exact_match("SELECT a FROM t WHERE n = 'Bob'", "SELECT a FROM t WHERE n = 'bob'")
    assert not exact_match("SELECT a FROM t WHERE n = 'a b'", "SELECT a FROM t WHERE n = 'ab'")
    assert not exact_match(GREATER, LESS)
    assert sql_tokens("SELECT 'It''s; -- x';;") == ("select", "'It''s; -- x'")


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("SELECT a FROM t JOIN u ON t.id = u.id", "SELECT a FROM T AS x INNER JOIN U y ON y.ID = x.id"),
        ("SELECT t.a FROM t", "SELECT a FROM t"),
        ("SELECT COUNT(*) AS n, a FROM t GROUP BY a ORDER BY n ASC",
         "SELECT COUNT(*), a FROM t GROUP BY a ORDER BY COUNT(*)"),
        ("SELECT a FROM t WHERE x > 5 AND y <> 'B' AND z = 1",
         "SELECT a FROM t WHERE (1 = z AND (y != 'B')) AND (5 < x)"),
        ("SELECT a FROM t WHERE NOT x IN (1, 2)", "SELECT a FROM t WHERE x NOT IN (2, 1)"),
        ("SELECT a FROM t WHERE i IN (SELECT u.i FROM u WHERE u.x = 1)",
         "SELECT a FROM t WHERE i IN (SELECT i FROM u k WHERE 1 = k.x)"),
        ("SELECT e1.a FROM e e1 JOIN e e2 ON e1.m = e2.id", "SELECT p.a FROM e p JOIN e q ON q.id = p.m"),
        ("SELECT a FROM t -- all of them", "SELECT /* only */ a\nFROM t"),
    ],
)  # fmt: skip
def test_the_same_tree(gold, answer):
    assert ast_match(gold, answer)
    assert ast_match(answer, gold)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (GREATER, LESS),
        ("SELECT a FROM t WHERE x = 'b'", "SELECT a FROM t WHERE x = 'B'"),
        ("SELECT a, b FROM t", "SELECT b, a FROM t"),
        ("SELECT DISTINCT a FROM t", "SELECT a FROM t"),
        ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t ORDER BY a"),
        ("SELECT a FROM t LIMIT 1", "SELECT a FROM t LIMIT 2"),
        ("SELECT a FROM t LEFT JOIN u ON t.id = u.id", "SELECT a FROM t JOIN u ON t.id = u.id"),
        ("SELECT a - (b - c) FROM t", "SELECT (a - b) - c FROM t"),
        ("SELECT a FROM t WHERE x = 1 AND (y = 2 OR z = 3)", "SELECT a FROM t WHERE (x = 1 AND y = 2) OR z = 3"),
        ("SELECT a FROM t UNION SELECT b FROM u", "SELECT a FROM t UNION ALL SELECT b FROM u"),
        ("SELECT e1.a FROM e e1 JOIN e e2 ON e1.m = e2.id", "SELECT e2.a FROM e e1 JOIN e e2 ON e1.m = e2.id"),
        ("SELECT a FROM t", "SELECT a FROM"),
        ("SELECT a FROM t", "SELECT " + "(" * 3000 + "a" + ")" * 3000 + " FROM t"),
    ],
)
def test_another_tree(gold, answer):
    assert not ast_match(gold, answer)
    assert not ast_match(answer, gold)


SCHEMA = (
    "CREATE TABLE staff (id INTEGER PRIMARY KEY, name TEXT, salary REAL); CREATE TABLE teams (id INTEGER, city TEXT);"
    " CREATE VIEW best AS SELECT id FROM staff"
)


@pytest.mark.parametrize(
    ("sql", "prepares", "invented"),
    [
        ("SELECT name FROM staff WHERE salary > 5", True, False),
        ("SELECT wage FROM staff", False, True),
        ("SELECT name FROM workers", False, True),
        ("SELECT id FROM best", True, False),  # a view
        ("SELECT s.wage FROM staff AS s", False, True),
        ("WITH rich AS (SELECT name AS who FROM staff) SELECT who FROM rich", False, False),
        ("SELECT city FROM staff", False, False),  # a column of another table: an error, but nothing invented
        ("SELECT COUNT(*) AS n FROM staff ORDER BY n, rowid", True, False),
        ('SELECT name FROM staff WHERE name = "Bob"', True, False),  # quoted text, as people write it
        ('SELECT "wage" FROM staff', True, True),  # SQLite returns the text "wage"
        ('SELECT MAX("wage") FROM staff', True, True),
        ('SELECT name FROM staff ORDER BY "wage"', True, True),
        ('SELECT name FROM staff WHERE "wage" > 5', True, True),
        ("SELECT FROM WHERE", False, False),
    ],
)
def test_hallucination(sql, prepares, invented):
    assert hallucinates(sql, SCHEMA, prepares=prepares) is invented


def test_hallucination_of_an_unreadable_schema_is_unknown():
    assert hallucinates("SELECT a FROM t", "no schema at all") is None
    assert hallucinates("SELECT a FROM t", "CREATE TABLE t (a INT) ENGINE=InnoDB", "mysql") is False


PAIRS = [
    (GREATER, LESS),
    ("SELECT a FROM t", "SELECT a, b FROM t WHERE b = 'x y'"),
    ("SELECT 1", "nothing of the kind"),
]


@pytest.mark.parametrize(("gold", "answer"), PAIRS)
def test_rouge_is_that_of_the_reference_package(gold, answer):
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    found = scorer.score(gold, answer)
    ours = {"rouge1": rouge_n(gold, answer, 1), "rouge2": rouge_n(gold, answer, 2), "rougeL": rouge_l(gold, answer)}
    assert ours == pytest.approx({name: score.fmeasure for name, score in found.items()})


@pytest.mark.parametrize(("gold", "answer"), PAIRS)
def test_bleu_is_that_of_the_reference_package(gold, answer):
    scorer = BLEU(tokenize="none", smooth_method="add-k", smooth_value=1, effective_order=False)
    ours, theirs = (" ".join(token.replace(" ", "_") for token in sql_tokens(sql)) for sql in (answer, gold))
    assert sentence_bleu(gold, answer) == pytest.approx(scorer.sentence_score(ours, [theirs]).score / 100)


def test_a_number_after_a_point_is_judged_like_any_other_answer():
    assert hallucinates("SELECT t.1979 FROM t", "CREATE TABLE t (a INT)", "sqlite", False, None)
