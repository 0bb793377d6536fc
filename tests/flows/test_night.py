"""Whole nights with a tiny random model, through the command line, as a user runs them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from infra.hashing import fingerprint_of_folder
from tests.commands import HANGS, Place, kill_night, wait_for

RETRAIN = ["retrain", "tiny", "--json"]


class Nights(Place):
    """A place whose finished stages are looked at."""

    def stage_markers(self) -> dict[str, int]:
        """Finished stages in the store: key -> time of writing."""
        found = self.folder.glob(".nightshift/store/stages/*/stage.json")
        return {path.parent.name: path.stat().st_mtime_ns for path in found}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """An empty folder: its first night makes the databases and the model, too."""
    return Nights(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def first(place: Nights) -> dict[str, Any]:
    code, outcome, err = place.run(*RETRAIN)
    assert code == 0, err
    return outcome


def test_the_first_night_promotes(first: dict[str, Any], place: Nights) -> None:
    assert first["outcome"] == "promoted"
    assert first["version"] == "1"
    assert first["champion"] is None
    assert {gate["status"] for gate in first["gates"]} == {"pass"}
    assert set(first["seconds"]) == {"prepare", "train", "evaluate", "promote", "total"}
    assert [stage["name"] for stage in first["stages"]] == ["easy", "medium", "hard"]
    assert "execution_accuracy" in first["metrics"]
    report = place.folder / first["report"]
    html = report.read_text()
    assert "promoted" in html.lower()
    assert "https://" not in html
    (docs,) = re.findall(r'<a href="([^"]+)">Data Docs</a>', html)
    assert (report.parent / docs).is_file()


def test_what_the_night_leaves_for_other_machines_names_no_folder_of_this_one(
    first: dict[str, Any], place: Nights
) -> None:
    store = place.folder / ".nightshift" / "store"
    folder = store / "nights" / first["night"]
    (docs,) = re.findall(r'<a href="([^"]+)">Data Docs</a>', (folder / "report.html").read_text())
    assert (folder / docs).is_file()
    for path in (*folder.rglob("*.json"), folder / "report.html"):
        assert str(place.folder) not in path.read_text(), path.name
    assert (store / json.loads((folder / "retrain.json").read_text())["report"]).is_file()


def test_the_release_is_in_production_and_in_the_ledger(first: dict[str, Any], place: Nights) -> None:
    _, releases, _ = place.run("releases", "--json")
    assert [(r["version"], r["aliases"], r["stage"], r["verdict"]) for r in releases] == [
        ("1", ["Production"], "Production", "pass")
    ]
    _, history, _ = place.run("history", "--json")
    assert [(e["number"], e["version"], e["night"]) for e in history] == [(1, "1", first["night"])]


def test_mlflow_holds_parameters_curves_inputs_and_files(first: dict[str, Any], place: Nights) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.folder}/.nightshift/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    kinds = sorted(run.data.tags["nightshift.kind"] for run in runs)
    assert kinds == ["night", "scorecard", "scorecard", "stage", "stage", "stage"]
    night = next(run for run in runs if run.data.tags["nightshift.kind"] == "night")
    assert night.data.tags["nightshift.night"] == first["night"]
    assert night.data.params["model"] == "random:llama-tiny"
    assert {tag.value for d in night.inputs.dataset_inputs for tag in d.tags} == {"training", "evaluation"}
    assert {a.path for a in client.list_artifacts(night.info.run_id)} >= {"report.html", "data_docs", "adapter"}
    stage = next(run for run in runs if run.info.run_name == "stage 2 medium")
    assert len(client.get_metric_history(stage.info.run_id, "loss")) == first["stages"][1]["steps"]
    assert stage.data.metrics["eval_perplexity"] == pytest.approx(math.exp(stage.data.metrics["eval_loss"]))
    assert (stage.data.metrics["dropped"], stage.data.metrics["tables_dropped"]) == (0, 0)
    assert all(run.info.status == "FINISHED" for run in runs)


def test_production_answers_with_sql_and_rows_read_only(first: dict[str, Any], place: Nights) -> None:
    import sqlite3

    path = place.folder / "cars.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE cars (id INTEGER, name TEXT); INSERT INTO cars VALUES (1, 'Fiat');")
    connection.close()
    before = path.read_bytes()
    code, answer, err = place.run("ask", "How many cars are there?", "--database", str(path), "--json")
    assert answer is not None, err
    assert answer["version"] == "1"
    assert code == (0 if answer["status"] == "ok" else 1)  # a random model hardly writes SQL
    assert path.read_bytes() == before


def test_production_is_evaluated_as_the_night_did(first: dict[str, Any], place: Nights) -> None:
    [judged] = [
        found
        for path in place.folder.glob(".nightshift/store/scorecards/*.json")
        if (found := json.loads(path.read_text()))["subject"]["role"] == "challenger"
    ]
    asked = {example["id"]: example["prediction"] for example in judged["examples"]}
    [test] = place.folder.glob(".nightshift/store/datasets/*/test.jsonl")
    rows = [line for line in test.read_text().splitlines() if json.loads(line)["id"] in asked]
    (place.folder / "asked.jsonl").write_text("\n".join(rows))
    arguments = ("--data", "asked.jsonl", "--recipe", "tiny", "--predictions", "p.jsonl", "--json", "-")
    code, card, err = place.run("evaluate", "Production", *arguments)
    assert code == 0, err
    assert card["subject"]["role"] == "champion"
    assert card["subject"]["name"] == f"{first['release']} version 1"
    assert {example["id"]: example["prediction"] for example in card["examples"]} == asked
    assert card["metrics"]["execution_accuracy"]["value"] == first["metrics"]["execution_accuracy"]


def test_the_same_night_again_has_nothing_new(first: dict[str, Any], place: Nights) -> None:
    code, outcome, err = place.run(*RETRAIN)
    assert code == 0, err
    assert outcome["outcome"] == "nothing_new"
    assert outcome["night"] == first["night"]
    assert len(place.run("releases", "--json")[1]) == 1


@pytest.mark.night
def test_data_that_drifted_end_the_night_with_the_rule_they_broke(first: dict[str, Any], place: Nights) -> None:
    ddl = "CREATE TABLE cars (id INTEGER, wheels INTEGER)"
    rows = [
        {
            "id": f"{split}-{i}",
            "db_id": split,
            "question": f"How many cars have {i} wheels{', as seen from the road' * 15}?",
            "schema": f"{ddl}; CREATE TABLE {split} (id INTEGER)",
            "sql": f"SELECT COUNT(*) FROM cars WHERE wheels = {i}",
            "tags": {"split": split},
        }
        for split, numbers in (("train", range(30)), ("test", range(40, 48)))
        for i in numbers
    ]
    (place.folder / "long.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    options = ["--set", "data.sources=[{kind: file, path: long.jsonl}]", "--set", "data.decontaminate={near: 1.0}"]
    accepted = place.folder / ".nightshift" / "store" / "accepted" / "tiny.json"
    before, yardstick = place.stage_markers(), accepted.read_bytes()
    code, outcome, err = place.run(*RETRAIN, *options)
    assert code == 5, (outcome, err)
    assert outcome["outcome"] == "data_rejected"
    told = "drift_question (1), the rule that lengths of questions have the shares that they had in the last accepted"
    assert told in outcome["reason"]
    assert "0 of 38 rows quarantined" in outcome["reason"]
    assert place.stage_markers() == before
    assert accepted.read_bytes() == yardstick  # what was refused is not what the next night is compared with
    assert [r["version"] for r in place.run("releases", "--json")[1]] == ["1"]


@pytest.mark.night
def test_new_rows_make_a_challenger_that_meets_the_champion(first: dict[str, Any], place: Nights) -> None:
    # A gate that nothing can pass stands for a challenger that is not good enough.
    beaten = "{metric: execution_accuracy, versus: champion, min_delta: 0.01}"
    worse = f"gates=[{{metric: execution_accuracy, min: 1.0}}, {beaten}]"
    more = "data.sources.0.train_per_database=7"
    start = "training.start_from=Production"
    code, outcome, err = place.run(*RETRAIN, "--set", more, "--set", worse, "--set", start)
    assert code == 3, err
    assert outcome["outcome"] == "rejected"
    assert outcome["champion"] == "1"
    assert set(outcome["champion_metrics"]) == set(outcome["metrics"])
    night = place.folder / ".nightshift" / "work" / outcome["night"]
    frozen = json.loads((place.folder / f".nightshift/store/nights/{outcome['night']}/night.json").read_text())
    assert frozen["recipe"]["training"]["start_from"] == "release:text2sql-tiny@1"
    (begun,) = night.glob("start-*-1")
    assert json.loads((night / "train" / "job.json").read_text())["start"] == str(begun)
    assert fingerprint_of_folder(begun) == place.run("history", "--json")[1][0]["adapter_hash"]
    _, releases, _ = place.run("releases", "--json")
    assert [(r["version"], r["aliases"], r["verdict"]) for r in releases] == [
        ("2", [], "fail"),
        ("1", ["Production"], "pass"),
    ]
    assert len(place.run("history", "--json")[1]) == 1


@pytest.mark.night
def test_manual_approval_waits_for_a_named_person(first: dict[str, Any], place: Nights) -> None:
    code, outcome, err = place.run(*RETRAIN, "--set", "release.approval=manual", "--set", "training.seed=43")
    assert code == 4, err
    version = outcome["version"]
    assert place.run("promote", version, "--approve")[0] == 2
    code, _, err = place.run("promote", version, "--approve", "--by", "Ada", "--reason", "read the report", "--json")
    assert code == 0, err
    entry = place.run("history", "--json")[1][-1]
    assert (entry["version"], entry["approver"], entry["previous_version"]) == (version, "Ada", "1")


def test_broken_data_end_the_night_before_training(project: Path) -> None:
    place = Nights(project)
    rows = [
        {"id": str(i), "question": f"How many cars {i}?", "schema": "CREATE TABLE cars (id INTEGER)", "sql": "SELEC"}
        for i in range(9)
    ]
    (project / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    code, outcome, err = place.run(*RETRAIN, "--set", "data.sources=[{kind: file, path: rows.jsonl}]")
    assert code == 5, err
    assert outcome["outcome"] == "data_rejected"
    assert "9 of 9 rows quarantined" in outcome["reason"]
    assert (project / outcome["report"]).is_file()
    assert place.stage_markers() == {}
    assert place.run("releases", "--json")[1] == []
    assert place.run(*RETRAIN, "--set", "data.sources=[{kind: file, path: rows.jsonl}]")[0] == 5


@pytest.mark.night
def test_two_shells_start_the_same_night(project: Path) -> None:
    place = Nights(project)
    one = place.start(*RETRAIN)
    wait_for(lambda: list(project.glob(".nightshift/store/leases/*/*.holder")), one)
    code, outcome, err = place.run(*RETRAIN)
    assert code == 1
    assert outcome["outcome"] == "failed"
    assert "already running: process" in outcome["reason"]
    assert "already running: process" in err
    out, _ = one.communicate(timeout=HANGS)
    assert json.loads(out)["outcome"] == "promoted"
    assert len(place.run("releases", "--json")[1]) == 1


@pytest.mark.night
def test_killed_in_the_middle_of_stage_two(project: Path) -> None:
    place = Nights(project)
    # Enough steps for the kill to land between two checkpoints of the second stage.
    longer = ["--set", "training.stages.1.epochs=10", "--set", "training.save_steps=2"]
    victim = place.start_silently(*RETRAIN, *longer)
    wait_for(lambda: list(project.glob(".nightshift/work/*/train/2-medium-*/checkpoint-*/COMPLETE")), victim)
    kill_night(victim, "tasks.training.session")
    before = place.stage_markers()
    assert len(before) == 1
    code, outcome, err = place.run(*RETRAIN, *longer)
    assert code == 0, err
    assert outcome["outcome"] == "promoted"
    easy, medium, hard = outcome["stages"]
    assert (easy["reused"], medium["reused"], hard["reused"]) == (True, False, False)
    assert medium["resumed_from"] >= 2
    assert before.items() <= place.stage_markers().items()  # stage 1 was not written again


@pytest.mark.night
def test_killed_while_a_model_answers(project: Path) -> None:
    place = Nights(project)
    # Enough questions for the kill to land between two parts of the answers.
    slow = ["--set", "evaluation.batch_size=1", "--set", "evaluation.max_new_tokens=100"]
    slow += ["--set", "evaluation.max_samples=null"]
    victim = place.start_silently(*RETRAIN, *slow)
    pattern = ".nightshift/work/*/evaluate/*.partial.jsonl"
    wait_for(lambda: any(path.stat().st_size for path in project.glob(pattern)), victim)
    kill_night(victim, "tasks.models.session")
    [partial] = project.glob(pattern)
    # The answers are marked: whoever asks again would lose the mark.
    lines = [json.loads(line) for line in partial.read_text().splitlines()]
    assert 0 < len(lines) < 24
    partial.write_text("".join(json.dumps(line | {"prediction": "SELECT 1 -- kept"}) + "\n" for line in lines))
    before = place.stage_markers()
    code, _, err = place.run(*RETRAIN, *slow)
    assert code == 0, err
    assert place.stage_markers() == before  # nothing was trained again
    [finished] = project.glob(f".nightshift/store/predictions/{partial.name.partition('.')[0]}.jsonl")
    kept = [json.loads(line) for line in finished.read_text().splitlines() if "-- kept" in line]
    assert {row["id"] for row in kept} == {line["id"] for line in lines}
    assert not list(project.glob(".nightshift/store/predictions/*.partial.jsonl"))
