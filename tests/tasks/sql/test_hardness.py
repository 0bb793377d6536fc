"""Spider's hardness: each rule on both sides of its bound, and the counts of a real sample."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tasks.sql.features import features
from tasks.sql.hardness import hardness
from tasks.sql.parse import parse


def level(sql):
    return hardness(parse(sql).tree)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT name FROM t", "easy"),
        ("SELECT COUNT(*) FROM t WHERE a = 1", "easy"),
        ("SELECT DISTINCT name FROM t ORDER BY a", "easy"),  # DISTINCT counts nothing
        ("SELECT a, b FROM t", "medium"),  # several columns
        ("SELECT MAX(a), MIN(a) FROM t WHERE b = 1", "medium"),  # several columns and several aggregates
        ("SELECT a FROM t WHERE b = 1 AND c = 2", "medium"),
        ("SELECT a FROM t WHERE b = 1 OR c = 2", "medium"),  # the OR is a clause more
        ("SELECT a FROM t WHERE b LIKE 'x%'", "medium"),  # so is LIKE
        ("SELECT a FROM t ORDER BY a LIMIT 1", "medium"),
        ("SELECT a FROM t JOIN u ON t.id = u.id WHERE b = 1", "medium"),
        ("SELECT a, b FROM t JOIN u ON t.id = u.id WHERE b = 1", "medium"),
        ("SELECT a, b FROM t JOIN u ON t.id = u.id WHERE b = 1 AND c = 1", "extra"),  # two others, two clauses
        ("SELECT a, MAX(b), MIN(b) FROM t WHERE c = 1 AND d = 1", "hard"),  # three others
        ("SELECT a FROM t JOIN u ON t.id = u.id WHERE b = 1 LIMIT 1", "hard"),
        ("SELECT a, b FROM t JOIN u ON t.id = u.id GROUP BY a ORDER BY COUNT(*) LIMIT 1", "extra"),
        ("SELECT a FROM t WHERE b IN (SELECT b FROM u)", "hard"),
        ("SELECT a, c FROM t WHERE b IN (SELECT b FROM u)", "extra"),
        ("SELECT a FROM t WHERE b NOT IN (SELECT b FROM u)", "hard"),
        ("SELECT COUNT(*) FROM t WHERE b NOT IN (SELECT b FROM u)", "extra"),  # NOT counts as an aggregate
        ("SELECT a FROM t WHERE b = (SELECT MAX(b) FROM u WHERE c IN (SELECT c FROM v))", "hard"),  # one level counts
        ("SELECT a FROM t WHERE b > (SELECT 1) AND c > (SELECT 2)", "extra"),
        ("SELECT a FROM t UNION SELECT a FROM u", "hard"),
        ("SELECT a FROM t UNION SELECT a, b FROM u WHERE a = 1 ORDER BY b LIMIT 3", "hard"),  # the first branch decides
        ("SELECT a, b FROM t UNION SELECT a, b FROM u", "extra"),
        ("WITH x AS (SELECT a FROM t) SELECT a FROM x", "hard"),
        ("SELECT a FROM t GROUP BY a HAVING COUNT(*) > 1 AND MAX(b) > 2", "easy"),  # one AND counts as one aggregate
        ("SELECT a FROM t GROUP BY a HAVING COUNT(*) > 1 AND MAX(b) > 2 AND MIN(b) > 2", "medium"),  # two do
    ],
)
def test_every_rule_on_both_sides(sql, expected):
    assert level(sql) == expected


@pytest.mark.parametrize("sql", ["DELETE FROM t", "VALUES (1)", "CREATE TABLE t (a)"])
def test_what_is_no_select_has_no_hardness(sql):
    assert level(sql) is None


def test_brackets_and_spelling_change_nothing():
    assert level("(SELECT a FROM t WHERE ((b = 1) AND (c = 2)))") == level("select a from t where b=1 and c=2")


def test_the_spider_sample_has_the_published_counts(real_data):
    folder = real_data / "spider"
    tables = {
        database["db_id"]: {name.lower() for name in database["table_names_original"]}
        for database in json.loads((folder / "tables.json").read_text())
    }
    found = Counter()
    for line in (folder / "train_spider.jsonl").read_text().splitlines():
        row = json.loads(line)
        tree = parse(row["query"]).tree
        # The published evaluator cannot read a query of a table that is not there; one row of the sample is such.
        known = set(features(tree).tables) <= tables[row["db_id"]]
        found[hardness(tree) if known else "unknown table"] += 1
    assert found == {"easy": 787, "medium": 1175, "hard": 615, "extra": 422, "unknown table": 1}
