"""How jobs and judgements travel between the pool and its workers: JSON lines, each text sent once.

A chunk of jobs names each database once. A judgement leaves out what its job already says, and gold's columns and rows
where the prediction's are the same. JSON, because a worker has run hostile statements: what it sends may be wrong, but
can never be code.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any

from tasks.sql.judgement import Job, Judgement

_FIELDS = tuple(Judgement.__slots__)
_ALL = attrgetter(*_FIELDS)
_ID, _SQL, _GOLD_SQL = (_FIELDS.index(name) for name in ("id", "sql", "gold_sql"))
_COLUMNS, _ROWS, _GOLD_COLUMNS, _GOLD_ROWS = map(_FIELDS.index, ("columns", "rows", "gold_columns", "gold_rows"))
# What the last fields mostly are: those are left out.
_USUAL = [None if field.default_factory is not MISSING else field.default for field in fields(Judgement)]
_USUAL[_FIELDS.index("compatible")] = {}


def pack_jobs(jobs: Sequence[Job]) -> bytes:
    """A chunk of jobs as one line."""
    places: dict[tuple[str | None, str, str, str], int] = {}
    rows = [[job.id, job.gold, job.prediction, places.setdefault(job.place, len(places))] for job in jobs]
    return json.dumps([list(places), rows]).encode("ascii") + b"\n"


def unpack_jobs(line: str) -> Iterator[Job]:
    """The jobs of a chunk."""
    places, rows = json.loads(line)
    for name, gold, prediction, at in rows:
        database, schema, setup, dialect = places[at]
        yield Job(name, gold, prediction, schema, setup, database, dialect)


def pack_answer(judgement: Judgement, job: Job) -> list[Any]:
    """A judgement as a list that `unpack_answer` completes with the same job; 0 stands for what is known."""
    packed = list(_ALL(judgement))
    packed[_ID] = 0 if judgement.id == job.id else judgement.id
    if judgement.sql == job.prediction:
        packed[_SQL] = 0
    if judgement.gold_sql == job.gold:
        packed[_GOLD_SQL] = 0
    if judgement.gold_columns == judgement.columns:
        packed[_GOLD_COLUMNS] = 0
    if _identical(judgement.gold_rows, judgement.rows):
        packed[_GOLD_ROWS] = 0
    while len(packed) > _GOLD_ROWS + 1 and packed[-1] == _USUAL[len(packed) - 1]:
        packed.pop()
    return packed


def _identical(one: list[Any], two: list[Any]) -> bool:
    return one == two and repr(one) == repr(two)  # 1 and 1.0 are equal, and not the same to show


def unpack_answer(packed: list[Any], job: Job) -> Judgement:
    """The judgement of `job` that `pack_answer` packed."""
    if packed[_ID] == 0:
        packed[_ID] = job.id
    if packed[_SQL] == 0:
        packed[_SQL] = job.prediction
    if packed[_GOLD_SQL] == 0:
        packed[_GOLD_SQL] = job.gold
    if packed[_GOLD_COLUMNS] == 0:
        packed[_GOLD_COLUMNS] = packed[_COLUMNS]
    if packed[_GOLD_ROWS] == 0:
        packed[_GOLD_ROWS] = packed[_ROWS]
    return Judgement(*packed)


class Beat:
    """A worker's sign of life in memory shared with its pool: how many steps and jobs it has begun, and which phase.

    Costs no system call, where a line on a pipe costs two and wakes the pool up for every query.
    """

    SIZE = 24
    _FORMAT = struct.Struct("<QQQ")
    _PHASES = ("gold", "prediction", "open")

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, self.SIZE)
        self._steps = self._begun = 0

    def begin(self) -> None:
        """A job has begun; its first phase is gold."""
        self._begun += 1
        self.step("gold")

    def step(self, phase: str) -> None:
        """Something within the job has begun that may take as long as one statement may."""
        self._steps += 1
        self._FORMAT.pack_into(self._memory, 0, self._steps, self._begun, self._PHASES.index(phase))

    def read(self) -> tuple[int, int, str]:
        """Steps and jobs begun so far, and the phase of the last one."""
        steps, begun, phase = self._FORMAT.unpack_from(self._memory, 0)
        return steps, begun, self._PHASES[phase] if phase < len(self._PHASES) else "gold"

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
