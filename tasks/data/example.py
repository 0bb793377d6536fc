"""The canonical example: one question, the schema it is asked of, and the SQL that answers it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

Difficulty = Literal["easy", "medium", "hard"]
DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "medium", "hard")

# Fields whose texts many rows have in common; a schema with its rows weighs more than all else of an example.
_COMMON = ("db_id", "schema", "setup", "evidence", "dialect", "source", "domain", "file", "database")


@lru_cache(maxsize=1 << 15)
def shared(text: str) -> str:
    """`text` itself, as one string for all rows of which it is read: those of one database hold its schema once."""
    return text


@dataclass(frozen=True, slots=True)
class Example:
    """One canonical row.

    `schema` is DDL text; `setup` an INSERT script that fills it (empty: the database is elsewhere or has no rows).
    `tags` are further slice dimensions, such as `{"phrasing": "unseen", "shape": "count_where"}`. `file` and `row`
    (1-based record number) say where the row came from, for the quarantine. `database` is the SQLite file that gold
    runs on, read-only, instead of `schema` and `setup`; in a stored dataset it is the file's key in the store.
    """

    id: str
    db_id: str
    question: str
    schema: str
    sql: str
    evidence: str = ""
    setup: str = ""
    dialect: str = "sqlite"
    source: str = ""
    difficulty: str = ""
    domain: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    file: str = ""
    row: int = 0
    database: str = ""

    def to_row(self) -> dict[str, Any]:
        """The example as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__} | {"tags": dict(self.tags)}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Example:
        """The example of a JSON object written by `to_row`; keys that are not its own are ignored."""
        known = {f.name for f in dataclasses.fields(cls)}
        values = {key: value for key, value in row.items() if key in known}
        return cls(**values | {key: shared(values[key]) for key in _COMMON if key in values})
