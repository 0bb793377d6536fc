"""A run whose process died goes on with its own night, whatever that night would be if it were planned now."""

from __future__ import annotations

from pathlib import Path

from flows.night import Night, begun_by, freeze, plan_night
from flows.recipe import load_recipe
from infra.settings import Settings


def decided(night: Night, run: str) -> Night:
    freeze(night, "test", run)
    night.finish("retrain", {"outcome": "promoted"})
    return night


def test_a_forced_run_keeps_its_attempt_in_its_next_life(tmp_path: Path) -> None:
    settings, tiny = Settings(home=tmp_path), load_recipe("tiny")
    assert begun_by("a", settings) is None
    first = decided(plan_night(tiny, True, settings), "a")
    second = decided(plan_night(tiny, True, settings), "b")
    assert (first.attempt, second.attempt) == (1, 2)
    assert plan_night(tiny, True, settings).attempt == 3
    # Its process died before the run's end was known: planned anew, it would train and promote once more.
    for run, night in (("a", first), ("b", second)):
        again = begun_by(run, settings)
        assert again is not None
        assert (again.id, again.recipe, again.sources) == (night.id, night.recipe, night.sources)
