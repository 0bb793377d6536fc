"""The safe executor: one untrusted statement against one SQLite database, which it cannot harm.

What stops what: the authorizer refuses everything but reading (writes, ATTACH, PRAGMA, VACUUM, load_extension); the
first word refuses EXPLAIN and REINDEX, which pass authorizers; files are opened `mode=ro&immutable=1`; no database can
be attached; a progress handler enforces the deadline and the growth of memory; length limits bound what one opcode
can make, a heap limit what one row can; rows, values and bytes are capped while fetching.

Limits: this is not a sandbox of the operating system. A single opcode (`instr` or `replace` on megabytes, a huge LIKE)
is not interrupted; `tasks.sql.workers` adds process limits and a hard kill for whole test splits.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

from tasks.sql.connection import EVERY, Sealed, clone, lenient_text, open_database
from tasks.sql.guard import REFUSED, Status, changing, read_only, status_of
from tasks.sql.limits import DEFAULT_LIMITS, Counter, Execution, Limits, Stopwatch, TooMuch, Watch
from tasks.sql.tokens import first_keyword, tokens

__all__ = ["DEFAULT_LIMITS", "Execution", "Limits", "Status", "clone", "compiles", "open_database", "refusal"]
__all__ += ["run_query", "run_readonly"]

_BATCH = 64  # rows between two counts
_WORD = re.compile(r"\s*([A-Za-z]+)\b")


def run_query(connection: Sealed, sql: str, limits: Limits = DEFAULT_LIMITS, *, writable: bool = False) -> Execution:
    """Run one untrusted statement; every failure is a status, never an exception.

    `writable` lets it change `connection`, which must then be a `clone`; attaching, pragmas, transactions and
    extensions stay refused.
    """
    clock = Stopwatch()
    refused = refusal(sql, limits)
    if refused is not None:
        return clock.over(*refused)
    watch = _guard(connection, limits, writable)
    try:
        try:
            columns, rows = _run(connection, sql, limits, watch)
        except sqlite3.OperationalError as error:
            if writable or not str(error).startswith("Could not decode to UTF-8"):
                raise
            connection.text_factory = lenient_text  # from now on: calling it for every value is slow
            columns, rows = _run(connection, sql, limits, watch)
    except TooMuch as error:
        return clock.over(error.status, str(error))
    except MemoryError:
        return clock.over("resource_limit", "out of memory")
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
        return clock.over(*_classify(error, watch))
    finally:
        _release(connection)
    return Execution("ok", columns, rows, clock.seconds)


def compiles(connection: Sealed, sql: str, limits: Limits = DEFAULT_LIMITS, *, writable: bool = False) -> bool:
    """Whether SQLite prepares the statement on this schema, under the same guard, without running it."""
    if refusal(sql, limits) is not None:
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


def refusal(sql: str, limits: Limits) -> tuple[Status, str] | None:
    """Why a statement is not even tried: its length, its first word, or that there is none."""
    most = limits.sql_bytes
    if len(sql) > most or (4 * len(sql) > most and len(sql.encode("utf-8", "surrogatepass")) > most):
        return "resource_limit", f"the statement is longer than {most:,} bytes"
    word = _WORD.match(sql)
    keyword = word.group(1).upper() if word else first_keyword(sql)
    if keyword in REFUSED:
        return "forbidden", f"{keyword} is not allowed"
    if not keyword and all(token.group() == ";" for token in tokens(sql)):
        return "syntax_error", "there is no statement"
    return None


def _guard(connection: Sealed, limits: Limits, writable: bool) -> Watch:
    watch = Watch(limits)
    connection.set_longest(limits.sql_bytes + 16)
    connection.set_guard(changing if writable else read_only)
    connection.set_progress_handler(watch, EVERY)
    return watch


def _release(connection: Sealed) -> None:
    connection.set_progress_handler(None, 0)
    connection.set_guard(read_only)


def _run(connection: Sealed, sql: str, limits: Limits, watch: Watch) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    cursor = connection.execute(sql)
    try:
        counter, rows = Counter(limits), []
        while batch := cursor.fetchmany(_BATCH):
            counter.add(batch)
            rows += batch
            if watch():
                raise watch.reason or TooMuch("timeout", "stopped")
            if len(batch) < _BATCH:
                break
        return tuple(column[0] for column in cursor.description or ()), rows
    finally:
        cursor.close()


def _classify(error: Exception, watch: Watch) -> tuple[Status, str]:
    reason = watch.reason
    if reason is not None:
        return reason.status, str(reason)
    message = str(error)
    if isinstance(error, UnicodeEncodeError):
        return "syntax_error", "the statement is not valid Unicode"
    return status_of(message), message
