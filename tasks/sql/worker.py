"""A judging worker process: reads chunks of jobs as JSON lines, answers with one line each.

Started by `tasks.sql.workers` as a plain Python process, so that it loads nothing of its parent's. A line is
a judgement; between them stand the bare words `gold` and `prediction`, so that the parent sees that work goes on and
knows whose fault a hang is.

Limits: process limits hold on Linux; macOS refuses RLIMIT_AS, there the executor's own limits remain.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import sys
import time

from tasks.sql.executor import Limits
from tasks.sql.judge import JudgeSession
from tasks.sql.judgement import Job, to_row

_QUIET = 0.2  # seconds a worker may work on in one phase without saying so
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

    said, phase = time.monotonic(), ""

    def say(line: str) -> None:
        nonlocal said
        answers.write(line + "\n")
        answers.flush()
        said = time.monotonic()

    def announce(name: str) -> None:
        nonlocal phase
        if name != phase or time.monotonic() - said > _QUIET:
            phase = name
            say(name)

    limits = Limits.model_validate_json(sys.stdin.readline())
    session = JudgeSession(limits, announce)
    limit_process(limits.memory_mb)
    say("ready")
    for line in sys.stdin:
        for fields in json.loads(line):
            phase = "gold"  # the parent takes it for granted
            say(json.dumps(to_row(session.judge(Job(**fields)))))


if __name__ == "__main__":
    main()
