"""Measurements on queries that have run already: soft F1 of their results, their time next to gold's, their results.

They are taken in one process of its own, one query at a time, while nothing else is being judged: two judges on two
cores would spoil each other's times. Who asks may do other work meanwhile, on another core. The process is limited like
a judging worker; if a query that behaved the first time hangs or kills it now, that one measurement is lost and the
rest goes on.

Limits: SQLite alone; queries that read. Who asks makes sure of both.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.cores import usable_cores
from infra.errors import NightshiftError, UserError
from tasks.sql.cells import digest, soft_f1
from tasks.sql.connection import Sealed
from tasks.sql.efficiency import time_ratio
from tasks.sql.executor import DEFAULT_LIMITS, Execution, Limits, open_database, run_query
from tasks.sql.parse import to_sqlite

_OPEN = 8
_CHUNK = 50
_PATIENCE = 5.0  # seconds beyond what the statements of one task may take together
_START = 60.0


@dataclass(frozen=True, slots=True)
class Task:
    """Queries on one database, as they ran: `gold` and `sql` are compared; without `gold`, `sql` alone is looked at.

    `timed` asks for their times as well.
    """

    sql: str
    gold: str = ""
    schema: str = ""
    setup: str = ""
    database: str | None = None
    dialect: str = "sqlite"
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found: None for what was not asked, or could not be had a second time."""

    soft_f1: float | None = None
    time_ratio: float | None = None
    digest: str | None = None


LOST = Measured()


def measure(
    tasks: Sequence[Task], limits: Limits = DEFAULT_LIMITS, meanwhile: Callable[[], bool] | None = None
) -> list[Measured]:
    """Measure every task, in order.

    While the process is at work, `meanwhile` does a small piece of other work again and again, until it returns False:
    nothing is left to do. It is not called where there is one core alone, as it would slow down what is being timed.
    """
    aside = meanwhile if meanwhile is not None and usable_cores() > 1 else _nothing
    order = sorted(range(len(tasks)), key=lambda n: (tasks[n].database or "", tasks[n].schema, tasks[n].setup))
    found: list[Measured] = [LOST] * len(tasks)
    at, lives = 0, 3
    while at < len(order):
        before = at
        with _Process(limits, aside) as process:
            while at < len(order):
                part = order[at : at + _CHUNK]
                answers = process.ask([tasks[number] for number in part])
                for number, answer in zip(part, answers, strict=False):
                    found[number] = answer
                at += len(answers)
                if len(answers) < len(part):
                    at += process.started  # the task it was at is lost
                    break
        lives = 3 if at > before else lives - 1
        if lives == 0:
            raise NightshiftError(
                f"the measuring process does not start: run `{sys.executable} -m tasks.sql.measuring`"
            )
    return found


def _nothing() -> bool:
    return False


class _Process:
    """The measuring process; `started` says whether it has come up. `meanwhile` is called while it is waited for."""

    def __init__(self, limits: Limits, meanwhile: Callable[[], bool]) -> None:
        root = str(Path(__file__).resolve().parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tasks.sql.measuring"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._rest, self._meanwhile = b"", meanwhile
        self._patience = 6 * limits.seconds + _PATIENCE
        self._send(json.dumps(asdict(limits)))
        self.started = self._line(_START) == b'"ready"'

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what the killed process had not read yet cannot be flushed
                pipe.close()
        self._process.wait()

    def _send(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # a dead process is noticed when its output ends
            self._process.stdin.write(line.encode("ascii") + b"\n")
            self._process.stdin.flush()

    def ask(self, tasks: Sequence[Task]) -> list[Measured]:
        """The answers in order; fewer than were asked for when the process hung or died over the next one."""
        if not self.started:
            return []
        # `asdict` copies deeply, ten times slower.
        self._send(json.dumps([{name: getattr(task, name) for name in Task.__slots__} for task in tasks]))
        found: list[Measured] = []
        while len(found) < len(tasks):
            line = self._line(self._patience)
            if line is None:
                break
            found.append(Measured(*json.loads(line)))
        return found

    def _line(self, patience: float) -> bytes | None:
        until = time.monotonic() + patience
        while b"\n" not in self._rest:
            if not self._answers(0.0) and self._meanwhile():
                continue
            data = b""
            if self._answers(until - time.monotonic()):
                data = os.read(self._process.stdout.fileno(), 1 << 16)
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _answers(self, seconds: float) -> bool:
        """Whether something can be read within so many seconds."""
        return bool(select.select([self._process.stdout], [], [], max(0.0, seconds))[0])


class Session:
    """Measures in this process, keeping databases open and gold's results at hand."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._databases: OrderedDict[tuple[str | None, str, str, str], _Database] = OrderedDict()

    def measure(self, task: Task) -> Measured:
        """What one task asks for."""
        try:
            database = self._database(task)
        except UserError:
            return LOST
        found = run_query(database.connection, task.sql, self._limits)
        if found.status != "ok":
            return LOST
        if not task.gold:
            return Measured(digest=digest(found.rows))
        gold = database.golds.get(task.gold)
        if gold is None:
            gold = database.golds[task.gold] = run_query(database.connection, task.gold, self._limits)
        if gold.status != "ok":
            return LOST
        return Measured(soft_f1(gold.rows, found.rows), self._ratio(task, database) if task.timed else None)

    def _ratio(self, task: Task, database: _Database) -> float:
        return time_ratio(
            lambda: run_query(database.connection, task.gold, self._limits),
            lambda: run_query(database.connection, task.sql, self._limits),
        )

    def _database(self, task: Task) -> _Database:
        place = (task.database, task.schema, task.setup, task.dialect)
        if place in self._databases:
            self._databases.move_to_end(place)
        else:
            while len(self._databases) >= _OPEN:
                self._databases.popitem(last=False)[1].connection.close()
            self._databases[place] = _Database(self._open(task))
        return self._databases[place]

    def close(self) -> None:
        """Close every database."""
        while self._databases:
            self._databases.popitem()[1].connection.close()

    def _open(self, task: Task) -> Sealed:
        try:
            return open_database(task.schema, task.setup, task.database, self._limits)
        except UserError:
            if task.database is not None or task.dialect == "sqlite":
                raise
            schema, setup = to_sqlite(task.schema, task.dialect), to_sqlite(task.setup, task.dialect)
            return open_database(schema, setup, None, self._limits)


class _Database:
    def __init__(self, connection: Sealed) -> None:
        self.connection = connection
        self.golds: dict[str, Execution] = {}


def main() -> None:
    """Serve until standard input closes. The first line is the limits, every other one a list of tasks."""
    import signal

    from tasks.sql.worker import limit_process

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # nothing but answers may reach the parent
    limits = Limits(**json.loads(sys.stdin.readline()))
    session = Session(limits)
    limit_process(limits.memory_mb)
    print('"ready"', file=answers, flush=True)
    for line in sys.stdin:
        for fields in json.loads(line):
            found = session.measure(Task(**fields))
            print(json.dumps([found.soft_f1, found.time_ratio, found.digest]), file=answers, flush=True)


if __name__ == "__main__":
    main()
