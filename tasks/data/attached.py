"""Database files of examples in the store: kept once under their content, fetched where queries run.

Only rows whose queries will run need their database: those to be scored, and those that a preference stage trains on;
others are stored without it.

Limits: a file is held in memory while it is stored or fetched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from infra.errors import UserError
from infra.hashing import sha256_of_file
from infra.store import Store
from tasks.data.example import Example


def keep_databases(store: Store, examples: Iterable[Example]) -> list[Example]:
    """Put every database file of `examples` into the store; the returned rows name its key there.

    Raises UserError when a file has gone since the rows were read.
    """
    keys: dict[str, str] = {"": ""}
    kept = []
    for example in examples:
        if example.database not in keys:
            keys[example.database] = _keep(store, Path(example.database), example.db_id)
        kept.append(replace(example, database=keys[example.database]))
    return kept


def named_by_content(examples: Iterable[Example]) -> list[Example]:
    """The rows as they are stored, with the key of their database's content, without storing anything."""
    keys: dict[str, str] = {"": ""}
    for example in (examples := list(examples)):
        if example.database not in keys:
            keys[example.database] = _key(Path(example.database))
    return [replace(example, database=keys[example.database]) for example in examples]


def _key(file: Path) -> str:
    return f"databases/{sha256_of_file(file)}.sqlite"


def _keep(store: Store, file: Path, db_id: str) -> str:
    try:
        key = _key(file)
        if not store.exists(key):
            store.put(key, file)
    except OSError as error:
        raise UserError(f"database {db_id}: {file} cannot be read: {error.strerror or error}") from None
    return key


def without_databases(examples: Iterable[Example]) -> list[Example]:
    """The rows as they are trained on where no query runs."""
    return [replace(example, database="") if example.database else example for example in examples]


def fetch_databases(store: Store, examples: Iterable[Example], folder: Path) -> list[Example]:
    """The rows with their database files on this machine, below `folder`; raises NotFound when the store lacks one."""
    fetched = []
    for example in examples:
        if example.database:
            file = folder / PurePosixPath(example.database).name
            if not file.is_file():
                folder.mkdir(parents=True, exist_ok=True)
                store.fetch(example.database, file)
            example = replace(example, database=str(file))
        fetched.append(example)
    return fetched
