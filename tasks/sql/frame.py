"""One SELECT that is being written: the tables of its FROM clause, and the columns that were named before it.

Its tables are taken so that every column named before can still be found in one of them, and in one only.

Limits: aliases are numbered as their tables stand (`T1` is the first one's where columns of `T1` were named before).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tasks.sql.grammar import twin

ALIAS = re.compile(r"[a-z]\d{0,2}")
_NUMBERED = re.compile(r"t\d+")
_TWICE = 2  # so often one table may be read in one FROM clause
_MORE = 3  # so many tables more may be needed to find all columns that were named
_IDLE = 3  # tables in a row that hold none of the columns still missing: what links two that do


@dataclass
class Frame:
    """One SELECT: where it is (`select`, `from` or `after`), what it reads and what it named too early to check.

    `known` are the columns of all tables of the schema, in lower case.
    """

    known: Mapping[str, frozenset[str]]
    outer: Frame | None = None
    stage: str = "select"
    tables: dict[str, str] = field(default_factory=dict)  # the name it goes by -> table
    latest: str = ""  # the table read last, until it has an alias
    pending: list[tuple[str, str]] = field(default_factory=list)  # (qualifier, column)
    given: set[str] = field(default_factory=set)  # aliases of values
    open: bool = False  # reads something whose columns are not known: a subquery, a common table expression
    ordered: bool = False  # ORDER BY or LIMIT was read: UNION and its kind cannot follow
    limited: bool = False
    clause: int = -1  # how many of the clauses after FROM have begun, less one
    using: bool = False  # USING and NATURAL merge columns of one name
    joined: bool = False  # a JOIN was read, and no ON since
    idle: int = 0  # tables in a row that brought none of the columns still missing

    def copy(self) -> Frame:
        """The same, to be changed alone; the outer frames are shared, and copied when they are come back to."""
        other = twin(self)
        other.tables, other.pending, other.given = dict(self.tables), self.pending[:], set(self.given)
        return other

    # Tables ----------------------------------------------------------------------------------------------------------

    def read(self, table: str) -> None:
        """Take a table in."""
        missing = len(self._missing())
        self.tables[table] = self.latest = table
        left = len(self._missing())
        self.idle = self.idle + 1 if left and left == missing else 0

    def call(self, alias: str) -> None:
        """Give the table read last an alias."""
        missing = len(self._missing())
        self.tables[alias] = self.tables.pop(self.latest)
        self.latest = ""
        if len(self._missing()) < missing:
            self.idle = 0

    def suits(self, table: str) -> bool:
        """Whether a table may be read next, so that what was named before can still be found, and in one table only."""
        if self.open or self.using:
            return True
        if table in self.tables:
            return False
        columns, others = self.known[table], list(self.tables.values())
        if others.count(table) == _TWICE or not columns.issuperset(self.needs(f"t{len(others) + 1}")):
            return False
        for qualifier, column in self.pending:
            if not qualifier and column in columns and any(column in self.known[other] for other in others):
                return False
        missing = self._missing()
        if (
            self.idle >= _IDLE
            and missing
            and not any(
                name == table or (columns.issuperset(self.needs(name)) if name else column in columns)
                for name, column in missing
            )
        ):
            return False
        return self._can_be_found([*others, table], [column for name, column in missing if not name])

    def can_be_read(self, column: str) -> bool:
        """Whether `column`, beside the unqualified ones named before, can be found in tables that are not ambiguous."""
        named = [known for name, known in self.pending if not name]
        return self.outer is not None or self._can_be_found([], [*named, column])

    def _can_be_found(self, read: list[str], columns: list[str], more: int = _MORE) -> bool:
        """Whether at most `more` tables beside those `read` hold all `columns`, none of them in two tables."""
        missing = [column for column in columns if not any(column in self.known[table] for table in read)]
        if not missing:
            return True
        if not more:
            return False
        named = {column for name, column in self.pending if not name} | set(columns)
        taken = {column for column in named if any(column in self.known[table] for table in read)}
        return any(
            missing[0] in known and known.isdisjoint(taken) and self._can_be_found([*read, table], missing, more - 1)
            for table, known in self.known.items()
        )

    def may_be_called(self, alias: str, last: bool) -> bool:
        """Whether the table read last may go by the name `alias`, which (`last`) may be unfinished."""
        numbered = _NUMBERED.fullmatch(alias)
        if last and not numbered:
            return True
        expected = f"t{len(self.tables)}"
        if self.expects(expected) and alias != expected:
            return last and expected.startswith(alias)
        if alias in self.tables and alias != self.latest:
            return False
        if numbered and any(
            ALIAS.fullmatch(n) and not _NUMBERED.fullmatch(n) and self.expects(n) for n, _ in self.pending
        ):
            return False
        return self.known[self.tables[self.latest]].issuperset(self.needs(alias))

    def must_be_called(self) -> bool:
        """Whether the table read last needs an alias: columns of it were named by that."""
        return bool(self.latest) and self.expects(f"t{len(self.tables)}")

    def keeps_its_name(self) -> bool:
        """Whether columns of the table read last were named by its own name: it can have no alias."""
        return bool(self.latest) and any(name == self.latest for name, _ in self.pending)

    # Columns ---------------------------------------------------------------------------------------------------------

    def needs(self, qualifier: str) -> list[str]:
        """The columns of `qualifier` that were named before FROM."""
        return [column for name, column in self.pending if name == qualifier and column]

    def expects(self, qualifier: str) -> bool:
        """Whether columns of `qualifier` were named before FROM and no table goes by that name yet."""
        return qualifier not in self.tables and any(name == qualifier for name, _ in self.pending)

    def beside(self, columns: list[str]) -> frozenset[str]:
        """The columns of all tables that have `columns`: what else may be named of the same one."""
        return frozenset().union(*(known for known in self.known.values() if known.issuperset(columns)))

    def resolves(self) -> bool:
        """Whether what was named before FROM is in its tables, and in one of them only."""
        if self.open:
            return True
        for qualifier, column in self.pending:
            if qualifier:
                table = self.table_of(qualifier)
                if table is None or (column and column not in self.known[table]):
                    return False
                continue
            holders = self._holders(column)
            if holders > 1 and not self.using:
                return False
            if not holders and column not in self.given and not self._seen_outside(column):
                return False
        return True

    def sees(self, column: str) -> bool | None:
        """Whether a column is in one table of the innermost frame that has it; None where not all tables are known."""
        for frame in self.chain():
            if frame.open or (frame.stage == "select" and frame is not self):
                return None
            holders = frame._holders(column)
            if holders or column in frame.given:
                return holders == 1 or frame.using or column in frame.given
        return False

    def is_open(self) -> bool:
        """Whether some columns that could be named are not known."""
        return any(frame.open or (frame.stage == "select" and frame is not self) for frame in self.chain())

    def chain(self) -> Iterator[Frame]:
        """This frame and those outside it."""
        frame: Frame | None = self
        while frame is not None:
            yield frame
            frame = frame.outer

    def table_of(self, name: str) -> str | None:
        """The table that goes by `name`."""
        return next((frame.tables[name] for frame in self.chain() if name in frame.tables), None)

    def _holders(self, column: str) -> int:
        return sum(column in self.known[table] for table in self.tables.values())

    def _missing(self) -> list[tuple[str, str]]:
        """What was named before FROM and is not in its tables yet; of numbered aliases those whose turn is over."""
        missing = []
        for qualifier, column in self.pending:
            if qualifier:
                later = _NUMBERED.fullmatch(qualifier) and int(qualifier[1:]) > len(self.tables)
                if not later and self.table_of(qualifier) is None:
                    missing.append((qualifier, column))
            elif not self._holders(column) and not self._seen_outside(column):
                missing.append((qualifier, column))
        return missing

    def _seen_outside(self, column: str) -> bool:
        others = (frame for frame in self.chain() if frame is not self)
        return any(frame.open or frame.stage == "select" or frame._holders(column) for frame in others)
