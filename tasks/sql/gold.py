"""Gold results: what is known of a gold query on its database, and the databases they were run on."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from infra.errors import UserError
from tasks.sql.comparison import Segment
from tasks.sql.engine import Engine, SqliteEngine, open_engine
from tasks.sql.judgement import GoldStatus, Job
from tasks.sql.limits import Execution, Limits
from tasks.sql.parse import to_sqlite, transpile, writes
from tasks.sql.state import State, same_state
from tasks.sql.suite import variants

_GOLDS = 200  # results kept for each database
_LARGE = 1000  # values (a hundred times as many bytes of text) beyond which a result is not kept


@dataclass(slots=True)
class Gold:
    """A gold query that has run; `sql` is what ran. `segments` are found when they are first needed."""

    sql: str
    execution: Execution
    writes: bool = False
    transpiled: bool = False
    state: State | None = None
    changes: bool = True
    segments: list[Segment] | None = None
    segmented: bool = False
    preview: tuple[list[str], list[list[Any]]] | None = None  # its columns and first rows, fit to be shown
    unlimited: Execution | None = None  # what it gives without its LIMIT
    plain: dict[str, Execution] = field(default_factory=dict)  # other forms of it, for compatibility

    @property
    def status(self) -> GoldStatus:
        """Whether it has rows (or changes something), has none, or does not run."""
        if self.execution.status != "ok":
            return "failed"
        return "ok" if (self.changes if self.writes else self.execution.rows) else "empty"


@dataclass(slots=True)
class Place:
    """A database that jobs share, or why it cannot be opened, with the gold results on it."""

    engine: Engine | None
    problem: str = ""
    transpiled: bool = False
    golds: dict[str, Gold] = field(default_factory=dict)
    suite: list[Place] | None = None

    def keep(self, sql: str, gold: Gold) -> None:
        """Remember gold for the jobs that share it, unless its result is large."""
        rows = gold.execution.rows
        if len(rows) > _LARGE or len(rows) * len(gold.execution.columns) > _LARGE:
            return
        if sum(len(value) for row in rows for value in row if isinstance(value, (str, bytes))) > 100 * _LARGE:
            return
        if len(self.golds) >= _GOLDS:
            self.golds.clear()
        self.golds[sql] = gold

    def open_suite(self, count: int) -> None:
        """Make variants of the database; none where it is not SQLite's."""
        self.suite = []
        if isinstance(self.engine, SqliteEngine):
            self.suite = [Place(SqliteEngine(copy)) for copy in variants(self.engine.connection, count)]

    def close_suite(self) -> None:
        """Let go of the variants; they can be made again."""
        for place in self.suite or ():
            place.close()
        self.suite = None

    def close(self) -> None:
        """Close the database and those made from it."""
        if self.engine is not None:
            self.engine.close()
        self.close_suite()


def open_place(job: Job, limits: Limits) -> Place:
    """The database of a job; a script that SQLite does not take is transpiled."""
    try:
        return Place(open_engine(job.database, job.schema, job.setup, job.dialect, limits))
    except UserError as error:
        if job.database is not None or job.dialect == "sqlite":
            return Place(None, str(error))
    schema, setup = to_sqlite(job.schema, job.dialect), to_sqlite(job.setup, job.dialect)
    try:
        return Place(open_engine(None, schema, setup, "sqlite", limits), transpiled=True)
    except UserError as error:
        return Place(None, str(error))


def run_gold(engine: Engine, sql: str, dialect: str, limits: Limits) -> Gold:
    """Run gold as it is; where that fails and the database speaks another dialect, transpiled."""
    changing = writes(sql, dialect)
    run = _change if changing else _read
    gold = run(engine, sql, limits)
    if gold.execution.status != "ok" and dialect != engine.dialect:
        other = run(engine, transpile(sql, dialect, engine.dialect), limits)
        if other.execution.status == "ok":
            other.transpiled = True
            return other
    return gold


def _read(engine: Engine, sql: str, limits: Limits) -> Gold:
    return Gold(sql, engine.run(sql, limits))


def _change(engine: Engine, sql: str, limits: Limits) -> Gold:
    copy = engine.copy()
    if copy is None:
        reason = f"statements that change data are judged on SQLite only, not on {engine.name}"
        return Gold(sql, Execution("forbidden", message=reason), writes=True)
    with closing(copy):
        try:
            before = copy.state(limits)
            execution = copy.run(sql, limits)
            after = copy.state(limits)
        except OverflowError as error:
            return Gold(sql, Execution("resource_limit", message=str(error)), writes=True)
    return Gold(sql, execution, True, False, after, not same_state(before, after))
