"""Reading the schema of a user's database, without being able to change it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from infra.errors import UserError


def database_schema(path: Path) -> str:
    """The CREATE TABLE statements of a SQLite file, as its own catalogue has them.

    Raises UserError when the file is no SQLite database or holds no table.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            found = connection.execute(
                "SELECT sql FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
            ).fetchall()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path} cannot be read as a SQLite database: {error}") from None
    if not found:
        raise UserError(f"{path} holds no table")
    return "\n".join(f"{statement};" for (statement,) in found)
