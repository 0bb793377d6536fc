"""Variants of a database: the same entities under other names and with other attributes, for training alone.

A model of a hundred million parameters soon knows sixty schemas by heart and stops reading them. A variant writes its
names in another style, orders its columns anew and takes some attributes from other training databases, so that the
prompt's schema is the only place to find a name. Keys, references and names of rows stay: they make the joins.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

from tasks.data.synthetic.schema import Column, SyntheticDatabase, Table

_TRADED = ("category", "measure", "year", "date", "flag")
TRADED_SHARE = 0.5


def _words(name: str) -> list[str]:
    """`BoatId` and `boat_id` -> ["boat", "id"]."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_+", " ", name).lower().split()


STYLES: tuple[Callable[[list[str]], str], ...] = (
    "_".join,
    lambda words: "".join(word.capitalize() for word in words),
    lambda words: words[0] + "".join(word.capitalize() for word in words[1:]),
    lambda words: "_".join(word.capitalize() for word in words),
)


def vary(database: SyntheticDatabase, number: int, pool: Sequence[Column], rng: random.Random) -> SyntheticDatabase:
    """Variant `number` of a database; `pool` are the columns that may take the place of its own.

    The id of the variant is `<id>_v<number>`. No two columns of a table share a name or a label.
    """
    style = rng.choice(STYLES)
    tables: list[Table] = []
    for table in database.tables:
        columns = [table.columns[0], *_traded(table, pool, rng)]
        renamed = [
            replace(
                column,
                name=style(_words(column.name)),
                to=column.to and (style(_words(column.to[0])), style(_words(column.to[1]))),
            )
            for column in columns
        ]
        tables.append(replace(table, name=style(_words(table.name)), columns=tuple(renamed)))
    return SyntheticDatabase(f"{database.id}_v{number}", database.domain, tuple(tables))


def pool_of(databases: Sequence[SyntheticDatabase]) -> tuple[Column, ...]:
    """The attributes of all tables: what a variant may trade."""
    return tuple(column for one in databases for table in one.tables for column in table.with_role(*_TRADED))


def _traded(table: Table, pool: Sequence[Column], rng: random.Random) -> list[Column]:
    """The columns after the key in a new order, about half of the attributes traded for others of the same role."""
    kept = list(table.columns[1:])
    for i, column in enumerate(kept):
        if column.role not in _TRADED or rng.random() >= TRADED_SHARE:
            continue
        other = rng.choice([candidate for candidate in pool if candidate.role == column.role])
        taken = {word for c in (table.columns[0], *kept) for word in (" ".join(_words(c.name)), c.label.lower())}
        taken |= {table.label.lower(), table.plural.lower()}
        if not taken & {" ".join(_words(other.name)), other.label.lower()}:
            kept[i] = other
    rng.shuffle(kept)
    return kept


def qualified(sql: str) -> str:
    """A query with the table before every column, also where it reads a single table.

    Joins need their tables named. If only joins had them, a model that begins with `table.column` would have to join.
    """
    tree = sqlglot.parse_one(sql, read="sqlite")
    for scope in traverse_scope(tree):
        tables = scope.tables
        if len(scope.sources) != 1 or len(tables) != 1 or tables[0].alias:
            continue
        named = {alias.alias for alias in scope.expression.find_all(exp.Alias)}
        for column in scope.columns:
            if not column.table and column.name not in named and not isinstance(column.this, exp.Star):
                column.set("table", exp.to_identifier(tables[0].name))
    return tree.sql("sqlite")
