"""Slices: the parts of a test split that a scorecard is broken down by, all read off the example and its gold.

Limits: a slice never depends on a prediction, so that two models are always compared on the same examples.
"""

from __future__ import annotations

from functools import lru_cache

from tasks.data.example import DIFFICULTIES, Example
from tasks.sql.features import clauses, difficulty, features
from tasks.sql.hardness import HARDNESS, hardness
from tasks.sql.parse import parse

MANY_TABLES = 4
# `clause` of a query that is nothing but SELECT ... FROM.
PLAIN = "plain"


def slices_of(example: Example) -> dict[str, list[str]]:
    """Dimension -> the values this example belongs to; a dimension that it says nothing about is left out.

    `clause` holds every clause gold uses, `tables` the number of its tables (`4+` from four on), `hardness`
    what Spider's benchmark would call it. Tags are dimensions of their own,
    except `split` and those that would hide one of ours.
    """
    found = {name: [value] for name, value in example.tags.items() if name != "split" and value}
    found |= {
        name: [value]
        for name, value in (("domain", example.domain), ("database", example.db_id), ("source", example.source))
        if value
    }
    found |= {name: list(values) for name, values in _of_gold(example.sql, example.dialect)}
    if example.difficulty:
        found["difficulty"] = [example.difficulty]
    return found


@lru_cache(maxsize=8192)  # several questions share one gold, and several models one test split
def _of_gold(sql: str, dialect: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    tree = parse(sql, dialect).tree
    if tree is None:
        return ()
    gold, level = features(tree), hardness(tree)
    count = len(gold.tables)
    return (
        ("clause", clauses(gold) or (PLAIN,)),
        ("tables", (f"{MANY_TABLES}+" if count >= MANY_TABLES else str(count),)),
        ("difficulty", (difficulty(gold),)),
        *([("hardness", (level,))] if level is not None else []),
    )


def in_order(dimension: str, values: list[str]) -> list[str]:
    """The values of a dimension in the order a person expects: from easy to hard where they say that, else by name."""
    order: tuple[str, ...] = {"difficulty": DIFFICULTIES, "hardness": HARDNESS}.get(dimension, ())
    return sorted(values, key=lambda value: (order.index(value) if value in order else len(order), value))
