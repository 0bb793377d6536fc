"""Spider's tables.json (also BIRD's): the schemas of databases that rows name by `db_id`, rendered as DDL.

Limits: types are as coarse as the file's (text, number, time, boolean); rows of the databases are not read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.errors import UserError
from tasks.data.names import quoted

_TYPES = {"number": "NUMERIC", "time": "DATETIME", "others": "TEXT", "": "TEXT"}


def sql_type(kind: str) -> str:
    """The SQL type for one of Spider's (text, number, time, boolean, others); any other is taken as it is written."""
    return _TYPES.get(kind.lower(), kind.upper())


def read_tables(path: Path) -> dict[str, str]:
    """The DDL of every database in a tables.json file, by db_id. Raises UserError when it is not of that layout."""
    try:
        return {database["db_id"]: _ddl(database) for database in json.loads(path.read_text(encoding="utf-8-sig"))}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        problem = f"{type(error).__name__} {error}"
        raise UserError(f"{path.name} is not in the layout of Spider's tables.json: {problem}") from None


def _ddl(database: dict[str, Any]) -> str:
    tables = [quoted(name) for name in database["table_names_original"]]
    columns = [(table, quoted(name)) for table, name in database["column_names_original"]]
    keys = [key if isinstance(key, list) else [key] for key in database["primary_keys"]]
    statements = []
    for place, table in enumerate(tables):
        parts = [
            f"{name} {sql_type(kind)}"
            for (owner, name), kind in zip(columns, database["column_types"], strict=True)
            if owner == place
        ]
        own = [columns[column][1] for key in keys for column in key if columns[column][0] == place]
        if own:
            parts.append(f"PRIMARY KEY ({', '.join(own)})")
        for column, target in database["foreign_keys"]:
            if columns[column][0] == place:
                owner, name = columns[target]
                parts.append(f"FOREIGN KEY ({columns[column][1]}) REFERENCES {tables[owner]}({name})")
        statements.append(f"CREATE TABLE {table} ({', '.join(parts)});")
    return "\n".join(statements)
