"""What one statement may use, and what came of it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks.sql.guard import Status

try:
    import resource
except ImportError:  # not a POSIX system: the deadline and the caps on rows and bytes remain
    resource = None  # type: ignore[assignment]


class Limits(BaseModel):
    """What one statement may use. `memory_mb` is the growth of the process's peak memory while it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=5.0, gt=0, description="deadline of one statement")
    rows: int = Field(default=10_000, ge=1, description="rows a result may have")
    cells: int = Field(default=1_000_000, ge=1, description="values a result may have")
    memory_mb: int = Field(default=1024, ge=32, description="memory one statement may add")
    result_mb: int = Field(default=64, ge=1, description="text and blob bytes a result may hold")
    sql_bytes: int = Field(default=200_000, ge=100, description="length a statement may have")


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Execution:
    """What came of one statement: column names (also of an empty result) and rows when `status` is ok."""

    status: Status
    columns: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    seconds: float = 0.0
    message: str = ""


class TooMuch(Exception):
    """A statement has used more than its limits allow."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status: Status = status


def peak_memory() -> int:
    """The most memory in bytes that this process has ever held; 0 where the system does not tell."""
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Watch:
    """SQLite's progress handler: stops the statement at its deadline or when the process has grown too much."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._deadline = time.monotonic() + limits.seconds
        self._most = peak_memory() + (limits.memory_mb << 20)
        self._reason: Status | None = None

    def __call__(self) -> bool:
        if time.monotonic() > self._deadline:
            self._reason = "timeout"
        elif peak_memory() > self._most:
            self._reason = "resource_limit"
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
