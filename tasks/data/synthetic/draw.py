"""Draw: what a shape takes at random from one database (tables, columns, literals) and the words for it.

Every draw sets the slots that phrasings use: a noun `key` gives `{key}`, `{keys}` (plural) and `{a_key}`; a condition
`key` gives `{key}` (`whose fee is above 5`), `{key_is}` (`fee is above 5`) and `{key_have}` (`a fee above 5`).
A draw that the database cannot serve raises NoFit and the generator tries again.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Sequence

from tasks.data.synthetic.people import PEOPLE
from tasks.data.synthetic.phrasing import is_plural, plural, with_article
from tasks.data.synthetic.rows import Filled
from tasks.data.synthetic.schema import Column, Link, SyntheticDatabase, Table
from tasks.data.synthetic.wording import AGGREGATES, COMPARISONS, KIND, NOT_SUMMED, NUMBER_WORDS, ORDERS, SIDES

BETWEEN_QUANTILES = (0.15, 0.85)


class NoFit(Exception):
    """The database has nothing for this draw."""


class Draw:
    """One attempt at one shape on one filled database; `slots` collects the words."""

    def __init__(
        self, database: SyntheticDatabase, filled: Filled, connection: sqlite3.Connection, rng: random.Random
    ) -> None:
        self.database, self.filled, self.connection, self.rng = database, filled, connection, rng
        self.quote = rng.choice(("", "", "", "", "", "", "'", '"'))
        self.slots: dict[str, str | tuple[str, ...]] = {
            "show": ("show", "list", "give", "display", "return", "find"),
            "each": ("each", "every"),
            "whats": ("what are",),
        }

    # Words -----------------------------------------------------------------------------------------------------------

    def noun(self, key: str, label: str, many: str = "", person: bool = False) -> None:
        """Set `{key}`, `{keys}`, `{a_key}`, `{key_is}` and `{key_its}` (`their` for a person)."""
        self.slots[key], self.slots[f"{key}s"] = label, many or plural(label)
        self.slots[f"a_{key}"] = with_article(label)
        self.slots[f"{key}_is"] = "are" if is_plural(label) else "is"
        self.slots[f"{key}_its"] = "their" if person else "its"

    def number(self, key: str, value: int) -> int:
        """Set `{key}` to a small number as digits or as a word."""
        self.slots[key] = (str(value), NUMBER_WORDS[value])
        return value

    def spoken(self, value: object) -> str:
        """A literal as a person writes it: text is quoted in one question out of four."""
        return f"{self.quote}{value}{self.quote}" if isinstance(value, str) else str(value)

    # Tables and columns ----------------------------------------------------------------------------------------------

    def pick(self, options: Sequence):
        """One of `options`; NoFit when there is none."""
        if not options:
            raise NoFit
        return self.rng.choice(options)

    def table(self, *roles: str, key: str = "row") -> Table:
        """A table that has a column of every role in `roles` (`a|b`: either; a role twice: two columns)."""
        table = self.pick([t for t in self.database.tables if has_roles(t, roles)])
        self.noun(key, table.label, table.plural, is_person(table))
        return table

    def column(self, table: Table, roles: str, key: str = "col", avoid: Sequence[Column] = ()) -> Column:
        """A column of one of `roles` (`a|b`), other than those in `avoid`."""
        column = self.pick([c for c in table.with_role(*roles.split("|")) if c not in avoid])
        self.noun(key, column.label)
        return column

    def values(self, table: Table, column: Column) -> list:
        """The column's values, one a row."""
        return [row[column.name] for row in self.filled.rows[table.name]]

    def value(self, table: Table, column: Column, key: str = "value", avoid: Sequence = ()) -> object:
        """A value of the column that some row has; `{key}` is how it is said."""
        value = self.pick([v for v in self.values(table, column) if v not in avoid])
        self.slots[key] = self.spoken(value)
        return value

    def cut(self, table: Table, column: Column, low: float = 0.2, high: float = 0.8) -> object:
        """A value between two quantiles of the column."""
        values = sorted(self.values(table, column))
        return self.pick(values[int(len(values) * low) : int(len(values) * high) + 1])

    def has(self, table: str, *roles: str) -> bool:
        """Whether the table called `table` has a column of every role."""
        return has_roles(self.database.table(table), roles)

    # Links -----------------------------------------------------------------------------------------------------------

    def is_plain(self, link: Link) -> bool:
        """Whether `<parents> without <children>` can only mean this link."""
        twins = [one for one in self.database.links() if {one.child, one.parent} == {link.child, link.parent}]
        return len(twins) == 1 and link.child != link.parent and self.plays_itself(link)

    def plays_itself(self, link: Link) -> bool:
        """Whether the reference is labelled as the parent itself (`hotel`), not as a part it plays (`manager`)."""
        return reference_label(self.database.table(link.child).column(link.child_column)) in (
            self.database.table(link.parent).label,
            self.database.table(link.parent).name.lower(),
        )

    def link(self, parent: Sequence[str] = (), child: Sequence[str] = (), plain: bool = False) -> Link:
        """A foreign key whose two tables have the given roles; sets `{parent}` and `{item}` (the child)."""
        db = self.database
        link = self.pick(
            [
                one
                for one in db.links()
                if has_roles(db.table(one.parent), parent)
                and has_roles(db.table(one.child), child)
                and (not plain or self.is_plain(one))
            ]
        )
        self.name_link(link, "parent", "item")
        return link

    def name_link(self, link: Link, parent_key: str, child_key: str) -> None:
        """Set the two nouns of a link; a parent in a part (`home team`) is called by the part."""
        parent, child = self.database.table(link.parent), self.database.table(link.child)
        if self.plays_itself(link):
            self.noun(parent_key, parent.label, parent.plural, is_person(parent))
        else:
            self.noun(parent_key, reference_label(child.column(link.child_column)), person=is_person(parent))
        self.noun(child_key, child.label, child.plural, is_person(child))

    def ends(self, link: Link) -> tuple[Table, Table]:
        """The parent and the child of a link."""
        return self.database.table(link.parent), self.database.table(link.child)

    # Conditions ------------------------------------------------------------------------------------------------------

    def condition(
        self, table: Table, roles: str, key: str = "cond", alias: str = "", avoid: Sequence[Column] = ()
    ) -> str:
        """A comparison that some but not all rows of the table pass, as SQL; sets `{key}`, `{key_is}`, `{key_have}`."""
        column = self.column(table, roles, key=f"{key}_col", avoid=avoid)
        if column.role == "category":
            op, value = "=", self.value(table, column)
            self.say(key, column, op, self.spoken(value))
        else:
            op, value = self.rng.choice((">", ">", "<", "<", ">=", "<=")), self.cut(table, column)
            self.say(key, column, op, str(value))
        self.check_filter(table, f"{column.name} {op} {literal(value)}")
        return f"{alias}{column.name} {op} {literal(value)}"

    def say(self, key: str, column: Column, op: str, value: str) -> None:
        """Set the three forms of a comparison in words."""
        label, be = column.label, "are" if is_plural(column.label) else "is"
        is_forms, have_forms = COMPARISONS[KIND[column.role], op]
        forms = {
            "l": label,
            "a": with_article(label),
            "be": be,
            "do": "do" if be == "are" else "does",
            "s": "" if be == "are" else "s",
            "v": value,
        }
        says_is = tuple(form.format(**forms) for form in is_forms)
        says_have = tuple(form.format(**forms) for form in have_forms)
        self.slots[f"{key}_is"], self.slots[f"{key}_have"] = says_is, says_have
        self.slots[key] = (
            *(f"whose {form}" for form in says_is),
            *(f"whose {form}" for form in says_is),
            *(f"where the {form}" for form in says_is),
            *(f"with {form}" for form in says_have),
        )

    # Words of order and size -----------------------------------------------------------------------------------------

    def aggregate(self, column: Column, key: str = "agg", among: Sequence[str] = ()) -> str:
        """An aggregate function that makes sense for the column; sets `{key}`."""
        options = among or ("AVG", "AVG", "SUM", "MAX", "MIN")
        if NOT_SUMMED.search(column.label.lower()):
            options = [name for name in options if name != "SUM"]
        name = self.pick(options)
        self.slots[key] = AGGREGATES[name]
        self.slots[f"a_{key}_noun"] = tuple(with_article(word) for word in AGGREGATES[name])
        return name

    def direction(self, column: Column, key: str = "most") -> str:
        """`DESC` or `` (ascending); sets `{key}` (`highest`) and `{in_order}` (`from highest to lowest`)."""
        down = self.rng.random() < 0.55
        self.slots[key], self.slots["in_order"] = ORDERS[KIND[column.role], down]
        return " DESC" if down else ""

    def side(self) -> str:
        """`>` or `<`; sets `{side}` (`a fee higher than`) and `{beyond}` (`those above it`)."""
        op = self.rng.choice("><")
        self.slots["side"], self.slots["beyond"] = SIDES[op]
        return op

    # Checks on the rows ----------------------------------------------------------------------------------------------

    def query(self, sql: str) -> list[tuple]:
        """The rows of a query on the filled database."""
        return self.connection.execute(sql).fetchall()

    def check_filter(self, table: Table, where: str) -> None:
        """NoFit unless some but not all rows of the table pass."""
        passed = self.query(f"SELECT COUNT(*) FROM {table.name} WHERE {where}")[0][0]
        if not 0 < passed < len(self.filled.rows[table.name]):
            raise NoFit

    def check_join(self, source: str, where: str) -> None:
        """NoFit unless some but not all rows of a join pass."""
        passed, total = self.query(f"SELECT COUNT(CASE WHEN {where} THEN 1 END), COUNT(*) FROM {source}")[0]
        if not 0 < passed < total:
            raise NoFit

    def check_cut(self, sort_keys: str, limit: int) -> None:
        """NoFit when LIMIT would cut a tie or keep all. `sort_keys`: a query giving sort keys in order, no LIMIT."""
        rows = self.query(f"{sort_keys} LIMIT {limit + 1}")
        if len(rows) <= limit or rows[limit - 1] == rows[limit]:
            raise NoFit


def reference_label(column: Column) -> str:
    """`manager id` -> `manager`."""
    return re.sub(r"(?: id| code| number)$", "", column.label, flags=re.IGNORECASE)


def is_person(table: Table) -> bool:
    """Whether the rows of the table are people, by their names."""
    return any(column.values == PEOPLE for column in table.with_role("name"))


def has_roles(table: Table, roles: Sequence[str]) -> bool:
    """Whether distinct columns of the table can serve all `roles`; roles asked first take the first columns."""
    used: list[Column] = []
    for role in sorted(roles, key=lambda r: r.count("|")):
        left = [c for c in table.with_role(*role.split("|")) if c not in used]
        if not left:
            return False
        used.append(left[0])
    return True


def literal(value: object) -> str:
    """A value as a SQL literal."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def join(link: Link) -> str:
    """The FROM clause of a link: the child first, then along its reference, tables by their full names.

    Full names, not T1 and T2: a column's table is then known when the column is written, before FROM is reached.
    """
    return f"{link.child} JOIN {link.parent} ON {link.child}.{link.child_column} = {link.parent}.{link.parent_column}"
