"""Questions with gold SQL about a user's own database, which is only read.

The shapes, phrasings and checks are those of the synthetic databases; queries run on the database itself, within a
time limit. A pair is kept when its gold runs there with a telling answer that holds no NULL, and, where examples carry
sampled rows, also tells something on these. Rows come one after the other from a seed: asking for more keeps the
earlier ones as long as the database stays as it is.

Limits: English; what `tasks.data.synthetic.survey` leaves out is not asked about; SQL for PostgreSQL is transpiled from
SQLite's, and what does not run there is dropped.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import UserError
from tasks.data.example import DIFFICULTIES, Example
from tasks.data.introspect import QueryFailed, Reader, ddl
from tasks.data.synthetic.carried import carried_rows, insert_script
from tasks.data.synthetic.draw import Draw, NoFit, literal
from tasks.data.synthetic.generate import COMMON, COMMON_TURNS, is_telling
from tasks.data.synthetic.phrasing import fill_phrasing, is_held_out
from tasks.data.synthetic.roles import is_sayable
from tasks.data.synthetic.rows import Filled
from tasks.data.synthetic.schema import Column, Table
from tasks.data.synthetic.shape import Shape
from tasks.data.synthetic.shapes import all_shapes
from tasks.data.synthetic.survey import Survey, survey
from tasks.data.synthetic.translate import groups_unseen_nulls, has_set_operation, to_real
from tasks.sql.connection import Sealed
from tasks.sql.executor import open_database, run_query
from tasks.sql.parse import to_sqlite

_TRIES = 6  # attempts at one shape before the next one has its turn
_TURNS_LOST = 3  # turns in a row without a question, after which a shape is given up
_SAME_SQL = 3  # wordings of one query


SAMPLED = 200  # rows a table that values are drawn from when examples carry none


class FromDatabaseSpec(BaseModel):
    """How much to ask about a database."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(200, ge=1, description="questions to write; fewer when the database offers no more")
    seed: int = Field(7, description="seed of the questions")
    carry: int = Field(40, ge=0, description="sampled rows a table that every example carries; 0: schema alone")
    dialect: Literal["own", "sqlite"] = Field(
        "own", description="own: what the database speaks; sqlite: for a model that is asked for SQLite's SQL"
    )
    difficulty_shares: tuple[float, float, float] = Field(
        (0.5, 0.3, 0.2), description="shares of easy, medium and hard questions"
    )


@dataclass
class FromDatabase:
    """What came of it: the examples, and what they are about."""

    examples: list[Example]
    survey: Survey

    def counts(self) -> dict[str, Any]:
        """The account that people and programs read."""
        found = self.survey
        links = sum(len(table.with_role("reference")) for table in found.database.tables)
        return {
            "rows": len(self.examples),
            "difficulty": {level: sum(e.difficulty == level for e in self.examples) for level in DIFFICULTIES},
            "shapes": dict(Counter(example.tags["shape"] for example in self.examples).most_common()),
            "queries": len({example.sql for example in self.examples}),
            "tables": len(found.facts),
            "tables_used": len(found.database.tables),
            "left_out": found.left_out,
            "references": links,
            "references_inferred": found.inferred,
            "dialect": self.examples[0].dialect if self.examples else "",
        }


def generate_from(reader: Reader, spec: FromDatabaseSpec, progress: Any = None) -> FromDatabase:
    """Write questions about the database behind `reader`; `progress(done, total)` is told of each.

    Raises UserError when there is nothing to ask about.
    """
    found = survey(reader)
    dialect = "sqlite" if spec.dialect == "sqlite" else reader.dialect
    schema = ddl(found.facts, reader.dialect)
    chosen = carried_rows(reader, found, spec.carry or SAMPLED)
    setup = insert_script(found.facts, chosen, reader.dialect) if spec.carry else ""
    carried = _carried(schema, setup, dialect)
    place = _Place(reader, found, _filled(found, chosen, schema, setup), carried, dialect)
    examples: list[Example] = []
    try:
        for example in _rows(place, spec):
            examples.append(example)
            if progress is not None:
                progress(len(examples), spec.rows)
            if len(examples) == spec.rows:
                break
    finally:
        if place.carried is not None:
            place.carried.close()
    return FromDatabase(examples, found)


@dataclass
class _Place:
    """Where questions are made: the database, what is known of it, and the rows that examples carry."""

    reader: Reader
    survey: Survey
    filled: Filled
    carried: Sealed | None
    dialect: str  # of the gold queries


def _carried(schema: str, setup: str, dialect: str) -> Sealed | None:
    """The carried rows as judges will build them."""
    if not setup:
        return None
    if dialect != "sqlite":
        schema, setup = to_sqlite(schema, dialect), to_sqlite(setup, dialect)
    try:
        return open_database(schema, setup)
    except UserError as error:
        raise UserError(f"the sampled rows do not load into SQLite: {error}; try again with --carry 0") from None


def _filled(found: Survey, chosen: dict[str, list[tuple[Any, ...]]], schema: str, setup: str) -> Filled:
    rows: dict[str, list[dict[str, Any]]] = {}
    for facts in found.facts:
        names = [found.plain(column.name) for column in facts.columns]
        rows[found.plain(facts.name)] = [dict(zip(names, row, strict=True)) for row in chosen[facts.name]]
    return Filled(schema, setup, rows)


