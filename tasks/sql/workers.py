"""Guarded worker processes for judging whole test splits.

Workers are fresh Python processes that import only `tasks.sql`, whatever the parent has loaded and however it was
started. One that makes no step past the deadline is killed and replaced; the job it was at is recorded as timed out
(or, if the worker died, as out of resources), and the rest of its chunk goes on. One whose memory has grown, or that
has judged long, is replaced between two chunks. No job is lost.

What makes two workers faster than one process: chunks travel as one line, answers in groups, and the sign of life is
shared memory, so that the pool wakes up a few times a chunk and not twice a query. An idle worker gets its next chunk,
packed beforehand, before the last one's answers are unpacked.

Limits: a pool is for one thread at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from infra.errors import NightshiftError
from tasks.sql.guard import Status
from tasks.sql.judgement import Job, Judgement, Settings
from tasks.sql.limits import DEFAULT_LIMITS, STRETCH, Limits
from tasks.sql.parse import parse
from tasks.sql.wire import Beat, pack_jobs, unpack_answer

CHUNK = 100
ONE_WORKER_BELOW = 64  # jobs: starting a second process would take longer than it saves
RECYCLE = 50_000  # jobs after which a worker makes room for a fresh one
_GRACE = 1.0  # seconds past the deadline before a worker is killed
_OPENING = 20.0  # seconds more for opening a database: a driver is imported, a server asked
_START = 60.0  # seconds a worker may take to import on a busy machine
_DEATHS = 3  # workers in a row that may die without having begun a job


class _Worker:
    """One process with the chunk it is at."""

    def __init__(self, settings: Settings) -> None:
        root = str(Path(__file__).resolve().parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
        # A thread of DuckDB's would set 64 MB of addresses apart, of which a worker may have few.
        environment["MALLOC_ARENA_MAX"] = "1"
        with tempfile.TemporaryFile() as shared:
            shared.truncate(Beat.SIZE)
            self.beat = Beat(shared.fileno())
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tasks.sql.worker", str(shared.fileno())],  # -P: no shadowing of modules
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                pass_fds=(shared.fileno(),),
            )
        self.ready = self.idle = self.ended = self.retiring = False
        self.jobs: deque[int] = deque()  # given and not answered
        self.answered = 0
        self.heard, self._steps, self._used = time.monotonic(), 0, 0.0
        self._rest = b""
        self._send(settings.to_line())

    def _send(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # a dead worker is noticed when its output ends
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def give(self, numbers: Sequence[int], line: bytes) -> None:
        self.jobs.extend(numbers)
        self.heard, self.idle = time.monotonic(), False
        self.retiring = self.retiring or self.answered + len(self.jobs) >= RECYCLE
        self._send(line)

    def hear(self) -> list[bytes]:
        """The lists of answers that have come; notes what else the worker says."""
        data = os.read(self.process.stdout.fileno(), 1 << 20)
        self.heard, self.ended = time.monotonic(), not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.ready = self.ready or b'"ready"' in lines
        self.idle = self.idle or b'"ready"' in lines or b'"done"' in lines
        self.retiring = self.retiring or b'"retire"' in lines
        return [line for line in lines if line.startswith(b"[")]

    def silent(self, patience: float) -> bool:
        """Whether it has made no step for so many seconds though it has something to do.

        One that the machine gives no time to is not silent but starved, for `STRETCH` times as long at most.
        """
        steps = self.beat.read()[0]
        if steps != self._steps or (self.ready and not self.jobs):
            self.heard, self._steps, self._used = time.monotonic(), steps, self._cpu_seconds()
        quiet = time.monotonic() - self.heard
        if quiet <= patience:
            return False
        return quiet > STRETCH * patience or self._cpu_seconds() - self._used > 0.8 * patience

    def _cpu_seconds(self) -> float:
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return times.user + times.system

    def culprit(self) -> int | None:
        """The job it was at when it died or was silent; None when it had begun none of those it was given."""
        at = self.beat.read()[1] - 1 - self.answered
        return self.jobs[at] if 0 <= at < len(self.jobs) else None

    def stop(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what the killed process had not read yet cannot be flushed
                pipe.close()
        self.process.wait()
        self.beat.close()


class _Queue:
    """The chunks still to be given out, the next one packed already."""

    def __init__(self, jobs: Sequence[Job], workers: int) -> None:
        self._jobs = jobs
        size = max(10, min(CHUNK, len(jobs) // (4 * workers)))
        self.chunks = _chunks(jobs, size)
        self._packed: tuple[list[int], bytes] | None = None

    def prepare(self) -> None:
        if self._packed is None and self.chunks:
            numbers = self.chunks.popleft()
            self._packed = numbers, pack_jobs([self._jobs[number] for number in numbers])

    def take(self) -> tuple[list[int], bytes] | None:
        self.prepare()
        packed, self._packed = self._packed, None
        return packed

    def put_back(self, numbers: list[int]) -> None:
        if numbers:
            self.chunks.appendleft(numbers)


class JudgePool:
    """A pool of judging workers, started when first needed; use it as a context manager or call `close`."""

    def __init__(
        self, limits: Limits = DEFAULT_LIMITS, workers: int = 2, *, compatibility: bool = False, suite: int = 0
    ) -> None:
        if workers < 1:
            raise ValueError("a pool needs at least one worker")
        self._settings = Settings(limits=limits, compatibility=compatibility, suite=suite)
        self._most, self._deaths = workers, 0
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> JudgePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers; they hold nothing that could be lost. The pool can be used again."""
        while self._workers:
            self._stop(self._workers[-1])

    def _start(self) -> None:
        worker = _Worker(self._settings)
        self._workers.append(worker)
        self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    def _stop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._selector.unregister(worker.process.stdout)
        worker.stop()

    def judge(self, jobs: Sequence[Job], progress: Callable[[int, int], None] | None = None) -> list[Judgement]:
        """Judge all jobs; the answers are in the jobs' order. Raises NightshiftError if no worker can be started."""
        results: list[Judgement | None] = [None] * len(jobs)
        queue = _Queue(jobs, self._most)
        wanted = min(self._most if len(jobs) >= ONE_WORKER_BELOW else 1, len(queue.chunks))
        done = 0
        try:
            while done < len(jobs):
                while len(self._workers) < wanted:
                    self._start()
                before = done
                said = self._listen(queue)
                done += sum(self._note(worker, lines, jobs, results) for worker, lines in said)
                done += self._replace(queue, jobs, results)
                if progress is not None and done > before:
                    progress(done, len(jobs))
        except BaseException:
            self.close()  # a worker in the middle of a chunk would answer the next call
            raise
        return [result for result in results if result is not None]

    def _listen(self, queue: _Queue) -> list[tuple[_Worker, list[bytes]]]:
        """Wait a moment for answers; workers that have none left to give get their next chunk before all else."""
        self._hand_out(queue)
        queue.prepare()
        ready = [key.data for key, _ in self._selector.select(timeout=0.05)]
        said = [(worker, worker.hear()) for worker in ready]
        self._hand_out(queue)
        return said

    def _hand_out(self, queue: _Queue) -> None:
        for worker in self._workers:
            if worker.idle and not worker.retiring and not worker.ended and (chunk := queue.take()) is not None:
                worker.give(*chunk)

    def _note(self, worker: _Worker, lines: list[bytes], jobs: Sequence[Job], results: list[Judgement | None]) -> int:
        finished = 0
        for line in lines:
            for packed in json.loads(line):
                number = worker.jobs.popleft()
                results[number] = unpack_answer(packed, jobs[number])
                worker.answered += 1
                finished += 1
        if finished:
            self._deaths = 0
        return finished

    def _patience(self, worker: _Worker) -> float:
        if not worker.ready:
            return _START
        opening = _OPENING if worker.beat.read()[2] == "open" else 0.0
        return self._settings.limits.seconds + _GRACE + opening

    def _replace(self, queue: _Queue, jobs: Sequence[Job], results: list[Judgement | None]) -> int:
        """Kill what hangs, bury what died, let go what has grown; returns how many jobs were given up."""
        lost = 0
        for worker in list(self._workers):
            silent = worker.silent(self._patience(worker))
            if not worker.jobs and not worker.ended and worker.retiring:
                self._stop(worker)
            if worker not in self._workers or not (silent or worker.ended):
                continue
            if not worker.ready:
                raise NightshiftError(
                    f"a judging worker did not start: run `{sys.executable} -m tasks.sql.worker` to see why"
                )
            number = worker.culprit()
            queue.put_back([other for other in worker.jobs if other != number])
            if number is not None:
                status: Status = "resource_limit" if worker.ended else "timeout"
                results[number] = lost_job(jobs[number], worker.beat.read()[2], status, self._settings.limits)
                lost += 1
            self._stop(worker)
            self._deaths = 0 if number is not None else self._deaths + 1
            if self._deaths >= _DEATHS:
                raise NightshiftError("judging workers die before they begin: is the machine out of memory?")
        return lost


def _chunks(jobs: Sequence[Job], size: int) -> deque[list[int]]:
    """The numbers of the jobs in chunks, jobs on the same database side by side."""
    places: dict[tuple[str | None, str, str, str], list[int]] = {}
    for number, job in enumerate(jobs):
        places.setdefault(job.place, []).append(number)
    numbers = [number for group in places.values() for number in group]
    return deque(numbers[at : at + size] for at in range(0, len(numbers), size))


def lost_job(job: Job, phase: str, status: Status, limits: Limits) -> Judgement:
    """The record of a job whose worker was killed or died; in gold's phase it is gold that failed."""
    message = (
        f"killed: it did not stop after {limits.seconds:g} s" if status == "timeout" else "ended its worker process"
    )
    gold = phase != "prediction"
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
