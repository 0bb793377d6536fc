"""Serialised schemas, `table : col1 (type) , col2 (type) | table2 : …`, as some copies of Spider carry them, as DDL.

Limits: keys are not part of that form; a part that is no `table : columns` makes the whole text something else, which
comes back unchanged for validation to judge.
"""

from __future__ import annotations

import re

from tasks.data.names import quoted
from tasks.data.spider_tables import sql_type

_PART = re.compile(r"\s*([^:()|]+?)\s*:\s*(.+?)\s*\Z", re.DOTALL)
_COLUMN = re.compile(r"\s*([^()|,]+?)\s*\(\s*([A-Za-z_ ]*)\s*\)\s*\Z")


def ddl_of_serialized(schema: str) -> str:
    """The CREATE TABLE statements of a serialised schema; any other text comes back unchanged."""
    if ":" not in schema or schema.lstrip()[:6].upper() == "CREATE":
        return schema
    statements = []
    for part in schema.split("|"):
        table = _PART.match(part)
        columns = [_COLUMN.match(column) for column in table.group(2).split(",")] if table else []
        if not columns or not all(columns):
            return schema
        parts = ", ".join(f"{quoted(c.group(1))} {sql_type(c.group(2).strip())}" for c in columns if c)
        statements.append(f"CREATE TABLE {quoted(table.group(1))} ({parts});")
    return "\n".join(statements)