class _LiveDraw(Draw):
    """A draw whose checks run on the user's database, where values may be missing and names may repeat."""

    def __init__(self, place: _Place, rng: random.Random) -> None:
        super().__init__(place.survey.database, place.filled, place.carried, rng)
        self.place = place

    def values(self, table: Table, column: Column) -> list:
        return [_said(value) for value in super().values(table, column) if is_sayable(value)]

    def value(self, table: Table, column: Column, key: str = "value", avoid: Any = ()) -> object:
        value = super().value(table, column, key, avoid)
        if (table.name, column.name) in self.place.survey.repeated:
            self.pick([1] if self._occurs_once(table, column, value) else [])  # `that of Smith` must be one row
        return value

    def _occurs_once(self, table: Table, column: Column, value: object) -> bool:
        return self.query(f"SELECT COUNT(*) FROM {table.name} WHERE {column.name} = {literal(value)}") == [(1,)]

    def cut(self, table: Table, column: Column, low: float = 0.2, high: float = 0.8) -> object:
        value = super().cut(table, column, low, high)
        return round(value, 2) if isinstance(value, float) and abs(value) >= 1 else value

    def direction(self, column: Column, key: str = "most") -> str:
        # Where NULLs stand in an order is for each database to say, and no person means them by `lowest`.
        holders = [table.name for table in self.database.tables if column in table.columns]
        if any((name, column.name) in self.place.survey.missing for name in holders):
            raise NoFit
        return super().direction(column, key)

    def query(self, sql: str) -> list[tuple]:
        try:
            rows = self.place.reader.query(to_real(sql, self.place.survey, self.place.reader.dialect))
        except QueryFailed:
            raise NoFit from None
        if any(value is None for row in rows for value in row):
            raise NoFit
        return rows

    def check_filter(self, table: Table, where: str) -> None:
        ((passed,),) = self.query(f"SELECT COUNT(*) FROM {table.name} WHERE {where}")
        if not 0 < passed < self.place.survey.totals[table.name]:
            raise NoFit


def _said(value: Any) -> Any:
    """A number as a person writes it: 7, not 7.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _rows(place: _Place, spec: FromDatabaseSpec) -> Iterator[Example]:
    """Examples until the database offers no more: difficulties by their shares, common shapes more often."""
    rng = random.Random(hashlib.sha256(f"{spec.seed}/{place.survey.database.id}".encode()).digest())
    alive = {level: [shape for shape in all_shapes() if shape.difficulty == level] for level in DIFFICULTIES}
    shares = dict(zip(DIFFICULTIES, spec.difficulty_shares, strict=True))
    made: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    asked: set[str] = set()
    worded: Counter[str] = Counter()
    while any(alive.values()):
        total = sum(made.values()) + 1
        level = max((one for one in DIFFICULTIES if alive[one]), key=lambda one: shares[one] * total - made[one])
        weights = [COMMON_TURNS if shape.id in COMMON else 1 for shape in alive[level]]
        shape = rng.choices(alive[level], weights)[0]
        found = _attempt(shape, place, rng, asked, worded)
        if found is None:
            lost[shape.id] += 1
            if lost[shape.id] == _TURNS_LOST:
                alive[level].remove(shape)
            continue
        lost[shape.id] = 0
        question, sql = found
        asked.add(question)
        worded[sql] += 1
        made[level] += 1
        yield Example(
            id=f"{place.survey.database.id}-{shape.id}-{len(asked) - 1}",
            db_id=place.survey.database.id,
            question=question,
            schema=place.filled.schema,
            sql=sql,
            setup=place.filled.setup,
            dialect=place.dialect,
            source="generated",
            difficulty=level,
            tags={"shape": shape.id},
        )


def _attempt(
    shape: Shape, place: _Place, rng: random.Random, asked: set[str], worded: Counter[str]
) -> tuple[str, str] | None:
    """A new question with its SQL in the database's dialect, or None after a few attempts."""
    usable = [text for place_, text in enumerate(shape.phrasings) if not is_held_out(shape.id, place_)]
    for _ in range(_TRIES):
        draw = _LiveDraw(place, rng)
        try:
            sql = shape.build(draw)
            if not is_telling(draw.query(sql)) or not _is_sound(sql, place.survey):
                continue
        except NoFit:
            continue
        question = fill_phrasing(rng.choice(usable), draw.slots, rng)
        real = to_real(sql, place.survey, place.dialect)
        if question not in asked and worded[real] < _SAME_SQL and _tells_on_carried(real, place):
            return question, real
    return None


def _is_sound(sql: str, found: Survey) -> bool:
    """Whether missing values and repeated names leave the query meaning what the question says."""
    if groups_unseen_nulls(sql, {column for _, column in found.missing}):
        return False
    return not (found.repeated and has_set_operation(sql))


def _tells_on_carried(sql: str, place: _Place) -> bool:
    if place.carried is None:
        return True
    found = run_query(place.carried, sql if place.dialect == "sqlite" else to_sqlite(sql, place.dialect))
    return found.status == "ok" and is_telling(found.rows)
