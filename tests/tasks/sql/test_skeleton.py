"""Skeletons: what depends on structure alone is the same for a statement and its skeleton."""

from __future__ import annotations

import pytest

from tasks.data.synthetic.generate import GenerateSpec, generate
from tasks.sql.features import difficulty, features
from tasks.sql.hardness import hardness
from tasks.sql.parse import parse
from tasks.sql.skeleton import skeleton


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select a,b from t where x<>'it''s' and y >= -1.5", "SELECT x,x FROM x WHERE x<>'' AND x >= -1"),
        ('SELECT "School/Club Team" FROM `t` WHERE [a b] = "x"', "SELECT x FROM x WHERE x = x"),
        ("SELECT foo (a), bar FROM t /* c */ LIMIT 5 -- end", "SELECT FOO (x), x FROM x LIMIT 1"),
        ("", ""),
        ("'open", "'x"),
    ],
)
def test_names_and_literals_go(sql, expected):
    assert skeleton(sql) == expected


def test_generated_statements_keep_their_levels():
    rows = generate(GenerateSpec(train_per_database=10, test_per_database=10))
    forms = {skeleton(row.sql) for row in rows}
    assert len(forms) < len({row.sql for row in rows}) / 2
    for row in rows:
        tree, form = parse(row.sql).tree, parse(skeleton(row.sql)).tree
        assert (hardness(tree), difficulty(features(tree))) == (hardness(form), difficulty(features(form))), row.sql
