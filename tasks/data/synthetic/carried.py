"""The sampled rows that examples about a user's database carry, so that their gold can be judged without it.

A row's parents come with it, as far as references of one column lead. Limits: blobs and what no SQL literal can hold
are carried as NULL; three steps of parents are followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.data.introspect import QueryFailed, Reader, TableFacts, quoted
from tasks.data.synthetic.survey import Survey

Rows = list[tuple[Any, ...]]
_STEPS = 3


def carried_rows(reader: Reader, found: Survey, count: int) -> dict[str, Rows]:
    """Table -> at most `count` rows spread over its sample, and the parents of other tables' rows."""
    chosen = {table.name: _spread(found.rows.get(table.name, []), count) for table in found.facts}
    facts = {table.name: table for table in found.facts}
    for _ in range(_STEPS):
        for table in found.facts:
            for key in table.foreign_keys:
                if len(key.columns) == 1 and table.has(key.columns) and key.parent in facts:
                    wanted = _values(table, key.columns[0], chosen[table.name])
                    _add_parents(reader, facts[key.parent], key.parent_columns[0], wanted, chosen[key.parent])
    return chosen


def _spread(rows: Rows, count: int) -> Rows:
    every = max(1, -(-len(rows) // count))
    return list(rows[::every])


def _values(table: TableFacts, column: str, rows: Rows) -> set[Any]:
    place = [c.name for c in table.columns].index(column)
    return {row[place] for row in rows if isinstance(row[place], (int, str)) and not isinstance(row[place], bool)}


def _add_parents(reader: Reader, parent: TableFacts, key: str, wanted: set[Any], rows: Rows) -> None:
    lost = sorted(wanted - _values(parent, key, rows), key=str)
    if not lost:
        return
    chosen = ", ".join(quoted(column.name, reader.dialect) for column in parent.columns)
    values = ", ".join(_literal(value, reader.dialect) for value in lost)
    where = f"{quoted(key, reader.dialect)} IN ({values})"
    try:
        found = reader.query(f"SELECT {chosen} FROM {quoted(parent.name, reader.dialect)} WHERE {where}")
    except QueryFailed:
        return  # a parent out of reach is a row less: the queries are checked on what is carried
    rows += [row for row in found if row not in rows]  # SQLite finds 1 for '1': the row may be there


def insert_script(tables: Sequence[TableFacts], rows: dict[str, Rows], dialect: str) -> str:
    """One INSERT a table that has rows."""
    statements = []
    for table in tables:
        if rows[table.name]:
            names = ", ".join(quoted(column.name, dialect) for column in table.columns)
            lines = ",\n".join(f"({', '.join(_literal(value, dialect) for value in row)})" for row in rows[table.name])
            statements.append(f"INSERT INTO {quoted(table.name, dialect)} ({names}) VALUES\n{lines};")
    return "\n".join(statements)


def _literal(value: Any, dialect: str) -> str:
    if isinstance(value, bool):
        return str(value).upper() if dialect == "postgres" else str(int(value))
    if isinstance(value, str):
        return "'" + value.replace("\0", "").replace("'", "''") + "'"
    if isinstance(value, int) or (isinstance(value, float) and abs(value) < float("inf")):
        return repr(value)
    return "NULL"
