"""File sources: rows of files, with their upstream field names, become canonical examples.

A record that cannot become an example is a `BadRecord` with its file, number and reasons: it never raises and is never
passed over. What an example is worth (does it parse, does it run) is for validation to say, not for reading.

Limits: WikiSQL's SQL (a dictionary of indexes) is not translated; database files beside the rows are not attached.
"""

from __future__ import annotations

import difflib
import glob
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlglot.dialects.dialect import Dialects

from infra.errors import UserError
from tasks.data.containers import READERS, Record, read_records
from tasks.data.dedupe import schema_key
from tasks.data.example import DIFFICULTIES, Difficulty, Example
from tasks.data.scripts import schema_and_setup
from tasks.data.spider_tables import read_tables
from tasks.sql.features import difficulty, features
from tasks.sql.parse import parse

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
_TABLES = ("tables.json", "dev_tables.json", "train_tables.json")
_DIALECTS = frozenset(dialect.value for dialect in Dialects if dialect.value)


class FileSource(BaseModel):
    """Examples in files. Known layouts (Spider, BIRD, gretel, sql-create-context, SynSQL, SQaLe) need no field map."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["file"] = Field("file", description="rows of files")
    path: str = Field(min_length=1, description="file or glob of .jsonl, .json, .csv or .parquet files")
    name: str = Field("", description="name of the source in slices and reports; the file's stem when empty")
    fields: dict[str, str] = Field(
        default_factory=dict, description="canonical field: upstream name, for layouts that are not known"
    )
    tables: str = Field(
        "", description="schemas by db_id in the layout of Spider's tables.json; found beside the file when empty"
    )
    difficulty: Difficulty | None = Field(
        None, description="difficulty of every row; from the row, else its SQL, when not given"
    )
    domain: str = Field("", description="domain of rows that name none")
    dialect: str = Field("sqlite", description="SQL dialect of rows that name none")
    split: Literal["train", "validation", "test"] | None = Field(
        None, description="split of every row; from the row's tags or a hash of its database when not given"
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
        if dialect.lower() not in _DIALECTS:
            raise ValueError(f"{dialect!r} is no SQL dialect{_nearest(dialect.lower(), _DIALECTS)}")
        return dialect.lower()


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that is no example: where it stands, why, and its text (at most 2,000 characters)."""

    file: str
    row: int
    id: str
    reasons: tuple[str, ...]
    original: str


def source_files(source: FileSource, base: Path = Path()) -> list[Path]:
    """The files of a source, sorted; relative paths start at `base`.

    Raises UserError when there is none or one has an unknown extension.
    """
    place = base / source.path
    if place.is_file():
        files = [place]
    elif glob.has_magic(source.path):
        files = sorted(path for name in glob.glob(str(place), recursive=True) if (path := Path(name)).is_file())
    else:
        files = []
    if not files:
        if place.is_dir():
            raise UserError(f"source {source.path} is a folder; name its files, for example {source.path}/*.jsonl")
        raise UserError(f"source {source.path}: there is no such file; check the path")
    for file in files:
        if file.suffix.lower() not in READERS:
            raise UserError(f"source {source.path}: {file.name} is of no known type; use one of {', '.join(READERS)}")
    return files


def read_file(source: FileSource, base: Path = Path()) -> Iterator[Example | BadRecord]:
    """Every record of a source in order, as an example or as a bad record.

    Ids that rows give are kept, others are `<file stem>-<row>`. Raises UserError, naming the file, when one is missing,
    of an unknown type or unreadable as a whole.
    """
    files = source_files(source, base)
    stems = Counter(file.stem for file in files)
    for file in files:
        told = _relative(file, base)
        unique = file.stem if stems[file.stem] == 1 else _relative(file.with_suffix(""), base).replace("/", "-")
        reader = _Reader(source, told, unique, _schemas(source, file, base))
        for record in read_records(file, told):
            yield reader.example(record)


def _relative(path: Path, base: Path) -> str:
    return (path.relative_to(base) if path.is_relative_to(base) else path).as_posix()


def schema_file(source: FileSource, file: Path, base: Path = Path()) -> Path | None:
    """The `tables.json` that gives `file` its schemas: the one the source names, or one beside it.

    Raises UserError when the named one is missing.
    """
    if source.tables:
        path = base / source.tables
        if not path.is_file():
            raise UserError(f"source {source.path}: no file {source.tables} to take schemas from")
        return path
    return next((path for name in _TABLES if (path := file.parent / name).is_file() and path != file), None)


def _schemas(source: FileSource, file: Path, base: Path) -> dict[str, str]:
    path = schema_file(source, file, base)
    return read_tables(path) if path else {}


class _Reader:
    """Maps the records of one file."""

    def __init__(self, source: FileSource, told: str, stem: str, schemas: dict[str, str]) -> None:
        self.source, self.told, self.stem, self.schemas = source, told, stem, schemas

    def example(self, record: Record) -> Example | BadRecord:
        values = record.values or {}
        reasons = [record.fault] if record.fault else _dirt(values)
        found: dict[str, str] = {}
        if not reasons:
            found = self._fields(values, reasons)
        if reasons:
            return BadRecord(self.told, record.row, self._id(values, record.row), tuple(reasons), record.original())
        schema, setup = found["schema"], found["setup"]
        if not setup:
            schema, setup = schema_and_setup(schema)
        dialect = found["dialect"].lower() or self.source.dialect
        return Example(
            id=self._id(values, record.row),
            db_id=found["db_id"] or f"schema-{schema_key(schema)}",
            question=found["question"],
            schema=schema,
            sql=found["sql"],
            evidence=found["evidence"],
            setup=setup,
            dialect=dialect,
            source=self.source.name or self.stem,
            difficulty=self.source.difficulty or _difficulty(found["difficulty"], found["sql"], dialect),
            domain=found["domain"] or self.source.domain,
            tags=self._tags(values, found["split"]),
            file=self.told,
            row=record.row,
        )

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
            found["schema"] = self.schemas.get(found["db_id"], "")
            if not found["db_id"]:
                reasons.append("missing_schema")
        if found.get("dialect") and found["dialect"].lower() not in _DIALECTS:
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
        names = (self.source.fields[name],) if name in self.source.fields else KNOWN[name]
        there = [values[key] for key in names if key in values and values[key] is not None]
        value = next((v for v in there if isinstance(v, str)), there[0] if there else None)
        return value, bool(there) or any(key in values for key in names if name in self.source.fields)

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


def _difficulty(given: str, sql: str, dialect: str) -> str:
    if given in DIFFICULTIES:
        return given
    tree = parse(sql, dialect).tree
    return "" if tree is None else difficulty(features(tree))


def _nearest(name: str, valid: Any) -> str:
    near = difflib.get_close_matches(name, list(valid), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
