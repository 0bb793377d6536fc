"""Synthetic databases: read from one YAML file a domain into frozen dataclasses, every line checked.

A file holds `domain` and `databases`. A table is a mapping under `name | singular | plural | rows`; a column is
`name: role | label | detail`, where the detail is

    key                      nothing (always the first column, an integer)
    -> parent                a reference to the key of a table that stands above it; the label defaults to the parent's
    name, category           a list of values with commas; names may be `list + list` (all combinations) or `@people`
    measure                  `low..high`; the digits after the point give the type: 1..5 is INTEGER, 1.00..5.00 is REAL
    year, date               `first..last` year
    flag                     nothing

Limits: integer keys of one column, no self references, no NULLs, no apostrophes: every database can be asked about
in plain English and its values can be quoted without escaping.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from infra.errors import UserError
from tasks.data.synthetic.people import PEOPLE

Role = Literal["key", "reference", "name", "category", "measure", "year", "date", "flag"]
ROLES: tuple[Role, ...] = get_args(Role)
FOLDER = Path(__file__).resolve().parent / "databases"

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NUMBER = re.compile(r"-?\d+(?:\.(\d{1,2}))?")
_TEXT_ROLES = {"name", "category", "date"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `label` is how a person says it ("monthly fee"); `to` is the (table, column) a reference points at.

    `values`: the candidates of a name or category. `low`, `high`: the range of a measure (`decimals` digits after the
    point), or the first and last year of a year or date.
    """

    name: str
    type: Literal["INTEGER", "REAL", "TEXT"]
    role: Role
    label: str
    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    to: tuple[str, str] | None = None
    decimals: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """One table: `label` is the singular noun for a row ("employee"), `plural` its plural, `rows` how many to fill."""

    name: str
    label: str
    plural: str
    rows: int
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """The column called `name`; KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"table {self.name} has no column {name}")

    def with_role(self, *roles: str) -> tuple[Column, ...]:
        """The columns whose role is one of `roles`, in table order."""
        return tuple(column for column in self.columns if column.role in roles)

    @property
    def key(self) -> Column:
        """The primary key: the first column of every table."""
        return self.columns[0]


@dataclass(frozen=True, slots=True)
class Link:
    """A foreign key: `child.child_column` refers to `parent.parent_column`."""

    child: str
    child_column: str
    parent: str
    parent_column: str


@dataclass(frozen=True, slots=True)
class SyntheticDatabase:
    """One database: its tables in an order where every parent stands above its children."""

    id: str
    domain: str
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        """The table called `name`; KeyError when there is none."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(f"database {self.id} has no table {name}")

    def links(self) -> tuple[Link, ...]:
        """The foreign keys, in table and column order."""
        return tuple(
            Link(table.name, column.name, *column.to)
            for table in self.tables
            for column in table.columns
            if column.to is not None
        )


@lru_cache(maxsize=1)
def load_databases() -> tuple[SyntheticDatabase, ...]:
    """All databases of the project, sorted by id; UserError names file, database, table and column of what is wrong."""
    return read_folder(FOLDER)


def read_folder(folder: Path) -> tuple[SyntheticDatabase, ...]:
    """The databases of all `*.yaml` files of `folder`, sorted by id; UserError as `read_file`, or on a repeated id."""
    found: dict[str, tuple[SyntheticDatabase, Path]] = {}
    for path in sorted(folder.glob("*.yaml")):
        for database in read_file(path):
            if database.id in found:
                other = found[database.id][1].name
                raise UserError(f"{path.name}: database {database.id} is also in {other}; give it another id")
            found[database.id] = (database, path)
    if not found:
        raise UserError(f"{folder} holds no *.yaml file with databases")
    return tuple(found[name][0] for name in sorted(found))


def read_file(path: Path) -> tuple[SyntheticDatabase, ...]:
    """The databases of one domain file, in file order; UserError names file, database, table and column."""
    place = path.name
    try:
        # The base loader keeps every scalar a string: a column called `no` or `on` stays what it is.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{place}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(content, dict) or set(content) != {"domain", "databases"}:
        raise UserError(f"{place}: needs the keys domain and databases, and no other")
    domain, databases = content["domain"], content["databases"]
    if not isinstance(domain, str) or not _IDENTIFIER.fullmatch(domain):
        raise UserError(f"{place}: domain must be one word of letters, digits and _, not {domain!r}")
    if not isinstance(databases, dict) or not databases:
        raise UserError(f"{place}: databases must be a mapping from database id to tables")
    return tuple(_database(f"{place}: database {name}", name, domain, tables) for name, tables in databases.items())


