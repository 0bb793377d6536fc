"""Judged queries per second, against a plain sqlite3 loop with all safety off: `make bench`.

Ratios of one run on one machine; the figures of different machines do not compare. Uses the generated test questions,
each gold judged against itself.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from tasks.data.example import Example
from tasks.data.synthetic.generate import GenerateSpec, generate
from tasks.sql.judge import JudgePool, JudgeSession
from tasks.sql.judgement import Job

ROUNDS = 3


def plain(examples: list[Example]) -> None:
    """What a notebook does: build, run both, compare lists; no limits at all."""
    for example in examples:
        connection = sqlite3.connect(":memory:")
        connection.executescript(example.schema + example.setup)
        assert connection.execute(example.sql).fetchall() == connection.execute(example.sql).fetchall()
        connection.close()


def in_process(jobs: list[Job]) -> None:
    """The judge in this process, nothing cached before."""
    session = JudgeSession()
    assert all(session.judge(job).execution_match for job in jobs)
    session.close()


def best(run: Callable[[], None], count: int) -> float:
    """Queries per second of the fastest of a few rounds: the others met a busier machine."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return count / min(seconds)


def main() -> None:
    """Print the table."""
    examples = generate(GenerateSpec(train_per_database=40, test_per_database=40))
    jobs = [Job(id=e.id, gold=e.sql, prediction=e.sql, schema=e.schema, setup=e.setup) for e in examples]
    rates = {"plain sqlite3 loop, no safety": best(lambda: plain(examples), len(jobs))}
    rates["judge, in process"] = best(lambda: in_process(jobs), len(jobs))
    for workers in (1, 2):
        with JudgePool(workers=workers) as pool:
            pool.judge(jobs[:64])
            rates[f"judge, {workers} warm worker process(es)"] = best(lambda: pool.judge(jobs) and None, len(jobs))
    table = Table("", "queries/s", "ratio", title=f"{len(jobs):,} generated questions")
    first = next(iter(rates.values()))
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{rate / first:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
