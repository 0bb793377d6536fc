"""Searches with the tiny model, through the command line: killed, shared, and one trial beside another."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.searching import open_sweep, prepared
from flows.trial import run_trial
from infra.settings import Settings
from tasks.training.trials import Trial
from tests.commands import HANGS, Place
from tests.flows.trials import FAST

SEARCH = (
    "sweep={space: {'training.stages.*.learning_rate': {low: 1.0e-4, high: 1.0e-2, log: true}},"
    " stages: [{train: 24, validation: 8, trials: 3, keep: 1}, {train: 40}], together: 2}"
)
SWEEP = ["sweep", "tiny", *(part for override in (*FAST, SEARCH) for part in ("--set", override)), "--json"]


def tried(place: Place) -> list[tuple[int, int, dict[str, Any]]]:
    (folder,) = (place.folder / ".nightshift" / "store" / "sweeps").iterdir()
    found = [json.loads(path.read_text()) for path in folder.glob("trials/*.json")]
    return sorted((trial["number"], trial["stage"], trial["values"]) for trial in found)


def another_place(folders: pytest.TempPathFactory, home: Path) -> Place:
    """A second folder as `project` gives one."""
    place = Place(folders.mktemp("another"))
    shutil.copytree(home, place.folder / ".nightshift")
    return place


@pytest.mark.cluster
def test_a_search_killed_three_times_ends_with_the_trials_of_an_undisturbed_one(
    project: Path, tmp_path_factory: pytest.TempPathFactory, tiny_home: Path
) -> None:
    place, chance, kills = Place(project), random.Random(), []
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
    undisturbed = another_place(tmp_path_factory, tiny_home)
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
def test_two_processes_of_two_workers_share_a_search_and_run_no_trial_twice(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, tiny_home: Path
) -> None:
    place = Place(tmp_path)  # empty: both make the databases, too
    both = [place.start(*SWEEP, "--workers", "2") for _ in range(2)]
    ended = [(process.communicate(timeout=HANGS), process.returncode) for process in both]
    assert [code for _, code in ended] == [0, 0], [err for (_, err), _ in ended]
    first, second = (json.loads(out) for (out, _), _ in ended)
    assert first["winner"] == second["winner"]
    with closing(sqlite3.connect(place.folder / ".nightshift" / "prefect" / "prefect.db")) as database:
        asked = "SELECT name, count(*) FROM task_run WHERE name LIKE 'trial %' GROUP BY name ORDER BY name"
        assert database.execute(asked).fetchall() == [(f"trial {number}", 1) for number in range(4)]
    alone = another_place(tmp_path_factory, tiny_home)
    assert alone.run(*SWEEP)[0] == 0
    assert tried(place) == tried(alone)


TEN = (
    "sweep={space: {'training.stages.*.learning_rate': {low: 1.0e-4, high: 1.0e-2, log: true}},"
    " stages: [{train: 40, validation: 8, trials: 10}], together: 5}"
)


@pytest.mark.cluster
def test_a_trial_alone_is_the_tenth_of_a_search(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(project)
    asked = ["sweep", "tiny", *(part for override in (*FAST, TEN) for part in ("--set", override)), "--json"]
    code, outcome, err = place.run(*asked)
    assert code == 0, err
    tenth = outcome["trials"][9]
    monkeypatch.chdir(project)
    now = open_sweep(outcome["sweep"], Settings())
    bench = replace(now.bench(""), work=project / "alone")
    trial = Trial(number=0, name="alone", train=40, validation=8)
    single = run_trial(trial, now.with_values(tenth["values"]), prepared(now.night), bench)
    assert {trial["initial_loss"] for trial in outcome["trials"]} == {single.initial_loss}
    assert tenth["final_loss"] == pytest.approx(single.final_loss, rel=1e-4)
    assert tenth["eval_loss"] == pytest.approx(single.eval_loss, rel=1e-4)
    assert outcome["trials"][0]["final_loss"] != pytest.approx(single.final_loss, rel=1e-4)
