"""Reading the schema of a user's database, without being able to change it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from infra.errors import UserError
from tasks.sql.connection import open_live


def database_schema(path: Path) -> str:
    """The CREATE TABLE statements of a SQLite file, as its own catalogue has them.

    Raises UserError when the file is no SQLite database or holds no table.
    """
    try:
        with closing(open_live(path)) as connection:
            found = connection.execute(
                "SELECT sql FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL "
                "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            ).fetchall()
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"{path} cannot be read as a SQLite database: {error}") from None
    if not found:
        raise UserError(f"{path} holds no table")
    return "\n".join(f"{statement};" for (statement,) in found)
