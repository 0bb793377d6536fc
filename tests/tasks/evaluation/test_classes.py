"""Output health and error classes: each on both sides, and no real gold query is called unhealthy."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluation.classes import ERROR_CLASSES, error_class
from tasks.evaluation.health import HEALTH, has_non_ascii, is_loop, is_truncated, output_health
from tasks.sql.extraction import extract_sql
from tasks.sql.judge import judge
from tasks.sql.judgement import Job

SCHEMA = "CREATE TABLE t (id INTEGER, name TEXT, n INTEGER)"
GOLD = "SELECT name FROM t WHERE n > 1"
LOOP = GOLD + " AND n > 1" * 30


def health(text):
    return output_health(text, extract_sql(text))


@pytest.mark.parametrize(
    ("flag", "bad", "good"),
    [
        ("empty", "  \n", GOLD),
        ("prose", f"Here is the query: {GOLD}", f"{GOLD};\n"),
        ("prose", "I cannot answer that.", f"SQL: {GOLD}"),
        ("fenced", f"```sql\n{GOLD}\n```", "SELECT '`' FROM t"),
        ("chat_tokens", f"{GOLD}<|im_end|>", "SELECT a<b FROM t"),
        ("repetition", LOOP, GOLD + " AND n > 1" * 2),
        ("repetition", "SELECT a, " + "b, " * 40, "SELECT a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q FROM t"),
        ("truncated", "SELECT name FROM t WHERE", GOLD),
        ("truncated", "SELECT name FROM t WHERE n IN (1, 2", "SELECT name FROM t WHERE n IN (1, 2)"),
        ("truncated", "SELECT name FROM t WHERE name = 'An", "SELECT name FROM t WHERE name = 'An''a'"),
        ("non_ascii", "SELECT name FROM t WHERE name = ‘Ann’", "SELECT name FROM t WHERE name = 'Änn'"),
        ("multiple_statements", f"{GOLD}; {GOLD}", f"{GOLD};"),
    ],
)
def test_each_flag_on_both_sides(flag, bad, good):
    assert flag in health(bad)
    assert flag not in health(good)
    assert set(health(bad)) <= set(HEALTH)


@pytest.mark.parametrize(
    "text", ["I would need to know what to sort by", "Désolé, je ne sais pas", "nobody knows (see above"]
)
def test_prose_is_prose_and_no_broken_sql(text):
    assert health(text) == ("prose",)


def test_a_clean_answer_has_no_flag():
    assert health(GOLD) == health(f" {GOLD} ;\n") == ()


def named(text, gold=GOLD):
    return error_class(judge(Job("a", gold, extract_sql(text), SCHEMA, "INSERT INTO t VALUES (1, 'x', 2)")), text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no_sql"),
        ("I do not know.", "prose"),
        ("```\nnothing here\n```", "fenced"),
        ("so " * 40, "repetition"),
        ("SELECT name FROM t WHERE n > 1 AND (" + "n > 1 AND " * 40, "repetition"),
        ("SELECT name FROM t WHERE", "truncated"),
        ("SELECT name FROM t WHERE name = “x”", "non_ascii"),
        ("SELECT name FROM t WHERE n >>> 1 1", "syntax_error"),
        ("DELETE FROM t", "forbidden"),
        ("SELECT name FROM u", "unknown_table"),
        ("SELECT age FROM t", "unknown_column"),
        ("SELECT NOSUCH(name) FROM t", "other_sql_error"),
        ("SELECT name FROM t WHERE n > 9", "empty_result"),  # no differences were looked for here
        ("SELECT id, name FROM t", "wrong_columns"),
        ("SELECT n FROM t", "wrong_rows"),
        (GOLD, None),
    ],
)
def test_each_class_of_answers_that_do_not_run_or_return_something_else(text, expected):
    assert named(text) == expected
    assert expected is None or expected in ERROR_CLASSES


def test_the_first_difference_names_a_result_that_is_wrong():
    judgement = judge(Job("a", GOLD, "SELECT n FROM t", SCHEMA, "INSERT INTO t VALUES (1, 'x', 2)"))
    assert error_class(judgement, "SELECT n FROM t", ("wrong_column", "missing_condition")) == "wrong_column"


def test_broken_gold_names_no_fault_of_the_answer():
    assert named("SELECT x FROM y", gold="SELECT x FROM nowhere") is None


def test_wrong_changes_are_a_wrong_state():
    assert named("UPDATE t SET n = 5", gold="UPDATE t SET n = 6") == "wrong_state"


def test_no_gold_of_the_samples_is_unhealthy(real_data):
    checked = 0
    for name, key in (
        ("spider/train_spider.jsonl", "query"),
        ("bird/dev_minus_minidev_500.jsonl", "SQL"),
        ("synsql/synsql_complex_300.jsonl", "sql"),
    ):
        for line in (real_data / name).read_text(encoding="utf-8").splitlines():
            sql = json.loads(line)[key]
            assert not is_loop(sql), sql
            assert not is_truncated(sql), sql
            assert not has_non_ascii(sql), sql
            checked += 1
    assert checked == 3800


def _loops(words):
    """By definition: some run of tokens, up to 24, that comes five times or more in a row, 16 tokens in all."""
    for period in range(1, 25):
        for start in range(len(words)):
            length = max(16, 5 * period)
            part = words[start : start + length]
            if len(part) == length and all(part[at] == part[at % period] for at in range(length)):
                return True
    return False


@given(
    st.lists(st.sampled_from("abcdefgh"), max_size=12),
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6),
    st.integers(0, 20),
    st.lists(st.sampled_from("abcdefgh"), max_size=12),
)
def test_a_loop_is_found_wherever_it_stands_and_nothing_else_is_one(before, turn, rounds, after):
    words = before + turn * rounds + after
    assert is_loop(" ".join(words)) == _loops(words)
