"""Whole test splits in worker processes: hostile jobs, dead workers, odd parents; nothing is lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tasks.sql.executor import Limits
from tasks.sql.judge import Job, Judgement, JudgePool, judge_many

SCHEMA = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)"
SETUP = "INSERT INTO t VALUES (1, 'x'), (2, 'y')"
ROOT = Path(__file__).resolve().parents[3]

HOSTILE = {
    "ATTACH 'evil.db' AS evil": {"forbidden"},
    "VACUUM INTO 'evil.db'": {"forbidden"},
    "PRAGMA hard_heap_limit = 1": {"forbidden"},
    "SELECT load_extension('evil')": {"forbidden", "sql_error"},
    "DROP TABLE t": {"forbidden"},
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c": {"timeout"},
    "SELECT printf('%.*c', 2000000000, 'x'), printf('%.*c', 2000000000, 'x')": {"timeout", "resource_limit", "ok"},
    "SELECT hex(zeroblob(400000000))": {"resource_limit"},
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
    "SELECT randomblob(4000000) AS r FROM c ORDER BY r": {
        "resource_limit",
        "timeout",
    },
}


def test_three_hundred_jobs_with_hostile_ones(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = list(HOSTILE)
    jobs = [
        Job(str(i), "SELECT count(*) FROM t", hostile[i // 30], SCHEMA, SETUP)
        if i % 30 == 7 and i // 30 < len(hostile)
        else Job(str(i), f"SELECT {i}, b FROM t", f"SELECT b, {i} FROM t", SCHEMA, SETUP + f"; -- {i % 3}")
        for i in range(300)
    ]
    seen: list[tuple[int, int]] = []
    found = judge_many(jobs, Limits(seconds=0.4, memory_mb=256), 2, lambda done, total: seen.append((done, total)))
    assert [one.id for one in found] == [job.id for job in jobs]
    for job, one in zip(jobs, found, strict=True):
        assert one.gold_status == "ok"
        if job.prediction in HOSTILE:
            assert one.status in HOSTILE[job.prediction], (job.prediction[:60], one.status, one.message)
            assert one.execution_match is False
        else:
            assert (one.status, one.execution_match) == ("ok", True), one
    assert seen[-1] == (300, 300)
    assert seen == sorted(set(seen))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_worker_loses_one_job_only() -> None:
    jobs = [Job(str(i), "SELECT 1", "SELECT 1", SCHEMA, SETUP) for i in range(20)]
    slow = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    jobs[3] = Job("3", "SELECT 1", slow, SCHEMA, SETUP)
    with JudgePool(Limits(seconds=20)) as pool:
        pool.judge(jobs[:1])
        killer = threading.Timer(0.5, pool._workers[0].process.kill)
        killer.start()
        found = pool.judge(jobs)
    assert [one.execution_match for one in found] == [i != 3 for i in range(20)]
    assert (found[3].status, found[3].gold_status) == ("resource_limit", "ok")


def test_a_hang_in_gold_is_golds_failure() -> None:
    bomb = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    found = judge_many([Job("1", bomb, "SELECT 1"), Job("2", "SELECT 1", "SELECT 1")], Limits(seconds=0.2))
    assert [(one.gold_status, one.execution_match) for one in found] == [("failed", None), ("ok", True)]


def test_no_jobs_start_no_worker() -> None:
    with JudgePool() as pool:
        assert pool.judge([]) == []
        assert pool._workers == []


def test_workers_see_nothing_of_their_parent(tmp_path: Path) -> None:
    """A script without a main guard, in a folder with a `tasks` of its own, from a thread."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("raise RuntimeError('wrong tasks')")
    code = (
        "import threading\n"
        "from tasks.sql.judge import Job, judge_many\n"
        "def work():\n"
        "    print([one.execution_match for one in judge_many([Job('1', 'SELECT 1', 'SELECT 1')])])\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[True]", done.stderr


# --- real data -------------------------------------------------------------------------------------------------------


def test_spider_gold_equals_itself(spider_jobs: list[Job]) -> None:
    found = judge_many(spider_jobs)
    assert [one.id for one in found] == [job.id for job in spider_jobs]
    assert sum(one.gold_status == "failed" for one in found) == 3
    assert all(one.execution_match is (None if one.gold_status == "failed" else True) for one in found)
    assert sqlite3.connect(spider_jobs[0].database).execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- recycling -------------------------------------------------------------------------------------------------------


def workers_used(pool: JudgePool, jobs: list[Job]) -> tuple[list[Judgement], list[int]]:
    """The answers, and the process ids of the workers that were started for them."""
    start, seen = pool._start, []

    def noted() -> None:
        start()
        seen.append(pool._workers[-1].process.pid)

    pool._start = noted
    return pool.judge(jobs), seen


def test_a_worker_makes_room_after_many_jobs(monkeypatch) -> None:
    monkeypatch.setattr("tasks.sql.workers.RECYCLE", 100)
    jobs = [Job(str(i), "SELECT 1", "SELECT 1", SCHEMA, SETUP) for i in range(300)]
    with JudgePool(workers=1) as pool:
        found, used = workers_used(pool, jobs)
    assert [one.id for one in found] == [job.id for job in jobs]
    assert all(one.execution_match for one in found)
    assert len(used) == 2


def test_a_worker_that_has_grown_makes_room() -> None:
    """What a schema of megabytes leaves behind would be missing to the next statements."""
    schema = "CREATE TABLE big AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 15) "
    schema += "SELECT hex(zeroblob(2000000)) AS s FROM c"
    jobs = [Job(str(i), "SELECT 25", "SELECT 25", schema if i == 0 else SCHEMA) for i in range(40)]
    with JudgePool(Limits(memory_mb=100), workers=1) as pool:
        found, used = workers_used(pool, jobs)
    assert all(one.execution_match for one in found)
    assert len(used) == 2


def test_memory_is_what_the_process_holds_not_its_parent() -> None:
    """Linux's peak starts with the parent's: a worker of a fat process could grow by as much unseen."""
    child = "from tasks.sql.limits import memory_held; print(memory_held())"
    code = f"import subprocess, sys; fat = b'x' * 600_000_000; subprocess.run([sys.executable, '-c', {child!r}])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300_000_000


def test_a_worker_starts_without_what_takes_longer_to_import_than_it_takes_to_judge() -> None:
    probe = (
        "import sys, tasks.sql.worker, tasks.sql.measuring; print({'pydantic', 'sqlglot', 'psutil'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"rows": 0}, {"memory_mb": 31}, {"sql_bytes": float("nan")}])
def test_limits_that_let_nothing_run_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)
