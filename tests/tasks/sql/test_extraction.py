from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sql.extraction import extract_sql
from tasks.sql.tokens import has_limit, order_matters, tokens, without_limit

CLEAN = [
    "SELECT a FROM t",
    "SELECT ';', '--', \"a;b\" FROM [my table] WHERE a = 'it''s -- y; z'",
    "SELECT a -- the; a\nFROM t /* ; */ WHERE b",
    "WITH a AS (\n\nSELECT 1\n)\n\nSELECT * FROM a",
    "WITH -- steps\nx AS (SELECT 1 AS n),\n\ny AS (SELECT n FROM x)\n\n-- the answer\nSELECT n FROM y",
    "SELECT a FROM t WHERE b IN (SELECT b FROM u) UNION ALL SELECT a FROM v INTERSECT SELECT a FROM w",
    "INSERT INTO t SELECT * FROM u",
    "INSERT INTO t (a) VALUES (1), (2) ON CONFLICT DO UPDATE SET a = 3",
    "UPDATE t SET a = 'SELECT' WHERE b = 1",
    "DELETE FROM t WHERE a IN (SELECT b FROM u)",
    "CREATE VIEW v AS WITH c AS (SELECT 1) SELECT * FROM c",
    "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t; DELETE FROM u; END",
    "SELECT a AS Output, note FROM t",
]
WRAPPERS = [
    "{}",
    "{};",
    "  {} ;\n",
    "```sql\n{};\n```",
    "```\n{}\n```",
    "``` SQL\n{}\n",
    "Sure! Here is the query:\n\n```sqlite\n{}\n```\nIt uses ```x``` and selects rows.",
    "To answer this we select rows. Here it is:\n{};\n\nExplanation: it reads the table.",
    "SQL: {}\nExplanation: it reads; SELECT 2",
    "**SQL:** {}",
    "{}<|im_end|>\n<|im_start|>user",
    "{}</s>",
    "{}<end_of_turn>",
    "{}<eos>",
    "<think>\nmaybe SELECT 1;\n</think>\n\n{}",
    "[SQL] {} [/SQL]",
    "{};\n{};\n{}",
    "### Response:\n{}\n\n### Instruction:\nNext",
    "{}\n\nThis query returns what was asked for.",
]


@pytest.mark.parametrize("clean", CLEAN)
def test_clean_sql_comes_back_out_of_any_wrapper(clean: str) -> None:
    for wrapper in WRAPPERS:
        assert extract_sql(wrapper.replace("{}", clean)) == clean, wrapper


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("SELECT a FROM t SELECT a FROM t", "SELECT a FROM t"),
        ("INSERT INTO t VALUES (1)\nINSERT INTO t VALUES (2)", "INSERT INTO t VALUES (1)"),
        ("The query is `SELECT a FROM t` as asked.", "SELECT a FROM t"),
        ("Python:\n```python\nprint(1)\n```\nSQL:\n```sql\nSELECT 1\n```", "SELECT 1"),
        ("With the schema above, use: SELECT a FROM t;", "SELECT a FROM t"),
        ("Select all the rows:\nSELECT * FROM t", "SELECT * FROM t"),
        ("ATTACH 'x.db' AS x; SELECT 1", "ATTACH 'x.db' AS x"),
        ("hello", "hello"),
        ("", ""),
        ("<|im_end|>", ""),
    ],
)
def test_prose_and_repetition(text: str, sql: str) -> None:
    assert extract_sql(text) == sql


@pytest.mark.parametrize(
    "broken", ["SELECT a FROM WHERE b IN (SELECT b FROM u)", "SELECT a FROM t WHERE x IN (SELECT b FROM"]
)
def test_a_broken_query_never_yields_its_subquery(broken: str) -> None:
    assert extract_sql(f"Here it is:\n{broken}") == broken


@given(
    st.text(alphabet="SELECT FROMtab'\"`;-\n(),*1[]<>#:/\\", max_size=80) | st.sampled_from(CLEAN),
    st.sampled_from(WRAPPERS),
)
def test_never_raises_and_is_stable(text: str, wrapper: str) -> None:
    once = extract_sql(wrapper.replace("{}", text))
    assert isinstance(once, str)
    if text in CLEAN:
        assert extract_sql(once) == once == text


PIECES = ["a", "*", ",", "(", ")", "'x;'", '"y"', "--", "/*", "*/", "\n", "\n\n", "FROM", "xselect", "é"]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_a_text_that_holds_no_end_is_read_as_one_that_does(parts: list[str]) -> None:
    text = " ".join(["SELECT a", *parts])
    assert extract_sql(text) == extract_sql(text + "\n;"), "the semicolon makes the extraction read every token"


@pytest.mark.parametrize("text", ["so WITH " + "/**/" * 60 + "!", "so WITH " + "-- a\n" * 60 + "!", "WITH/*" * 20_000])
def test_text_made_for_backtracking_is_read_in_time(text: str) -> None:
    assert extract_sql(text) == text.strip()  # or the suite never ends


def test_comments_between_order_and_by_are_followed_and_never_divided_in_every_way() -> None:
    assert order_matters("SELECT a FROM t ORDER /* of */ -- rows\n BY a")
    assert not order_matters("SELECT a FROM t ORDER" + " --" * 60)  # or the suite never ends
    assert not order_matters("SELECT a FROM t ORDER" + "/**/" * 60)


@pytest.mark.parametrize(
    ("sql", "rest"),
    [
        ("SELECT a FROM t LIMIT 3", "SELECT a FROM t"),
        ("SELECT a FROM t ORDER BY a\nlimit 2 , 10 ;", "SELECT a FROM t ORDER BY a"),
        ("SELECT a FROM t LIMIT 3 OFFSET 1", "SELECT a FROM t"),
        ("SELECT a FROM t LIMIT 1 + 1", None),
        ("SELECT a FROM (SELECT a FROM t LIMIT 3)", None),
        ("SELECT a FROM (SELECT a FROM t LIMIT 3) LIMIT 1", None),  # which of them is the last takes a parser
        ("SELECT a FROM t LIMIT 3 -- limit 1", None),
        ("SELECT a FROM t WHERE b = 'no limit' AND c = 3", None),
    ],
)
def test_the_limit_a_query_ends_in(sql: str, rest: str | None) -> None:
    assert has_limit(sql)
    assert without_limit(sql) == rest


def test_brackets_that_never_close_are_lexed_in_time() -> None:
    assert sum(1 for _ in tokens("[" * 100_000)) == 100_000  # or the suite takes minutes
    assert [token.group() for token in tokens("SELECT [a b]]")] == ["SELECT", "[a b]", "]"]
