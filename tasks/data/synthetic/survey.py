"""A user's database seen as the generator sees its own: tables with nouns, columns with roles, links, sampled rows.

Names that SQL must quote are replaced by plain ones while shapes build their queries, and put back afterwards.
References that the schema does not declare are found by name and kept only when every value has its parent.
Limits: keys of one column; no table refers to itself; tables with fewer than three rows are not asked about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.errors import UserError
from tasks.data.introspect import QueryFailed, Reader, TableFacts, fetch_counts, quoted
from tasks.data.synthetic.labels import column_label, reference_label_for, table_labels, time_label, words
from tasks.data.synthetic.people import PEOPLE
from tasks.data.synthetic.roles import best_name, role_of
from tasks.data.synthetic.schema import Column, SyntheticDatabase, Table

SAMPLE = 2000  # rows a table that roles are decided from
_FEWEST = 3  # rows a table must have
_PEOPLE = re.compile(
    r"\b(?:person|people|employee|customer|student|teacher|user|member|player|author|artist|singer|actor|director|"
    r"manager|doctor|physician|nurse|patient|client|guest|driver|owner|professor|instructor|coach|candidate|staff)$"
)


class PlainNames:
    """Real name -> the name that shapes use: the same where SQL takes it bare, else a made-up one."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.changed: dict[str, str] = {}
        self.written: dict[str, str] = {}  # made-up name -> the real one as SQL writes it

    def __call__(self, name: str) -> str:
        if name in self.changed:
            return self.changed[name]
        shown = quoted(name, self.dialect)
        if shown == name:
            return name
        slug = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
        safe = f"quoted{len(self.changed)}_{slug}"
        self.changed[name], self.written[safe] = safe, shown
        return safe


@dataclass
class Survey:
    """What questions can be about. `plain` gives the name that shapes use for a real one."""

    database: SyntheticDatabase
    facts: tuple[TableFacts, ...]
    plain: PlainNames
    rows: dict[str, list[tuple[Any, ...]]]  # table's real name -> sampled rows, columns as in `facts`
    totals: dict[str, int]  # table's plain name -> rows
    missing: set[tuple[str, str]]  # (table, column), plain names: columns with NULLs
    repeated: set[tuple[str, str]]  # likewise: names that two rows may share
    booleans: set[str] = field(default_factory=set)  # plain names of columns that hold TRUE and FALSE
    left_out: dict[str, str] = field(default_factory=dict)  # table's real name -> why
    inferred: list[str] = field(default_factory=list)  # references that the schema does not declare


def survey(reader: Reader) -> Survey:
    """Look at every table of a database. Raises UserError when there is nothing to ask about."""
    facts = reader.tables()
    if not facts:
        raise UserError(f"database {reader.name} holds no table")
    plain = PlainNames(reader.dialect)
    found = Survey(SyntheticDatabase(reader.name, "", ()), facts, plain, {}, {}, set(), set())
    counted: dict[str, dict[str, int]] = {}
    for table in facts:
        try:
            total, counted[table.name] = fetch_counts(reader, table)
            found.totals[plain(table.name)] = total
            found.rows[table.name] = reader.sample(table, SAMPLE, total)
        except QueryFailed as error:
            found.left_out[table.name] = f"cannot be read: {error}"
            continue
        if total < _FEWEST:
            found.left_out[table.name] = f"{total} rows"
        found.missing |= {
            (plain(table.name), plain(column)) for column, filled in counted[table.name].items() if filled < total
        }
    usable = [table for table in facts if table.name not in found.left_out]
    keys = _keys(usable, found)
    links = _links(reader, usable, keys, found)
    tables = []
    for table in usable:
        made = _table(table, keys.get(table.name), links.get(table.name, {}), keys, found)
        if made is None:
            found.left_out[table.name] = "no column that a question could be about"
        else:
            tables.append(made)
    if not tables:
        raise UserError(f"database {reader.name}: no table has three rows and a column that a question could be about")
    kept = {table.name for table in tables}
    found.database = SyntheticDatabase(reader.name, "", tuple(_within(table, kept) for table in tables))
    return found


def _keys(usable: Sequence[TableFacts], found: Survey) -> dict[str, str]:
    """Table -> its key of one column: the primary key, else a column that others refer to."""
    keys = {table.name: table.key[0] for table in usable if len(table.key) == 1}
    for table in usable:
        for link in table.foreign_keys:
            if len(link.columns) == 1 and link.parent in {t.name for t in usable}:
                keys.setdefault(link.parent, link.parent_columns[0])
    return {name: key for name, key in keys.items() if (found.plain(name), found.plain(key)) not in found.missing}


