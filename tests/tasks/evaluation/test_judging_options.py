"""What the scorecard says of how it was judged: rules, engines, suites, and other evaluators beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tasks.data.example import Example
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.scorecard import Scorecard, Subject
from tasks.evaluation.scorecard_build import build_scorecard

SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, age INTEGER)"
SETUP = "INSERT INTO t VALUES " + ", ".join(f"({i}, {2 * i})" for i in range(30))
ROWS = [("count", "SELECT count(*) FROM t", "SELECT 30"), ("same", "SELECT age FROM t", "SELECT age FROM t")]


def card(suite: int = 0) -> Scorecard:
    examples = [
        Example(id=name, db_id="d", question=name, schema=SCHEMA, setup=SETUP, sql=gold, source="test")
        for name, gold, _ in ROWS
    ]
    answers = [Prediction(id=name, prediction=sql) for name, _, sql in ROWS]
    subject = Subject(role="predictions", name="p", fingerprint="")
    return build_scorecard(examples, answers, subject, "test", workers=1, suite=suite)


def test_rules_engines_and_other_evaluators_are_named() -> None:
    found = card()
    assert (found.rules, found.suite, found.engines) == ("strict-bag 1", 0, {"sqlite": 2})
    assert {name: one.value for name, one in found.compatibility.items()} == {
        "bird_ex": 1.0,
        "bird_soft_f1": 1.0,
        "spider_ts": 1.0,
        "spider_ts_keep_distinct": 1.0,
        "flat_exact_match": 0.5,
    }
    assert not set(found.compatibility) & set(found.metrics)
    assert found.metrics["execution_accuracy"].value == 1.0


def test_a_suite_takes_accidental_matches_out() -> None:
    found = card(suite=4)
    assert found.suite == 4
    assert found.metrics["execution_accuracy"].value == 0.5
    assert [one.suite_match for one in found.examples] == [False, True]


def test_score_takes_a_suite(tmp_path: Path) -> None:
    rows = [{"id": n, "question": n, "schema": SCHEMA, "setup": SETUP, "sql": gold} for n, gold, _ in ROWS]
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [{"id": n, "prediction": sql} for n, _, sql in ROWS]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    command = [sys.executable, "-m", "flows.cli", "score", "--examples", "e.jsonl", "--predictions", "p.jsonl"]
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [*command, "--suite", "4"],
        cwd=tmp_path,
        env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rules: strict-bag 1, and on 4 fuzzed copies of each database; run by sqlite (2)" in done.stdout
    assert "other evaluators would say" in done.stdout
