"""The judge: does a predicted query do what gold does?

One job in this process, or many in guarded worker processes; `tasks.sql.session` has what is done with each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from tasks.sql.judgement import Job, Judgement
from tasks.sql.limits import DEFAULT_LIMITS, Limits
from tasks.sql.session import JudgeSession
from tasks.sql.workers import JudgePool

__all__ = ["Job", "JudgePool", "JudgeSession", "Judgement", "judge", "judge_many"]


def judge(job: Job, limits: Limits = DEFAULT_LIMITS) -> Judgement:
    """Judge one job in this process; never raises on what the job holds."""
    with closing(JudgeSession(limits)) as session:
        return session.judge(job)


def judge_many(
    jobs: Sequence[Job],
    limits: Limits = DEFAULT_LIMITS,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    *,
    compatibility: bool = False,
    suite: int = 0,
) -> list[Judgement]:
    """Judge all jobs in guarded worker processes, in order, none lost; `progress(done, total)` is called as they come.

    For many small calls keep a `JudgePool`, which starts its workers once.
    """
    with JudgePool(limits, workers, compatibility=compatibility, suite=suite) as pool:
        return pool.judge(jobs, progress)
