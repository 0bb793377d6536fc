"""The engine: batches, whole answers of one release, switches that drop nothing, and trouble that changes nothing."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from infra.errors import NightshiftError
from registry.answering import Ask
from registry.service.engine import Overloaded

DDL = "CREATE TABLE t (a INTEGER)"


def until(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_what_waits_is_answered_together_and_each_gets_its_own(world):
    engine = world.start(batch_size=4)
    writer = world.writers["1"]
    writer.gate.clear()
    first = engine.submit([Ask("first", DDL)])
    until(lambda: engine.waiting == 0)
    rest = [engine.submit([Ask(f"q{n}", DDL), Ask(f"r{n}", DDL)]) for n in range(3)]
    writer.gate.set()
    assert [len(future.result(5).written) for future in [first, *rest]] == [1, 2, 2, 2]
    assert writer.batches == [["first"], ["q0", "r0", "q1", "r1"], ["q2", "r2"]]


def test_one_bad_batch_is_an_error_and_the_service_goes_on(world):
    engine = world.start()
    with pytest.raises(RuntimeError, match="out of memory"):
        engine.submit([Ask("explode", DDL)]).result(5)
    assert engine.submit([Ask("fine", DDL)]).result(5).written[0].valid


def test_too_many_waiting_are_refused_at_once(world):
    engine = world.start(most_waiting=2)
    world.writers["1"].gate.clear()
    engine.submit([Ask("being answered", DDL)])
    until(lambda: engine.waiting == 0)
    kept = [engine.submit([Ask("waiting", DDL)]) for _ in range(2)]
    with pytest.raises(Overloaded):
        engine.submit([Ask("one too many", DDL)])
    world.writers["1"].gate.set()
    assert all(future.result(5).written for future in kept)


def test_clients_in_a_loop_see_only_whole_answers_while_production_moves(world):
    engine = world.start(batch_size=3)
    seen, faults, stop = [], [], threading.Event()

    def client():
        while not stop.is_set():
            try:
                given = engine.submit([Ask("a", DDL), Ask("b", DDL)]).result(10)
                texts = {written.sql for written in given.written}
                assert texts == {f"SELECT '{given.served.version}' AS version"}
                seen.append(given.served.version)
            except Exception as error:
                faults.append(error)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    for version in ("2", "1", "2", "3"):  # promotions and rollbacks
        world.promote(version)
        until(lambda version=version: engine.served.version == version)
        before = len(seen)
        until(lambda before=before: len(seen) > before + 8)
    stop.set()
    for thread in clients:
        thread.join(10)
    assert faults == []
    assert engine.switches == 4
    assert set(seen) == {"1", "2", "3"}
    # Once a version is superseded, at most what was already under way still comes from it.
    changes = [version for version, _ in itertools.groupby(seen)]
    assert changes[-1] == "3"


def test_a_release_that_does_not_load_leaves_the_old_one_serving_until_it_does(world):
    engine = world.start()
    world.broken.add("2")
    world.promote("2")
    until(lambda: engine.failed_switches > 1)
    assert "no files" in engine.trouble
    assert engine.submit([Ask("q", DDL)]).result(5).served.version == "1"
    world.broken.clear()
    until(lambda: engine.served.version == "2")
    until(lambda: engine.trouble == "")


def test_nothing_in_production_does_not_start(world, tmp_path):
    world.ledger.name = "other"
    world.name = "other"
    with pytest.raises(NightshiftError, match="nothing is in Production"):
        world.start()
    world.engine = None


def test_stopping_answers_what_waits(world):
    engine = world.start()
    world.writers["1"].gate.clear()
    futures = [engine.submit([Ask(f"q{n}", DDL)]) for n in range(5)]
    world.writers["1"].gate.set()
    engine.stop()
    assert all(future.result(1).written for future in futures)
