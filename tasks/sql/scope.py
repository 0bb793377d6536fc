"""Which tables a column may come from, while a statement is being written.

Every SELECT has a frame: the tables of its FROM clause by the names they go by, and the columns named before FROM was
reached. When the FROM clause ends, each of these must be found in it (or in an outer frame); columns that follow are
held to it as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_ALIAS = re.compile(r"[a-z]\d{0,2}")
_AFTER_FROM = ("where", "group", "having", "order", "limit")  # in the order they must have
_IN_FROM = frozenset({"join", "left", "right", "full", "inner", "cross", "natural", "on", "using"})
_SETS = frozenset({"union", "intersect", "except"})


def begins(word: str, names: Iterable[str], last: bool) -> bool:
    """Whether an unfinished `word` is the beginning of one of `names`."""
    return last and any(name.startswith(word) for name in names)


def fits(word: str, names: Iterable[str], last: bool) -> bool:
    """Whether `word` is one of `names`, or (unfinished) the beginning of one."""
    return word in names or begins(word, names, last)


@dataclass
class _Frame:
    """One SELECT: where it is (`select`, `from` or `after`), what it reads and what it named too early to check."""

    outer: _Frame | None = None
    stage: str = "select"
    tables: dict[str, str] = field(default_factory=dict)  # the name it goes by -> table
    latest: str = ""
    pending: list[tuple[str, str]] = field(default_factory=list)  # (qualifier, column)
    given: set[str] = field(default_factory=set)  # aliases of values
    open: bool = False  # reads something whose columns are not known: a subquery, a common table expression
    ordered: bool = False  # ORDER BY or LIMIT was read: UNION and its kind cannot follow
    limited: bool = False
    clause: int = -1  # the last of _AFTER_FROM that was read
    using: bool = False  # USING and NATURAL merge columns of one name


class Scopes:
    """The frames of one text, innermost last. `tables`: columns of every table, in lower case."""

    def __init__(self, tables: Mapping[str, frozenset[str]]) -> None:
        self._all = tables
        self._columns = frozenset(column for columns in tables.values() for column in columns)
        self._frame = _Frame()
        self._parens: list[_Frame | None] = []  # for every open bracket the frame outside it, or None: same frame
        self._bracket_before = False
        self._table_before = False
        self._with = False

    # What the reader tells -------------------------------------------------------------------------------------------

    def keyword(self, word: str) -> bool:
        """Take a keyword in; False where it ends a FROM clause that lacks the table of a column."""
        frame = self._frame
        self._table_before = False
        if word == "with":
            self._with = True
        elif word == "select":
            if self._bracket_before:
                self._parens[-1] = frame
                if frame.stage == "from":
                    frame.open = True
                self._frame = _Frame(outer=frame)
        elif word in ("from", "join"):
            frame.stage = "from"
        elif word in ("using", "natural"):
            frame.using = True
        elif word in _AFTER_FROM and not self.inside_brackets():
            frame.clause = _AFTER_FROM.index(word)
            frame.ordered = frame.ordered or word in ("order", "limit")
            frame.limited = frame.limited or word == "limit"
            return frame.stage != "from" or self._settle()
        elif word in _SETS:
            if frame.ordered or not self._settle():
                return False
            self._frame = _Frame(outer=frame.outer)
        self._bracket_before = False
        return True

    def may_follow(self, keyword: str) -> bool:
        """Whether a keyword may come, with regard to the columns that wait for their table."""
        frame = self._frame
        if self.inside_brackets() or self._with:
            return True
        if keyword in _SETS:
            return not frame.ordered and self._resolves()
        if keyword in _IN_FROM:
            return frame.stage == "from"
        if keyword == "from":
            return frame.stage == "select"
        if keyword in ("asc", "desc"):
            return frame.ordered and not frame.limited
        if keyword not in _AFTER_FROM:
            return True
        if frame.stage == "select" or _AFTER_FROM.index(keyword) <= frame.clause:
            return False
        return frame.stage != "from" or self._resolves()

    def mark(self, mark: str) -> bool:
        """Take a punctuation mark in; False where a bracket closes a SELECT that lacks the table of a column."""
        self._table_before = False
        if mark == "(":
            self._parens.append(None)
            self._bracket_before = True
            return True
        self._bracket_before = False
        if mark == ")":
            if not self._parens:
                return False
            outer = self._parens.pop()
            if outer is not None:
                if not self._settle():
                    return False
                self._frame = outer
        return mark != ";" or not self._parens

    def expects_table(self, previous: str) -> bool:
        """Whether a table must follow the word or mark `previous`."""
        return previous in ("from", "join") or (previous == "," and self._frame.stage == "from" and not self._parens)

    def table(self, word: str, last: bool) -> bool:
        """Take a table of the FROM clause in."""
        taken = self._frame.tables  # a table twice under one name: every column of it would be ambiguous
        if word in self._all and word not in taken and not last:
            taken[word] = word
            self._frame.latest = word
            self._table_before = True
            return True
        if self._with:
            self._frame.open = True
            return True
        return last and fits(word, [table for table in self._all if table not in taken], True)

    def alias(self, word: str, source: str) -> None:
        """Take in the name given after AS, to a table or to a value."""
        frame = self._frame
        if frame.stage == "from" and source == frame.latest:
            frame.tables.pop(source, None)
            frame.tables[word] = source
            self._table_before = True
        elif frame.stage != "from":
            frame.given.add(word)

    def may_alias(self, word: str, previous: str) -> bool:
        """Whether an unfinished word may become an alias after a table."""
        return self.table_before(previous) and bool(_ALIAS.fullmatch(word))

    def implicit_alias(self, word: str, previous: str) -> bool:
        """Take in a short name that follows a table without AS."""
        if self.may_alias(word, previous):
            self.alias(word, previous)
            return True
        return False

    def table_before(self, previous: str) -> bool:
        """Whether `previous` is the table (or its alias) that a FROM clause has just named."""
        return self._table_before and previous in self._frame.tables

    def limited(self) -> bool:
        """Whether the innermost SELECT has read LIMIT."""
        return self._frame.limited

    def inside_brackets(self) -> bool:
        """Whether the text stands inside the brackets of a function or an expression."""
        return bool(self._parens) and self._parens[-1] is None

    # What it may write -----------------------------------------------------------------------------------------------

    def qualifier(self, word: str) -> bool:
        """Whether `word` may stand before a point."""
        if self._frame.stage == "select" or self._with:
            return word in self._all or bool(_ALIAS.fullmatch(word)) or self._table_of(word) is not None or self._with
        return self._table_of(word) is not None or self._is_open()

    def column(self, word: str, qualifier: str, last: bool) -> bool:
        """Whether `word` may stand as a column (of `qualifier`, if one is given); remembered where FROM is to come."""
        frame = self._frame
        self._bracket_before = self._table_before = False
        if self._with or frame.open:
            return fits(word, self._columns | frame.given, last) or self._with
        if qualifier:
            table = self._table_of(qualifier)
            if frame.stage == "select" and table is None:
                columns = self._all.get(qualifier, self._columns)
                frame.pending.append((qualifier, "" if last else word))
                return fits(word, columns, last)
            return fits(word, self._all.get(table or "", self._columns), last)
        if frame.stage == "select":
            if not last and word in self._columns:
                frame.pending.append(("", word))
            return fits(word, self._columns, last)
        return fits(word, self._visible() | self._given(), last)

    def may_begin(self, word: str, previous: str) -> bool:
        """Whether an unfinished word may become a column, a table before its point, or an alias."""
        frame = self._frame
        if frame.stage == "select" or self._with or self._is_open():
            names: Iterable[str] = self._columns | self._given() | set(self._all)
            return begins(word, names, True) or bool(_ALIAS.fullmatch(word)) or self._with
        names = self._visible() | self._given() | self._names()
        return begins(word, names, True)

    # Resolution ------------------------------------------------------------------------------------------------------

    def _settle(self) -> bool:
        """End the FROM clause; False where it lacks the table of a column."""
        resolves = self._resolves()
        self._frame.stage = "after"
        self._frame.pending = []
        return resolves

    def _resolves(self) -> bool:
        """Whether what was named before FROM is in its tables, and in one of them only."""
        frame = self._frame
        if frame.open or self._with:
            return True
        for qualifier, column in frame.pending:
            if qualifier:
                table = self._table_of(qualifier)
                if table is None or (column and column not in self._all[table]):
                    return False
                continue
            holders = sum(column in self._all[table] for table in frame.tables.values())
            if holders > 1 and not frame.using:
                return False
            if not holders and column not in frame.given and not self._seen_outside(column):
                return False
        return True

    def _frames(self) -> Iterable[_Frame]:
        frame: _Frame | None = self._frame
        while frame is not None:
            yield frame
            frame = frame.outer

    def _is_open(self) -> bool:
        return any(frame.open or frame.stage == "select" for frame in self._frames() if frame is not self._frame) or (
            self._frame.open
        )

    def _table_of(self, name: str) -> str | None:
        return next((frame.tables[name] for frame in self._frames() if name in frame.tables), None)

    def _names(self) -> set[str]:
        return {name for frame in self._frames() for name in frame.tables}

    def _given(self) -> set[str]:
        return {name for frame in self._frames() for name in frame.given}

    def _visible(self) -> frozenset[str]:
        if self._is_open():
            return self._columns
        tables = [table for frame in self._frames() for table in frame.tables.values()]
        return frozenset(column for table in tables for column in self._all[table])

    def _seen_outside(self, column: str) -> bool:
        return any(
            frame.open or frame.stage == "select" or any(column in self._all[t] for t in frame.tables.values())
            for frame in self._frames()
            if frame is not self._frame
        )
