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
from typing import Any

from tasks.sql.judgement import Job, Judgement

_FIELDS = tuple(Judgement.__slots__)
_SAME = {"sql": "prediction", "gold_sql": "gold", "id": "id"}  # field of the judgement -> field of its job
_GOLD = {"gold_columns": "columns", "gold_rows": "rows"}
_PAIRS = [(name, _SAME.get(name), _GOLD.get(name)) for name in _FIELDS]


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
    packed: list[Any] = []
    for name, of_job, of_prediction in _PAIRS:
        value = getattr(judgement, name)
        if (of_job is not None and value == getattr(job, of_job)) or (
            of_prediction is not None and _identical(value, getattr(judgement, of_prediction))
        ):
            value = 0
        packed.append(value)
    return packed


def _identical(one: list[Any], two: list[Any]) -> bool:
    return one == two and repr(one) == repr(two)  # 1 and 1.0 are equal, and not the same to show


def unpack_answer(packed: list[Any], job: Job) -> Judgement:
    """The judgement of `job` that `pack_answer` packed."""
    fields = dict(zip(_FIELDS, packed, strict=True))
    for name, of_job in _SAME.items():
        if fields[name] == 0:
            fields[name] = getattr(job, of_job)
    for name, of_prediction in _GOLD.items():
        if fields[name] == 0:
            fields[name] = fields[of_prediction]
    return Judgement(**fields)


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
