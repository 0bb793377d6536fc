"""The cap on GPU hours: attempts add up, dead ones too; what is over it does not begin and does not go on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import budget
from flows.budget import NOTE_SECONDS, Budget, spent_seconds
from infra.errors import NightshiftError
from infra.store import LocalStore


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def night(folder: Path, cap: float | None) -> Any:
    recipe = SimpleNamespace(infra=SimpleNamespace(max_gpu_hours=cap))
    return SimpleNamespace(id="n1", recipe=recipe, store=LocalStore(folder))


def test_attempts_of_all_steps_add_up_and_the_one_over_the_cap_ends(tmp_path: Path, clock: SimpleNamespace) -> None:
    capped = night(tmp_path, 1.0)
    with Budget(capped, "train") as first:
        clock.seconds += 2000
        first.check()
    assert spent_seconds(capped) == 2000
    with Budget(capped, "evaluate") as second:
        clock.seconds += 1599
        second.check()
        clock.seconds += 1
        with pytest.raises(NightshiftError, match=r"spent its 1 GPU hours in evaluate \(infra.max_gpu_hours\)"):
            second.check()
    assert spent_seconds(capped) == 3600
    with pytest.raises(NightshiftError, match="in train"), Budget(capped, "train"):
        pytest.fail("began although the hours are spent")
    with Budget(night(tmp_path, 2.0), "train") as more:  # the same night with a larger cap
        more.check()


def test_an_attempt_that_dies_has_noted_what_it_took(tmp_path: Path, clock: SimpleNamespace) -> None:
    capped = night(tmp_path, 1.0)
    dead = Budget(capped, "train").__enter__()
    for _ in range(10):
        clock.seconds += NOTE_SECONDS + 1
        dead.check()
    assert spent_seconds(capped) == 10 * (NOTE_SECONDS + 1)


def test_without_a_cap_hours_are_counted_and_nothing_ends(tmp_path: Path, clock: SimpleNamespace) -> None:
    free = night(tmp_path, None)
    with Budget(free, "train") as budget_:
        clock.seconds += 1e6
        budget_.check()
    assert spent_seconds(free) == 1e6


def test_an_account_that_cannot_be_written_ends_nothing(tmp_path: Path, clock: SimpleNamespace) -> None:
    capped = night(tmp_path, 1.0)
    capped.store.write_json = lambda *_: (_ for _ in ()).throw(OSError("the store is full"))
    with Budget(capped, "train") as one:
        clock.seconds += NOTE_SECONDS + 1
        one.check()
