"""Guarded worker processes for judging whole test splits.

Workers are fresh Python processes that import only `tasks.sql`, whatever the parent has loaded and however it was
started. One that is silent past the deadline is killed and replaced; the job it was at is recorded as timed out (or,
if the worker died, as out of resources), and the rest of its chunk goes on. No job is lost.

Limits: a pool is for one thread at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from infra.errors import NightshiftError
from tasks.sql.executor import DEFAULT_LIMITS, Limits, Status
from tasks.sql.judgement import Job, Judgement, to_row
from tasks.sql.parse import parse

CHUNK = 50
ONE_WORKER_BELOW = 64  # jobs: starting a second process would take longer than it saves
_GRACE = 1.0  # seconds past the deadline before a worker is killed
_START = 60.0  # seconds a worker may take to import on a busy machine


class _Worker:
    """One process with the chunk it is at."""

    def __init__(self, limits: Limits) -> None:
        root = str(Path(__file__).resolve().parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tasks.sql.worker"],  # -P: no module of the current folder shadows ours
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.ready = False
        self.jobs: deque[int] = deque()
        self.phase = "gold"
        self.heard = time.monotonic()
        self._rest = b""
        self._send(limits.model_dump())

    def _send(self, value: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # a dead worker is noticed when its output ends
            self.process.stdin.write(json.dumps(value).encode("ascii") + b"\n")
            self.process.stdin.flush()

    def give(self, numbers: Sequence[int], jobs: Sequence[Job]) -> None:
        self.jobs.extend(numbers)
        self.heard, self.phase = time.monotonic(), "gold"
        self._send([to_row(jobs[number]) for number in numbers])

    def lines(self) -> list[bytes] | None:
        """What the worker has said since the last call; None when its output has ended."""
        data = os.read(self.process.stdout.fileno(), 1 << 20)
        self.heard = time.monotonic()
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines

    def stop(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        self.process.wait()


class JudgePool:
    """A pool of judging workers, started when first needed; use it as a context manager or call `close`."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS, workers: int = 2) -> None:
        if workers < 1:
            raise ValueError("a pool needs at least one worker")
        self._limits, self._most = limits, workers
        self._workers: list[_Worker] = []

    def __enter__(self) -> JudgePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers; they hold nothing that could be lost."""
        while self._workers:
            self._workers.pop().stop()

    def judge(self, jobs: Sequence[Job], progress: Callable[[int, int], None] | None = None) -> list[Judgement]:
        """Judge all jobs; the answers are in the jobs' order. Raises NightshiftError if no worker can be started."""
        results: list[Judgement | None] = [None] * len(jobs)
        chunks = _chunks(jobs)
        wanted = min(self._most, len(chunks)) if len(jobs) >= ONE_WORKER_BELOW else min(1, len(chunks))
        while len(self._workers) < wanted:
            self._workers.append(_Worker(self._limits))
        done = 0
        try:
            while done < len(jobs):
                self._hand_out(chunks, jobs)
                before = done
                done += self._listen(results)
                done += self._replace_silent(chunks, jobs, results)
                if progress is not None and done > before:
                    progress(done, len(jobs))
        except BaseException:
            self.close()  # a worker in the middle of a chunk would answer the next call
            raise
        return [result for result in results if result is not None]

    def _hand_out(self, chunks: deque[list[int]], jobs: Sequence[Job]) -> None:
        for worker in self._workers:
            if worker.ready and not worker.jobs and chunks:
                worker.give(chunks.popleft(), jobs)

    def _listen(self, results: list[Judgement | None]) -> int:
        finished = 0
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                if not _ended(worker):
                    selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            for key, _ in selector.select(timeout=0.1):
                worker = key.data
                said = worker.lines()
                if said is None:
                    worker.heard = -1.0
                    continue
                for line in said:
                    if line.startswith(b"{"):
                        results[worker.jobs.popleft()] = Judgement(**json.loads(line))
                        worker.phase = "gold"
                        finished += 1
                    elif line == b"ready":
                        worker.ready = True
                    else:
                        worker.phase = line.decode("ascii")
        return finished

    def _replace_silent(self, chunks: deque[list[int]], jobs: Sequence[Job], results: list[Judgement | None]) -> int:
        """Kill what hangs, bury what died, start replacements; returns how many jobs were given up."""
        lost = 0
        for place, worker in enumerate(self._workers):
            patience = self._limits.seconds + _GRACE if worker.ready else _START
            silent = time.monotonic() - worker.heard > patience and (bool(worker.jobs) or not worker.ready)
            if not _ended(worker) and not silent:
                continue
            if not worker.ready:
                raise NightshiftError(
                    f"a judging worker did not start: run `{sys.executable} -m tasks.sql.worker` to see why"
                )
            status: Status = "resource_limit" if _ended(worker) else "timeout"
            worker.stop()
            if worker.jobs:
                number = worker.jobs.popleft()
                results[number] = _lost(jobs[number], worker.phase, status, self._limits)
                lost += 1
                if worker.jobs:
                    chunks.appendleft(list(worker.jobs))
            self._workers[place] = _Worker(self._limits)
        return lost


def _ended(worker: _Worker) -> bool:
    return worker.heard < 0


def _chunks(jobs: Sequence[Job]) -> deque[list[int]]:
    """The numbers of the jobs in chunks, jobs on the same database side by side."""
    places: dict[tuple[str | None, str, str, str], list[int]] = {}
    for number, job in enumerate(jobs):
        places.setdefault(job.place, []).append(number)
    numbers = [number for group in places.values() for number in group]
    return deque(numbers[at : at + CHUNK] for at in range(0, len(numbers), CHUNK))


def _lost(job: Job, phase: str, status: Status, limits: Limits) -> Judgement:
    """The record of a job whose worker was killed or died; in gold's phase it is gold that failed."""
    message = (
        f"killed {limits.seconds + _GRACE:g} s after it began" if status == "timeout" else "ended its worker process"
    )
    gold = phase == "gold"
    return Judgement(
        id=job.id,
        sql=job.prediction,
        gold_sql=job.gold,
        status=status,
        gold_status="failed" if gold else "ok",
        execution_match=None if gold else False,
        vacuous=False,
        parses=parse(job.prediction, job.dialect).status == "ok",
        prepares=False,
        runs=False,
        message="gold " + message if gold else message,
        gold_message=message if gold else "",
    )
