"""Every attack in one run of the judge: nothing written, nothing late, nothing lost, memory bounded."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.sql.hostile import ATTACKS, BOMBS, SCHEMA, SETUP, UNSTOPPABLE, WRITES

ROOT = Path(__file__).resolve().parents[3]
MEMORY_MB = 200

# Runs in a process of its own: what getrusage says of children is then said of judging workers alone.
JUDGE = """
import json, resource, sys, time
from tasks.sql.judge import JudgePool
from tasks.sql.judgement import Job, to_row
from tasks.sql.limits import Limits, memory_held

request = json.load(sys.stdin)
jobs = [Job(**fields) for fields in request["jobs"]]
late = {"last": time.monotonic(), "gap": 0.0}

def progress(done, total):
    now = time.monotonic()
    late["gap"], late["last"] = max(late["gap"], now - late["last"]), now

with JudgePool(Limits(seconds=request["seconds"], memory_mb=request["memory_mb"])) as pool:
    found = pool.judge(jobs, progress)
print(json.dumps({
    "answers": [to_row(one) for one in found],
    "gap": late["gap"],
    "children_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    "own_mb": memory_held() >> 20,
}))
"""


def run_judge(folder: Path, jobs: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", JUDGE],
        input=json.dumps({"jobs": jobs, "seconds": seconds, "memory_mb": MEMORY_MB}),
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "d.sqlite"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.executescript(f"{SCHEMA};{SETUP}")
    connection.close()
    return path


def test_all_attacks_in_one_run(file: Path) -> None:
    """The jobs around each attack are judged as ever, on a file and on a script.

    `test_executor.py` has every bomb alone; here are those that end or replace a worker, and a few of the others.
    """
    before = file.read_bytes()
    quiet = set(BOMBS) - {"recursion", "endless rows", "wide blobs", "sorted blobs", "group_concat", "deep not", "long"}
    everything = [name for name in (*ATTACKS, *UNSTOPPABLE) if name not in quiet]
    jobs: list[dict[str, Any]] = []
    for number, name in enumerate(everything):
        sql = ATTACKS[name][0] if name in ATTACKS else UNSTOPPABLE[name]
        place = {"database": str(file)} if number % 2 else {"schema": SCHEMA, "setup": SETUP}
        gold = "SELECT count(*), 'x' FROM t"
        jobs.append({"id": name, "gold": gold, "prediction": sql, **place})
        jobs.append({"id": f"after {name}", "gold": gold, "prediction": "SELECT 'x', count(*) FROM t", **place})
    report = run_judge(file.parent, jobs, seconds=0.4)
    answers = {answer["id"]: answer for answer in report["answers"]}
    assert [answer["id"] for answer in report["answers"]] == [job["id"] for job in jobs]
    for name in everything:
        # A worker at its memory limit may die with what it does; that is the limit doing its work.
        allowed = ATTACKS[name][1] if name in ATTACKS else {"timeout", "resource_limit"}
        answer = answers[name]
        assert answer["status"] in allowed, (name, answer["status"], answer["message"])
        assert answer["execution_match"] is False, name
        assert answer["gold_status"] == "ok", name
        assert answers[f"after {name}"]["execution_match"] is True, name
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert report["gap"] < 120, "nothing hangs"  # a second or two where nothing else runs
    assert report["children_mb"] < 100 + 2 * MEMORY_MB + 256
    assert report["own_mb"] < 400


@pytest.mark.parametrize("name", [*WRITES, "recursion", "sorted blobs", "replace", "attach", "vacuum into"])
def test_attacks_on_gold_that_changes_data(file: Path, name: str) -> None:
    """There the prediction may write, to a copy: the original and the next job see nothing of it."""
    sql = {**ATTACKS, **{bomb: (text, set()) for bomb, text in BOMBS.items()}}[name][0]
    jobs = [
        {"id": "1", "gold": "UPDATE t SET b = 'changed'", "prediction": sql, "database": str(file)},
        {"id": "2", "gold": "SELECT * FROM t", "prediction": "SELECT a, b FROM t", "database": str(file)},
    ]
    before = file.read_bytes()
    from tasks.sql.judge import JudgeSession
    from tasks.sql.judgement import Job
    from tasks.sql.limits import Limits

    session = JudgeSession(Limits(seconds=0.15, memory_mb=MEMORY_MB))
    first, second = (session.judge(Job(**fields)) for fields in jobs)
    session.close()
    assert first.execution_match is False
    assert (second.execution_match, second.gold_rows) == (True, [[1, "x"], [2, "y"]])
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.night
def test_ten_thousand_mixed_predictions_one_in_twenty_hostile(file: Path) -> None:
    """Right ones, wrong ones, broken ones and 500 attacks on files and scripts, in one run: nothing is lost."""
    dice = random.Random(20)
    attacks = [*ATTACKS, *UNSTOPPABLE]
    spots = set(dice.sample(range(10_000), 500))
    jobs: list[dict[str, Any]] = []
    wanted: list[tuple[bool, set[str]]] = []
    hostile = 0
    for number in range(10_000):
        gold = f"SELECT a, b, {number % 7} FROM t WHERE a <= {number % 3}"
        place = {"schema": SCHEMA, "setup": f"{SETUP}; -- {number % 40}"}
        if number % 2:
            place = {"database": str(file)}
        kind = number % 5
        if number in spots:
            name = attacks[hostile % len(attacks)]
            hostile += 1
            sql, allowed = ATTACKS.get(name, (UNSTOPPABLE.get(name, ""), {"timeout", "resource_limit"}))
            gold, expected = "SELECT count(*), 'x' FROM t", (False, allowed)
        elif kind == 3:
            sql, expected = f"SELECT a, b, 8 FROM t WHERE a <= {number % 3} UNION SELECT 0, 0, 0", (False, {"ok"})
        elif kind == 4:
            sql, expected = "SELECT nowhere FROM t", (False, {"schema_error"})
        else:
            sql, expected = f"SELECT b, a, {number % 7} FROM t WHERE NOT a > {number % 3};", (True, {"ok"})
        jobs.append({"id": str(number), "gold": gold, "prediction": sql, **place})
        wanted.append(expected)
    before = file.read_bytes()
    report = run_judge(file.parent, jobs, seconds=0.25)
    assert [answer["id"] for answer in report["answers"]] == [job["id"] for job in jobs]
    wrong = [
        (job["prediction"][:60], answer["status"], answer["execution_match"], answer["message"])
        for job, answer, (match, statuses) in zip(jobs, report["answers"], wanted, strict=True)
        if answer["execution_match"] is not match or answer["status"] not in statuses
    ]
    assert wrong == []
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert report["children_mb"] < 100 + 2 * MEMORY_MB + 256
