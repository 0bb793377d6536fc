"""Splits by database, and sticky: what was a test database stays one, whatever data arrive later.

A database's split is the one its rows give (`tags["split"]`), else the one it had last night, else a hash of its name.

`by: row` divides the rows of each database instead, for data with one database or a handful. Rows with the same SQL
over the same database stay together, so that no test query is trained on in other words; new ones are spread so that
every stratum keeps its shares. Such a test says nothing about unseen databases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from infra.errors import UserError
from infra.hashing import fingerprint
from tasks.data.example import Example
from tasks.data.likeness import sql_spelling
from tasks.data.strata import Stratum, hashed, positions, stratum_of

SPLITS = ("train", "validation", "test")
_IN_DATABASE = "\t"  # stands between a database and the hash of a query in the key of a group of rows


class SplitSpec(BaseModel):
    """How rows are divided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["database", "row"] = Field(
        "database", description="database: whole databases, none in two splits; row: rows of each database"
    )
    test_share: float = Field(
        0.2, gt=0, lt=1, description="share of the databases (or rows) whose split no row gives, for test"
    )
    validation_share: float = Field(0.05, ge=0, lt=1, description="likewise, for validation")
    stratify: tuple[Stratum, ...] = Field(
        (), description="with by: row, what every split has in the same shares: difficulty, evidence (by its length)"
    )

    @model_validator(mode="after")
    def _check(self) -> SplitSpec:
        if self.test_share + self.validation_share >= 1:
            raise ValueError(
                "test_share and validation_share leave nothing for training: together they must be below 1"
            )
        if self.stratify and self.by == "database":
            raise ValueError("stratify needs by: row, because a database goes into one split as a whole")
        return self


def split_key(example: Example, spec: SplitSpec) -> str:
    """What decides an example's split: its database, or its database and query."""
    if spec.by == "database":
        return example.db_id
    return f"{example.db_id}{_IN_DATABASE}{fingerprint(sql_spelling(example.sql))}"


def assign_splits(examples: Sequence[Example], spec: SplitSpec, before: Mapping[str, str]) -> dict[str, str]:
    """The split of every `split_key` in `examples`; `before` is last night's assignment.

    Raises UserError for an unknown split name, one that moves into or out of test, or a key whose rows give two splits.
    """
    if spec.by == "database":
        divided = next((key for key in before if _IN_DATABASE in key), None)
        if divided is not None:
            raise UserError(
                f"rows of database {divided.partition(_IN_DATABASE)[0]} were divided among splits before: "
                "give the recipe another name to split by database from now on"
            )
        return assign_databases(examples, spec, before)
    given = _given(examples, lambda example: split_key(example, spec))
    groups: dict[str, Example] = {}
    for example in examples:
        groups.setdefault(split_key(example, spec), example)
    earlier = {key: split for key, e in groups.items() if (split := before.get(key) or before.get(e.db_id))}
    _check_unmoved(given, earlier, "query")
    new = [key for key in groups if key not in given and key not in earlier]
    places = positions(new, lambda key: key, lambda key: stratum_of(groups[key], spec.stratify), "split")
    drawn = {key: _at(place, spec) for key, place in zip(new, places, strict=True)}
    return {key: given.get(key) or earlier.get(key) or drawn[key] for key in sorted(groups)}


def assign_databases(examples: Iterable[Example], spec: SplitSpec, before: Mapping[str, str]) -> dict[str, str]:
    """The split of every database in `examples`; `before` is last night's assignment.

    Raises UserError for an unknown split name, or a database whose rows give two splits or another one than before.
    """
    rows = list(examples)
    given = _given(rows, lambda example: example.db_id)
    _check_unmoved(given, before, "database")
    databases = sorted({example.db_id for example in rows})
    return {db: given.get(db) or before.get(db) or _at(hashed(f"split|{db}"), spec) for db in databases}


def _at(place: float, spec: SplitSpec) -> str:
    if place < spec.test_share:
        return "test"
    return "validation" if place < spec.test_share + spec.validation_share else "train"


def _given(examples: Iterable[Example], key: Callable[[Example], str]) -> dict[str, str]:
    """The splits that rows give themselves."""
    given: dict[str, str] = {}
    for example in examples:
        split = example.tags.get("split")
        if split is None:
            continue
        if split not in SPLITS:
            raise UserError(f"{example.file or example.source} row {example.row}: split {split!r} is none of {SPLITS}")
        if given.setdefault(key(example), split) != split:
            raise UserError(
                f"database {example.db_id} is given to both {given[key(example)]} and {split}: splits go by database"
                if key(example) == example.db_id
                else f"{example.file or example.source} row {example.row}: its query over {example.db_id} is given to "
                f"both {given[key(example)]} and {split}"
            )
    return given


def _check_unmoved(given: Mapping[str, str], before: Mapping[str, str], what: str) -> None:
    for key, split in given.items():
        if before.get(key, split) != split and "test" in (before.get(key), split):
            raise UserError(
                f"{what} {key} was in {before[key]} before and is now given to {split}: "
                f"a {what} never moves into or out of test"
            )
