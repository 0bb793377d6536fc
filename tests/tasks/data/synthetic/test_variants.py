"""Variants: other names and attributes, the same joins; nothing of a test database, nothing new in test."""

from __future__ import annotations

import random
import sqlite3

import pytest

from tasks.data.synthetic.generate import GenerateSpec, generate, split_of
from tasks.data.synthetic.rows import fill
from tasks.data.synthetic.schema import load_databases
from tasks.data.synthetic.variants import pool_of, qualified, vary

SPEC = GenerateSpec(train_per_database=6, validation_per_database=2, test_per_database=4)
TRAIN = [one for one in load_databases() if split_of(one, SPEC) == "train"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_variant_keeps_the_joins_and_has_no_name_or_label_twice(number: int) -> None:
    pool, traded = pool_of(TRAIN), 0
    for database in TRAIN:
        variant = vary(database, number, pool, random.Random(f"{database.id}{number}"))
        assert [table.label for table in variant.tables] == [table.label for table in database.tables]
        assert len(variant.links()) == len(database.links())
        for table, original in zip(variant.tables, database.tables, strict=True):
            assert table.key.role == "key"
            for words in ([c.name.lower() for c in table.columns], [c.label.lower() for c in table.columns]):
                assert len(set(words)) == len(words)
            traded += {c.label for c in table.columns} != {c.label for c in original.columns}
        filled = fill(variant, 7)
        connection = sqlite3.connect(":memory:")
        connection.executescript(filled.schema + filled.setup)
        connection.close()
    assert traded > len(TRAIN)


def test_variants_add_training_schemas_and_leave_the_other_splits_alone() -> None:
    plain, varied = generate(SPEC), generate(SPEC.model_copy(update={"variants": 2}))
    held = [row for row in plain if row.tags["split"] != "train"]
    assert [row for row in varied if row.tags["split"] != "train"] == held
    schemas = {row.schema for row in varied if row.tags["split"] == "train"}
    assert len(schemas) == 3 * len(TRAIN)
    assert len({row.id for row in varied}) == len(varied)


def test_nothing_of_a_test_domain_reaches_a_variant() -> None:
    labels = {c.label for one in load_databases() if split_of(one, SPEC) == "test" for c in pool_of([one])}
    own = {c.label for c in pool_of(TRAIN)}
    found = {
        column.label
        for database in TRAIN
        for column in pool_of([vary(database, 1, pool_of(TRAIN), random.Random(database.id))])
    }
    assert labels - own
    assert found <= own


def test_some_training_rows_over_one_table_name_it_before_their_columns() -> None:
    rows = generate(SPEC.model_copy(update={"qualified_share": 0.5}))
    plain = generate(SPEC)
    changed = [(row, other) for row, other in zip(rows, plain, strict=True) if row.sql != other.sql]
    assert 0.1 < len(changed) / len(rows) < 0.6
    for row, other in changed:
        assert row.tags["split"] == "train"
        connection = sqlite3.connect(":memory:")
        connection.executescript(row.schema + row.setup)
        assert connection.execute(row.sql).fetchall() == connection.execute(other.sql).fetchall()
        connection.close()


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("SELECT a, COUNT(*) FROM t WHERE b = 1 GROUP BY a", "SELECT t.a, COUNT(*) FROM t WHERE t.b = 1 GROUP BY t.a"),
        (
            "SELECT a FROM t WHERE b > (SELECT AVG(b) FROM u)",
            "SELECT t.a FROM t WHERE t.b > (SELECT AVG(u.b) FROM u)",
        ),
        ("SELECT a FROM t UNION SELECT b FROM u", "SELECT t.a FROM t UNION SELECT u.b FROM u"),
        (
            "SELECT COUNT(*) AS n, a FROM t GROUP BY a ORDER BY n",
            "SELECT COUNT(*) AS n, t.a FROM t GROUP BY t.a ORDER BY n",
        ),
        ("SELECT t.a FROM t JOIN u ON t.b = u.b", "SELECT t.a FROM t JOIN u ON t.b = u.b"),
        ("SELECT T1.a FROM t AS T1 WHERE b = 1", "SELECT T1.a FROM t AS T1 WHERE b = 1"),
    ],
)
def test_every_select_over_one_table_is_qualified(sql: str, wanted: str) -> None:
    assert qualified(sql) == wanted
