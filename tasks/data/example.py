"""The canonical example: one question, the schema it is asked of, and the SQL that answers it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

Difficulty = Literal["easy", "medium", "hard"]
DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "medium", "hard")


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
        return cls(**{key: value for key, value in row.items() if key in known})
