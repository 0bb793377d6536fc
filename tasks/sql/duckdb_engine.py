"""DuckDB databases: a file opened read-only, or a script built in memory.

What stops what: DuckDB's own parser must see exactly one SELECT; the transaction is read-only; files, the network and
extensions are shut off and the configuration is locked before any text from outside runs; memory is capped; a thread
interrupts at the deadline; rows, values and bytes are capped while fetching.

Limits: a step that DuckDB does not interrupt ends with its worker process.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infra.errors import UserError, first_line
from tasks.sql.engine import Engine, plain
from tasks.sql.executor import refusal
from tasks.sql.guard import Status
from tasks.sql.limits import STRETCH, Counter, Execution, Limits, Stopwatch, TooMuch

_BATCH = 64


class DuckdbEngine(Engine):
    """A DuckDB database; needs the extra `duckdb`."""

    name = dialect = "duckdb"

    def __init__(self, database: str | None, script: str, limits: Limits) -> None:
        try:
            import duckdb
        except ImportError:
            raise UserError("DuckDB is not installed: pip install 'nightshift-sql[duckdb]'") from None
        self._duckdb: Any = duckdb
        settings = {
            "memory_limit": f"{limits.memory_mb}MB",
            "max_temp_directory_size": "0KB",
            "threads": "1",
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "lock_configuration": "true",
        }
        try:
            if database is not None:
                path = str(Path(database).resolve())
                self._connection: Any = duckdb.connect(path, read_only=True, config=settings)
                return
            self._connection = duckdb.connect(":memory:", config=settings)
            with self._deadline(limits):
                self._connection.execute(script)
        except duckdb.Error as error:
            what = database or "the database from its schema and rows"
            raise UserError(f"DuckDB cannot open {what}: {first_line(error)}") from None

    def run(self, sql: str, limits: Limits) -> Execution:
        clock = Stopwatch()
        refused = self._refused(sql, limits)
        if refused is not None:
            return clock.over(*refused)
        try:
            with self._transaction(), self._deadline(limits):
                cursor = self._connection.execute(sql)
                columns = tuple(column[0] for column in cursor.description or ())
                counter, rows = Counter(limits), []
                while batch := cursor.fetchmany(_BATCH):
                    batch = [tuple(plain(value) for value in row) for row in batch]
                    counter.add(batch)
                    rows += batch
        except TooMuch as error:
            return clock.over(error.status, str(error))
        except self._duckdb.InterruptException:
            return clock.over("timeout", f"no result within {limits.seconds:g} s")
        except (self._duckdb.Error, ValueError, MemoryError, OverflowError) as error:
            return clock.over(self._status(error), first_line(error))
        return Execution("ok", columns, rows, clock.seconds)

    def compiles(self, sql: str, limits: Limits) -> bool:
        if self._refused(sql, limits) is not None:
            return False
        try:
            with self._transaction(), self._deadline(limits):
                self._connection.execute(f"EXPLAIN {sql}").fetchall()
        except (self._duckdb.Error, ValueError, MemoryError):
            return False
        return True

    def close(self) -> None:
        self._connection.close()

    def _refused(self, sql: str, limits: Limits) -> tuple[Status, str] | None:
        refused = refusal(sql, limits)
        if refused is not None:
            return refused
        try:
            found = self._connection.extract_statements(sql)
        except (self._duckdb.Error, ValueError) as error:
            return "syntax_error", first_line(error)
        if len(found) != 1:
            return "multiple_statements", f"{len(found)} statements where one is expected"
        if found[0].type != self._duckdb.StatementType.SELECT:
            return "forbidden", f"{found[0].type.name} is not allowed: only queries run here"
        return None

    def _status(self, error: Exception) -> Status:
        duckdb = self._duckdb
        kinds: tuple[tuple[Any, Status], ...] = (
            ((duckdb.OutOfMemoryException, MemoryError), "resource_limit"),
            (duckdb.PermissionException, "forbidden"),
            ((duckdb.ParserException, duckdb.SyntaxException), "syntax_error"),
            ((duckdb.CatalogException, duckdb.BinderException), "schema_error"),
        )
        if "read-only" in str(error) or "disabled by configuration" in str(error):
            return "forbidden"
        return next((status for kind, status in kinds if isinstance(error, kind)), "sql_error")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN TRANSACTION READ ONLY")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def _deadline(self, limits: Limits) -> contextlib.AbstractContextManager[None]:
        return alarm(limits, self._connection.interrupt)


@contextlib.contextmanager
def alarm(limits: Limits, interrupt: Callable[[], object]) -> Iterator[None]:
    """Call `interrupt` from another thread when the block has not ended by its deadline, and never once it has.

    As for SQLite (`tasks.sql.limits.Watch`) the deadline moves, tenfold at most, while the process has had less than
    half of that time: a verdict must not depend on what else runs.
    """
    over = threading.Event()
    began, used = time.monotonic(), time.process_time()

    def watch() -> None:
        wait = limits.seconds
        while not over.wait(wait):
            late = time.monotonic() - began >= STRETCH * limits.seconds
            if late or time.process_time() - used >= limits.seconds / 2:
                interrupt()
                return
            wait = limits.seconds / 4

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
