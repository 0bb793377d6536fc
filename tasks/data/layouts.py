"""Known layouts: what lies beside a file of rows and belongs to it.

Spider and BIRD keep `tables.json` (also dev_, train_) and a folder `database` (also dev_databases, train_databases)
beside their rows; WikiSQL keeps the tables of `dev.jsonl` in `dev.tables.jsonl`.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from infra.errors import UserError
from tasks.data.containers import READERS, read_records
from tasks.data.mapping import Surroundings
from tasks.data.places import Place, place_of
from tasks.data.row_source import RowSource
from tasks.data.serialized import ddl_of_serialized
from tasks.data.spider_tables import read_tables
from tasks.data.wikisql import read_wikisql_tables

TABLES = ("tables.json", "dev_tables.json", "train_tables.json", "test_tables.json")
DATABASES = ("database", "databases", "dev_databases", "train_databases", "test_database")
_WIKISQL = ".tables.jsonl"


def is_companion(name: str) -> bool:
    """Whether a file holds schemas for the rows of others, and no rows."""
    file = PurePosixPath(name).name
    return file in TABLES or file.endswith(_WIKISQL)


def beside(name: str, companion: str) -> str:
    """The name of a file in the folder of `name`."""
    return name.rpartition("/")[0] + "/" + companion if "/" in name else companion


class Companions:
    """What lies beside the files of one source; what several of them share is listed and read once."""

    def __init__(self, source: RowSource, place: Place) -> None:
        self.source, self.place = source, place
        self._read = cache(_read_schemas)
        self._find = cache(_finder)
        self._listed = cache(_database_files)

    def files(self, name: str) -> list[str]:
        """Every file that rows of `name` are read with, databases among them, for the fingerprint of the source."""
        tables, wikisql, folder = self._schema_file(name), _wikisql_file(name), self._database_folder(name)
        found = [tables] if tables else []
        found += [wikisql] if self.place.is_file(wikisql) else []
        return found + (self._listed(folder) if folder else [])

    def surroundings(self, name: str) -> Surroundings:
        """The same, read. Raises UserError when something that the source names is missing or broken."""
        tables, wikisql, folder = self._schema_file(name), _wikisql_file(name), self._database_folder(name)
        wiki = read_wikisql_tables(self.place.fetch(wikisql)) if self.place.is_file(wikisql) else {}
        return Surroundings(self._read(tables) if tables else {}, wiki, self._find(folder) if folder else None)

    def _schema_file(self, name: str) -> str:
        """The file that gives the rows of `name` their schemas by db_id: the one the source names, or one beside it."""
        if self.source.tables:
            return _named_tables(self.source)
        return next((path for t in TABLES if self.place.is_file(path := beside(name, t)) and path != name), "")

    def _database_folder(self, name: str) -> str:
        if self.source.databases:
            return _named_databases(self.source)
        return next((path for d in DATABASES if self.place.is_folder(path := beside(name, d))), "")


def named_surroundings(source: RowSource) -> Surroundings:
    """The schemas and databases that a source names itself; for sources that have no file to lie beside."""
    schemas = _read_schemas(_named_tables(source)) if source.tables else {}
    return Surroundings(schemas, {}, _finder(_named_databases(source)) if source.databases else None)


def _named_tables(source: RowSource) -> str:
    if not place_of(source.tables).is_file(source.tables):
        raise UserError(f"source {_told(source)}: no file {source.tables} to take schemas from")
    return source.tables


def _named_databases(source: RowSource) -> str:
    if not place_of(source.databases).is_folder(source.databases):
        raise UserError(f"source {_told(source)}: no folder {source.databases} to take databases from")
    return source.databases


def _read_schemas(name: str) -> dict[str, str]:
    return read_schemas(place_of(name).fetch(name))


def _database_files(folder: str) -> list[str]:
    return place_of(folder).files(f"{glob.escape(folder.rstrip('/'))}/**/*.sqlite")


def _told(source: RowSource) -> str:
    return getattr(source, "path", "") or source.name or type(source).__name__


def _wikisql_file(name: str) -> str:
    return name.removesuffix(".jsonl") + _WIKISQL if name.endswith(".jsonl") else name + _WIKISQL


def _finder(folder: str) -> Callable[[str], Path | None]:
    place = place_of(folder)

    @cache
    def find(db_id: str) -> Path | None:
        if "/" in db_id or "\\" in db_id or db_id.startswith("."):
            return None  # a name, never a path out of the folder
        names = (f"{folder.rstrip('/')}/{db_id}/{db_id}.sqlite", f"{folder.rstrip('/')}/{db_id}.sqlite")
        return next((place.fetch(name) for name in names if place.is_file(name)), None)

    return find


def read_schemas(path: Path) -> dict[str, str]:
    """DDL by db_id, of a tables.json or of a file of rows with `db_id` and `schema` (DDL or serialised)."""
    if path.suffix.lower() == ".json":
        try:
            first = next(iter(json.loads(path.read_text(encoding="utf-8-sig"))), {})
        except (ValueError, TypeError):
            first = {}
        if not isinstance(first, dict) or "schema" not in first:
            return read_tables(path)
    if path.suffix.lower() not in READERS:
        raise UserError(f"{path.name} is of no known type to take schemas from; use one of {', '.join(READERS)}")
    schemas = {}
    for record in read_records(path, path.name):
        row = record.values or {}
        db_id, schema = row.get("db_id"), _schema_in(row)
        if not isinstance(db_id, str) or schema is None:
            raise UserError(f"{path.name} row {record.row}: schemas by db_id need the fields db_id and schema")
        schemas[db_id] = ddl_of_serialized(schema)
    return schemas


def _schema_in(row: dict[str, object]) -> str | None:
    """The schema of a row: `schema`, or the one column whose name begins so, as in `Schema (values (type))`."""
    names: Sequence[str] = [name for name in row if name.lower() == "schema" or name.lower().startswith("schema (")]
    value = row[names[0]] if len(names) == 1 else row.get("schema")
    return value if isinstance(value, str) else None
