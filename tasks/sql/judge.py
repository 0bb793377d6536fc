"""The judge: does a predicted query do what gold does?

Gold and prediction run alone, read-only, each within its limits. Gold that changes data is run, like its prediction,
on a throw-away clone of its own, and the states of the two databases are compared. A prediction that gives an ordered
result without asking for order must give it again when SQLite scans backwards.

Limits: one database, so that a wrong query which agrees on its rows is called right.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from infra.errors import UserError
from tasks.sql.comparison import Segment, compare, order_matters
from tasks.sql.connection import Sealed
from tasks.sql.executor import DEFAULT_LIMITS, Execution, Limits, clone, compiles, open_database, run_query
from tasks.sql.judgement import GoldStatus, Job, Judgement, Settings, preview, safe_text
from tasks.sql.ordering import keyed, segments
from tasks.sql.parse import parse, to_sqlite, writes
from tasks.sql.state import State, read_state, same_state
from tasks.sql.workers import JudgePool

__all__ = ["Job", "JudgePool", "JudgeSession", "Judgement", "judge", "judge_many"]

_OPEN = 8  # databases kept open; jobs come grouped by database, so that more would seldom be used
_GOLDS = 200  # gold results kept for each
_LARGE = 1000  # values (a hundred times as many bytes of text) beyond which a result is not kept
_WEAK = ([(0,)], [(None,)])


def judge(job: Job, limits: Limits = DEFAULT_LIMITS) -> Judgement:
    """Judge one job in this process; never raises on what the job holds."""
    with closing(JudgeSession(limits)) as session:
        return session.judge(job)


def judge_many(
    jobs: Sequence[Job],
    limits: Limits = DEFAULT_LIMITS,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> list[Judgement]:
    """Judge all jobs in guarded worker processes, in order, none lost; `progress(done, total)` is called as they come.

    For many small calls keep a `JudgePool`, which starts its workers once.
    """
    with JudgePool(limits, workers) as pool:
        return pool.judge(jobs, progress)


@dataclass(slots=True)
class _Gold:
    sql: str
    execution: Execution
    writes: bool
    transpiled: bool
    state: State | None = None
    changes: bool = True
    segments: list[Segment] | None = None
    segmented: bool = False

    @property
    def status(self) -> GoldStatus:
        if self.execution.status != "ok":
            return "failed"
        return "ok" if (self.changes if self.writes else self.execution.rows) else "empty"


@dataclass(slots=True)
class _Database:
    connection: Sealed | None
    problem: str = ""
    golds: dict[str, _Gold] = field(default_factory=dict)

    def keep(self, sql: str, gold: _Gold) -> None:
        """Remember gold for the jobs that share it, unless its result is large."""
        rows = gold.execution.rows
        if len(rows) > _LARGE or len(rows) * len(gold.execution.columns) > _LARGE:
            return
        if sum(len(value) for row in rows for value in row if isinstance(value, (str, bytes))) > 100 * _LARGE:
            return
        if len(self.golds) >= _GOLDS:
            self.golds.clear()
        self.golds[sql] = gold


class JudgeSession:
    """Judges job after job, keeping databases open and gold results at hand; for one thread.

    `announce` is called with "gold" or "prediction" before each step, so that a watcher knows whose fault a hang is.
    """

    def __init__(
        self,
        limits: Limits = DEFAULT_LIMITS,
        announce: Callable[[str], None] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings or Settings(limits=limits)
        self._limits, self._announce, self._phase = self._settings.limits, announce, "gold"
        self._databases: OrderedDict[tuple[str | None, str, str, str], _Database] = OrderedDict()

    def close(self) -> None:
        """Close every database; the session can be used again."""
        while self._databases:
            self._drop(self._databases.popitem()[1])

    def _step(self) -> None:
        if self._announce is not None:
            self._announce(self._phase)

    def _run(self, connection: Sealed, sql: str, writable: bool = False) -> Execution:
        self._step()
        return run_query(connection, sql, self._limits, writable=writable)

    def _state(self, connection: Sealed) -> State:
        self._step()
        return read_state(connection, self._limits)

    @staticmethod
    def _drop(database: _Database) -> None:
        if database.connection is not None:
            database.connection.close()

    def judge(self, job: Job) -> Judgement:
        """The judgement of one job; whatever is wrong with the job is in it."""
        self._phase = "gold"
        database = self._database(job)
        if database.connection is None:
            nothing = Execution("schema_error", message=database.problem)
            return _judgement(job, job.prediction, _Gold(job.gold, nothing, False, False), nothing, False, None)
        connection = database.connection
        gold = database.golds.get(job.gold)
        if gold is None:
            gold = self._run_gold(connection, job)
            database.keep(job.gold, gold)
        sql = to_sqlite(job.prediction, job.dialect) if gold.transpiled else job.prediction
        if gold.writes:
            return self._judge_change(connection, job, gold, sql)
        self._phase = "prediction"
        predicted = self._run(connection, sql)
        match: bool | None = None
        if gold.status != "failed":
            match = predicted.status == "ok" and self._matches(connection, gold, sql, predicted)
        prepares = self._prepares(connection, sql, predicted, False)
        if not prepares:
            self._step()  # long nonsense takes the parser a while
        return _judgement(job, sql, gold, predicted, prepares, match)

    def _database(self, job: Job) -> _Database:
        if job.place in self._databases:
            self._databases.move_to_end(job.place)
            return self._databases[job.place]
        while len(self._databases) >= _OPEN:
            self._drop(self._databases.popitem(last=False)[1])
        try:
            self._step()
            found = _Database(self._open(job))
        except UserError as error:
            found = _Database(None, str(error))
        self._databases[job.place] = found
        return found

    def _open(self, job: Job) -> Sealed:
        try:
            return open_database(job.schema, job.setup, job.database, self._limits)
        except UserError:
            if job.database is not None or job.dialect == "sqlite":
                raise
            schema, setup = to_sqlite(job.schema, job.dialect), to_sqlite(job.setup, job.dialect)
            return open_database(schema, setup, None, self._limits)

    def _run_gold(self, connection: Sealed, job: Job) -> _Gold:
        changing = writes(job.gold, job.dialect)
        run = self._gold_change if changing else self._gold_read
        gold = run(connection, job.gold)
        if gold.execution.status != "ok" and job.dialect != "sqlite":
            other = run(connection, to_sqlite(job.gold, job.dialect))
            if other.execution.status == "ok":
                other.transpiled = True
                return other
        return gold

    def _gold_read(self, connection: Sealed, sql: str) -> _Gold:
        return _Gold(sql, self._run(connection, sql), writes=False, transpiled=False)

    def _gold_change(self, connection: Sealed, sql: str) -> _Gold:
        with closing(clone(connection)) as copy:
            try:
                before = self._state(copy)
                execution = self._run(copy, sql, writable=True)
                after = self._state(copy)
            except OverflowError as error:
                return _Gold(sql, Execution("resource_limit", message=str(error)), True, False)
        return _Gold(sql, execution, True, False, after, not same_state(before, after))

    def _judge_change(self, connection: Sealed, job: Job, gold: _Gold, sql: str) -> Judgement:
        """Gold changes data: the prediction must leave its own clone in gold's state, and return gold's rows."""
        self._phase = "prediction"
        with closing(clone(connection)) as copy:
            predicted = self._run(copy, sql, writable=True)
            prepares = self._prepares(copy, sql, predicted, True)
            match: bool | None = None
            if gold.status != "failed":
                match = predicted.status == "ok" and writes(sql) and gold.state is not None
                try:
                    match = match and same_state(gold.state, self._state(copy))
                except OverflowError as error:
                    match, predicted = False, Execution("resource_limit", message=str(error))
                if match and gold.execution.columns:  # RETURNING
                    match = compare(gold.execution, predicted, False)
        return _judgement(job, sql, gold, predicted, prepares, match)

    def _prepares(self, connection: Sealed, sql: str, predicted: Execution, writable: bool) -> bool:
        if predicted.status in ("timeout", "resource_limit", "sql_error"):
            self._step()
            return compiles(connection, sql, self._limits, writable=writable)
        return predicted.status == "ok"

    def _matches(self, connection: Sealed, gold: _Gold, sql: str, predicted: Execution) -> bool:
        ordered = order_matters(gold.sql)
        match = self._agrees(connection, gold, predicted, ordered)
        if match and ordered and len(predicted.rows) > 1 and not order_matters(sql):
            match = self._agrees(connection, gold, self._backwards(connection, sql), ordered)
        return match

    def _agrees(self, connection: Sealed, gold: _Gold, predicted: Execution, ordered: bool) -> bool:
        if compare(gold.execution, predicted, ordered):
            return True
        if len(gold.execution.rows) != len(predicted.rows) or not gold.execution.rows:
            return False
        if not gold.segmented:
            gold.segments, gold.segmented = self._segments(connection, gold), True
        return gold.segments is not None and compare(gold.execution, predicted, ordered, gold.segments)

    def _segments(self, connection: Sealed, gold: _Gold) -> list[Segment] | None:
        plan = keyed(gold.sql, len(gold.execution.columns))
        if plan is None:
            return None
        self._phase = "prediction"  # gold itself has run: what is lost from here on is one comparison
        return segments(gold.execution, self._run(connection, plan.sql), plan)

    def _backwards(self, connection: Sealed, sql: str) -> Execution:
        connection.set_guard(None)
        connection.execute("PRAGMA reverse_unordered_selects = ON")
        try:
            return self._run(connection, sql)
        finally:
            connection.set_guard(None)
            connection.execute("PRAGMA reverse_unordered_selects = OFF")


def _judgement(job: Job, sql: str, gold: _Gold, predicted: Execution, prepares: bool, match: bool | None) -> Judgement:
    expected = gold.execution
    both_ran = expected.status == "ok" and predicted.status == "ok"
    if gold.writes:
        vacuous = both_ran and not gold.changes
    else:
        empty = not expected.rows and not predicted.rows
        weak = expected.rows in _WEAK and predicted.rows == expected.rows
        vacuous = both_ran and (empty or weak)
    return Judgement(
        id=job.id,
        sql=sql,
        gold_sql=gold.sql,
        status=predicted.status,
        gold_status=gold.status,
        execution_match=match,
        vacuous=vacuous,
        parses=prepares or parse(job.prediction, job.dialect).status == "ok",
        prepares=prepares,
        runs=predicted.status == "ok",
        message=safe_text(predicted.message),
        seconds=predicted.seconds,
        columns=[safe_text(name) for name in predicted.columns],
        rows=preview(predicted.rows),
        gold_columns=[safe_text(name) for name in expected.columns],
        gold_rows=preview(expected.rows),
        gold_message=safe_text(expected.message),
    )
