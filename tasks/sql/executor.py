"""The safe executor: one untrusted statement against one SQLite database, which it cannot harm.

What stops what: the authorizer refuses everything but reading (writes, ATTACH, PRAGMA, VACUUM, load_extension); the
first word refuses EXPLAIN and REINDEX, which pass authorizers; files are opened `mode=ro&immutable=1`; no database can
be attached; a progress handler enforces the deadline and the growth of memory; length limits bound what one opcode
can make; rows and bytes are capped while fetching.

Limits: this is not a sandbox of the operating system. A single opcode (a sort, a huge LIKE) is not interrupted, and
memory is measured by its peak; `tasks.sql.workers` adds process limits and a hard kill for whole test splits.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import UserError
from tasks.sql.guard import REFUSED, Status, building, changing, read_only, status_of
from tasks.sql.tokens import first_keyword, tokens

try:
    import resource
except ImportError:  # not a POSIX system: the deadline and the caps on rows and bytes remain
    resource = None  # type: ignore[assignment]

_LENGTH = 8 << 20  # the largest string or blob; one opcode on it takes about 20 ms
_EVERY = 1000  # virtual machine steps between two looks at the clock: stops within 2 ms, costs 2-4 %
_BATCH = 200


class Limits(BaseModel):
    """What one statement may use. `memory_mb` is the growth of the process's peak memory while it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=5.0, gt=0, description="deadline of one statement")
    rows: int = Field(default=10_000, ge=1, description="rows a result may have")
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


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")  # real databases hold Latin-1; a query on them must not fail


def _connect(target: str, uri: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(target, uri=uri, isolation_level=None, cached_statements=0, check_same_thread=False)
    connection.text_factory = _text
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")  # a sort that spills would fill the disk
    with contextlib.suppress(sqlite3.OperationalError):  # absent where SQLite was built without JSON
        # Their first use declares a table, which the authorizer would refuse; once declared they only read.
        connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')")
    return connection


def open_database(
    schema: str = "", setup: str = "", path: str | Path | None = None, limits: Limits = DEFAULT_LIMITS
) -> sqlite3.Connection:
    """Open the SQLite file `path` read-only, or build `schema` (DDL) and `setup` (INSERTs) in memory.

    Raises UserError when the file is missing or no database, or when the script does not run within `limits.seconds`.
    """
    if path is not None:
        return _open_file(Path(path))
    connection = _connect(":memory:")
    script = f"{schema.rstrip().rstrip(';')};\n{setup}"
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(_LENGTH, 4 * len(script) + 1))
    connection.set_authorizer(building)
    watch = _Watch(limits)
    connection.set_progress_handler(watch, _EVERY)
    try:
        connection.executescript(script)
    except (sqlite3.Error, MemoryError, ValueError) as error:
        connection.close()
        raise UserError(f"the database cannot be built from its schema and rows: {watch.reason or error}") from None
    if connection.in_transaction:
        connection.execute("COMMIT")
    return _seal(connection)


