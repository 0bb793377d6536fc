"""What one statement may use, and what came of it."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field, fields
from typing import Any

from tasks.sql.guard import Status

try:
    import resource
except ImportError:  # not a POSIX system: the deadline and the caps on rows and bytes remain
    resource = None

STRETCH = 10  # by how much a deadline may move on a machine that gives a process no time
_SLOW = 0.0003  # seconds between two looks at the clock; some 0.00003 are usual
_SELDOM = 16
_LEAST = {"seconds": 0, "memory_mb": 32, "sql_bytes": 100}  # of a limit, where it is not 1
_PAGE = resource.getpagesize() if resource is not None else 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """What one statement may use; raises ValueError for a limit that would let nothing run.

    No pydantic here: a worker would spend as long on importing it as on judging a thousand queries.
    """

    seconds: float = 5.0  # deadline of one statement
    rows: int = 10_000  # that a result may have
    cells: int = 1_000_000  # values a result may have
    memory_mb: int = 1024  # what the process may grow by while a statement runs
    result_mb: int = 64  # text and blobs a result may hold
    sql_bytes: int = 200_000  # length of a statement

    def __post_init__(self) -> None:
        for limit in fields(self):
            value, least = getattr(self, limit.name), _LEAST.get(limit.name, 1)
            if not isinstance(value, (int, float)) or not (value >= least and value > 0):
                raise ValueError(f"limit {limit.name}: {value!r} is less than {least}")


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Execution:
    """What came of one statement: column names (also of an empty result) and rows when `status` is ok."""

    status: Status
    columns: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    seconds: float = 0.0
    message: str = ""


class Stopwatch:
    """The time since a statement began."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def over(self, status: Status, message: str) -> Execution:
        """The execution that ends here without a result."""
        return Execution(status, seconds=self.seconds, message=message)


class TooMuch(Exception):
    """A statement has used more than its limits allow."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status: Status = status


_statm: tuple[int, int] = (0, -1)  # process, descriptor


def memory_held() -> int:
    """The memory in bytes that this process holds now; where the system does not tell, the most it ever held, or 0.

    Linux's own figure for the most (`ru_maxrss`) would not do: a new process starts with its parent's.
    """
    global _statm
    if sys.platform.startswith("linux"):
        if _statm[0] != os.getpid():  # a fork reads its parent's otherwise
            _statm = os.getpid(), os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        return int(os.pread(_statm[1], 64, 0).split(None, 2)[1]) * _PAGE
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Watch:
    """SQLite's progress handler: stops the statement at its deadline or when the process has grown too much.

    On a machine so busy that the statement has had less than half of its time, the deadline moves, tenfold at most:
    a verdict must not depend on what else runs.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._last = time.monotonic()
        self._deadline = self._last + limits.seconds
        self._latest = self._last + STRETCH * limits.seconds
        self._enough = time.thread_time() + limits.seconds / 2
        self._most = memory_held() + (limits.memory_mb << 20)
        self._calls = 0
        self._reason: Status | None = None

    def __call__(self) -> bool:
        now = time.monotonic()
        self._calls += 1
        if now > self._deadline and (time.thread_time() > self._enough or now > self._latest):
            self._reason = "timeout"
        # Asking for the memory takes 2 us; steps that take long are the ones that make large values.
        elif (now - self._last > _SLOW or not self._calls % _SELDOM) and memory_held() > self._most:
            self._reason = "resource_limit"
        self._last = now
        return self._reason is not None

    @property
    def reason(self) -> TooMuch | None:
        """Why the statement was stopped; None when it was not."""
        if self._reason is None:
            return None
        if self._reason == "timeout":
            return TooMuch("timeout", f"no result within {self._limits.seconds:g} s")
        return TooMuch("resource_limit", f"more than {self._limits.memory_mb:,} MB of memory")


class Counter:
    """Counts the rows of a result as they come; raises TooMuch at the first one beyond the limits."""

    def __init__(self, limits: Limits) -> None:
        self._rows, self._cells, self._bytes = limits.rows, limits.cells, limits.result_mb << 20
        self._limits = limits

    def add(self, rows: list[tuple[Any, ...]]) -> None:
        """Count `rows`, the next ones of the result."""
        self._rows -= len(rows)
        size = 0
        for row in rows:
            for value in row:
                kind = value.__class__
                if kind is str or kind is bytes:
                    size += len(value)
        self._bytes -= size
        if rows:
            self._cells -= len(rows) * len(rows[0])
        if self._rows < 0:
            raise TooMuch("resource_limit", f"more than {self._limits.rows:,} rows")
        if self._cells < 0:
            raise TooMuch("resource_limit", f"more than {self._limits.cells:,} values")
        if self._bytes < 0:
            raise TooMuch("resource_limit", f"a result of more than {self._limits.result_mb} MB")