def _links(
    reader: Reader, usable: Sequence[TableFacts], keys: Mapping[str, str], found: Survey
) -> dict[str, dict[str, str]]:
    """Table -> column -> the table whose key it holds; declared references first, then those found by name."""
    links: dict[str, dict[str, str]] = {}
    for table in usable:
        own = links.setdefault(table.name, {})
        for link in table.foreign_keys:
            if (
                link.parent != table.name
                and link.parent_columns == (keys.get(link.parent),)
                and table.has(link.columns)
            ):
                own.setdefault(link.columns[0], link.parent)
        taken = {column for link in table.foreign_keys for column in link.columns}
        for column in table.columns:
            if column.name in taken or column.name == keys.get(table.name):
                continue
            parents = [p for p in keys if p != table.name and _sounds_like(column.name, p, keys[p])]
            if len(parents) == 1 and _all_found(reader, table.name, column.name, parents[0], keys[parents[0]]):
                own[column.name] = parents[0]
                found.inferred.append(f"{table.name}.{column.name} -> {parents[0]}.{keys[parents[0]]}")
    return links


def _sounds_like(column: str, parent: str, key: str) -> bool:
    """`singer_id` may refer to the key `singer_id` of any table, or to the key `id` of `singers`."""
    if column.lower() == key.lower():
        return len(words(key).split()) > 1
    return words(key) in ("id", "code") and words(column) == f"{table_labels(parent)[0]} {words(key)}"


def _all_found(reader: Reader, table: str, column: str, parent: str, key: str) -> bool:
    child, own, above, to = (quoted(name, reader.dialect) for name in (table, column, parent, key))
    try:
        ((lost, filled),) = reader.query(
            f"SELECT COUNT(CASE WHEN {own} NOT IN (SELECT {to} FROM {above}) THEN 1 END), COUNT({own}) FROM {child}"
        )
    except QueryFailed:  # types that do not compare, or a table too large to be sure
        return False
    return filled > 0 and lost == 0


def _table(
    facts: TableFacts,
    key: str | None,
    links: Mapping[str, str],
    keys: Mapping[str, str],
    found: Survey,
) -> Table | None:
    """The table with the columns that have a role, its key first; None when there is nothing to ask about."""
    plain, name = found.plain, found.plain(facts.name)
    label, many = table_labels(facts.name)
    first = key or next((c.name for c in facts.columns if (name, plain(c.name)) not in found.missing), None)
    if first is None:
        return None
    columns: list[Column] = []
    names: list[Column] = []
    for place, column in enumerate(facts.columns):
        values = [row[place] for row in found.rows[facts.name] if row[place] is not None]
        role = role_of(words(column.name), values, column.type)
        to = (plain(links[column.name]), plain(keys[links[column.name]])) if column.name in links else None
        said = column_label(column.name, label)
        if role in ("date", "year"):
            said = time_label(said, role)
        if to is not None:
            said = reference_label_for(column.name, table_labels(links[column.name])[0], keys[links[column.name]])
        if column.name == first:
            role = "name" if role == "name" and to is None else "key"
        elif to is not None or role is None:
            role = "reference" if to is not None else None
        if role is None:
            continue
        numbers = {type(value) for value in values}
        kind = "INTEGER" if numbers <= {int, bool} else "REAL" if numbers <= {int, float, bool} else "TEXT"
        people = PEOPLE if role == "name" and _PEOPLE.search(label) else ()  # says `their` of them, not `its`
        made = Column(plain(column.name), kind, role, said, values=people, to=to)
        if role == "flag" and numbers == {bool}:
            found.booleans.add(made.name)
        if role == "name" and len(set(values)) < len(values):
            found.repeated.add((name, made.name))
        (names if role == "name" and column.name != first else columns).append(made)
    columns.sort(key=lambda column: column.name != plain(first))  # the key first, the others as they stand
    if not columns or columns[0].name != plain(first):
        return None
    if names and columns[0].role != "name":
        columns.append(names[best_name([column.label for column in names], label)])
    seen: set[str] = set()
    kept = [c for c in columns if c.role in ("key", "reference") or not (c.label in seen or seen.add(c.label))]
    return Table(name, label, many, found.totals[name], tuple(kept)) if len(kept) > 1 else None


def _within(table: Table, kept: set[str]) -> Table:
    """The table without references to tables that are left out."""
    columns = [c for c in table.columns if c.to is None or c.to[0] in kept or c is table.key]
    key = table.key if table.key.to is None or table.key.to[0] in kept else None
    if key is None:
        first = table.key
        columns[0] = Column(first.name, first.type, first.role, first.label)
    return Table(table.name, table.label, table.plural, table.rows, tuple(columns))