class _Loader(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):
    """Strings only, and a key that stands twice in a mapping is an error instead of silently the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _database(place: str, name: str, domain: str, content: Any) -> SyntheticDatabase:
    if not _IDENTIFIER.fullmatch(name):
        raise UserError(f"{place}: the id must be letters, digits and _")
    if not isinstance(content, dict) or not 2 <= len(content) <= 4:
        raise UserError(f"{place}: needs 2 to 4 tables")
    tables: list[Table] = []
    for header, columns in content.items():
        tables.append(_table(place, header, columns, tables))
    database = SyntheticDatabase(name, domain, tuple(tables))
    links = database.links()
    for table in tables:
        if not any(table.name in (link.child, link.parent) for link in links):
            raise UserError(f"{place}: table {table.name}: no reference joins it to another table")
    for parent in {link.parent for link in links}:
        if not database.table(parent).with_role("name"):
            raise UserError(f"{place}: table {parent}: is referred to, so it needs a column of role name")
    return database


def _table(place: str, header: str, content: Any, above: list[Table]) -> Table:
    parts = [part.strip() for part in header.split("|")]
    place = f"{place}: table {parts[0]}"
    if len(parts) != 4 or not all(parts) or not parts[3].isdigit():
        raise UserError(f"{place}: the header must be `name | singular | plural | rows`, not {header!r}")
    name, label, plural, rows = parts[0], parts[1], parts[2], int(parts[3])
    if not _IDENTIFIER.fullmatch(name) or name.lower() in {table.name.lower() for table in above}:
        raise UserError(f"{place}: the name must be letters, digits and _, and used once in the database")
    if not 5 <= rows <= 60:
        raise UserError(f"{place}: rows must be 5 to 60, not {rows}")
    if not isinstance(content, dict) or not 3 <= len(content) <= 6:
        raise UserError(f"{place}: needs 3 to 6 columns")
    columns = tuple(_column(f"{place}: column {key}", key, text, label, rows, above) for key, text in content.items())
    for what, words in (("name", [c.name.lower() for c in columns]), ("label", [c.label.lower() for c in columns])):
        for word in words:
            if words.count(word) > 1:
                raise UserError(f"{place}: two columns have the {what} {word!r}")
    if [column.role == "key" for column in columns] != [True] + [False] * (len(columns) - 1):
        raise UserError(f"{place}: column {columns[0].name}: the first column, and no other, must have the role key")
    return Table(name, label, plural, rows, columns)


def _column(place: str, name: str, text: Any, noun: str, rows: int, above: list[Table]) -> Column:
    if not _IDENTIFIER.fullmatch(name):
        raise UserError(f"{place}: the name must be letters, digits and _")
    parts = [part.strip() for part in text.split("|")] if isinstance(text, str) else []
    if not 1 <= len(parts) <= 3:
        raise UserError(f"{place}: must be `role | label | detail`, not {text!r}")
    role, label, detail = (*parts, "", "")[:3]
    if role.startswith("->"):
        return _reference(place, name, role[2:].strip(), label, detail, above)
    if role not in ROLES or role == "reference":
        raise UserError(f"{place}: role {role!r} is none of {', '.join(ROLES)} (a reference is written `-> table`)")
    if role == "key":
        label = label or (f"{noun} id" if name.lower() == "id" else _spoken(name))
    elif not label:
        raise UserError(f"{place}: needs a label: how a person says {name}")
    if (role in {"key", "flag"}) != (not detail):
        raise UserError(f"{place}: role {role} takes {'no detail' if detail else 'a detail after the label'}")
    if role in {"name", "category"}:
        return Column(name, "TEXT", role, label, values=_values(place, role, detail, rows))
    if not detail:
        return Column(name, "INTEGER", role, label)
    low, high, decimals = _range(place, detail)
    if role in {"year", "date"} and (decimals or not 1000 <= low <= high <= 2100):
        raise UserError(f"{place}: role {role} takes years, as in 2019..2024, not {detail}")
    type_ = "TEXT" if role in _TEXT_ROLES else "REAL" if decimals else "INTEGER"
    return Column(name, type_, role, label, low=low, high=high, decimals=decimals)


def _reference(place: str, name: str, target: str, label: str, detail: str, above: list[Table]) -> Column:
    parent = next((table for table in above if table.name == target), None)
    if parent is None or detail:
        raise UserError(f"{place}: a reference is `-> table | label`, and the table must stand above this one")
    return Column(name, "INTEGER", "reference", label or parent.label, to=(parent.name, parent.key.name))


def _values(place: str, role: str, detail: str, rows: int) -> tuple[str, ...]:
    if role == "name" and detail == "@people":
        return PEOPLE
    lists = [tuple(_items(place, part)) for part in detail.split(" + ")]
    if role == "category" and (len(lists) > 1 or not 3 <= len(lists[0]) <= 7):
        raise UserError(f"{place}: a category takes one list of 3 to 7 values")
    values = lists[0] if len(lists) == 1 else tuple(" ".join(words) for words in product(*lists))
    folded = {value.lower() for value in values}
    if len(folded) < len(values):
        raise UserError(f"{place}: a value stands twice")
    if role == "name" and len(values) < rows:
        raise UserError(f"{place}: {len(values)} names for {rows} rows; add names or take rows away")
    return values


def _items(place: str, text: str) -> Iterator[str]:
    for item in text.split(","):
        value = item.strip()
        if not value or not value.isprintable() or set(value) & set("'\"`;%_"):
            raise UserError(f"{place}: value {value!r} is empty or holds one of ' \" ` ; % _")
        yield value


def _range(place: str, text: str) -> tuple[float, float, int]:
    ends = text.split("..")
    matches = [_NUMBER.fullmatch(end.strip()) for end in ends]
    if len(ends) != 2 or not all(matches):
        raise UserError(f"{place}: range must be low..high with at most 2 digits after the point, not {text!r}")
    low, high = float(ends[0]), float(ends[1])
    if low >= high:
        raise UserError(f"{place}: range {text}: low must be below high")
    return low, high, max(len(match.group(1) or "") for match in matches if match)


def _spoken(name: str) -> str:
    """`BoatId` and `boat_id` as a person says them: "boat id"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_+", " ", name).lower().strip()
