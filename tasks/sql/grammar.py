"""The order of words in a SELECT: what kind of word may come after the one before, without looking at names.

A statement alternates between places where an operand must come (after WHERE, a comma, an operator, an opening bracket)
and places where one has just ended. That alone keeps an answer from wandering off (`WHERE GROUP_CONCAT(SELECT ...`).

Limits: SQLite's SELECT; implicit aliases of values and VALUES are not written.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")
FUNCTIONS = frozenset(
    """
    abs avg cast ceil coalesce count date datetime floor group_concat ifnull iif instr julianday length lower max min
    nullif replace round strftime substr sum time total trim upper
    """.split()  # noqa: SIM905 - word lists read best as text
)
AGGREGATES = frozenset(["avg", "count", "group_concat", "max", "min", "sum", "total"])
WINDOWS = frozenset(["dense_rank", "lag", "lead", "rank", "row_number"])
TYPES = frozenset(["date", "integer", "numeric", "real", "text"])

_JOINS = frozenset(["join", "left", "right", "full", "inner", "cross", "natural"])
_SETS = frozenset(["union", "intersect", "except"])
_CLAUSES = frozenset(["from", "where", "group", "order", "having", "limit"]) | _SETS
_BINARY = frozenset(["and", "or", "not", "between", "in", "like", "glob", "is"])
_COMPARE = frozenset(["between", "in", "like", "glob", "is"])  # once between two ANDs, as the marks of comparison
_REPEATED = frozenset(["replace", "coalesce", "ifnull", "iif", "nullif", "abs", "round"])  # may hold themselves
# After an operand: what may continue or close it.
_AFTER_OPERAND = (
    _CLAUSES
    | _BINARY
    | _JOINS
    | frozenset(["as", "asc", "desc", "collate", "on", "using", "then", "else", "when", "end", "over", "escape"])
)
_AFTER_TABLE = _JOINS | _SETS | frozenset(["as", "on", "using", "where", "group", "order", "limit"])
_AFTER_LIMIT = frozenset({"offset"})
# Where an operand is due: what may stand in its place or open it.
_OPERAND = frozenset(["case", "not", "exists", "null", "current_date"])
_FOLLOW = {
    "group": frozenset({"by"}),
    "order": frozenset({"by"}),
    "partition": frozenset({"by"}),
    "left": frozenset({"join", "outer"}),
    "right": frozenset({"join", "outer"}),
    "full": frozenset({"join", "outer"}),
    "inner": frozenset({"join"}),
    "outer": frozenset({"join"}),
    "cross": frozenset({"join"}),
    "natural": frozenset({"join", "left", "inner"}),
    "union": frozenset({"all", "select"}),
    "all": frozenset({"select"}),
    "intersect": frozenset({"select"}),
    "except": frozenset({"select"}),
    "collate": frozenset({"nocase", "binary"}),
    "recursive": frozenset(),
}
FORCED = frozenset(_FOLLOW)  # words after which only another keyword can come
KEYWORDS = (
    _AFTER_OPERAND
    | _OPERAND
    | frozenset().union(*_FOLLOW.values())
    | {"select", "distinct", "with", "when", "partition"}
)
_OPENING = {
    "": frozenset({"select", "with"}),
    "select": frozenset({"distinct"}),
    "case": frozenset({"when"}),
    "not": frozenset({"in", "like", "between", "glob"}),
}
_ENDS_OPERAND = frozenset(["null", "current_date", "end", "asc", "desc", "nocase", "binary"])
_COMPARING = frozenset("<>!=|")
_OPERATORS = frozenset("=<>!+-*/%|")


def twin(thing: T) -> T:
    """A copy that shares what `thing` holds; `copy.copy` takes ten times as long."""
    other = object.__new__(type(thing))
    other.__dict__.update(thing.__dict__)
    return other


class Grammar:
    """Where the reader of one text stands: whether an operand is due, and which words and marks may come."""

    def __init__(self) -> None:
        self.due = True
        self.previous = ""
        self._common = False  # the statement began with a common table expression
        self._compared = False  # a comparison was made, and no AND, OR or comma since
        self._open: list[tuple[str, bool]] = []  # for every open bracket the word before it, and `_compared` outside it
        self._window = False  # a window function has just been closed: OVER must come

    def copy(self) -> Grammar:
        """The same place."""
        other = twin(self)
        other._open = self._open[:]
        return other

    def inside(self, words: frozenset[str]) -> bool:
        """Whether the text stands inside the brackets of one of `words`, within the innermost SELECT."""
        for word, _ in reversed(self._open):
            if word == "select":
                return False
            if word in words:
                return True
        return False

    def opened(self) -> frozenset[str]:
        """The function whose brackets have just been opened, unless it may well hold itself."""
        if self.previous != "(" or self._open[-1][0] in _REPEATED:
            return frozenset()
        return frozenset({self._open[-1][0]})

    def keywords(self, table_before: bool, limited: bool) -> frozenset[str]:
        """The keywords that may come now; `table_before`: a table of FROM has just ended, `limited`: LIMIT was read."""
        if self._window:
            return frozenset({"over"})
        if self.previous in _FOLLOW:
            return _FOLLOW[self.previous]
        if self.due:
            more = _OPENING.get(self.previous, frozenset())
            if self.previous == "(":
                more = self._bracket_words()
            return _OPERAND | more if self.previous else more
        if self._common and self.previous == ")":
            return _AFTER_OPERAND | {"select"}
        if limited:
            return _AFTER_LIMIT | _SETS
        found = _AFTER_TABLE if table_before else _AFTER_OPERAND
        return found - _COMPARE if self._compared else found

    def _bracket_words(self) -> frozenset[str]:
        """What may open a bracket, beside operands."""
        opener = self._open[-1][0]
        if opener in AGGREGATES:
            return frozenset({"distinct"})
        if opener == "over":
            return frozenset({"partition", "order"})
        return frozenset() if opener in FUNCTIONS or opener in WINDOWS else frozenset({"select"})

    def keyword(self, word: str) -> None:
        """Take a keyword in."""
        self._common = self._common or word == "with"
        self._compared = word in _COMPARE or (self._compared and word in ("not", "null"))
        self._window = False
        if word == "select" and self.previous == "(":
            self._open[-1] = ("select", self._open[-1][1])
        self.due = word not in _ENDS_OPERAND
        self.previous = word

    def operand(self, word: str) -> None:
        """Take a name, a number or a literal in."""
        self.due = False
        self.previous = word

    def mark(self, mark: str, table_before: bool, limited: bool = False) -> bool:
        """Take a punctuation mark in; False where it cannot stand."""
        if not self._may_stand(mark, table_before) or (limited and mark not in ",);"):
            return False
        if mark == "(":
            self._open.append((self.previous, self._compared))
            self._compared = False
        elif mark == ")" and self._open:
            word, self._compared = self._open.pop()
            self._window = word in WINDOWS
        elif mark in _COMPARING and mark != "|":
            self._compared = True
        elif mark == ",":
            self._compared = False
        self.due = mark in _OPERATORS or mark in "(,."
        if mark == "*" and self.previous in ("select", "(", ".", "distinct", ","):
            self.due = False
        self.previous = mark
        return True

    def _may_stand(self, mark: str, table_before: bool) -> bool:
        if self._window:
            return False
        if mark == "(" and self.previous == "join":
            return False  # a subquery may be read alone, not joined: its columns are not known
        if mark == "(":
            return self.due or self.previous in FUNCTIONS or self.previous in WINDOWS or self.previous == "over"
        if mark == "*" and self.previous in ("select", "(", ".", "distinct", ","):
            return True
        if self.due:
            return (
                mark in "+-"
                or (mark in _COMPARING and self.previous in _COMPARING)
                or (mark == ")" and self.previous == "(")
            )
        if mark == "." or table_before:
            return mark in ".,();"
        if self._compared and mark in _COMPARING and mark != "|":
            return False
        return mark in _OPERATORS or mark in "),;"
