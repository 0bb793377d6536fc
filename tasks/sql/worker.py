"""A judging worker process: reads chunks of jobs as JSON lines, answers with one line a judgement.

Started by `tasks.sql.workers` as a plain Python process, so that it loads nothing of its parent's. An answer is
`{"phase": name}` before each step and `{"done": judgement}` after each job.

Limits: process limits hold on Linux; macOS refuses RLIMIT_AS, there the executor's own limits remain.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sqlite3
import sys
from typing import Any

from tasks.sql.executor import Limits
from tasks.sql.judge import JudgeSession
from tasks.sql.judgement import Job

_SLACK_MB = 256  # Python's own copies of rows on top of what SQLite may use


def limit_process(memory_mb: int) -> None:
    """Refuse this process every file write, core dumps, and more than `memory_mb` beyond what it holds now."""
    sqlite3.connect(":memory:").execute(f"PRAGMA hard_heap_limit = {memory_mb << 20}")  # counts for the whole process
    try:
        import resource
    except ImportError:
        return
    for name in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(name, (0, 0))
    if sys.platform.startswith("linux"):
        with open("/proc/self/statm") as handle:
            held = int(handle.read().split()[0]) * resource.getpagesize()
        most = held + ((memory_mb + _SLACK_MB) << 20)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> None:
    """Serve until standard input closes. The first line is the limits, every other one a list of jobs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # nothing but answers may reach the parent

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    limits = Limits.model_validate_json(sys.stdin.readline())
    session = JudgeSession(limits, lambda name: answer({"phase": name}))
    limit_process(limits.memory_mb)
    answer({"ready": True})
    for line in sys.stdin:
        for fields in json.loads(line):
            answer({"done": dataclasses.asdict(session.judge(Job(**fields)))})


if __name__ == "__main__":
    main()
