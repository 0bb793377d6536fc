"""Searches with the tiny model, through the command line: killed, shared, and one trial beside another."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from flows.trial import run_trial
from tasks.training.trials import Trial
from tests.commands import Place
from tests.flows.trials import FAST, bench_in, dataset_of, tiny

SEARCH = (
    "sweep={space: {'training.stages.*.learning_rate': {low: 1.0e-4, high: 1.0e-2, log: true}},"
    " stages: [{train: 24, validation: 8, trials: 3, keep: 1}, {train: 40}], together: 2}"
)
SWEEP = ["sweep", "tiny", *(part for override in (*FAST, SEARCH) for part in ("--set", override)), "--json"]


def tried(place: Place) -> list[tuple[int, int, dict[str, Any]]]:
    (folder,) = (place.folder / ".nightshift" / "store" / "sweeps").iterdir()
    found = [json.loads(path.read_text()) for path in folder.glob("trials/*.json")]
    return sorted((trial["number"], trial["stage"], trial["values"]) for trial in found)


@pytest.mark.cluster
def test_a_search_killed_three_times_ends_with_the_trials_of_an_undisturbed_one(tmp_path: Path) -> None:
    place, chance, kills = Place(tmp_path / "killed"), random.Random(), []
    place.folder.mkdir()
    for _ in range(3):
        process = place.start_silently(*SWEEP)
        recorded = place.folder.glob(".nightshift/store/sweeps/*/trials/*.json")
        begun = _stages(place)
        deadline = time.monotonic() + 900
        while process.poll() is None and _stages(place) == begun and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(chance.random() * 5)
        if process.poll() is None:
            process.kill()
            kills.append(len(list(recorded)))
        process.wait()
    assert kills, "the search was over before it could be killed"
    code, outcome, err = place.run(*SWEEP)
    assert code == 0, err
    undisturbed = Place(tmp_path / "undisturbed")
    undisturbed.folder.mkdir()
    assert undisturbed.run(*SWEEP)[0] == 0
    assert tried(place) == tried(undisturbed)
    assert outcome["winner"]["stage"] == 1


def _stages(place: Place) -> int:
    """Trainings begun so far."""
    return len(list(place.folder.glob(".nightshift/work/sweeps/*/*/job.json")))


@pytest.mark.night
def test_a_search_goes_on_after_a_kill_and_writes_its_winner_as_a_diff(project: Path) -> None:
    place = Place(project)
    process = place.start_silently(*SWEEP)
    deadline = time.monotonic() + 600
    while not list(project.glob(".nightshift/store/sweeps/*/trials/0.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    (kept,) = project.glob(".nightshift/store/sweeps/*/trials/0.json")
    before = kept.read_bytes()
    code, outcome, err = place.run(*SWEEP, "--workers", "2")
    assert code == 0, err
    assert kept.read_bytes() == before
    assert [trial["number"] for trial in outcome["trials"]] == [0, 1, 2, 3]
    assert {trial["status"] for trial in outcome["trials"]} == {"finished"}
    best = min(outcome["trials"][:3], key=lambda trial: trial["objective"])
    assert outcome["trials"][3]["carried_from"] == best["number"]
    assert outcome["winner"]["values"] == best["values"]
    # Same model, rows and prompt: the same loss before the first step.
    assert len({trial["initial_loss"] for trial in outcome["trials"][:3]}) == 1
    rate = best["values"]["training.stages.*.learning_rate"]
    written = f"+    [{{name: all, global_batch: 8, max_steps: 4, learning_rate: {rate}}}]"
    assert written in outcome["files"]["change"].splitlines()
    planned = place.run("retrain", outcome["files"]["recipe"], "--dry-run", "--json")
    assert planned[1]["outcome"] == "planned"


@pytest.mark.cluster
def test_a_trial_alone_is_the_tenth_of_a_search(tmp_path: Path) -> None:
    recipe, models = tiny(), tmp_path / "models"
    values = {"training.stages.0.learning_rate": 3e-3}
    searched = bench_in(tmp_path / "searched", models)
    dataset = dataset_of(recipe, searched.store, tmp_path / "dataset")
    results = []
    for number in range(10):
        rate = 3e-3 if number == 9 else 1e-4 * 2**number
        own = tiny(f"training.stages.0.learning_rate={rate}")
        results.append(run_trial(Trial(number=number, name=f"trial {number}", train=40), own, dataset, searched))
    alone = bench_in(tmp_path / "alone", models)
    dataset = dataset_of(recipe, alone.store, tmp_path / "dataset-alone")
    own = tiny("training.stages.0.learning_rate=3.0e-3")
    single = run_trial(Trial(number=0, name="alone", values=values, train=40), own, dataset, alone)
    assert {result.initial_loss for result in results} == {single.initial_loss}
    assert results[9].final_loss == pytest.approx(single.final_loss, rel=1e-4)
    assert results[9].eval_loss == pytest.approx(single.eval_loss, rel=1e-4)
    assert results[0].final_loss != pytest.approx(single.final_loss, rel=1e-4)
