"""Records with their upstream field names become canonical examples, whatever kind of source they come from.

A record that cannot become an example is a `BadRecord` with its file, number and reasons: it never raises and is never
passed over. What an example is worth (does it parse, does it run) is for validation to say, not for reading.

A row without a difficulty of ours has the one that Spider's rules give its SQL; a data change, which they do not know,
the one of its structure.

Limits: a difficulty in another vocabulary than ours (BIRD's, gretel's) gives way to the computed one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.data.containers import Record
from tasks.data.dedupe import schema_key
from tasks.data.example import DIFFICULTIES, Difficulty, Example, shared
from tasks.data.row_source import DIALECTS, KNOWN, RowSource
from tasks.data.scripts import schema_and_setup
from tasks.data.serialized import ddl_of_serialized
from tasks.data.wikisql import WikiTable, logical_form_sql
from tasks.sql.features import difficulty, features
from tasks.sql.hardness import Hardness, hardness
from tasks.sql.parse import parse
from tasks.sql.skeleton import skeleton

# Spider's four levels as the three that a curriculum has.
_LEVELS: dict[Hardness, Difficulty] = {"easy": "easy", "medium": "medium", "hard": "hard", "extra": "hard"}


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that is no example: where it stands, why, and its text (at most 2,000 characters)."""

    file: str
    row: int
    id: str
    reasons: tuple[str, ...]
    original: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lies beside the rows: schemas by db_id, WikiSQL's tables by id, and SQLite files by db_id.

    `database` is None when there is no folder of databases; it returns None for a database that the folder lacks.
    """

    schemas: dict[str, str]
    wikisql: dict[str, WikiTable]
    database: Callable[[str], Path | None] | None = None


NOTHING = Surroundings({}, {})


class RowReader:
    """Maps the records of one file: `told` is its name for people, `stem` the head of ids that rows do not give."""

    def __init__(self, source: RowSource, told: str, stem: str, around: Surroundings = NOTHING) -> None:
        self.source, self.told, self.stem, self.around = source, told, stem, around
        self._names = {
            name: (source.fields[name],) if name in source.fields else known for name, known in KNOWN.items()
        }

    def example(self, record: Record) -> Example | BadRecord:
        """The example of one record, or what is wrong with it."""
        values = record.values or {}
        reasons = [record.fault] if record.fault else _dirt(values)
        found: dict[str, str] = {}
        if not reasons:
            if self.around.wikisql:
                values = self._from_wikisql(values, reasons)
            found = self._fields(values, reasons) if not reasons else {}
        database = self._database(found, reasons) if not reasons else ""
        if reasons:
            return BadRecord(self.told, record.row, self._id(values, record.row), tuple(reasons), record.original())
        schema, setup = found["schema"], found["setup"]
        if not setup:
            schema, setup = _divide(schema)
        dialect = shared(found["dialect"].lower()) or self.source.dialect
        return Example(
            id=self._id(values, record.row),
            db_id=shared(found["db_id"] or f"schema-{schema_key(schema)}"),
            question=found["question"],
            schema=shared(schema),
            sql=found["sql"],
            evidence=shared(found["evidence"]),
            setup=shared(setup),
            dialect=dialect,
            source=self.source.name or self.stem,
            difficulty=self.source.difficulty or _difficulty(found["difficulty"], found["sql"], dialect),
            domain=shared(found["domain"]) or self.source.domain,
            tags=self._tags(values, found["split"]),
            file=self.told,
            row=record.row,
            database=database,
        )

    def _from_wikisql(self, values: dict[str, Any], reasons: list[str]) -> dict[str, Any]:
        """The row with SQL for its logical form and the table that it is about."""
        form, table = values.get("sql"), self.around.wikisql.get(str(values.get("table_id")))
        if not isinstance(form, dict):
            return values
        if table is None:
            reasons.append("unknown_table_id")
            return values
        try:
            sql = logical_form_sql(form, table)
        except ValueError:
            reasons.append("bad_logical_form")
            return values
        return {"db_id": values["table_id"]} | values | {"sql": sql, "schema": table.schema, "setup": table.setup}

    def _database(self, found: dict[str, str], reasons: list[str]) -> str:
        if self.around.database is None or not found["db_id"] or found["setup"]:
            return ""
        path = self.around.database(found["db_id"])
        if path is None:
            reasons.append("missing_database")
            return ""
        if not found["schema"]:
            found["schema"] = _schema_of(path)
        return str(path)

    def _fields(self, values: dict[str, Any], reasons: list[str]) -> dict[str, str]:
        """Every canonical text field, empty when the row has none; adds to `reasons` what is missing or no text."""
        found: dict[str, str] = {}
        for name in KNOWN:
            value, there = self._value(values, name)
            if name in ("id", "db_id") and isinstance(value, int) and not isinstance(value, bool):
                value = str(value)
            if isinstance(value, str):
                found[name] = value
            elif value is not None:
                reasons.append(f"wrong_type_{name}")
            elif name in ("question", "sql") or (name in self.source.fields and not there):
                reasons.append(f"missing_{name}")
            else:
                found[name] = ""
                if name == "schema" and not there:
                    found.pop(name)
        if "schema" not in found and not reasons:
            # A named database may lie elsewhere, for scoring; validation asks for a schema all the same.
            found["schema"] = self.around.schemas.get(found["db_id"], "")
            if not found["db_id"]:
                reasons.append("missing_schema")
        if found.get("dialect") and found["dialect"].lower() not in DIALECTS:
            reasons.append("unknown_dialect")
        tags = values.get("tags")
        if tags is not None and not (
            isinstance(tags, dict) and all(isinstance(v, str) for pair in tags.items() for v in pair)
        ):
            reasons.append("wrong_type_tags")
        return found

    def _value(self, values: dict[str, Any], name: str) -> tuple[Any, bool]:
        """The value of a canonical field, and whether the row has it at all.

        Of several known names the first that holds text wins: Spider's rows carry a parsed `sql` beside `query`.
        """
        first = None
        for key in self._names[name]:
            value = values.get(key)
            if isinstance(value, str):
                return value, True
            if first is None:
                first = value
        return first, first is not None or (name in self.source.fields and self.source.fields[name] in values)

    def _id(self, values: dict[str, Any], row: int) -> str:
        value, _ = self._value(values, "id")
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            text = str(value).encode("utf-8", "replace").decode("utf-8").strip()
            if text:
                return text
        return f"{self.stem}-{row}"

    def _tags(self, values: dict[str, Any], split: str) -> dict[str, str]:
        tags = dict(values.get("tags") or {})
        given = self.source.split or split
        return tags | {"split": given} if given else tags


def _dirt(values: dict[str, Any]) -> list[str]:
    """What no text may hold: NUL, and code points that cannot be written as UTF-8 (also bad bytes, as read)."""
    reasons: list[str] = []
    waiting: list[Any] = list(values.values())
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if "\0" in value:
                reasons.append("nul_byte")
            if not value.isascii():
                try:
                    value.encode("utf-8")
                except UnicodeEncodeError:
                    reasons.append("bad_utf8")
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return sorted(set(reasons))


@lru_cache(maxsize=4096)
def _divide(context: str) -> tuple[str, str]:
    """Schema and setup of a context; kept, so that the rows of one database share one string."""
    return schema_and_setup(ddl_of_serialized(context))


@lru_cache(maxsize=1024)
def _schema_of(database: Path) -> str:
    from infra.errors import UserError
    from tasks.sql.introspection import database_schema

    try:
        return database_schema(database)
    except UserError:
        return ""  # validation says that the database is broken


def _difficulty(given: str, sql: str, dialect: str) -> str:
    if given in DIFFICULTIES:
        return shared(given)
    # Structure alone decides, and statements of one skeleton share it: most rows need no parser.
    return _level(skeleton(sql), dialect) or _level(sql, dialect)


@lru_cache(maxsize=16384)
def _level(sql: str, dialect: str) -> str:
    tree = parse(sql, dialect).tree
    if tree is None:
        return ""
    level = hardness(tree)
    return difficulty(features(tree)) if level is None else _LEVELS[level]
