"""Why an answer does not run: what a model is told when it may correct itself.

Answers run like those that are judged, in guarded processes, on the question's own database or rows. Gold is not known
here and no verdict is made: an answer that runs is never called wrong, whatever it returns.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from tasks.data.example import Example
from tasks.sql.executor import Limits
from tasks.sql.extraction import extract_sql
from tasks.sql.judgement import Job, Judgement
from tasks.sql.parse import writes
from tasks.sql.workers import JudgePool

_NO_GOLD = "SELECT 1"  # a judge wants a query to compare with; its verdict is not looked at
_LONGEST = 200  # characters of a message


class Checker:
    """Runs answers; may be called from several threads."""

    def __init__(self, seconds: float, workers: int) -> None:
        self._pool, self._lock = JudgePool(Limits(seconds=seconds), workers), threading.Lock()

    def troubles(self, examples: Sequence[Example], answers: Sequence[str]) -> list[str]:
        """Why each answer's SQL does not run on its example's database, in a line; nothing where it does."""
        jobs = [
            Job(e.id, _NO_GOLD, extract_sql(text), e.schema, e.setup, e.database or None, e.dialect)
            for e, text in zip(examples, answers, strict=True)
        ]
        with self._lock:
            found = self._pool.judge(jobs)
        return [_trouble(job, judgement) for job, judgement in zip(jobs, found, strict=True)]

    def close(self) -> None:
        """End the processes."""
        self._pool.close()


def _trouble(job: Job, found: Judgement) -> str:
    # A database that does not open is no fault of the answer, nor is it that a query which changes data is only
    # allowed where gold is one.
    if found.runs or not found.engine or (found.status == "forbidden" and writes(job.prediction, job.dialect)):
        return ""
    return f"{found.status.replace('_', ' ')}: {' '.join(found.message.split())[:_LONGEST]}"
