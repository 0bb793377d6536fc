"""A judging worker process: reads chunks of jobs as JSON lines, answers with lines that hold a list of judgements.

Started by `tasks.sql.workers` as a plain Python process, so that it loads nothing of its parent's. Answers go out when
a chunk is done, and earlier when one has waited long; what it is at stands in memory shared with the pool.

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
from typing import Any

from tasks.sql.judgement import Settings
from tasks.sql.limits import memory_held
from tasks.sql.session import JudgeSession
from tasks.sql.wire import Beat, pack_answer, unpack_jobs

_WAIT = 0.05  # seconds an answer may wait for others
_SLACK_MB = 320  # Python's own copies of rows on top of what SQLite may use; the parser, when it is first needed


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
    """Serve until standard input closes. The first line is the settings, every other one a chunk of jobs.

    The argument is the descriptor of the shared memory. After a chunk that made the process grow for good it says so:
    the next ones would have that much less.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing but answers may reach the parent
    beat = Beat(int(sys.argv[1]))

    def say(line: bytes) -> None:
        answers.write(line + b"\n")
        answers.flush()

    settings = Settings.from_line(sys.stdin.readline())
    session = JudgeSession(settings.limits, beat.step, settings)
    limit_process(settings.limits.memory_mb)
    grown = memory_held() + (settings.limits.memory_mb << 20) // 2
    say(b'"ready"')
    for line in sys.stdin:
        waiting: list[list[Any]] = []
        since = time.monotonic()
        for job in unpack_jobs(line):
            beat.begin()
            waiting.append(pack_answer(session.judge(job), job))
            if time.monotonic() - since > _WAIT:
                say(json.dumps(waiting).encode("ascii"))
                waiting, since = [], time.monotonic()
        last = [json.dumps(waiting).encode("ascii"), *([b'"retire"'] if memory_held() > grown else []), b'"done"']
        say(b"\n".join(last))


if __name__ == "__main__":
    main()
