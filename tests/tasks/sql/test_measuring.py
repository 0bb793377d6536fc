"""Soft F1, efficiency and the process that measures them."""

from __future__ import annotations

import math
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sql.cells import digest, soft_f1
from tasks.sql.efficiency import BEST, efficiency_score, settled, time_ratio
from tasks.sql.executor import Limits
from tasks.sql.measuring import LOST, Task, measure

SCHEMA = "CREATE TABLE t (a INTEGER, b TEXT);"
SETUP = "INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z');"
LOOP = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n"


@pytest.mark.parametrize(
    ("gold", "found", "expected"),
    [
        ([(1, "x"), (2, "y")], [(2, "y"), (1, "x")], 1.0),  # order is another metric's matter
        ([(1, "x")], [("x", 1)], 1.0),  # so is the order of columns
        ([(1.0, "x")], [(1, "x")], 1.0),
        ([(0.1 + 0.2,)], [(0.3,)], 1.0),
        ([], [], 1.0),
        ([(1,)], [], 0.0),
        ([], [(1,)], 0.0),
        ([(1,)], [("1",)], 0.0),  # text is no number
        ([(1, 2)], [(1, 1)], 0.5),  # a cell is found once
        ([(1,), (1,)], [(1,)], 2 / 3),  # a missing repetition counts
        ([(1, "x"), (2, "y")], [(1,), (2,)], 4 / 6),  # a missing column
        ([(1, "x"), (2, "y")], [(1, "x"), (2, "z")], 6 / 8),
        ([(None,)], [(None,)], 1.0),
    ],
)
def test_soft_f1_by_hand(gold, found, expected):
    assert soft_f1(gold, found) == pytest.approx(expected)
    assert soft_f1(found, gold) == pytest.approx(expected)


_ROWS = st.lists(st.tuples(st.sampled_from([0, 1, 2.5, "x", None]), st.sampled_from(["x", "y"])), max_size=8)


@given(_ROWS, _ROWS, st.randoms())
def test_soft_f1_is_a_share_and_order_never_matters_to_equal_bags(gold, found, chance):
    assert 0.0 <= soft_f1(gold, found) <= 1.0
    shuffled = list(gold)
    chance.shuffle(shuffled)
    assert soft_f1(gold, shuffled) == 1.0
    assert digest(gold) == digest(shuffled)


def test_digests_tell_results_apart():
    assert len({digest(rows) for rows in ([], [(1,)], [("1",)], [(1,), (1,)], [(1, None)], [(None, 1)])}) == 6


@pytest.mark.parametrize(
    ("ratio", "reward"), [(4, 1.25), (2, 1.25), (1.9, 1), (1, 1), (0.9, 0.75), (0.5, 0.75), (0.3, 0.5), (0.1, 0.25)]
)
def test_the_reward_has_birds_steps(ratio, reward):
    assert efficiency_score(ratio) == pytest.approx(math.sqrt(reward))
    assert efficiency_score(ratio) <= BEST


def test_noise_is_equality_and_more_is_not():
    assert settled(1.00, 1.04) == settled(1.04, 1.00) == 1.0
    assert settled(0.000_010, 0.000_040) == 1.0
    assert settled(2.0, 1.0) == 2.0
    assert settled(0.010, 0.020) == 0.5


def test_both_queries_take_turns():
    calls = []
    assert time_ratio(lambda: calls.append("g"), lambda: calls.append("p")) == 1.0
    assert calls[:8] == list("gppggppg")
    assert calls.count("g") == calls.count("p")


def test_measurements_of_one_process():
    found = measure(
        [
            Task("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t", SCHEMA, SETUP, timed=True),
            Task("SELECT a, b FROM t LIMIT 2", "SELECT a FROM t", SCHEMA, SETUP),
            Task(LOOP, "SELECT a FROM t", SCHEMA, SETUP),
            Task("SELECT a FROM t", schema=SCHEMA, setup=SETUP),
            Task("SELECT a FROM t WHERE a < 9 ORDER BY a DESC", schema=SCHEMA, setup=SETUP),
            Task("SELECT a FROM t", "SELECT x FROM y", SCHEMA, SETUP),
            Task("SELECT a FROM t", "SELECT a FROM t", "no schema"),
        ],
        Limits(seconds=0.2),
    )
    assert (found[0].soft_f1, found[0].time_ratio) == (1.0, 1.0)
    assert found[1].soft_f1 == pytest.approx(4 / 7)
    assert found[1].time_ratio is None
    assert found[2] == found[5] == found[6] == LOST
    assert found[3].digest == found[4].digest is not None


def test_a_process_that_dies_costs_one_measurement(monkeypatch):
    import tasks.sql.measuring as measuring

    heard = measuring._Process._line
    asked = []

    def deaf(self, patience):
        asked.append(patience)
        if len(asked) == 3:  # ready, the first answer, and then silence
            return None
        return heard(self, patience)

    monkeypatch.setattr(measuring._Process, "_line", deaf)
    found = measure([Task(f"SELECT a FROM t LIMIT {n}", "SELECT a FROM t", SCHEMA, SETUP) for n in (1, 2, 3)])
    assert [one.soft_f1 for one in found] == [pytest.approx(0.5), None, 1.0]
    assert len(asked) == 5


@pytest.mark.parametrize(("cores", "called"), [(1, 0), (2, 40)])
def test_other_work_is_done_while_the_process_measures_on_another_core(monkeypatch, cores, called):
    monkeypatch.setattr("tasks.sql.measuring.usable_cores", lambda: cores)
    tasks = [Task(f"SELECT a FROM t LIMIT {n % 3 + 1}", "SELECT a FROM t", SCHEMA, SETUP) for n in range(120)]
    left = list(range(40))

    def meanwhile():
        left.pop()
        return bool(left)

    found = measure(tasks, meanwhile=lambda: bool(left) and meanwhile())
    assert len(left) == 40 - called, "all of it is done before the process has even come up"
    assert found == measure(tasks)
    assert found[1].soft_f1 == pytest.approx(0.8)


def test_a_process_that_hangs_while_other_work_is_done_costs_one_measurement(monkeypatch):
    import tasks.sql.measuring as measuring

    monkeypatch.setattr(measuring, "usable_cores", lambda: 2)
    asks = measuring._Process.ask
    stopped = []

    def ask(self, tasks):
        if not stopped:  # before it is asked: three small tasks may be answered sooner than a signal is sent
            self._process.send_signal(signal.SIGSTOP)
            self._patience = 0.5
            stopped.append(self)
        return asks(self, tasks)

    monkeypatch.setattr(measuring._Process, "ask", ask)
    until = time.monotonic() + 2.0
    tasks = [Task(f"SELECT a FROM t LIMIT {n}", "SELECT a FROM t", SCHEMA, SETUP) for n in (1, 2, 3)]
    found = measure(tasks, meanwhile=lambda: time.monotonic() < until)
    assert len(stopped) == 1
    assert [one.soft_f1 for one in found] == [None, pytest.approx(0.8), 1.0]


def test_nothing_to_measure_starts_nothing(monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)
    assert measure([]) == []
