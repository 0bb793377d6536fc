"""Attempts of a night: a forced run gets another one, and keeps it when its process dies after the decision."""

from __future__ import annotations

from pathlib import Path

from flows.night import Night, freeze, plan_night
from flows.recipe import load_recipe
from infra.settings import Settings


def decided(night: Night, run: str) -> Night:
    freeze(night, "test", run)
    night.finish("retrain", {"outcome": "promoted"})
    return night


def test_a_forced_run_keeps_its_attempt_in_its_next_life(tmp_path: Path) -> None:
    settings, tiny = Settings(home=tmp_path), load_recipe("tiny")
    first = decided(plan_night(tiny, True, settings, run="a"), "a")
    assert first.attempt == 1
    second = plan_night(tiny, True, settings, run="b")
    assert second.attempt == 2
    decided(second, "b")
    # Its process died before the run's end was known: the same run again must not train and promote once more.
    assert plan_night(tiny, True, settings, run="b").attempt == 2
    assert plan_night(tiny, True, settings, run="c").attempt == 3
    assert plan_night(tiny, True, settings).attempt == 3
    assert plan_night(tiny, False, settings, run="c").attempt == 1
