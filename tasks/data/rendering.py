"""How a schema is written in a prompt: as DDL or compactly, with or without types, keys and sample values.

What adapters were trained on must come out byte for byte the same for ever: DDL with types and keys is the statement as
parsed, compact without types shows foreign keys as arrows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.data.names import quoted
from tasks.data.schema import ColumnInfo, Schema, TableInfo

Style = Literal["ddl", "compact"]


@dataclass(frozen=True, slots=True)
class Look:
    """What is shown of a schema; `values` is the number of sample values of a column, where the schema has them."""

    style: Style = "compact"
    types: bool = False
    keys: bool = True
    values: int = 0


def render_schema(schema: Schema, look: Look) -> str:
    """The schema as text, one table a line (a comment line more for each column with values in DDL)."""
    table = _compact_table if look.style == "compact" else _ddl_table
    return "\n".join(table(one, look) for one in schema.tables)


def render_ddl(schema: Schema) -> str:
    """One CREATE TABLE statement a line."""
    return render_schema(schema, Look("ddl", types=True))


def _compact_table(table: TableInfo, look: Look) -> str:
    return f"{table.name}({', '.join(_compact(column, look) for column in table.columns)})"


def _compact(column: ColumnInfo, look: Look) -> str:
    text = column.name
    if look.types and column.type:
        text += f" {column.type}"
    if look.keys and column.references is not None:
        table, other = column.references
        text += f" -> {table}.{other}" if other else f" -> {table}"
    if look.values and column.values:
        text += f" [{', '.join(column.values[: look.values])}]"
    return text


def _ddl_table(table: TableInfo, look: Look) -> str:
    text = (
        f"{table.ddl};" if look.types and look.keys else f"CREATE TABLE {quoted(table.name)} ({_parts(table, look)});"
    )
    shown = [
        f"-- {column.name}: {', '.join(column.values[: look.values])}"
        for column in table.columns
        if look.values and column.values
    ]
    return "\n".join([text, *shown])


def _parts(table: TableInfo, look: Look) -> str:
    parts = [
        f"{quoted(column.name)} {column.type}" if look.types and column.type else quoted(column.name)
        for column in table.columns
    ]
    if look.keys:
        keys = [quoted(column.name) for column in table.columns if column.primary_key]
        if keys:
            parts.append(f"PRIMARY KEY ({', '.join(keys)})")
        for column in table.columns:
            if column.references is not None:
                other, name = column.references
                target = f"{quoted(other)}({quoted(name)})" if name else quoted(other)
                parts.append(f"FOREIGN KEY ({quoted(column.name)}) REFERENCES {target}")
    return ", ".join(parts)
