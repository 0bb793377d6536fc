"""The command line as a person meets it: quick help, one-line errors, exit codes, nothing half-written."""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from infra.errors import UserError

ANSWERS = ("evaluate", "compare")
STACK = ("up", "down", "webhook")
NIGHTSHIFT = [sys.executable, "-m", "flows.cli"]


def run(*arguments: str, cwd: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NIGHTSHIFT_", "PREFECT_", "MLFLOW_"))}
    return subprocess.run(
        [*NIGHTSHIFT, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_help_needs_no_heavy_import(tmp_path: Path) -> None:
    heavy = ("prefect", "mlflow", "torch", "transformers", "pandas")
    probe = f"import sys, flows.cli.main; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    listing = run("--help", cwd=tmp_path).stdout
    commands = ("retrain", "recipes", "releases", "promote", "history", "ask", "validate", "score")
    more = ("generate", "profile", "serve", "feedback", "fetch", "deploy", "plan", "study", "clean", "sweep")
    for command in (*commands, *ANSWERS, *more, *STACK):
        assert command in listing
        assert "Example: nightshift" in run(command, "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["retrain", "nope"], "no recipe 'nope'"),
        (["retrain", "nowhere.yaml"], "there is no recipe file nowhere.yaml"),
        (["retrain", "tiny", "--set", "trainig.seed=1"], "did you mean 'training'"),
        (["retrain", "tiny", "--set", "model=path:nowhere"], "no folder with a config.json"),
        (["retrain", "tiny", "--set", "infra.train=[gpu-h10]"], "did you mean 'gpu-h100'"),
        (["up", "--host", "0.0.0.0"], "NIGHTSHIFT_AUTH"),
        (["retrain", "tiny", "--set", "model=hf:nobody/no-such-model"], "cannot be had from the hub"),
        (["retrain", "tiny", "--set", "model=gpt-5"], "unknown model reference"),
        (["retrain", "tiny", "--set", "data.sources.0={kind: file, path: missing.jsonl}"], "missing.jsonl"),
        (["ask", "How many?", "--database", "missing.sqlite"], "missing.sqlite"),
        (["ask", "How many?"], "--schema FILE|-"),
        (["ask", "How many?", "--schema", "missing.sql"], "no schema file missing.sql"),
        (["validate", "missing.jsonl"], "missing.jsonl"),
        (["validate"], "--recipe"),
        (["score", "--examples", "a.jsonl", "--predictions", "b.jsonl"], "a.jsonl"),
        (["evaluate", "random:llama-tiny", "--data", "missing.jsonl"], "missing.jsonl"),
        (["evaluate", "random:llama-tiny", "--data", "a.jsonl", "--predictions", "a.csv"], ".parquet"),
        (["evaluate", "--data", "a.jsonl", "--endpoint", "http://127.0.0.1:9/v1"], "--model-name"),
        (["evaluate", "random:llama-tiny", "--data", "a.jsonl", "--shots", "2"], "--shots-from"),
        (["evaluate", "random:llama-tiny", "--data", "a.jsonl", "--temperature", "1"], "--samples N"),
        (["evaluate", "random:llama-tiny", "--data", "a.jsonl", "--set", "prompt.stile=ddl"], "did you mean"),
        (["generate", "--database", "missing.sqlite", "--out", "pairs.jsonl"], "missing.sqlite"),
        (["generate", "--database", "mysql://host/db", "--out", "pairs.jsonl"], "postgresql://"),
        (["generate", "--database", "x.sqlite", "--out", "nowhere/pairs.jsonl"], "no folder nowhere"),
        (["profile", "missing.jsonl", "--json"], "missing.jsonl"),
        (["profile", "missing.jsonl"], "--out report.html"),
        (["fetch", "nope"], "no recipe 'nope'"),
        (["study", "rank"], "did you mean 'ranks'"),
        (["sweep", "tiny", "--deployed"], "needs a Prefect server"),
        (["promote", "1"], "needs --approve"),
        (["deploy"], "PREFECT_API_URL"),
        (["history", "nope"], "nothing is in Production yet"),
        (["retrain", "--nonsense"], "--nonsense"),
    ],
)
def test_mistakes_are_one_clear_line_and_leave_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    if "--nonsense" not in arguments:
        assert len(done.stderr.strip().splitlines()) == 1
        assert not (tmp_path / ".nightshift").exists()


def test_model_and_databases_are_made_before_any_night(tmp_path: Path) -> None:
    done = run("fetch", "tiny", "--json", cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / json.loads(done.stdout)["path"]
    assert (folder / "model.safetensors").is_file()
    assert json.loads(done.stdout)["databases"] == ["Prefect", "MLflow"]
    with closing(sqlite3.connect(tmp_path / ".nightshift" / "prefect" / "prefect.db")) as database:
        assert database.execute("SELECT count(*) FROM flow_run").fetchone() == (0,)
    with closing(sqlite3.connect(tmp_path / ".nightshift" / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM registered_models").fetchone() == (0,)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert str(folder) in run("fetch", "tiny", cwd=tmp_path, timeout=300).stdout
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(("form", "told"), [(("--json",), '"outcome": "planned"'), ((), "would run prepare, train")])
def test_a_dry_run_changes_nothing(tmp_path: Path, form: tuple[str, ...], told: str) -> None:
    done = run("retrain", "tiny", "--dry-run", *form, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_command_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from flows import recipe
    from flows.cli import main

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "builtin_recipes", interrupt)
    monkeypatch.setattr(sys, "argv", ["nightshift", "recipes"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_night_that_fails_says_so_in_its_json(tmp_path: Path) -> None:
    probe = """
import sys
from contextlib import closing
from flows.cli import main, nights
from infra.errors import Busy

def busy(*_):
    raise Busy("this night is already running")

nights._run = busy
sys.argv = ["nightshift", "retrain", "tiny", "--json"]
main.main()
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NIGHTSHIFT_", "PREFECT_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.strip() == "nightshift: this night is already running"
    outcome = json.loads(done.stdout)
    assert (outcome["outcome"], outcome["reason"]) == ("failed", "this night is already running")


def test_validate_reads_a_recipes_sources_by_their_field_maps(tmp_path: Path) -> None:
    row = {"ask": "How many cars?", "schema": "CREATE TABLE cars (id INTEGER)", "answer": "SELECT count(*) FROM cars"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    tiny = Path(__file__).parents[2] / "flows" / "recipes" / "tiny.yaml"
    content = yaml.safe_load(tiny.read_text())
    content["data"]["sources"] = [
        {"kind": "file", "path": "rows.jsonl", "fields": {"question": "ask", "sql": "answer"}},
        {"kind": "query", "name": "log", "url": "sqlite:///log.db", "query": "SELECT * FROM log ORDER BY id"},
    ]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    done = run("validate", "./rows.jsonl", "--recipe", "mine.yaml", "--json", cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["kept"] == 1
    with closing(sqlite3.connect(tmp_path / "log.db")) as log, log:
        log.execute("CREATE TABLE log AS SELECT 7 AS id, 'Which cars?' AS question, 'SELECT nme FROM cars' AS sql")
        log.execute("ALTER TABLE log ADD COLUMN schema DEFAULT 'CREATE TABLE cars (name TEXT)'")
    done = run("validate", "--recipe", "mine.yaml", "--json", cwd=tmp_path, timeout=240)
    assert done.returncode == 1, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["kept"]) == (2, 1)
    assert [(bad["file"], bad["id"]) for bad in told["quarantine"]] == [("log", "7")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quarantine", "rows.jsonl"], "that is a file of the data"),
        (["--quarantine", "nowhere/bad.jsonl"], "there is no folder nowhere"),
        (["--docs", "rows.jsonl"], "rows.jsonl is a file; name a folder"),
    ],
)
def test_validate_says_at_once_where_it_cannot_write(tmp_path: Path, options: list[str], message: str) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "How many?", "schema": "CREATE TABLE t (a)", "sql": "SELECT count(*) FROM t"}\n')
    before = rows.read_text()
    done = run("validate", "./rows.jsonl", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert rows.read_text() == before
    assert list(tmp_path.iterdir()) == [rows]


def test_a_scorecard_in_the_terminal_says_what_is_wrong_with_the_answers(capsys) -> None:
    from flows.cli.cards import show_card
    from tasks.data.example import Example
    from tasks.evaluation.predictions import Prediction
    from tasks.evaluation.scorecard import Subject
    from tasks.evaluation.scorecard_build import build_scorecard

    rows = [Example(id, "d", "?", "CREATE TABLE t (a INTEGER)", "SELECT a FROM t") for id in "ab"]
    answers = [Prediction("a", "SELECT a FROM t", gave_up=True), Prediction("b", "SELECT a FROM t")]
    card = build_scorecard(rows, answers, Subject(role="predictions", name="p", fingerprint=""), "t")
    show_card("p", card)
    assert re.search(r"gave up\W+50\.0%", capsys.readouterr().out)


def test_a_schema_is_asked_from_a_file_or_from_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.cli.models import _opened

    script = "CREATE TABLE cars (id INTEGER, name TEXT); INSERT INTO cars VALUES (1, 'Fiat');"
    (tmp_path / "cars.sql").write_text(script)
    monkeypatch.setattr("sys.stdin", io.StringIO(script))
    for schema in (str(tmp_path / "cars.sql"), "-"):
        opened = _opened(None, schema)
        assert "INSERT" not in opened.schema()
        assert opened.run("SELECT name FROM cars").rows == [("Fiat",)]
    for script in ("", "hello"):
        monkeypatch.setattr("sys.stdin", io.StringIO(script))
        with pytest.raises(UserError, match="CREATE TABLE"):
            _opened(None, "-")
