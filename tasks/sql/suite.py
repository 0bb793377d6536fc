"""Test suites: further databases with the schema of a given one and other values, on which a right query stays right.

A wrong query that agrees by accident (`age > 29` for `age > 30` where nobody is 30) seldom agrees on all of them. The
idea is that of distilled test suites (Zhong, Yu and Klein 2020, arXiv:2010.02840); the values are fuzzed from the
database's own: numbers move by one, texts and dates change places within their column, NULLs appear where they may,
rows vanish, and rows of tables without a key come twice. Primary keys stay, foreign keys point to rows that are there.

The variants depend on the database and their number alone, so that every model meets the same ones.

Limits: queries that are equal only because of something the schema does not say (a name that happens to be unique)
are told apart. Tables without row ids stay as they are, and of a large table some rows change.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import suppress
from typing import Any

from tasks.sql.connection import Sealed, clone
from tasks.sql.guard import read_only

_ROWS = 1000  # rows of one table that are changed
_BYTES = 200 << 20  # memory the variants of one database may take together
_KEEP, _NEAR, _NULL = 0.55, 0.25, 0.05  # of the values: as they are, moved by one, made NULL; the others change places
_DELETED, _DOUBLED = 0.15, 0.1  # of the rows
_LARGEST = 2**63 - 1  # the largest integer that SQLite has


def variants(connection: Sealed, count: int) -> list[Sealed]:
    """Up to `count` fuzzed copies of a database, fewer where they would take too much memory."""
    connection.set_guard(None)
    try:
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    finally:
        connection.set_guard(read_only)
    affordable = _BYTES // max(1, pages * size)
    return [_variant(connection, number) for number in range(min(count, affordable))]


def _variant(connection: Sealed, number: int) -> Sealed:
    copy = clone(connection)
    copy.set_guard(None)
    dice = random.Random(number)
    copy.execute("PRAGMA foreign_keys = OFF")
    objects = copy.execute("SELECT type, name FROM sqlite_master ORDER BY name").fetchall()
    for kind, name in objects:
        if kind == "trigger":  # they would answer our changes with their own
            copy.execute(f"DROP TRIGGER {_quoted(name)}")
    copy.execute("BEGIN")
    tables = [name for kind, name in objects if kind == "table" and not name.startswith("sqlite_")]
    for change in (_fuzz, _mend, _mend):  # twice: mending can take away rows that others point to
        for name in tables:
            with suppress(sqlite3.Error):  # virtual tables and those without row ids stay as they are
                change(copy, name, dice)
    copy.execute("COMMIT")
    copy.set_guard(read_only)
    return copy


def _fuzz(copy: Sealed, table: str, dice: random.Random) -> None:
    quoted = _quoted(table)
    columns = copy.execute(f"PRAGMA table_info({quoted})").fetchall()
    references = {column.lower() for column, _, _ in _references(copy, quoted)}
    keyed = any(column[5] for column in columns)
    # An INTEGER PRIMARY KEY is the row id itself: changing others by it must not change it.
    rows = copy.execute(f"SELECT rowid, * FROM {quoted} ORDER BY rowid").fetchall()
    rows = dice.sample(rows, _ROWS) if len(rows) > _ROWS else rows
    for position, (_, name, _, not_null, _, key) in enumerate(columns, start=1):
        values = [row[position] for row in rows]
        domain = [value for value in values if value is not None and _writable(value)]
        if key or not domain:
            continue
        may_move = name.lower() not in references
        changed = [_value(value, domain, not not_null, may_move, dice) for value in values]
        pairs = [(new, row[0]) for new, old, row in zip(changed, values, rows, strict=True) if new != old]
        copy.executemany(f"UPDATE OR IGNORE {quoted} SET {_quoted(name)} = ? WHERE rowid = ?", pairs)
    if len(rows) > 1:
        gone = [(row[0],) for row in rows[1:] if dice.random() < _DELETED]
        copy.executemany(f"DELETE FROM {quoted} WHERE rowid = ?", gone)
    if not keyed:
        again = [(row[0],) for row in rows if dice.random() < _DOUBLED]
        copy.executemany(f"INSERT OR IGNORE INTO {quoted} SELECT * FROM {quoted} WHERE rowid = ?", again)


def _mend(copy: Sealed, table: str, dice: random.Random) -> None:
    """Point foreign keys whose row has vanished to one that is there; drop the rows for which that cannot be."""
    quoted = _quoted(table)
    for column, parent, target in _references(copy, quoted):
        known = f"SELECT {_quoted(target)} FROM {_quoted(parent)} WHERE {_quoted(target)} IS NOT NULL"
        orphans = f"{_quoted(column)} IS NOT NULL AND {_quoted(column)} NOT IN ({known})"
        with suppress(sqlite3.Error):  # schemas name parents that do not exist
            there = [row[0] for row in copy.execute(f"{known} ORDER BY 1 LIMIT {_ROWS}") if _writable(row[0])]
            lost = copy.execute(f"SELECT rowid FROM {quoted} WHERE {orphans} ORDER BY rowid").fetchall()
            if there:
                pairs = [(dice.choice(there), row[0]) for row in lost]
                copy.executemany(f"UPDATE OR IGNORE {quoted} SET {_quoted(column)} = ? WHERE rowid = ?", pairs)
                copy.execute(f"DELETE FROM {quoted} WHERE {orphans}")


def _references(copy: Sealed, quoted: str) -> list[tuple[str, str, str]]:
    """The foreign keys of a table: column, parent, column of the parent."""
    found = []
    for _, _, parent, column, target, *_ in copy.execute(f"PRAGMA foreign_key_list({quoted})").fetchall():
        if target is None:
            keys = [row[1] for row in copy.execute(f"PRAGMA table_info({_quoted(parent)})") if row[5]]
            target = keys[0] if keys else None
        if target is not None:
            found.append((column, parent, target))
    return found


def _value(value: Any, domain: list[Any], nullable: bool, may_move: bool, dice: random.Random) -> Any:
    chance = dice.random()
    if chance < _KEEP:
        return value
    if chance < _KEEP + _NEAR and may_move and isinstance(value, (int, float)) and abs(value) < _LARGEST:
        return value + dice.choice((-1, 1))
    if chance > 1 - _NULL and nullable:
        return None
    return dice.choice(domain)


def _writable(value: Any) -> bool:
    """Whether the value can be bound: text that is no UTF-8 can be read, and not be written again as text."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    return True


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