def _open_file(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise UserError(f"no database file at {path}: check the path")
    try:
        connection = _connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise UserError(f"{path} cannot be read as an SQLite database: {error}") from None
    return _seal(connection)


def clone(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A throw-away copy in memory of a database opened by `open_database`, which a statement may then change."""
    copy = _connect(":memory:")
    connection.set_authorizer(None)
    connection.set_progress_handler(None, 0)
    connection.backup(copy)
    return _seal(copy)


def _seal(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LENGTH)
    connection.set_authorizer(read_only)
    connection.set_progress_handler(None, 0)
    return connection


def _peak_memory() -> int:
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _Watch:
    """The progress handler: stops the statement at its deadline or when the process has grown too much."""

    def __init__(self, limits: Limits) -> None:
        self.deadline = time.monotonic() + limits.seconds
        self.most = _peak_memory() + (limits.memory_mb << 20)
        self.reason = ""

    def __call__(self) -> bool:
        if time.monotonic() > self.deadline:
            self.reason = "timeout"
        elif _peak_memory() > self.most:
            self.reason = "resource_limit"
        return bool(self.reason)


def run_query(
    connection: sqlite3.Connection, sql: str, limits: Limits = DEFAULT_LIMITS, *, writable: bool = False
) -> Execution:
    """Run one untrusted statement; every failure is a status, never an exception.

    `writable` lets it change `connection`, which must then be a `clone`; attaching, pragmas, transactions and
    extensions stay refused.
    """
    began = time.monotonic()

    def over(status: Status, message: str) -> Execution:
        return Execution(status, seconds=time.monotonic() - began, message=message)

    refused = _refusal(sql, limits)
    if refused is not None:
        return over(*refused)
    watch = _guard(connection, limits, writable)
    try:
        cursor = connection.execute(sql)
        columns = tuple(column[0] for column in cursor.description or ())
        rows = _fetch(cursor, limits, watch)
    except _TooMuch as error:
        return over(error.status, str(error))
    except MemoryError:
        return over("resource_limit", "out of memory")
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
        return over(*_classify(error, watch, limits))
    finally:
        _release(connection)
    return Execution("ok", columns, rows, time.monotonic() - began)


def compiles(
    connection: sqlite3.Connection, sql: str, limits: Limits = DEFAULT_LIMITS, *, writable: bool = False
) -> bool:
    """Whether SQLite prepares the statement on this schema, under the same guard, without running it."""
    if _refusal(sql, limits) is not None:
        return False
    _guard(connection, limits, writable)
    try:
        connection.execute(f"EXPLAIN {sql}").close()
    except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError):
        return False
    finally:
        _release(connection)
    return True


def run_readonly(path: str | Path, sql: str, limits: Limits = DEFAULT_LIMITS) -> Execution:
    """Run one statement on a user's SQLite file without any way to change it. Raises UserError if it cannot open."""
    connection = open_database(path=path)
    try:
        return run_query(connection, sql, limits)
    finally:
        connection.close()


class _TooMuch(Exception):
    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status: Status = status


def _refusal(sql: str, limits: Limits) -> tuple[Status, str] | None:
    if len(sql.encode("utf-8", "surrogatepass")) > limits.sql_bytes:
        return "resource_limit", f"the statement is longer than {limits.sql_bytes:,} bytes"
    keyword = first_keyword(sql)
    if keyword in REFUSED:
        return "forbidden", f"{keyword} is not allowed"
    if not keyword and all(token.group() == ";" for token in tokens(sql)):
        return "syntax_error", "there is no statement"
    return None


def _guard(connection: sqlite3.Connection, limits: Limits, writable: bool) -> _Watch:
    watch = _Watch(limits)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, limits.sql_bytes + 16)
    connection.set_authorizer(changing if writable else read_only)
    connection.set_progress_handler(watch, _EVERY)
    return watch


def _release(connection: sqlite3.Connection) -> None:
    connection.set_progress_handler(None, 0)
    connection.set_authorizer(read_only)


def _fetch(cursor: sqlite3.Cursor, limits: Limits, watch: _Watch) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    size = 0
    for row in cursor:
        rows.append(row)
        size += sum(len(value) for value in row if isinstance(value, (str, bytes)))
        if len(rows) > limits.rows:
            raise _TooMuch("resource_limit", f"more than {limits.rows:,} rows")
        if size > limits.result_mb << 20:
            raise _TooMuch("resource_limit", f"a result of more than {limits.result_mb} MB")
        if len(rows) % _BATCH == 0 and watch():
            raise _TooMuch(*_reason(watch, limits))
    return rows


def _reason(watch: _Watch, limits: Limits) -> tuple[Status, str]:
    if watch.reason == "timeout":
        return "timeout", f"no result within {limits.seconds:g} s"
    return "resource_limit", f"more than {limits.memory_mb:,} MB of memory"


def _classify(error: Exception, watch: _Watch, limits: Limits) -> tuple[Status, str]:
    if watch.reason:
        return _reason(watch, limits)
    message = str(error)
    if isinstance(error, UnicodeEncodeError):
        return "syntax_error", "the statement is not valid Unicode"
    return status_of(message), message
