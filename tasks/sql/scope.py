"""Which tables a column may come from, while a statement is being written.

Every SELECT has a frame (`tasks.sql.frame`). When its FROM clause ends, each column named before must be found in it
(or in an outer frame); columns that follow are held to it as they are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tasks.sql.frame import ALIAS, Frame
from tasks.sql.grammar import twin

_AFTER_FROM = ("where", "group", "having", "order", "limit")  # in the order they must have
_IN_FROM = frozenset({"join", "left", "right", "full", "inner", "cross", "natural"})
_SETS = frozenset({"union", "intersect", "except"})


def begins(word: str, names: Iterable[str], last: bool) -> bool:
    """Whether an unfinished `word` is the beginning of one of `names`."""
    return last and any(name.startswith(word) for name in names)


def fits(word: str, names: Iterable[str], last: bool) -> bool:
    """Whether `word` is one of `names`, or (unfinished) the beginning of one."""
    return word in names or begins(word, names, last)


class Scopes:
    """The frames of one text, innermost last. `tables`: columns of every table, in lower case."""

    def __init__(self, tables: Mapping[str, frozenset[str]]) -> None:
        self._all = tables
        self._columns = frozenset(column for columns in tables.values() for column in columns)
        self._frame = Frame(tables)
        self._parens: list[Frame | None] = []  # for every open bracket the frame outside it, or None: same frame
        self._bracket_before = False
        self._table_before = False
        self._with = False

    def copy(self) -> Scopes:
        """The same place."""
        other = twin(self)
        other._frame, other._parens = self._frame.copy(), self._parens[:]
        return other

    # What the reader tells -------------------------------------------------------------------------------------------

    def keyword(self, word: str) -> bool:
        """Take a keyword in; False where it ends a FROM clause that lacks the table of a column."""
        frame = self._frame
        self._table_before = self._table_before and word == "as"
        if word == "with":
            self._with = frame.open = True
        elif word == "select":
            if self._bracket_before:
                self._parens[-1] = frame
                if frame.stage == "from":
                    frame.open = True
                self._frame = Frame(self._all, outer=frame, open=self._with)
        elif word in ("from", "join"):
            frame.stage, frame.joined = "from", word == "join"
        elif word == "on":
            frame.joined = False
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
            self._frame = Frame(self._all, outer=frame.outer, open=self._with)
        self._bracket_before = False
        return True

    def may_follow(self, keyword: str) -> bool:
        """Whether a keyword may come, with regard to the columns that wait for their table."""
        frame = self._frame
        if self._table_before and not self._with:
            if keyword == "as":
                return bool(frame.latest) and not frame.keeps_its_name()
            if frame.must_be_called():
                return False
        if self.inside_brackets() or self._with:
            return True
        if keyword in _SETS:
            return not frame.ordered and frame.resolves()
        if keyword in ("on", "using"):
            return frame.stage == "from" and frame.joined
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
        return frame.stage != "from" or frame.resolves()

    def mark(self, mark: str) -> bool:
        """Take a punctuation mark in; False where a bracket closes a SELECT that lacks the table of a column."""
        if self._table_before and not self._with and self._frame.must_be_called():
            return False
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
                self._frame = outer.copy()
        return mark != ";" or not self._parens

    def expects_table(self, previous: str) -> bool:
        """Whether a table must follow the word or mark `previous`."""
        listed = previous == "," and self._frame.stage == "from" and not self.inside_brackets()
        return listed or previous in ("from", "join")

    def table(self, word: str, last: bool) -> bool:
        """Take a table of the FROM clause in."""
        frame = self._frame
        if word in self._all and not last and frame.suits(word):
            frame.read(word)
            self._table_before = True
            return True
        return self._with or (last and any(name.startswith(word) and frame.suits(name) for name in self._all))

    def alias(self, word: str, source: str, last: bool) -> bool:
        """Take in the name given after AS, to a table or to a value."""
        frame = self._frame
        if frame.stage != "from":
            frame.given.add(word)
            return True
        if not frame.latest or source.strip('"`') != frame.latest:
            return frame.open
        if not self._with and not frame.may_be_called(word, last):
            return False
        frame.call(word)
        self._table_before = True
        return True

    def implicit_alias(self, word: str, previous: str, last: bool) -> bool:
        """Take in a short name that follows a table without AS."""
        if not self._table_before or not self._frame.latest or not ALIAS.fullmatch(word):
            return False
        return self.may_follow("as") and self.alias(word, previous, last)

    # What it is told -------------------------------------------------------------------------------------------------

    def aliases(self) -> set[str]:
        """The names that were given to tables and values and can be used here."""
        return (self._names() - self._all.keys()) | self._given()

    def table_before(self) -> bool:
        """Whether a FROM clause has just named a table (or its alias)."""
        return self._table_before

    def limited(self) -> bool:
        """Whether the innermost SELECT has read LIMIT."""
        return self._frame.limited

    def inside_brackets(self) -> bool:
        """Whether the text stands inside the brackets of a function or an expression."""
        return bool(self._parens) and self._parens[-1] is None

    def selects(self) -> bool:
        """Whether the columns to be read are being named: FROM is to come."""
        return self._frame.stage == "select"

    def aggregates(self) -> bool:
        """Whether aggregates may be called: not in ON, WHERE and GROUP BY."""
        return self._with or self.selects() or self._frame.clause >= _AFTER_FROM.index("having")

    def windows(self) -> bool:
        """Whether window functions may be called: among the columns to be read, and in ORDER BY."""
        return self._with or self.selects() or self._frame.ordered

    # What it may write -----------------------------------------------------------------------------------------------

    def qualifier(self, word: str) -> bool:
        """Whether `word` may stand before a point."""
        if self._with or self._frame.table_of(word) is not None or self._frame.is_open():
            return True
        return self.selects() and (word in self._all or bool(ALIAS.fullmatch(word)))

    def column(self, word: str, qualifier: str, last: bool) -> bool:
        """Whether `word` may stand as a column (of `qualifier`, if one is given); remembered where FROM is to come."""
        frame = self._frame
        self._bracket_before = self._table_before = False
        if frame.open:
            return self._with or fits(word, self._columns | frame.given, last)
        if qualifier:
            table = frame.table_of(qualifier)
            if frame.stage == "select" and table is None:
                columns = self._all.get(qualifier) or frame.beside(frame.needs(qualifier))
                frame.pending.append((qualifier, "" if last else word))
                return fits(word, columns, last)
            return fits(word, self._all.get(table or "", self._columns), last)
        if frame.stage == "select":
            if last or word not in self._columns:
                return begins(word, self._columns, last)
            found = frame.can_be_read(word)
            frame.pending.append(("", word))
            return found
        if begins(word, self._visible(), last):
            return True
        seen = frame.sees(word)
        return seen if seen is not None else word in self._columns or word in self._given()

    def may_begin(self, word: str) -> bool:
        """Whether an unfinished word may become a column, a table before its point, or an alias."""
        if self.selects() or self._with or self._frame.is_open():
            if bool(ALIAS.fullmatch(word)) or self._with:
                return True
            return any(begins(word, names, True) for names in (self._columns, self._given(), self._all))
        return begins(word, self._visible(), True) or begins(word, self._names(), True)

    def _settle(self) -> bool:
        """End the FROM clause; False where it lacks the table of a column."""
        resolves = self._frame.resolves()
        self._frame.stage, self._frame.pending = "after", []
        return resolves

    def _names(self) -> set[str]:
        return {name for frame in self._frame.chain() for name in frame.tables}

    def _given(self) -> set[str]:
        return {name for frame in self._frame.chain() for name in frame.given}

    def _visible(self) -> Iterator[str]:
        if self._frame.is_open():
            yield from self._columns
        for frame in self._frame.chain():
            yield from frame.given
            for table in frame.tables.values():
                yield from self._all[table]
