"""A judging session: databases kept open, gold run once, one job judged after the other.

Gold and prediction run alone, read-only, each within its limits. Gold that changes data is run, like its prediction,
on a throw-away copy of its own, and the states of the two databases are compared. A prediction that gives an ordered
result without asking for order must give it again when SQLite scans backwards. `tasks.sql.rules` names the rules.

Limits: one database, so that a wrong query which agrees on its rows is called right; with `suite` a match must hold on
further ones (`tasks.sql.suite`), on SQLite alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing

from tasks.sql.comparison import Segment, compare, order_matters
from tasks.sql.compatibility import verdicts
from tasks.sql.engine import Engine
from tasks.sql.executor import DEFAULT_LIMITS, Execution, Limits
from tasks.sql.gold import Gold, Place, open_place, run_gold
from tasks.sql.judgement import Job, Judgement, Settings, preview, safe_text
from tasks.sql.parse import parse, transpile, writes
from tasks.sql.state import same_state
from tasks.sql.tokens import has_limit, without_limit

_OPEN = 8  # databases kept open; jobs come grouped by database, so that more would seldom be used
_WEAK = ([(0,)], [(None,)])


class JudgeSession:
    """Judges job after job, keeping databases open and gold results at hand; for one thread.

    `announce` is called with "open", "gold" or "prediction" before each step, so that a watcher knows whose fault a
    hang is.
    """

    def __init__(
        self,
        limits: Limits = DEFAULT_LIMITS,
        announce: Callable[[str], None] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings or Settings(limits=limits)
        self._limits, self._announce, self._phase = self._settings.limits, announce, "gold"
        self._places: OrderedDict[tuple[str | None, str, str, str], Place] = OrderedDict()

    def close(self) -> None:
        """Close every database; the session can be used again."""
        while self._places:
            self._places.popitem()[1].close()

    def _step(self) -> None:
        if self._announce is not None:
            self._announce(self._phase)

    def _run(self, engine: Engine, sql: str) -> Execution:
        self._step()
        return engine.run(sql, self._limits)

    def judge(self, job: Job) -> Judgement:
        """The judgement of one job; whatever is wrong with the job is in it."""
        self._phase = "gold"
        place = self._place(job)
        if place.engine is None:
            nothing = Execution("schema_error", message=place.problem)
            return _judgement(job, job.prediction, place, Gold(job.gold, nothing), nothing, False, None)
        gold = self._gold(place, place.engine, job)
        sql = transpile(job.prediction, job.dialect, place.engine.dialect) if gold.transpiled else job.prediction
        self._phase = "prediction"
        if gold.writes:
            return self._judge_change(place, place.engine, job, gold, sql)
        predicted = self._run(place.engine, sql)
        match: bool | None = None
        others: dict[str, float] = {}
        tried, held = 0, None
        if gold.status != "failed":
            match = predicted.status == "ok" and self._matches(place.engine, gold, sql, predicted)
            if match and self._settings.suite:
                tried, held = self._suite(place, gold, sql)
                match = held is not False
            if self._settings.compatibility:
                others = self._other_verdicts(place.engine, gold, sql, predicted)
        prepares = self._prepares(place.engine, sql, predicted)
        if not prepares:
            self._step()  # long nonsense takes the parser a while
        return _judgement(job, sql, place, gold, predicted, prepares, match, others, tried, held)

    def _place(self, job: Job) -> Place:
        if job.place in self._places:
            self._places.move_to_end(job.place)
            return self._places[job.place]
        while len(self._places) >= _OPEN:
            self._places.popitem(last=False)[1].close()
        self._phase = "open"
        self._step()
        found = self._places[job.place] = open_place(job, self._limits)
        self._phase = "gold"
        return found

    def _gold(self, place: Place, engine: Engine, job: Job) -> Gold:
        gold = place.golds.get(job.gold)
        if gold is None:
            self._step()
            gold = run_gold(engine, job.gold, job.dialect, self._limits)
            place.keep(job.gold, gold)
        return gold

    def _judge_change(self, place: Place, engine: Engine, job: Job, gold: Gold, sql: str) -> Judgement:
        """Gold changes data: the prediction must leave its own copy in gold's state, and return gold's rows."""
        copy = engine.copy()
        if copy is None:
            predicted = self._run(engine, sql)
            return _judgement(job, sql, place, gold, predicted, self._prepares(engine, sql, predicted), None)
        with closing(copy):
            predicted = self._run(copy, sql)
            prepares = self._prepares(copy, sql, predicted)
            match: bool | None = None
            if gold.status != "failed":
                match = predicted.status == "ok" and writes(sql) and gold.state is not None
                try:
                    self._step()
                    match = match and same_state(gold.state, copy.state(self._limits))
                except OverflowError as error:
                    match, predicted = False, Execution("resource_limit", message=str(error))
                if match and gold.execution.columns:  # RETURNING
                    match = compare(gold.execution, predicted, False)
        return _judgement(job, sql, place, gold, predicted, prepares, match)

    def _prepares(self, engine: Engine, sql: str, predicted: Execution) -> bool:
        if predicted.status in ("timeout", "resource_limit", "sql_error"):
            self._step()
            return engine.compiles(sql, self._limits)
        return predicted.status == "ok"

    def _matches(self, engine: Engine, gold: Gold, sql: str, predicted: Execution) -> bool:
        ordered = order_matters(gold.sql)
        match = self._agrees(engine, gold, predicted, ordered)
        if match and ordered and len(predicted.rows) > 1 and not order_matters(sql):
            self._step()
            backwards = engine.run_backwards(sql, self._limits)
            match = backwards is not None and self._agrees(engine, gold, backwards, ordered)
        return match

    def _agrees(self, engine: Engine, gold: Gold, predicted: Execution, ordered: bool) -> bool:
        if compare(gold.execution, predicted, ordered):
            return True
        if len(gold.execution.rows) != len(predicted.rows) or not gold.execution.rows:
            return False
        if not gold.segmented:
            if not self._may_tie(engine, gold, predicted, ordered):
                return False
            from tasks.sql.ordering import keyed, segments  # the parser: most workers never need it

            self._step()
            gold.segmented = True
            plan = keyed(gold.sql, len(gold.execution.columns), engine.dialect)
            if plan is not None:
                gold.segments = segments(gold.execution, self._run(engine, plan.sql), plan)
        return gold.segments is not None and compare(gold.execution, predicted, ordered, gold.segments)

    def _may_tie(self, engine: Engine, gold: Gold, predicted: Execution, ordered: bool) -> bool:
        """Whether ties could make a match: all rows are among those that gold has without its LIMIT."""
        if not has_limit(gold.sql):
            return ordered and compare(gold.execution, predicted, False)
        if gold.unlimited is None and (plain := without_limit(gold.sql)) is not None:
            gold.unlimited = self._run(engine, plain)
        if gold.unlimited is None or gold.unlimited.status != "ok":
            return True
        whole = [Segment(gold.unlimited.rows, len(gold.execution.rows))]
        return compare(gold.execution, predicted, ordered, whole)

    def _suite(self, place: Place, gold: Gold, sql: str) -> tuple[int, bool | None]:
        """How many variants of the database were tried, and whether the match held on them; None without any."""
        if place.suite is None:
            for other in self._places.values():
                other.close_suite()  # jobs come grouped by database
            self._step()
            place.open_suite(self._settings.suite)
        tried = 0
        for variant in place.suite or ():
            expected = variant.golds.get(gold.sql)
            if expected is None:
                expected = Gold(gold.sql, self._run(variant.engine, gold.sql))
                variant.keep(gold.sql, expected)
            if expected.status == "failed":
                continue
            tried += 1
            predicted = self._run(variant.engine, sql)
            if predicted.status != "ok" or not self._matches(variant.engine, expected, sql, predicted):
                return tried, False
        return tried, True if tried else None

    def _other_verdicts(self, engine: Engine, gold: Gold, sql: str, predicted: Execution) -> dict[str, float]:
        def run(text: str) -> Execution:
            if text == sql:
                return predicted
            if text not in gold.plain:
                gold.plain = {text: self._run(engine, text)}
            return gold.plain[text]

        return verdicts(gold.sql, gold.execution, sql, predicted, run)


def _judgement(
    job: Job,
    sql: str,
    place: Place,
    gold: Gold,
    predicted: Execution,
    prepares: bool,
    match: bool | None,
    others: dict[str, float] | None = None,
    tried: int = 0,
    held: bool | None = None,
) -> Judgement:
    expected = gold.execution
    both_ran = expected.status == "ok" and predicted.status == "ok"
    if gold.writes:
        vacuous = both_ran and not gold.changes
    else:
        empty = not expected.rows and not predicted.rows
        weak = expected.rows in _WEAK and predicted.rows == expected.rows
        vacuous = both_ran and (empty or weak)
    if gold.preview is None:
        gold.preview = [safe_text(name) for name in expected.columns], preview(expected.rows)
    gold_columns, gold_rows = gold.preview
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
        gold_columns=gold_columns,
        gold_rows=gold_rows,
        gold_message=safe_text(expected.message),
        engine=place.engine.name if place.engine is not None else "",
        transpiled=place.transpiled or gold.transpiled,
        compatible=others or {},
        suite_databases=tried,
        suite_match=held,
    )
