"""WikiSQL: its tables as DDL with rows, its logical form (`sel`, `agg`, `conds`) as SQL.

The meaning of the numbers is that of WikiSQL's `lib/query.py`: aggregates '', MAX, MIN, COUNT, SUM, AVG; operators
=, >, <; conditions are joined by AND.

Limits: a header that is empty or repeats another (SQLite ignores case) is numbered; values of a numeric column that are
no number are compared as text, which matches nothing, as in WikiSQL itself. All tables of one file are held in memory.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import UserError
from tasks.data.containers import read_records
from tasks.data.names import quoted

AGGREGATES = ("", "MAX", "MIN", "COUNT", "SUM", "AVG")
OPERATORS = ("=", ">", "<")
_TYPES = {"text": "TEXT", "real": "REAL"}
_NUMBER = re.compile(r"[+-]?(\d[\d,]*)?(\.\d+)?\Z")


@dataclass(frozen=True, slots=True)
class WikiTable:
    """One table: its name and columns as SQL writes them, their types, and the scripts that make and fill it."""

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    schema: str
    setup: str


def read_wikisql_tables(path: Path) -> dict[str, WikiTable]:
    """The tables of a `*.tables.jsonl` file by id. Raises UserError, naming the row, when one is none."""
    tables = {}
    for record in read_records(path, path.name):
        try:
            tables[record.values["id"]] = _table(record.values)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(
                f"{path.name} row {record.row} is no table of WikiSQL (id, header, types): "
                f"{record.fault or f'{type(error).__name__} {error}'}"
            ) from None
    return tables


def _table(row: dict[str, Any]) -> WikiTable:
    name = quoted(row.get("name") or f"table_{row['id'].replace('-', '_')}")
    taken: set[str] = set()
    columns = []
    for place, header in enumerate(row["header"], 1):
        column, repeat = header.strip() or f"column {place}", 2
        while column.lower() in taken:
            column, repeat = f"{header.strip()} ({repeat})", repeat + 1
        taken.add(column.lower())
        columns.append(quoted(column))
    types = tuple(_TYPES.get(kind, "TEXT") for kind in row["types"])
    parts = ", ".join(f"{column} {kind}" for column, kind in zip(columns, types, strict=True))
    rows = ",\n".join(
        f"({', '.join(_literal(value, kind) for value, kind in zip(cells, types, strict=True))})"
        for cells in row.get("rows") or ()
    )
    setup = f"INSERT INTO {name} VALUES\n{rows};" if rows else ""
    return WikiTable(name, tuple(columns), types, f"CREATE TABLE {name} ({parts});", setup)


def _literal(value: Any, kind: str) -> str:
    if value is None:
        return "NULL"
    if kind == "REAL":
        text = str(value).strip()
        number = text.replace(",", "")
        if text and _NUMBER.match(text) and any(c.isdigit() for c in number) and math.isfinite(float(number)):
            return number
    return "'" + str(value).replace("'", "''") + "'"


def logical_form_sql(form: dict[str, Any], table: WikiTable) -> str:
    """The SQL of a logical form. Raises ValueError when it is none, or points outside the table."""
    try:
        selected = table.columns[_index(form["sel"], table.columns)]
        aggregate = AGGREGATES[_index(form["agg"], AGGREGATES)]
        conditions = [
            f"{table.columns[_index(column, table.columns)]} {OPERATORS[_index(operator, OPERATORS)]} "
            f"{_literal(value, table.types[column])}"
            for column, operator, value in form["conds"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no logical form of WikiSQL: {error}") from None
    what = f"{aggregate}({selected})" if aggregate else selected
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {what} FROM {table.name}{where}"


def _index(value: Any, among: tuple[str, ...]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(among):
        raise ValueError(f"{value!r} is no place among {len(among)}")
    return value
