"""Judged queries per second, against a plain sqlite3 loop with all safety off: `make bench`.

Ratios of one run on one machine; the figures of different machines do not compare. Uses the Spider sample where
NIGHTSHIFT_REALDATA (or ../shared/data) has it, and generated questions. "right" judges each gold against itself,
"wrong" against the gold of another question on the same database, which mostly is wrong. "quiet" is what the CPU time
used would give on free cores, for runs on a busy machine: it counts the pool's own work too.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace

import psutil
from rich.console import Console
from rich.table import Table

from tasks.data.synthetic.generate import GenerateSpec, generate
from tasks.sql.judge import JudgePool, JudgeSession
from tasks.sql.judgement import Job
from tasks.sql.ordering import keyed
from tasks.sql.parse import parsed
from tests.realdata import SPIDER

ROUNDS = 5
CORES = 2


def spider() -> list[Job]:
    """The Spider train sample, gold against itself; empty where there is none."""
    if not (SPIDER / "train_spider.jsonl").is_file():
        return []
    jobs = []
    for number, line in enumerate((SPIDER / "train_spider.jsonl").read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        file = SPIDER / "database" / row["db_id"] / f"{row['db_id']}.sqlite"
        jobs.append(Job(str(number), row["query"], row["query"], database=str(file)))
    return jobs


def generated() -> list[Job]:
    """Generated questions, each on its own small script."""
    examples = generate(GenerateSpec(train_per_database=40, test_per_database=40))
    return [Job(e.id, e.sql, e.sql, e.schema, e.setup) for e in examples]


def wrong(jobs: list[Job]) -> list[Job]:
    """The same jobs, each with the gold of the fifth question after it, mostly on the same database."""
    return [replace(job, prediction=jobs[(at + 5) % len(jobs)].gold) for at, job in enumerate(jobs)]


def plain(jobs: list[Job]) -> None:
    """What a notebook does: open or build, run both, compare lists; no limits at all."""
    for job in jobs:
        connection = sqlite3.connect(job.database or ":memory:")
        connection.text_factory = lambda value: value.decode("utf-8", "replace")
        try:
            connection.executescript(job.schema + job.setup)
            bool(connection.execute(job.gold).fetchall() == connection.execute(job.prediction).fetchall())
        except sqlite3.Error:
            pass
        connection.close()


def in_process(jobs: list[Job]) -> None:
    """The judge in this process, nothing opened, parsed or run before."""
    parsed.cache_clear()
    keyed.cache_clear()
    session = JudgeSession()
    for job in jobs:
        session.judge(job)
    session.close()


def best(run: Callable[[], object], count: int, processes: list[psutil.Process]) -> tuple[float, float]:
    """Queries per second of the fastest round, by the clock and by the CPU time of `processes` on CORES cores."""
    clock, cpu = [], []
    for _ in range(ROUNDS):
        before, started = [sum(process.cpu_times()[:2]) for process in processes], time.perf_counter()
        run()
        clock.append(time.perf_counter() - started)
        used = [sum(process.cpu_times()[:2]) - had for process, had in zip(processes, before, strict=True)]
        cpu.append(max(max(used), sum(used) / CORES))
    return count / min(clock), count / min(cpu)


def rates(jobs: list[Job]) -> dict[str, tuple[float, float]]:
    """What is measured -> queries per second, by the clock and by CPU time."""
    here = [psutil.Process()]
    found = {"plain sqlite3 loop, no safety": best(lambda: plain(jobs), len(jobs), here)}
    found["judge, in process, cold"] = best(lambda: in_process(jobs), len(jobs), here)
    for workers in (1, 2):
        with JudgePool(workers=workers) as pool:
            pool.judge(jobs[:128])
            all_of_them = [*here, *here[0].children()]
            found[f"judge, {workers} warm worker process(es)"] = best(lambda: pool.judge(jobs), len(jobs), all_of_them)
    return found


def main() -> None:
    """Print the tables."""
    sample, made = spider(), generated()
    sets = {"Spider sample, right": sample, "Spider sample, wrong": wrong(sample), "generated, right": made}
    for name, jobs in sets.items():
        if not jobs:
            continue
        table = Table("", "queries/s", "ratio", "quiet queries/s", "ratio", title=f"{name}: {len(jobs):,} questions")
        found = rates(jobs)
        clock, cpu = found["plain sqlite3 loop, no safety"]
        for what, (rate, quiet) in found.items():
            table.add_row(what, f"{rate:,.0f}", f"{rate / clock:.2f}", f"{quiet:,.0f}", f"{quiet / cpu:.2f}")
        Console().print(table)


if __name__ == "__main__":
    main()
