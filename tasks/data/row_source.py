"""What every source of rows can be told: names of its fields, where its schemas lie, what holds for all its rows."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator
from sqlglot.dialects.dialect import Dialects

from tasks.data.example import Difficulty
from tasks.data.mixture import SourceShare

# Under 1 GB from reading to splits where rows share their schemas; whoever has a use for more rows says so.
MAX_ROWS = 500_000

# Canonical field -> the names under which known layouts carry it, the surest first.
KNOWN: dict[str, tuple[str, ...]] = {
    "question": ("question", "sql_prompt"),
    "sql": ("sql", "query", "answer", "SQL"),
    "schema": ("schema", "context", "sql_context"),
    "setup": ("setup",),
    "db_id": ("db_id",),
    "evidence": ("evidence", "external_knowledge"),
    "id": ("id", "question_id"),
    "difficulty": ("difficulty",),
    "domain": ("domain",),
    "dialect": ("dialect",),
    "split": (),  # many files have a `split` of another meaning: ours is only what the map says
}
DIALECTS = frozenset(dialect.value for dialect in Dialects if dialect.value)


class RowSource(SourceShare):
    """A source of rows, whatever they come from; each kind of source adds where that is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("", description="name of the source in slices, reports and ids; the file's stem when empty")
    fields: dict[str, str] = Field(
        default_factory=dict, description="canonical field: upstream name, for layouts that are not known"
    )
    tables: str = Field(
        "",
        description="schemas by db_id: a file in the layout of Spider's tables.json, or of rows with db_id and schema; "
        "found beside the file when empty",
    )
    databases: str = Field(
        "",
        description="folder of SQLite files (<db_id>/<db_id>.sqlite) that the rows' queries run on, never written; "
        "a folder called database beside the file when empty",
    )
    difficulty: Difficulty | None = Field(
        None, description="difficulty of every row; from the row, else its SQL, when not given"
    )
    domain: str = Field("", description="domain of rows that name none")
    dialect: str = Field("sqlite", description="SQL dialect of rows that name none")
    split: Literal["train", "validation", "test"] | None = Field(
        None, description="split of every row; from the row's tags or a hash of its database when not given"
    )
    max_rows: int | None = Field(
        MAX_ROWS,
        ge=1,
        description="rows of it that are held at most, which bounds memory: drawn by a hash of their ids while it is "
        "read, the others counted; null: all",
    )

    @field_validator("fields")
    @classmethod
    def _canonical(cls, fields: dict[str, str]) -> dict[str, str]:
        for name in fields:
            if name not in KNOWN:
                raise ValueError(f"{name!r} is no canonical field{_nearest(name, KNOWN)}; they are {', '.join(KNOWN)}")
        return fields

    @field_validator("dialect")
    @classmethod
    def _dialect(cls, dialect: str) -> str:
        if dialect.lower() not in DIALECTS:
            raise ValueError(f"{dialect!r} is no SQL dialect{_nearest(dialect.lower(), DIALECTS)}")
        return dialect.lower()


def _nearest(name: str, valid: Any) -> str:
    near = difflib.get_close_matches(name, list(valid), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
