"""Studies: what they resolve to, what they refuse, which candidate makes a row, and a whole one with a tiny model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from flows import studies, study_rows
from flows.elapsed import FILE, Elapsed
from flows.recipe import load_recipe
from flows.runs import as_run, method_text, outcomes_of, settings_of, trained_text
from flows.studies import builtin_studies, load_study, plan_study
from flows.study_report import _not_run, _runs
from flows.study_rows import Ground, candidate_number, settle_row
from flows.trial import Bench
from infra.errors import Away, NightshiftError, UserError
from infra.refs import Ref
from infra.settings import Settings
from tasks.evaluation.runs_tables import progression_table
from tasks.training.trials import TrialResult, read_trials
from tests.commands import nightshift

STUDY = {
    "version": 1,
    "name": "three",
    "title": "Three rows",
    "varies": ["training.lora.r"],
    "reference": "r4",
    "findings": [{"ask": "Is rank 8 better?", "one": "r8", "other": "r4"}],
    "scales": {
        "quickstart": {
            "recipe": "tiny",
            "set": {
                "data.sources": [
                    {"kind": "generated", "seed": 7, "train_per_database": 2, "validation_per_database": 4}
                ],
                "training.stages": [{"name": "all", "global_batch": 8, "max_steps": 3, "learning_rate": 2e-3}],
            },
            "train": 40,
            "validation": 8,
            "test_questions": 4,
            "rows": [
                {"name": "base", "baseline": True},
                {"name": "r4", "search": {"training.stages.0.learning_rate": [1e-3, 2e-3]}},
                {"name": "r8", "set": {"training.lora.r": 8, "training.lora.alpha": 16}},
                {"name": "broken", "set": {"training.lora.targets": ["no_such_layer"]}},
            ],
        }
    },
}


RATE = "training.stages.0.learning_rate"
STAGED = {
    "space": {RATE: {"low": 1e-4, "high": 1e-2, "log": True}},
    "stages": [{"train": 10, "validation": 4, "trials": 3, "keep": 2}, {"train": 20, "keep": 1}, {}],
    "together": 1,
}


def study_file(folder: Path, **changes: object) -> Path:
    content = json.loads(json.dumps(STUDY))
    content["scales"]["quickstart"] |= changes
    path = folder / "three.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("name", builtin_studies())
def test_every_built_in_study_resolves_at_each_of_its_scales(name: str) -> None:
    spec = load_study(name)
    assert spec.name == name
    for scale, at in spec.scales.items():
        plan = plan_study(spec, scale)
        assert [row.spec.name for row in plan.rows] == [row.name for row in at.rows]
        assert len({row.recipes[0].prompt for row in plan.rows}) == 1
        named = {name for question in spec.findings for name in question.runs}
        assert named & {row.spec.name for row in plan.rows}


def test_the_curriculum_and_the_mixture_train_the_same_rows_in_as_many_steps() -> None:
    plan = plan_study(load_study("curriculum"), "quickstart")
    by_name = {row.spec.name: row.recipes[0].training for row in plan.rows}
    for seed in (1, 2, 3):
        curriculum, mixed = by_name[f"curriculum_{seed}"], by_name[f"mixed_{seed}"]
        assert curriculum.seed == mixed.seed == seed
        taught = [difficulty for stage in curriculum.stages for difficulty in stage.data.difficulty]
        assert sorted(taught) == sorted(mixed.stages[0].data.difficulty)  # each difficulty once, nothing replayed
        (shared,) = {(s.learning_rate, s.scheduler, s.global_batch) for s in (*curriculum.stages, *mixed.stages)}
        assert shared == (1.5e-3, "constant_with_warmup", 16)


def test_the_ten_methods_chain_what_they_need() -> None:
    plan = plan_study(load_study("methods"), "quickstart")
    methods = {row.spec.name: method_text(row.recipes[0].training) for row in plan.rows if not row.spec.baseline}
    assert len(methods) == 11  # ten, and QLoRA where there is bitsandbytes
    assert methods["sft_grpo_rm"] == "sft + reward + grpo"
    assert methods["sft_dpo"] == "sft + dpo"
    assert {row.recipes[0].model for row in plan.rows} == {load_recipe("quickstart").model}


def test_rows_have_the_scales_values_then_their_own_then_a_persons(tmp_path: Path) -> None:
    spec = load_study(str(study_file(tmp_path)))
    plan = plan_study(spec, "quickstart", ["training.seed=7", "training.lora.alpha=64"], train=16)
    base, r4, r8, _ = plan.rows
    assert (plan.train, plan.validation, plan.test_questions) == (16, 8, 4)
    assert [recipe.training.stages[0].learning_rate for recipe in r4.recipes] == [1e-3, 2e-3]
    assert (r8.recipes[0].training.lora.r, r8.recipes[0].training.lora.alpha) == (8, 64)
    assert {recipe.training.seed for row in plan.rows for recipe in row.recipes} == {7}
    assert [row.candidates for row in (base, r4, r8)] == [0, 2, 1]
    assert plan.identity() != plan_study(spec, "quickstart").identity()
    for fixed in ("training.stages.0.learning_rate=3e-4", "training.stages=[{name: all, learning_rate: 3.0e-4}]"):
        searched = plan_study(spec, "quickstart", [fixed]).rows[1]  # what a person fixed is not searched
        assert [recipe.training.stages[0].learning_rate for recipe in searched.recipes] == [3e-4]
        assert (searched.values, searched.candidates) == (({},), 1)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"name": "a", "set": {"prompt.format": "plain"}}], "its prompt is not that of the other rows"),
        ([{"name": "a", "recipe": "quickstart"}], "row a: its"),
        ([{"name": "r4", "set": {"trainig.seed": 1}}], "did you mean 'training'"),
        ([{"name": "r4"}, {"name": "r4"}], "must differ"),
        ([{"name": "b", "baseline": True, "search": {"training.seed": [1, 2]}}], "a baseline trains nothing"),
        ([{"name": "r4", "quantize": "nf4"}], "quantize is for a baseline"),
        ([{"name": "r4", "serch": {}}], "did you mean 'search'"),
        ([{"name": "r5"}], "its reference 'r4' is no row"),
        ([{"name": "r4", "search": {"training.seed": list(range(101))}}], "more than 100 combinations"),
        ([{"name": "r4", "sweep": STAGED, "search": {"training.seed": [1, 2]}}], "exclude each other"),
        ([{"name": "b", "sweep": STAGED, "baseline": True}], "a baseline trains nothing"),
        ([{"name": "r4", "sweep": STAGED | {"stages": [{"trials": 99, "keep": 2}, {}]}}], "has 101 trials, more than"),
        ([{"name": "r4", "sweep": STAGED | {"stages": [{"trials": 3, "train": 9}]}}], "sweep has the study's rows"),
        ([{"name": "r4", "sweep": STAGED | {"space": {"model": {"choices": [1, 2]}}}}], "differ in training alone"),
        ([{"name": "r4", "sweep": STAGED | {"space": {"training.sed": {"choices": [1, 2]}}}}], "did you mean 'seed'"),
    ],
)
def test_a_study_that_cannot_be_compared_is_refused(tmp_path: Path, rows: list, said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan_study(load_study(str(study_file(tmp_path, rows=rows))), "quickstart")


def test_names_that_are_wrong_are_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'ranks'"):
        load_study("rank")
    spec = load_study(str(study_file(tmp_path)))
    with pytest.raises(UserError, match="has no scale full"):
        plan_study(spec, "full")
    with pytest.raises(UserError, match="did you mean 'r4'"):
        plan_study(spec, "quickstart").chosen(["r44"])


def test_what_a_recipe_trains_is_said_in_a_line() -> None:
    def said(*overrides: str) -> str:
        return trained_text(load_recipe("quickstart", overrides).training)

    assert said("training.lora={r: 4, alpha: 8, targets: [q_proj, v_proj]}") == "LoRA r 4 on q, v"
    assert said().endswith("from layer 15")
    assert said("training.tune=full") == "all weights"
    assert said("training.stages=[{name: p, method: prompt_tuning}]") == "soft prompt (20, from random rows)"
    assert said("training.quantize=nf4").startswith("QLoRA nf4")
    assert settings_of(load_recipe("tiny"))["training.stages.1.data.replay"] == 0.25


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    settings = Settings(home=tmp_path)
    bench = Bench(settings, settings.open_store(), tmp_path / "work", "code", questions=4, split="test")
    return Ground("key", Ref(kind="dataset", fingerprint="d", key="datasets/d"), bench, 40, 8)


def planted(losses: dict[float, float | None], asked: list) -> object:
    """A `run_trial` that trains nothing: its validation loss follows from the learning rate."""

    def run(trial, recipe, dataset, bench):
        rate = recipe.training.stages[0].learning_rate
        asked.append((trial.number, rate, bench.questions))
        if losses[rate] is None:
            raise NightshiftError("no memory")
        folder = bench.work / str(trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        seconds = Elapsed(folder).seconds // 1 + 10  # every attempt takes ten
        (folder / FILE).write_text(str(seconds))
        return TrialResult(
            **trial.model_dump(include={"number", "name", "stage", "values"}),
            status="finished",
            eval_loss=losses[rate],
            seconds=seconds,
            data_fingerprint="d",
            prompt_fingerprint="p",
        )

    return run


@pytest.mark.parametrize(("losses", "best"), [({1e-3: 0.5, 2e-3: 0.4}, 2e-3), ({1e-3: 0.5, 2e-3: None}, 1e-3)])
def test_the_candidate_with_the_lowest_validation_loss_makes_the_row(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: dict, best: float
) -> None:
    asked: list = []
    monkeypatch.setattr(study_rows, "run_trial", planted(losses, asked))
    row = plan_study(load_study(str(study_file(tmp_path))), "quickstart").rows[1]
    result = settle_row(row, ground)
    assert asked == [(candidate_number(1, 0), 1e-3, 0), (candidate_number(1, 1), 2e-3, 0), (1, best, 4)]
    assert result.values == {"training.stages.0.learning_rate": best}
    assert result.seconds == 20.0  # its training as a candidate, and its answers
    assert settle_row(row, ground) == result
    assert len(asked) == 3  # what is recorded is not run again
    assert [trial.number for trial in read_trials(ground.bench.store, "key")] == [1, 1100, 1101]


class Killed(BaseException):
    """The process is gone."""


def test_a_staged_search_takes_its_best_to_the_next_stage_and_its_winner_makes_the_row(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list = []
    dies_at = [4]

    def run(trial, recipe, dataset, bench):
        rate = recipe.training.stages[0].learning_rate
        if len(asked) == dies_at[0]:
            raise Killed
        asked.append((trial.number, trial.stage, trial.train, trial.validation, bench.questions))
        (bench.work / str(trial.number)).mkdir(parents=True, exist_ok=True)
        told = trial.model_dump(include={"number", "name", "stage", "values"})
        loss = abs(math.log(rate / 1e-3)) + 1 / trial.train
        return TrialResult(
            **told, status="finished", objective=loss, eval_loss=loss, train_rows=trial.train, seconds=1.0,
            data_fingerprint="d", prompt_fingerprint="p",
        )  # fmt: skip

    monkeypatch.setattr(study_rows, "run_trial", run)
    plan = plan_study(load_study(str(study_file(tmp_path, rows=[{"name": "r4", "sweep": STAGED}]))), "quickstart")
    with pytest.raises(Killed):
        settle_row(plan.rows[0], ground)
    dies_at[0] = 10**6
    row = settle_row(plan.rows[0], ground)
    searched = [(candidate_number(0, n), stage, train, rows, 0) for n, stage, train, rows in SEARCHED]
    assert asked == [*searched, (0, 2, 40, 8, 4)]  # nothing is run twice; the row alone is asked test questions
    results = {result.number: result for result in read_trials(ground.bench.store, "key")}
    tried = [results[candidate_number(0, n)] for n in range(6)]
    best = sorted(tried[:3], key=lambda result: result.objective)
    assert [result.values for result in tried[3:]] == [best[0].values, best[1].values, best[0].values]
    assert (row.values, row.stage) == (best[0].values, 2)
    assert not list(ground.bench.work.iterdir())
    settle_row(plan.rows[0], replace(ground, key="other"))
    assert [r.values for r in read_trials(ground.bench.store, "other")] == [r.values for r in results.values()]
    runs, trials = _runs(plan, ground.bench.store, "key")
    table = progression_table(trials)
    assert [r[1:6] for r in table.rows] == [
        ["r4", "1", "10", "–", "3"],
        ["r4", "2", "20", "–", "2"],
        ["r4", "3", "40", "–", "1"],
    ]
    assert [(run.name, run.candidates) for run in runs] == [("r4", 6)]


SEARCHED = [(0, 0, 10, 4), (1, 0, 10, 4), (2, 0, 10, 4), (3, 1, 20, 8), (4, 1, 20, 8), (5, 2, 40, 8)]


def test_a_search_in_which_nothing_finished_is_a_failed_row(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> TrialResult:
        raise NightshiftError("no memory")

    monkeypatch.setattr(study_rows, "run_trial", run)
    plan = plan_study(load_study(str(study_file(tmp_path, rows=[{"name": "r4", "sweep": STAGED}]))), "quickstart")
    result = settle_row(plan.rows[0], ground)
    assert (result.status, result.error) == ("failed", "none of its 3 candidates finished: no memory")
    runs, trials = _runs(plan, ground.bench.store, "key")
    assert [run.status for run in runs] == ["failed"]
    assert len(trials) == 4


def test_a_row_that_this_machine_cannot_run_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "unmet_needs", lambda training: "no such chip" if training.quantize else "")
    monkeypatch.setattr(studies, "unmet_by_four_bits", lambda: "no such chip")
    rows = [
        {"name": "r4"},
        {"name": "q", "label": "QLoRA", "set": {"training.quantize": "nf4"}},
        {"name": "b", "baseline": True, "set": {"training.quantize": "nf4"}},  # asked with whole weights
        {"name": "b4", "baseline": True, "quantize": "nf4"},
    ]
    plan = plan_study(load_study(str(study_file(tmp_path, rows=rows))), "quickstart")
    told = {"r4": "not run yet", "QLoRA": "no such chip", "b": "not run yet", "b4": "no such chip"}
    assert _not_run(plan, set()) == told


def test_a_row_without_any_candidate_that_finished_is_a_failed_row(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_rows, "run_trial", planted({1e-3: None, 2e-3: None}, []))
    plan = plan_study(load_study(str(study_file(tmp_path))), "quickstart")
    result = settle_row(plan.rows[1], ground)
    assert (result.status, result.error) == ("failed", "none of its 2 candidates finished: no memory")
    alone = settle_row(plan.rows[2], replace(ground, key="other"))
    assert (alone.status, alone.error) == ("failed", "no memory")


def test_what_failed_is_forgotten_of_the_rows_that_are_run_again(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.study import _forget_failed

    rows = plan_study(load_study(str(study_file(tmp_path))), "quickstart").rows
    monkeypatch.setattr(study_rows, "run_trial", planted({1e-3: 0.5, 2e-3: None}, []))
    assert [settle_row(row, ground).status for row in rows[1:]] == ["finished", "failed", "failed"]
    found = SimpleNamespace(night=SimpleNamespace(store=ground.bench.store), key="key")
    _forget_failed(found, rows[:3])
    # The failed candidate of a row that has its figures stays told, and so does a failed row that is not run again.
    assert [trial.number for trial in read_trials(ground.bench.store, "key")] == [1, 3, 1100, 1101]


def test_a_store_that_is_away_makes_no_failed_row(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> TrialResult:
        raise Away("the store has not answered")

    monkeypatch.setattr(study_rows, "run_trial", run)
    with pytest.raises(Away):
        settle_row(plan_study(load_study(str(study_file(tmp_path))), "quickstart").rows[2], ground)
    assert read_trials(ground.bench.store, "key") == []


def test_a_trial_without_a_scorecard_any_more_is_compared_by_its_interval(ground: Ground) -> None:
    result = TrialResult(
        number=0, name="a", stage=0, values={}, status="finished", seconds=1800, data_fingerprint="d",
        prompt_fingerprint="p", scorecard_key="scorecards/gone.json",
    )  # fmt: skip
    priced = load_recipe("tiny", ["release.price_per_hour=3.0"])
    run = as_run(result, priced, ground.bench.store)
    assert (run.price, run.metrics, outcomes_of([run], ground.bench.store)) == (1.5, {}, {})


@pytest.mark.night
def test_a_whole_study_is_reported_and_goes_on_where_it_was(project: Path) -> None:
    rows = [row for row in STUDY["scales"]["quickstart"]["rows"] if row["name"] != "r8"]
    stages = [{"train": 16, "validation": 4, "trials": 2, "keep": 1}, {}]
    path = study_file(project, rows=[*rows, {"name": "staged", "sweep": STAGED | {"stages": stages}}])
    code, first = nightshift(project, "study", str(path), "--row", "base", "--row", "broken")
    assert (code, first["failed"], first["missing"]) == (1, ["broken"], ["r4", "staged"])
    code, second = nightshift(project, "study", str(path))
    runs = {run["name"]: run for run in second["comparison"]["runs"]}
    assert (code, list(runs)) == (1, ["base", "r4", "broken", "staged"])
    assert "no_such_layer" in runs["broken"]["error"]
    r4 = runs["r4"]
    assert r4["samples_per_second"] > 0
    assert (r4["trainable"], r4["steps"], r4["candidates"]) == (8192, 3, 2)
    assert {runs[name]["execution_accuracy"]["n"] for name in ("base", "r4", "staged")} == {4}
    trials = [trial for trial in second["comparison"]["trials"] if trial["method"] == "sft"]
    losses = {trial["initial_loss"] for trial in trials if trial["train_rows"] == 40} - {None}
    assert len(losses) == 1  # every trial starts from the same fresh model
    sizes = [(trial["stage"], trial["train_rows"]) for trial in trials if trial["name"].startswith("staged")]
    assert sizes == [("1", 16), ("1", 16), ("2", 40)]
    assert runs["staged"]["data_fingerprint"] == r4["data_fingerprint"] == trials[0]["data_fingerprint"]
    assert {pair["basis"] for pair in second["comparison"]["apart"]["pairs"]} == {"paired answers"}
    code, again = nightshift(project, "study", str(path))
    assert again["key"] == second["key"]
    assert [run["seconds"] for run in again["comparison"]["runs"]] == [run["seconds"] for run in runs.values()]
    assert "Three rows" in (project / again["report"]["html"]).read_text()
