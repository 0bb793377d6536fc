"""Which texts can still become one SELECT over a given schema: the rule behind constrained decoding.

Follows PICARD (Scholak, Schucher, Bahdanau 2021): reject a continuation as soon as no ending could make it right. Here
the checks are lexical: every word is a keyword, a function, or a name of the schema; a column written after a table
belongs to it; a text literal that begins as a word of the question goes on as that word. Whether the finished statement
prepares is for SQLite to say.

Limits: SQLite's dialect; no bracketed names; a literal may differ from the question only from its first letters on.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping
from functools import lru_cache

from tasks.sql.executor import compiles, open_database

_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>'(?:[^']|'')*'?)|(?P<quoted>"[^"]*"?|`[^`]*`?)|(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d*)?)
    |(?P<word>[^\W\d]\w*)|(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
KEYWORDS = frozenset(
    "all and as asc between by case cast collate cross current_date desc distinct else end escape except exists from full "
    "glob group having in inner intersect integer is join left like limit natural not null nulls numeric offset on or "
    "order outer over partition real recursive right select text then union using values when where with".split()
)
FUNCTIONS = frozenset(
    "abs avg cast ceil ceiling coalesce count date datetime dense_rank floor glob group_concat ifnull iif instr julianday "
    "lag lead length like lower ltrim max min nullif power printf rank replace round row_number rtrim sqrt strftime substr "
    "substring sum time total trim typeof upper".split()
)
_BEGINS = ("select", "with")
_TABLES_FOLLOW = frozenset({"from", "join"})
_ALIAS = re.compile(r"[a-z]{1,2}\d{0,2}")
_CLAUSES = frozenset({"from", "join", "on", "where", "group", "order", "having", "limit", "select", "using"})


class Continuation:
    """The texts that may become an answer to one question over one schema.

    `schema` is DDL that SQLite builds (else UserError); names compare without case, as SQLite does.
    """

    def __init__(self, schema: str, question: str = "") -> None:
        self._empty, self._tables = _built(schema)
        self._columns = frozenset(column for columns in self._tables.values() for column in columns)
        self._question = question

    def allows(self, text: str) -> bool:
        """Whether `text` may be the beginning of a statement; its last word may be unfinished.

        >>> rule = Continuation("CREATE TABLE airports (name TEXT, runway_count INT)", "How many runways has Heathrow?")
        >>> rule.allows("SELECT runw"), rule.allows("SELECT raquo")
        (True, False)
        >>> rule.allows("SELECT name FROM airports WHERE name = 'Hea"), rule.allows("SELECT name FROM airports WHERE name = 'Hear")
        (True, False)
        """
        return _Reader(self._tables, self._columns, self._question).reads(text)

    def completes(self, text: str) -> bool:
        """Whether `text` is a whole statement that SQLite prepares on the schema."""
        return compiles(self._empty, text)


@lru_cache(maxsize=512)
def _built(schema: str) -> tuple[sqlite3.Connection, dict[str, frozenset[str]]]:
    """The schema as an empty database, and its tables and columns in lower case."""
    connection = open_database(schema=schema)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
    tables = {}
    for name in names:
        quoted = name.replace('"', '""')
        columns = connection.execute(f'SELECT * FROM "{quoted}" LIMIT 0').description
        tables[name.lower()] = frozenset(column[0].lower() for column in columns)
    return connection, tables


class _Reader:
    """One pass over one text: which table each qualifier stands for, and what may come next."""

    def __init__(self, tables: Mapping[str, frozenset[str]], columns: frozenset[str], question: str) -> None:
        self.tables, self.columns, self.question = tables, columns, question
        self.aliases: dict[str, str | None] = {}
        self.free: set[str] = (
            set()
        )  # names that the statement itself gives: aliases of columns, common table expressions

    def reads(self, text: str) -> bool:
        tokens = [(m.lastgroup, m.group()) for m in _TOKEN.finditer(text)]
        before: list[str] = []  # what was read, lower case, spaces left out
        clause = ""
        open_end = bool(tokens)
        for i, (kind, token) in enumerate(tokens):
            last = open_end and i == len(tokens) - 1
            lower = token.lower()
            if kind == "space":
                continue
            if kind == "word":
                after = "".join(text for _, text in tokens[i + 1 : i + 3]).strip()[:1]
                if not self._word(lower, before, clause, after, last):
                    return False
                if lower in _CLAUSES:
                    clause = lower
            elif kind == "string":
                if not self._literal(token, before):
                    return False
            elif kind == "mark" and not self._mark(token, before):
                return False
            elif kind == "number" and not last and tokens[i + 1][0] == "word":
                return False
            before.append(lower)
        return True

    def _word(self, word: str, before: list[str], clause: str, after: str, last: bool) -> bool:
        previous = before[-1] if before else ""
        if not before:
            return _fits(word, _BEGINS, last)
        if previous == ".":
            return self._qualified(word, before, last)
        if previous == "as":
            if "cast" in before[-6:] and _fits(word, KEYWORDS, last):
                return True
            return self._name(word, before, clause)
        if previous in _TABLES_FOLLOW or (previous == "," and clause == "from"):
            return _fits(word, self.tables, last) or word in self.free or _begins(word, self.free, last)
        if previous == "with":
            self.free.add(word)
            return True
        if last:
            return self._begins_something(word, previous, clause)
        if after == ".":
            return word in self.tables or word in self.aliases or bool(_ALIAS.fullmatch(word))
        if after in ("", "(") and word in FUNCTIONS:
            return True
        if word in KEYWORDS or word in self.columns or word in self.free:
            return True
        if clause in ("from", "join") and previous in self.tables and _ALIAS.fullmatch(word):
            self.aliases[word] = previous
            return True
        return False

    def _begins_something(self, word: str, previous: str, clause: str) -> bool:
        if clause in ("from", "join") and previous in self.tables and _ALIAS.fullmatch(word):
            return True
        if _ALIAS.fullmatch(word):  # an alias may stand before the FROM that gives it
            return True
        return any(_begins(word, names, True) for names in (KEYWORDS, FUNCTIONS, self.columns, self.tables, self.free))

    def _qualified(self, word: str, before: list[str], last: bool) -> bool:
        qualifier = before[-2] if len(before) > 1 else ""
        table = self.aliases.get(qualifier, qualifier)
        columns = self.tables.get(table or "", self.columns)
        return _fits(word, columns, last) or (table not in self.tables and _begins(word, self.free, last))

    def _name(self, word: str, before: list[str], clause: str) -> bool:
        """A name given by the statement: an alias of the table or of the value before AS."""
        source = before[-2] if len(before) > 1 else ""
        if clause in ("from", "join"):
            self.aliases[word] = source if source in self.tables else None
        else:
            self.free.add(word)
        return True

    def _mark(self, mark: str, before: list[str]) -> bool:
        return mark in "()*,.=<>!+-/%|;" and (bool(before) or mark == "(")

    def _literal(self, token: str, before: list[str]) -> bool:
        """A text literal that begins as a word of the question must go on as in the question."""
        if not before:
            return False
        closed = len(token) > 1 and token.endswith("'") and (len(token) - len(token.rstrip("'"))) % 2 == 1
        value = (token[1:-1] if closed else token[1:]).replace("''", "'")
        if len(value) < 2 or "%" in value or before[-1] == "like":
            return True
        start = re.match(r"\w*", value).group()[:2]  # type: ignore[union-attr]  # \w* always matches
        if len(start) < 2 or not re.search(rf"\b{re.escape(start)}", self.question):
            return True
        found = re.search(rf"\b{re.escape(value)}" + (r"(?!\w{4})" if closed else ""), self.question)
        return found is not None


def _begins(word: str, names: Iterable[str], last: bool) -> bool:
    return last and any(name.startswith(word) for name in names)


def _fits(word: str, names: Iterable[str], last: bool) -> bool:
    return word in names or _begins(word, names, last)
