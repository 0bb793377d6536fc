"""Opening SQLite databases so that untrusted statements can be run on them.

A file is opened `mode=ro&immutable=1`; a script is built in memory. Either way the connection comes back sealed: at
rest its authorizer allows reading and nothing else.

Limits: the first database opened here caps the heap of SQLite in this whole process, because SQLite has no such limit
for one connection.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from infra.errors import UserError
from tasks.sql.guard import building, read_only
from tasks.sql.limits import DEFAULT_LIMITS, Limits, Watch

LENGTH = 8 << 20  # the largest string or blob; one opcode on it takes about 20 ms
EVERY = 1000  # virtual machine steps between two looks at the clock: stops within 2 ms, costs 2-4 %
_HEAP = 1 << 30  # bytes; one row can have 2,000 columns of LENGTH, made between two looks at the clock
_heap_limited = False


class Sealed(sqlite3.Connection):
    """A connection that knows which authorizer it has, so that it is set only when it changes (8 us each time).

    `longest` is the length in bytes a statement may have, once that was set.
    """

    guard: Callable[..., int] | None = None
    longest = 0

    def set_authorizer(self, authorizer_callback: Callable[..., int] | None) -> None:
        """As sqlite3 has it; remembered."""
        super().set_authorizer(authorizer_callback)
        self.guard = authorizer_callback

    def set_guard(self, guard: Callable[..., int] | None) -> None:
        """Make `guard` the authorizer; None lets our own statements pass."""
        if guard is not self.guard:
            self.set_authorizer(guard)

    def set_longest(self, size: int) -> None:
        """Refuse statements of more than `size` bytes."""
        if size != self.longest:
            self.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, size)
            self.longest = size


def lenient_text(value: bytes) -> str:
    """Text as real databases hold it, Latin-1 too; a query on it must not fail."""
    return value.decode("utf-8", "surrogateescape")


def connect(target: str, uri: bool = False) -> Sealed:
    """An unguarded connection with the limits that hold for every one of ours."""
    global _heap_limited
    connection = sqlite3.connect(
        target, uri=uri, isolation_level=None, cached_statements=0, check_same_thread=False, factory=Sealed
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")  # a sort that spills would fill the disk
    if not _heap_limited:
        connection.execute(f"PRAGMA hard_heap_limit = {_HEAP}")  # SQLite keeps a lower one that is already there
        _heap_limited = True
    return connection


def open_database(
    schema: str = "", setup: str = "", path: str | Path | None = None, limits: Limits = DEFAULT_LIMITS
) -> Sealed:
    """Open the SQLite file `path` read-only, or build `schema` (DDL) and `setup` (INSERTs) in memory.

    Raises UserError when the file is missing or no database, or when the script does not run within `limits.seconds`.
    """
    if path is not None:
        return _open_file(Path(path))
    connection = connect(":memory:")
    script = f"{schema.rstrip().rstrip(';')};\n{setup}"
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(LENGTH, 4 * len(script) + 1))
    connection.set_guard(building)
    watch = Watch(limits)
    connection.set_progress_handler(watch, EVERY)
    try:
        connection.executescript(script)
    except (sqlite3.Error, MemoryError, ValueError) as error:
        connection.close()
        raise UserError(f"the database cannot be built from its schema and rows: {watch.reason or error}") from None
    if connection.in_transaction:
        connection.execute("COMMIT")
    return seal(connection)


def _open_file(path: Path) -> Sealed:
    if not path.is_file():
        raise UserError(f"no database file at {path}: check the path")
    try:
        connection = connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise UserError(f"{path} cannot be read as an SQLite database: {error}") from None
    return seal(connection)


def open_live(path: Path) -> Sealed:
    """An unguarded connection to a user's SQLite file that sees what others commit; `open_database` takes test data.

    Nothing is written, not even beside the file: one in WAL mode whose log is missing or empty is opened as immutable,
    because reading would make a log. Raises sqlite3.Error or OSError when it cannot be opened.
    """
    with path.open("rb") as handle:
        logged = handle.read(20)[18:19] == b"\x02"  # https://www.sqlite.org/fileformat2.html, section 1.3
    log = path.with_name(f"{path.name}-wal")
    quiet = logged and not (log.is_file() and log.stat().st_size)
    return connect(f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if quiet else ''}", uri=True)


def clone(connection: Sealed) -> Sealed:
    """A throw-away copy in memory of a database opened by `open_database`, which a statement may then change."""
    copy = connect(":memory:")
    connection.set_guard(None)
    connection.set_progress_handler(None, 0)
    try:
        connection.backup(copy)
    finally:
        connection.set_guard(read_only)
    copy.text_factory = lenient_text  # a change cannot be tried again
    return seal(copy)


def seal(connection: Sealed) -> Sealed:
    """Close the connection against everything but reading."""
    connection.set_guard(None)
    with contextlib.suppress(sqlite3.OperationalError):  # absent where SQLite was built without JSON
        # Their first use declares a table, which the authorizer would refuse; once declared they only read.
        connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LENGTH)
    connection.set_progress_handler(None, 0)
    connection.set_guard(read_only)
    return connection
