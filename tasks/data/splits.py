"""Splits by database, and sticky: what was a test database stays one, whatever data arrive later.

A database's split is the one its rows give (`tags["split"]`), else the one it had last night, else a hash of its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import UserError
from tasks.data.example import Example

SPLITS = ("train", "validation", "test")


class SplitSpec(BaseModel):
    """How databases are divided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    test_share: float = Field(0.2, gt=0, lt=1, description="share of the databases whose split no row gives, for test")
    validation_share: float = Field(0.05, ge=0, lt=1, description="likewise, for validation")


def _hashed(db_id: str, spec: SplitSpec) -> str:
    point = int(hashlib.sha256(f"split|{db_id}".encode()).hexdigest()[:12], 16) / 16**12
    if point < spec.test_share:
        return "test"
    return "validation" if point < spec.test_share + spec.validation_share else "train"


def assign_databases(examples: Iterable[Example], spec: SplitSpec, before: Mapping[str, str]) -> dict[str, str]:
    """The split of every database in `examples`; `before` is last night's assignment.

    Raises UserError for an unknown split name, or a database whose rows give two splits or another one than before.
    """
    given: dict[str, str] = {}
    databases: set[str] = set()
    for example in examples:
        databases.add(example.db_id)
        split = example.tags.get("split")
        if split is None:
            continue
        if split not in SPLITS:
            raise UserError(f"{example.file or example.source} row {example.row}: split {split!r} is none of {SPLITS}")
        if given.setdefault(example.db_id, split) != split:
            raise UserError(
                f"database {example.db_id} is given to both {given[example.db_id]} and {split}: splits go by database"
            )
    moved = [db for db, split in given.items() if before.get(db, split) != split and "test" in (before.get(db), split)]
    if moved:
        raise UserError(
            f"database {moved[0]} was in {before[moved[0]]} before and is now given to {given[moved[0]]}: "
            "a database never moves into or out of test"
        )
    return {db: given.get(db) or before.get(db) or _hashed(db, spec) for db in sorted(databases)}
