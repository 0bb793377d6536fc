"""A search of a recipe: what may be searched, its key, its trials on pools, and its winner as a change."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.states import Completed

from flows import sweep as flow
from flows.night import freeze
from flows.recipe import builtin_recipes, load_recipe
from flows.searching import Sweep, freeze_sweep, open_sweep, plan_sweep
from flows.winner import as_overrides, keep_winner, local_winner, summarise
from infra.errors import NightshiftError, UserError
from infra.settings import Settings
from tasks.training.trials import record_trial
from tests.tasks.training.planted import result_of

SPACE = "sweep.space"


def planned(home: Path, *overrides: str) -> Sweep:
    return plan_sweep(load_recipe("tiny", overrides), settings=Settings(home=home))


def run_on_pool(now: Sweep, started: list[tuple[str, str, tuple[str, ...]]]) -> Any:
    """A stand-in for a deployment run: it records the trial that it is named."""
    lock = threading.Lock()

    def dispatch(runs: Any, step: str, pools: tuple[str, ...], name: str, patience: float) -> None:
        with lock:
            started.append((runs.parameter, name, pools))
        number = int(name.rpartition("/")[2])
        (trial,) = [t for t in open_sweep(now.id, now.settings).stands().chosen if t.number == number]
        rate = trial.values["training.stages.*.learning_rate"]
        record_trial(now.store, now.id, result_of(trial, rate, train_rows=24))

    return dispatch


def test_trials_on_pools_are_started_once_each_and_read_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = planned(tmp_path, "infra.train=[gpu-t4, gpu-l4]")
    freeze(now.night, "test")
    freeze_sweep(now, "test")
    started: list[Any] = []
    monkeypatch.setattr(flow, "dispatch", run_on_pool(now, started))
    course = flow.search(now, "", workers=2, deployed=True)
    assert sorted(started) == [("trial", f"{now.id}/{number}", ("gpu-t4", "gpu-l4")) for number in range(5)]
    outcome = summarise(now, course)
    assert (outcome["outcome"], outcome["reason"]) == ("finished", "every stage is done")
    assert [(s["trials"], s["carried"], s["finished"]) for s in outcome["stages"]] == [(3, 0, 3), (2, 2, 2)]
    rates = [t["values"]["training.stages.*.learning_rate"] for t in outcome["trials"]]
    assert outcome["winner"]["objective"] == min(rates[:3]) == rates[3]
    flow.search(now, "", workers=2, deployed=True)
    assert len(started) == 5
    monkeypatch.setattr(flow, "dispatch", lambda *_: None)  # a run that ended and left nothing
    fresh = planned(tmp_path, "sweep.seed=1")
    with pytest.raises(NightshiftError, match="recorded nothing"):
        flow.search(fresh, "", workers=1, deployed=True)


def test_the_winner_is_a_recipe_with_its_comments_and_a_diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    now = planned(tmp_path / "home", "training.seed=7")
    values = {"training.stages.*.learning_rate": 1e-05, "training.lora.r": 8}
    text = builtin_recipes()["tiny"].read_text()
    files = local_winner(now, keep_winner(now, text, "tiny.yaml", ["training.seed=7"], values))
    recipe = load_recipe(files["recipe"])
    assert {stage.learning_rate for stage in recipe.training.stages} == {1e-05}
    assert (recipe.training.lora.r, recipe.training.seed) == (8, 7)
    assert "# the byte tokenizer needs a token a character" in Path(files["recipe"]).read_text()
    assert "\n-  lora: {r: 4, alpha: 8}\n+  lora: {r: 8, alpha: 8}\n" in Path(files["diff"]).read_text()
    # The same values as `--set` takes them: PyYAML reads 1e-05 as text.
    again = load_recipe("tiny", ["training.seed=7", *as_overrides(values)])
    assert again.identity() == recipe.identity()


def test_the_winner_is_challenger_of_an_ordinary_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def retrain(recipe: str, overrides: tuple[str, ...], reason: str, return_state: bool) -> Any:
        asked.append((load_recipe(recipe, overrides).training, reason))
        return Completed(data={"outcome": "rejected", "reason": "a gate failed", "version": "3"})

    monkeypatch.setattr("flows.retrain.retrain", retrain)
    now = planned(tmp_path)
    (trial, *_) = now.stands().trials
    told = flow.challenge(now, "tiny", ("training.seed=7",), result_of(trial, 1.0))
    (training, reason) = asked[0]
    assert training.seed == 7
    assert {stage.learning_rate for stage in training.stages} == {trial.values["training.stages.*.learning_rate"]}
    assert training.lora.r == trial.values["training.lora.r"]
    assert reason == f"winner of sweep {now.id}, trial 0"
    assert (told["outcome"], told["version"]) == ("rejected", "3")


def test_a_searchs_key_is_that_of_its_night_and_its_space(tmp_path: Path) -> None:
    one = planned(tmp_path)
    assert planned(tmp_path).id == one.id
    assert planned(tmp_path, "sweep.seed=1").id != one.id
    assert planned(tmp_path, "sweep.seed=1").night.id == one.night.id  # the data are prepared once
    assert planned(tmp_path, "data.sources.0.train_per_database=7").id != one.id
    one.store.write_json(f"sweeps/{one.id}/outcome.json", {})
    assert plan_sweep(load_recipe("tiny"), True, Settings(home=tmp_path)).id == f"{one.id}-2"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sweep=null", "recipe tiny has no search; add one, for example: sweep: {space:"),
        (f"{SPACE}={{training.lora.rank: {{choices: [1, 2]}}}}", "unknown key 'training.lora.rank'"),
        (f"{SPACE}={{training.stages.9.warmup: {{choices: [0.1, 0.2]}}}}", "a list of 3"),
        (f"{SPACE}={{training.lora.r: {{choices: [-1, -2]}}}}", "greater than or equal to 1"),
        (f"{SPACE}={{gates.0.min: {{low: 0.1, high: 0.2}}}}", "gates.0.min cannot be searched; paths begin with model"),
        (f"{SPACE}={{data.splits.test_share: {{low: 0.1, high: 0.2}}}}", "decides on which rows trials are compared"),
        (f"{SPACE}={{}}", "sweep.space"),
        ("sweep.stage=[]", "did you mean 'stages'"),
        ("sweep.stages.0.trails=3", "did you mean 'trials'"),
    ],
)
def test_mistakes_in_a_search_are_one_line(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        planned(tmp_path, override)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_halving_is_for_methods_whose_loss_says_how_good_a_model_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sweep\.halving compares training losses, and those of grpo"):
        plan_sweep(
            load_recipe("tiny_grpo", [f"sweep={yaml.safe_dump(_search(), default_flow_style=True)}"]),
            settings=Settings(home=tmp_path),
        )


def _search() -> dict[str, Any]:
    return {"space": {"training.seed": {"choices": [1, 2]}}, "stages": [{"trials": 2}], "halving": {}}


def test_optuna_never_shares_mlflows_database(tmp_path: Path) -> None:
    recipe, home = load_recipe("tiny"), Settings(home=tmp_path)
    with pytest.raises(UserError, match="needs one of its own"):
        plan_sweep(recipe, settings=Settings(home=tmp_path, optuna=home.default_tracking_uri))
