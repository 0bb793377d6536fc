"""Schemas: DDL text parsed once, and trimmed to a budget by whole tables (`tasks.data.rendering` writes them).

Limits: SQLite's own parser decides what a schema means when queries run; this parser only reads names, types and
keys for prompts. A schema that sqlglot cannot read raises UserError and is quarantined by validation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from infra.errors import UserError, first_line

# Sample values stand behind the statements: `-- values singer.country: 'France', 'Italy'` (tasks.data.values).
_VALUES = re.compile(r"^-- values (?P<table>\S.*?)\.(?P<column>\S.*?): (?P<values>.+)$", re.MULTILINE)
_VALUE = re.compile(r"'(?:[^']|'')*'|[^,\s][^,]*")


class PromptTooLong(UserError):
    """A schema that cannot be made to fit the prompt budget without dropping a table that is needed."""


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """One column: its name, its declared type, the (table, column) it refers to, and sample values as SQL literals."""

    name: str
    type: str
    primary_key: bool = False
    references: tuple[str, str] | None = None
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableInfo:
    """One table and the DDL statement that makes it."""

    name: str
    columns: tuple[ColumnInfo, ...]
    ddl: str


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a database, in the order of its DDL."""

    tables: tuple[TableInfo, ...]

    def only(self, names: Iterable[str]) -> Schema:
        """The same schema with just the tables of `names`, order kept."""
        wanted = {name.lower() for name in names}
        return Schema(tuple(table for table in self.tables if table.name.lower() in wanted))


def split_values(schema: str) -> tuple[str, dict[tuple[str, str], tuple[str, ...]]]:
    """A schema without its sample values, and the values as SQL literals by (table, column), lower case."""
    if "-- values " not in schema:
        return schema, {}
    found = {
        (match["table"].lower(), match["column"].lower()): tuple(_VALUE.findall(match["values"]))
        for match in _VALUES.finditer(schema)
    }
    return _VALUES.sub("", schema).rstrip(), found


@lru_cache(maxsize=4096)
def parse_schema(ddl: str, dialect: str = "sqlite") -> Schema:
    """Read CREATE TABLE statements; statements of other kinds are passed over.

    Raises UserError when the text is no SQL or holds no table.
    """
    bare, values = split_values(ddl)
    try:
        statements = sqlglot.parse(bare, read=dialect)
    except SqlglotError as error:
        raise UserError(f"schema cannot be read as DDL: {first_line(error)}") from None
    tables = [
        _table(statement, values)
        for statement in statements
        if isinstance(statement, exp.Create) and statement.kind == "TABLE" and isinstance(statement.this, exp.Schema)
    ]
    if not tables:
        raise UserError("schema holds no CREATE TABLE statement")
    return Schema(tuple(tables))


def _table(statement: exp.Create, values: dict[tuple[str, str], tuple[str, ...]]) -> TableInfo:
    name = statement.this.this.name
    keys: set[str] = set()
    references: dict[str, tuple[str, str]] = {}
    for constraint in statement.find_all(exp.PrimaryKey):
        keys |= {part.name.lower() for part in constraint.expressions}
    for constraint in statement.find_all(exp.ForeignKey):
        target = constraint.args.get("reference")
        if target is not None:
            for column, (table, other) in zip(constraint.expressions, _target(target), strict=False):
                references[column.name.lower()] = (table, other)
    columns = []
    for column in statement.this.expressions:
        if not isinstance(column, exp.ColumnDef):
            continue
        inline = column.find(exp.Reference)
        to = next(iter(_target(inline)), None) if inline is not None else references.get(column.name.lower())
        primary = column.name.lower() in keys or column.find(exp.PrimaryKeyColumnConstraint) is not None
        kind = column.kind.sql("sqlite") if column.kind else ""
        shown = values.get((name.lower(), column.name.lower()), ())
        columns.append(ColumnInfo(column.name, kind, primary, to, shown))
    return TableInfo(name, tuple(columns), _ddl(statement))


def _ddl(statement: exp.Create) -> str:
    try:
        return statement.sql("sqlite")
    except KeyError:
        # sqlglot's SQLite writer looks a key's column up by its exact spelling; Spider has `PRIMARY KEY (School_Id)`
        # over a column `School_ID`. The generic writer leaves the clause as it is.
        return statement.sql()


def _target(reference: exp.Reference) -> list[tuple[str, str]]:
    node = reference.this
    if isinstance(node, exp.Schema):
        return [(node.this.name, column.name) for column in node.expressions]
    return [(node.name, "")]


def fit_schema(
    schema: Schema, question: str, fits: Callable[[Schema], bool], keep: Iterable[str] = ()
) -> tuple[Schema, int]:
    """Drop whole tables, least relevant to `question` first, until `fits` says yes.

    Tables named in `keep` (what gold uses, in training) are never dropped. Returns the schema and the number of
    dropped tables; raises PromptTooLong when even the kept tables do not fit.
    """
    words = set(re.findall(r"[a-z0-9]+", question.lower()))
    needed = {name.lower() for name in keep}

    def relevance(table: TableInfo) -> int:
        parts = re.findall(
            r"[a-z0-9]+", " ".join([table.name, *(c.name for c in table.columns)]).lower().replace("_", " ")
        )
        return sum(part in words or part.rstrip("s") in words for part in parts)

    droppable = sorted((t for t in schema.tables if t.name.lower() not in needed), key=relevance)
    current, dropped = schema, 0
    while not fits(current):
        if not droppable or len(current.tables) == 1:
            raise PromptTooLong("schema does not fit the prompt budget even with the tables the query needs alone")
        victim = droppable.pop(0)
        current = Schema(tuple(table for table in current.tables if table is not victim))
        dropped += 1
    return current, dropped
