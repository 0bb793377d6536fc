"""`nightshift compare` of runs: reports, recorded trials and keys of the store are found, mixtures are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from flows.compared import compare_gathered, gather
from infra.errors import UserError
from infra.settings import Settings
from infra.store import Store
from tasks.evaluation.runs_report import compare_runs
from tasks.training.trials import TrialResult, record_trial
from tests.tasks.evaluation.test_compare import card
from tests.tasks.evaluation.test_runs import run

KEY = "0123456789abcdef"


def trial(number: int, rate: float, loss: float, **more: object) -> TrialResult:
    return TrialResult(
        **{
            "number": number,
            "name": f"trial {number}",
            "stage": 0,
            "values": {"training.stages.0.learning_rate": rate},
            "status": "finished",
            "eval_loss": loss,
            "seconds": 20.0,
            "data_fingerprint": "d",
            "prompt_fingerprint": "p",
        }
        | more
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Settings(home=tmp_path).open_store()


def test_trials_of_a_sweep_are_compared_question_by_question(store: Store) -> None:
    for number, rights in enumerate(([True] * 60, [True] * 20 + [False] * 40)):
        judged = card(rights)
        store.write(f"scorecards/{number}.json", judged.model_dump_json().encode())
        accuracy = judged.metrics["execution_accuracy"].model_dump()
        scores = {"execution_accuracy": accuracy, "scorecard_key": f"scorecards/{number}.json"}
        record_trial(store, KEY, trial(number, 10.0 ** -(number + 3), 0.5, **scores))
    found = gather([Path(KEY)], store)
    report = compare_gathered(found, store, (), "")
    assert report.varies == ["training.stages.0.learning_rate"]
    assert report.apart.letters == {"0": "a", "1": "b"}
    assert report.apart.pairs[0].basis == "paired answers"
    assert report.differs == {}
    with pytest.raises(UserError, match="no study and no sweep"):
        gather([Path("f" * 16)], store)


def test_a_study_is_found_by_its_key_and_keeps_its_questions(store: Store, tmp_path: Path) -> None:
    report = compare_runs("Mine", [run("a", 60), run("b", 20, tokens=99_999)], {}, varies=["x"], reference="b")
    store.write(f"studies/{KEY}/report.json", report.model_dump_json().encode())
    again = compare_gathered(gather([Path(KEY)], store), store, (), "")
    assert again == report
    assert compare_gathered(gather([Path(KEY)], store), store, ("y",), "a").reference == "a"
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"comparison": report.model_dump(mode="json")}))
    both = gather([Path(KEY), path], store)
    assert [one.name for one in both.runs] == ["1-a", "1-b", "2-a", "2-b"]


def test_compare_on_the_command_line_takes_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "trials"
    folder.mkdir()
    for number, (rate, loss) in enumerate(((1e-3, 0.5), (2e-3, 0.4))):
        (folder / f"{number}.json").write_text(trial(number, rate, loss).model_dump_json())
    outs = [str(tmp_path / name) for name in ("r.html", "r.md", "r.json")]
    command = ["compare", str(folder), "--html", outs[0], "--markdown", outs[1], "--json", outs[2]]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, "trial 1" in done.stdout) == (0, True)
    assert [one["eval_loss"] for one in json.loads(Path(outs[2]).read_text())["runs"]] == [0.5, 0.4]
    assert "| trial 1 |" in Path(outs[1]).read_text()
    assert "Trials of" in Path(outs[0]).read_text()


def test_runs_and_answers_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "card.json").write_text(card([True] * 20).model_dump_json())
    (tmp_path / "0.json").write_text(trial(0, 1e-3, 0.5).model_dump_json())
    mixed = CliRunner().invoke(app, ["compare", "0.json", "card.json"])
    assert "card.json is no run" in str(mixed.exception)
    answers = CliRunner().invoke(app, ["compare", "card.json", "card.json", "--varies", "training.seed"])
    assert "are for runs" in str(answers.exception)
    (tmp_path / "empty").mkdir()
    assert "no recorded trials" in str(CliRunner().invoke(app, ["compare", "empty", "0.json"]).exception)
