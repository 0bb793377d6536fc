"""The search: what it finds on a surface with a known optimum, its stages and budget, and that it can be replayed."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from pydantic import ValidationError

from infra.errors import UserError
from tasks.training.search.budget import gpu_hours, wall_hours
from tasks.training.search.mirror import mirror
from tasks.training.search.space import Choices, Range, grid, size
from tasks.training.search.stages import course
from tests.tasks.training.planted import FULL, SPACE, Surface, result_of, searched, spec_of

CHEAP = [{"train": 100, "trials": 6, "keep": 2}, {"train": 200, "trials": 3, "keep": 1}, {}]


@pytest.mark.parametrize("seed", [1])
def test_a_staged_search_finds_the_planted_optimum_with_a_third_of_a_grids_budget(seed: int) -> None:
    surface = Surface(seed)
    now, results = searched(spec_of(seed=seed), surface)
    assert now.winner is not None
    assert now.winner.values == surface.optimum
    points = size(spec_of().space)
    assert points == 480
    assert len(results) <= points / 3
    assert sum(result.train_rows for result in results) <= points * FULL / 3


def test_the_surface_is_no_gift() -> None:
    # The best of as many random points as the search tries is another one, and so is the best on few rows.
    surface = Surface(1)
    points = list(grid(spec_of().space))
    chance = random.Random(0)
    drawn = [min(chance.sample(points, 80), key=lambda v: surface.loss(v, FULL)) for _ in range(40)]
    assert sum(values == surface.optimum for values in drawn) < 12


def test_a_killed_search_goes_on_to_the_same_trials() -> None:
    spec = spec_of(stages=[{"train": 100, "trials": 14, "keep": 3}, {"trials": 5}], together=3)
    surface = Surface(3)
    _, undisturbed = searched(spec, surface)
    chance = random.Random(5)
    for _ in range(3):
        kills = sorted(chance.sample(range(1, len(undisturbed)), 3))
        # What was recorded when the process died: any part of the trials that were chosen together.
        results: list[Any] = []
        for kill in kills:
            while len(results) < kill:
                waiting = list(course(spec, results, FULL).trials)
                trial = chance.choice(waiting)
                results.append(result_of(trial, surface.loss(trial.values, trial.train or FULL)))
        while waiting := list(course(spec, results, FULL).trials):
            trial = chance.choice(waiting)
            results.append(result_of(trial, surface.loss(trial.values, trial.train or FULL)))
        assert sorted((r.number, r.stage, str(r.values)) for r in results) == [
            (r.number, r.stage, str(r.values)) for r in undisturbed
        ]


def test_no_point_is_tried_twice_in_a_stage_and_kept_ones_come_again() -> None:
    now, results = searched(spec_of(stages=CHEAP), Surface(2))
    stages = [[r for r in results if r.stage == place] for place in range(3)]
    assert [len(stage) for stage in stages] == [6, 3, 1]
    for stage in stages:
        assert len({str(r.values) for r in stage}) == len(stage)
    for before, after in itertools.pairwise(stages):
        ranked = sorted(before, key=lambda r: r.objective)
        # The incumbent first.
        assert [r.values for r in after[: len(CHEAP[before[0].stage].get("keep", 1) * [0])]] == [
            r.values for r in ranked[: CHEAP[before[0].stage].get("keep", 1)]
        ]
    assert now.carried == {6: min(stages[0], key=lambda r: r.objective).number, **now.carried}
    assert now.winner == stages[2][0]


def test_trials_are_chosen_together_without_knowing_of_each_other() -> None:
    spec = spec_of(stages=[{"trials": 12}], together=4)
    surface = Surface(2)
    first = course(spec, [], FULL)
    assert len(first.trials) == 4
    results = [result_of(t, surface.loss(t.values, FULL)) for t in first.trials]
    # The slow one is still running: nothing new is chosen, and what is waited for is what it was.
    assert course(spec, results[:3], FULL).trials == first.trials[3:]
    assert course(spec, results[1:], FULL).trials == first.trials[:1]
    assert [t.number for t in course(spec, results, FULL).trials] == [4, 5, 6, 7]


def test_a_grid_tries_every_point_once() -> None:
    space = {"a": {"choices": [1, 2, 3]}, "b": {"low": 0.0, "high": 0.2, "step": 0.1}}
    spec = spec_of(space=space, sampler="grid", stages=[{"keep": 2}, {}], together=4)
    results: list[Any] = []
    while (now := course(spec, results, FULL)).trials:
        results += [result_of(t, t.values["a"] + t.values["b"]) for t in now.trials]
    assert [r.values for r in results[:9]] == list(grid(spec.space))
    assert [r.values for r in results[9:]] == [{"a": 1, "b": 0.0}, {"a": 1, "b": 0.1}]
    assert now.winner.values == {"a": 1, "b": 0.0}


def test_failed_trials_are_results_and_are_kept_away_from() -> None:
    spec = spec_of(space={"a": {"low": 1, "high": 1000}}, stages=[{"trials": 30, "keep": 1}, {}], seed=3)
    results: list[Any] = []
    while (now := course(spec, results, FULL)).trials:
        # Everything above 300 runs out of memory; 150 is best.
        results += [
            result_of(t, abs(t.values["a"] - 150) / 1000 if t.values["a"] <= 300 else None, error="no memory")
            for t in now.trials
        ]
    failed = [r for r in results if r.status == "failed"]
    assert failed
    assert now.winner.values["a"] <= 300
    late = [r for r in results[15:30] if r.status == "failed"]
    assert len(late) < 11  # seven of ten points drawn at random would fail


def test_a_search_without_a_finished_trial_ends_without_a_winner() -> None:
    spec = spec_of(stages=CHEAP)
    results: list[Any] = []
    while (now := course(spec, results, FULL)).trials:
        results += [result_of(trial, None, error="no memory") for trial in now.trials]
    assert (now.winner, now.why) == (None, "no trial finished")
    assert len(results) == 6


def test_more_is_better_for_execution_accuracy() -> None:
    spec = spec_of(objective="execution_accuracy", stages=[{"trials": 4, "keep": 1}, {}])
    results: list[Any] = []
    while (now := course(spec, results, FULL)).trials:
        results += [result_of(t, 0.1 * t.number if t.number < 4 else 0.9) for t in now.trials]
    assert now.winner.number == 4
    assert now.winner.values == results[3].values


@pytest.mark.parametrize("trials", [4, 6, 9])
def test_a_budget_of_trials_leaves_what_later_stages_take_over(trials: int) -> None:
    spec = spec_of(stages=CHEAP, budget={"trials": trials})
    now, results = searched(spec, Surface(2))
    assert len(results) == trials
    assert now.winner.stage == 2
    assert now.why == ("every stage is done" if trials > 9 else "the budget is spent")


def test_a_budget_of_hours_leaves_time_for_the_last_stage() -> None:
    spec = spec_of(
        stages=[{"train": 100, "trials": 50, "keep": 2}, {"train": 1000}], budget={"gpu_hours": 1.0}, together=1
    )
    results: list[Any] = []
    while (now := course(spec, results, 1000)).trials:
        results += [result_of(t, t.number + 1.0, seconds=1.0 * t.train, train_rows=t.train) for t in now.trials]
    # 3,600 s: two of 1,000 s at the end, sixteen of 100 s before them.
    assert [sum(r.stage == place for r in results) for place in range(2)] == [16, 2]
    assert gpu_hours(results) <= 1.0
    assert now.winner.stage == 1


def test_halving_ends_what_falls_behind_and_never_what_was_kept() -> None:
    halving = {"at": [0.5], "factor": 2.0}
    spec = spec_of(
        space={"a": {"low": 1, "high": 1000}}, stages=[{"trials": 16, "keep": 2}, {"trials": 4}], halving=halving
    )
    results: list[Any] = []
    while (now := course(spec, results, FULL)).trials:
        for trial in now.trials:
            (rung,) = trial.rungs
            loss = trial.values["a"] / 1000
            if trial.number < 4 or trial.number in now.carried:
                assert rung.worst is None
            behind = rung.worst is not None and loss > rung.worst
            result = result_of(trial, None if behind else loss, rungs=[(0.5, loss)])
            results.append(result.model_copy(update={"status": "pruned"}) if behind else result)
    first = [r for r in results if r.stage == 0]
    ended = [r for r in first if r.status == "pruned"]
    assert 3 <= len(ended) <= 12
    # Each was looked at against those before its own lot.
    for r in ended:
        before = sorted(other.rungs[0][1] for other in first if other.number < r.number // 4 * 4)
        assert r.rungs[0][1] > before[(len(before) + 1) // 2 - 1]
    assert min(r.values["a"] for r in first) == now.winner.values["a"] or now.winner.stage == 1
    assert [r.values for r in results[16:18]] == [r.values for r in sorted(first, key=lambda r: r.rungs[0][1])[:2]]


def test_hours_of_trials_side_by_side_count_once() -> None:
    trial = course(spec_of(), [], FULL).trials[0]
    spans = [(0, 100), (50, 150), (400, 500)]
    results = [result_of(trial, 1.0, seconds=float(b - a), ended=float(b)) for a, b in spans]
    assert wall_hours(results) == pytest.approx(250 / 3600)
    assert gpu_hours(results) == pytest.approx(300 / 3600)


def test_numbers_are_drawn_within_their_bounds_and_as_people_write_them() -> None:
    chance = random.Random(1)
    rates = [Range(low=1e-5, high=1e-2, log=True).draw(chance) for _ in range(300)]
    assert all(1e-5 <= rate <= 1e-2 and len(f"{rate:.3e}") <= len("1.234e-05") for rate in rates)
    assert sum(rate < 1e-4 for rate in rates) == pytest.approx(100, abs=30)
    assert {Range(low=2, high=8, step=2).draw(chance) for _ in range(99)} == {2, 4, 6, 8}
    assert {type(Range(low=1, high=5).draw(chance)) for _ in range(9)} == {int}
    assert Choices(choices=["1e-4", "1e-3"]).choices == (1e-4, 1e-3)
    assert Choices(choices=["1e-4", "adam"]).is_scale is False


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"space": {"a": {"low": 2, "high": 1}}}, "low 2 is not below high 1"),
        ({"space": {"a": {"low": 0, "high": 1, "log": True}}}, "needs low above 0"),
        ({"space": {"a": {"choices": [1, 1]}}}, "stands there twice"),
        ({"space": {"a": {"lo": 1}}}, "Extra inputs"),
        ({"stages": [{"train": 10, "trials": 2}, {"train": 5}]}, "train goes from 10 to 5"),
        ({"stages": [{"trials": 4, "keep": 3}, {"trials": 2}]}, "too few for 3 kept"),
        ({"stages": [{}]}, "needs trials"),
        ({"stages": CHEAP, "budget": {"trials": 3}}, "3 trials are too few"),
    ],
)
def test_a_search_that_contradicts_itself_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec_of(**changed)


def test_a_grid_without_an_end_is_refused() -> None:
    with pytest.raises(UserError, match="needs a step, or choices"):
        course(spec_of(space={"a": {"low": 0.1, "high": 1.0}}, sampler="grid", stages=[{}]), [], FULL)


def test_optunas_database_shows_what_is_recorded_once(tmp_path: Any) -> None:
    import optuna

    spec = spec_of(stages=[{"trials": 5}])
    trials = course(spec, [], FULL).trials
    results = [result_of(t, None if t.number == 1 else t.number + 0.5, error="no memory") for t in trials]
    url = f"sqlite:///{tmp_path}/optuna.db"
    mirror(url, "s", spec, results[:2])
    mirror(url, "s", spec, results)
    study = optuna.load_study(storage=url, study_name="s")
    assert [t.user_attrs["number"] for t in study.trials] == [0, 1, 2, 3]
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert study.best_value == 0.5
    assert study.trials[2].user_attrs["values"] == results[2].values
    assert set(study.trials[0].params) == set(SPACE)
