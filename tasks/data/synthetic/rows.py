"""Rows for a synthetic database: the same seed and database id give the same rows on every machine.

Counts are skewed on purpose (some parents have many children, some none; one category is common, one rare), because
questions about groups teach nothing when all groups are alike. Every column draws from its own generator, so that
adding a column or a database changes no other.

Limits: columns are independent of one another, and no value is NULL.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from tasks.data.synthetic.schema import Column, SyntheticDatabase, Table

Value = int | float | str

_CHILDLESS = 0.2  # share of parents that get no children
_REPEAT = 0.06  # share of measures that repeat an earlier one: ties must occur, seldom
_WIDE = 20  # a range whose ends differ by this factor is filled evenly on a log scale, as prices and populations are
_TRIES = 30  # draws for a row whose references repeat those of an earlier row


@dataclass(frozen=True, slots=True)
class Filled:
    """A database in SQL: `schema` (DDL, one statement a line), `setup` (one INSERT a table) and the same `rows`."""

    schema: str
    setup: str
    rows: dict[str, list[dict[str, Value]]]


def fill(database: SyntheticDatabase, seed: int) -> Filled:
    """Fill every table with its number of rows; deterministic by (`seed`, `database.id`)."""
    rows: dict[str, list[dict[str, Value]]] = {}
    for table in database.tables:
        rows[table.name] = _table_rows(f"{seed}/{database.id}/{table.name}", table, rows)
    schema = "\n".join(ddl(table) for table in database.tables)
    setup = "\n".join(_insert(table, rows[table.name]) for table in database.tables)
    return Filled(schema, setup, rows)


def ddl(table: Table) -> str:
    """The CREATE TABLE statement of one table, on one line."""
    parts = [f"{c.name} {c.type}{' PRIMARY KEY' if c.role == 'key' else ''}" for c in table.columns]
    parts += [f"FOREIGN KEY ({c.name}) REFERENCES {c.to[0]}({c.to[1]})" for c in table.columns if c.to]
    return f"CREATE TABLE {table.name} ({', '.join(parts)});"


def _insert(table: Table, rows: list[dict[str, Value]]) -> str:
    lines = (f"({', '.join(_literal(value) for value in row.values())})" for row in rows)
    return f"INSERT INTO {table.name} ({', '.join(c.name for c in table.columns)}) VALUES\n" + ",\n".join(lines) + ";"


def _literal(value: Value) -> str:
    return f"'{value}'" if isinstance(value, str) else repr(value)  # the loader refuses apostrophes


def _generator(*parts: str) -> random.Random:
    return random.Random(hashlib.sha256("/".join(parts).encode()).digest())


def _table_rows(path: str, table: Table, above: dict[str, list[dict[str, Value]]]) -> list[dict[str, Value]]:
    columns: dict[str, Sequence[Value]] = {}
    for column in table.columns:
        if column.role != "reference":
            columns[column.name] = _draw(_generator(path, column.name), column, table.rows)
    columns |= _references(_generator(path, "references"), table, above)
    return [{c.name: columns[c.name][i] for c in table.columns} for i in range(table.rows)]


def _draw(rng: random.Random, column: Column, count: int) -> Sequence[Value]:
    """`count` values of a column that refers to nothing."""
    if column.role == "key":
        start = rng.choice((1, 1, 1, 101, 1001))
        return range(start, start + count)
    if column.role == "name":
        return rng.sample(column.values, count)
    if column.role == "category":
        return _categories(rng, column.values, count)
    if column.role == "flag":
        return _categories(rng, (0, 1), count)
    if column.role == "measure":
        return _measures(rng, column, count)
    first, last = int(column.low or 0), int(column.high or 0)  # the loader gives every year and date a range
    draw = _recent if column.role == "year" else _date
    return [draw(rng, first, last) for _ in range(count)]


def _categories(rng: random.Random, values: Sequence[Value], count: int) -> list[Value]:
    """Every value at least once (as far as `count` goes), the rest by uneven weights."""
    order = rng.sample(values, len(values))
    drawn = order[:count] + rng.choices(order, cum_weights=_uneven(len(order)), k=max(0, count - len(order)))
    rng.shuffle(drawn)
    return drawn


def _uneven(count: int) -> list[float]:
    """Cumulative weights 1, 1/2, 1/3, ... softened so that the last ones still occur."""
    return list(accumulate((rank + 1) ** -0.8 for rank in range(count)))


def _measures(rng: random.Random, column: Column, count: int) -> list[Value]:
    low, high, decimals = column.low or 0.0, column.high or 0.0, column.decimals
    wide = low > 0 and high / low >= _WIDE
    mode = rng.uniform(low, high)
    drawn: list[Value] = []
    for _ in range(count):
        if drawn and rng.random() < _REPEAT:
            drawn.append(rng.choice(drawn))
            continue
        raw = math.exp(rng.uniform(math.log(low), math.log(high))) if wide else rng.triangular(low, high, mode)
        # People round to about four digits: 43,820 rather than 43,817.
        step = 10.0 ** max(-decimals, math.floor(math.log10(raw if wide else high - low)) - 3)
        number = min(high, max(low, round(raw / step) * step))
        drawn.append(round(number, decimals) if decimals else round(number))
    return drawn


def _recent(rng: random.Random, first: int, last: int) -> int:
    """A year, later ones somewhat more often."""
    return first + int((last - first + 1) * rng.random() ** 0.7)


def _date(rng: random.Random, first: int, last: int) -> str:
    start, end = datetime.date(first, 1, 1), datetime.date(last, 12, 31)
    return (start + datetime.timedelta(days=rng.randrange((end - start).days + 1))).isoformat()


def _references(rng: random.Random, table: Table, above: dict[str, list[dict[str, Value]]]) -> dict[str, list[Value]]:
    """Keys of parents for every reference column: popular parents, childless parents, and no pair of keys
    twice (as long as `_TRIES` draws find a new one).

    Two references to the same parent never name the same row (a team does not play itself).
    """
    columns = table.with_role("reference")
    pools: dict[str, tuple[list[Value], list[float]]] = {}
    for column in columns:
        assert column.to is not None  # the loader gives every reference a target
        parent, key = column.to
        if parent not in pools:
            keys = [row[key] for row in above[parent]]
            kept = rng.sample(keys, len(keys) - max(1, round(len(keys) * _CHILDLESS)))
            pools[parent] = (kept, _uneven(len(kept)))
    seen: set[tuple[Value, ...]] = set()
    drawn: list[tuple[Value, ...]] = []
    while columns and len(drawn) < table.rows:
        for _ in range(_TRIES):
            row = _parents(rng, columns, pools)
            if len(columns) == 1 or row not in seen:
                break
        seen.add(row)
        drawn.append(row)
    return {column.name: [row[i] for row in drawn] for i, column in enumerate(columns)}


def _parents(
    rng: random.Random, columns: Sequence[Column], pools: dict[str, tuple[list[Value], list[float]]]
) -> tuple[Value, ...]:
    """One parent key a column; columns with the same parent get different keys."""
    taken: set[tuple[str, Value]] = set()
    row: list[Value] = []
    for column in columns:
        parent = column.to[0] if column.to else ""
        keys, weights = pools[parent]
        key = rng.choices(keys, cum_weights=weights)[0]
        while (parent, key) in taken:
            key = rng.choice(keys)
        taken.add((parent, key))
        row.append(key)
    return tuple(row)
