"""The comparison of two results; `test_rules.py` has every rule through the whole judge."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.sql.comparison import Segment, compare, order_matters, same_bag
from tasks.sql.executor import Execution


def result(*rows: tuple, columns: int | None = None) -> Execution:
    width = len(rows[0]) if columns is None else columns
    return Execution("ok", tuple(f"c{i}" for i in range(width)), list(rows))


def same(gold: Execution, predicted: Execution, ordered: bool = False) -> bool:
    return compare(gold, predicted, ordered)


def test_arity_counts_also_without_rows() -> None:
    assert same(result(columns=2), result(columns=2))
    assert not same(result(columns=2), result(columns=1))
    assert not same(result((1, 1)), result((1,)))


def test_empty_gold_matches_no_row() -> None:
    assert not same(result(columns=1), result((None,)))
    assert not same(result((5,)), result((5,), (5,), (5,)))


def test_rows_are_a_bag() -> None:
    assert same(result((1,), (2,), (2,)), result((2,), (1,), (2,)))
    assert not same(result((1,), (2,), (2,)), result((1,), (1,), (2,)))
    assert not same(result((1,), (2,)), result((1,), (2,), (2,)))


def test_rows_are_a_sequence_under_order_by() -> None:
    assert same(result((1,), (2,)), result((1,), (2,)), ordered=True)
    assert not same(result((1,), (2,)), result((2,), (1,)), ordered=True)


def test_one_permutation_of_columns_for_all_rows() -> None:
    assert same(result(("x", 1), ("y", 2)), result((1, "x"), (2, "y")))
    assert not same(result(("x", 1), ("y", 2)), result(("x", 2), ("y", 1)))
    assert not same(result((1, 2), (3, 4)), result((2, 1), (3, 4)))
    assert same(result((1, 2), (3, 4)), result((2, 1), (4, 3)), ordered=True)
    assert not same(result((1, 2), (3, 4)), result((4, 3), (2, 1)), ordered=True)


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1, True),
        (2**53, 2**53 + 1, False),
        (1, 1.0, True),
        (1, 1.0000000001, True),
        (1, 1.001, False),
        (1_000_000, 1_000_001, False),
        (1e6, 1_000_000.5, True),
        (1e6, 1_000_002.0, False),
        (0.0, 1e-10, True),
        (0.0, 1e-8, False),
        (-0.0, 0, True),
        ("1", 1, False),
        ("1.0", 1.0, False),
        ("a", "A", False),
        ("a", "a ", False),
        ("a", b"a", False),
        (b"a", b"a", True),
        (None, None, True),
        (None, 0, False),
        (None, "", False),
        (None, -99999, False),
        (float("inf"), float("inf"), True),
        (float("inf"), 1e308, False),
    ],
)
def test_values(a: object, b: object, equal: bool) -> None:
    for ordered in (False, True):
        assert same(result((a,)), result((b,)), ordered) is equal
        assert same(result((b,)), result((a,)), ordered) is equal
        assert same(result((a, "k"), ("z", 7)), result((b, "k"), ("z", 7)), ordered) is equal
    assert same(result((a,), ("z",)), result(("z",), (b,))) is equal


def test_floats_in_a_bag_pair_up_one_to_one() -> None:
    assert same(result((0.1 + 0.2, "a"), (0.3, "b")), result((0.3, "b"), (0.3, "a")))
    assert not same(result((0.1 + 0.2, "a"), (0.3, "a")), result((0.3, "b"), (0.3, "a")))
    assert not same(result((1.0,), (1.0,), (2.0,)), result((1.0000001,), (2.0,), (2.0,)))


def test_failed_executions_never_match() -> None:
    failed = Execution("timeout")
    assert not same(failed, failed)
    assert not same(result((1,)), failed)


def test_ties_may_swap_and_only_ties() -> None:
    gold = result(("a", 1), ("b", 1), ("c", 2))
    segments = [Segment([("a", 1), ("b", 1)], 2), Segment([("c", 2)], 1)]
    assert compare(gold, result(("b", 1), ("a", 1), ("c", 2)), True, segments)
    assert compare(gold, result((1, "b"), (1, "a"), (2, "c")), True, segments)
    assert not compare(gold, result(("c", 2), ("a", 1), ("b", 1)), True, segments)


def test_a_cut_tie_takes_any_of_its_rows_once() -> None:
    gold = result(("c", 2), ("a", 1))
    segments = [Segment([("c", 2)], 1), Segment([("a", 1), ("b", 1)], 1)]
    assert compare(gold, result(("c", 2), ("b", 1)), True, segments)
    assert not compare(gold, result(("c", 2), ("x", 1)), True, segments)
    two = [Segment([("a",), ("b",), ("c",)], 2)]
    assert not compare(result(("a",), ("b",)), result(("c",), ("c",)), False, two)


@settings(deadline=None)
@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.tuples(*[_values()] * n), min_size=1, max_size=8)), st.randoms())
def test_equal_under_any_order_of_rows_and_columns(rows: list[tuple], dice: random.Random) -> None:
    gold = result(*rows)
    shuffled = dice.sample(rows, len(rows))
    order = dice.sample(range(len(rows[0])), len(rows[0]))
    assert same(gold, gold, ordered=True)
    assert same(gold, result(*shuffled))
    assert same(gold, result(*[tuple(row[i] for i in order) for row in shuffled]))
    assert not same(gold, result(*shuffled, shuffled[0]))


def _values() -> st.SearchStrategy:
    return (
        st.none() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -0.0, 2.25]) | st.sampled_from(["", "a", "1", b"a"])
    )


def test_wide_results_end() -> None:
    dice = random.Random(1)
    rows = [tuple(dice.randint(0, 1) for _ in range(14)) for _ in range(60)]
    other = [tuple(dice.randint(0, 1) for _ in range(14)) for _ in range(60)]
    noisy = [tuple(value + dice.random() * 1e-9 for value in row) for row in rows]
    began = time.monotonic()
    assert same(result(*rows), result(*[row[::-1] for row in rows]))
    assert not same(result(*rows), result(*other))
    same(result(*rows), result(*noisy[::-1]))
    assert time.monotonic() - began < 30


def test_large_float_results_pair_up() -> None:
    rows = [(i * 1.1, "same") for i in range(3000)]
    near = [(value * (1 + 1e-9), text) for value, text in rows]
    assert same_bag(rows, near[::-1])
    assert not same_bag(rows, [*near[:-1], (7e9, "same")])


@pytest.mark.parametrize(
    ("sql", "matters"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("SELECT a FROM t ORDER  BY a LIMIT 1;", True),
        ("WITH c AS (SELECT 1 AS a) SELECT a FROM c ORDER BY a", True),
        ("SELECT a FROM t UNION SELECT a FROM u ORDER BY a", True),
        ("SELECT a FROM t", False),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", False),
        ("WITH c AS (SELECT a FROM t ORDER BY a) SELECT a FROM c", False),
        ("SELECT a FROM t WHERE b = 'order by'", False),
        ("SELECT rank() OVER (ORDER BY a) FROM t", False),
        ("SELECT group_concat(a) FROM t -- order by a", False),
    ],
)
def test_order_matters_by_the_outermost_query(sql: str, matters: bool) -> None:
    assert order_matters(sql) is matters
