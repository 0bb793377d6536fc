"""Which texts can still become one SELECT over a given schema: the rule behind constrained decoding.

Follows PICARD (Scholak, Schucher, Bahdanau 2021): reject a continuation as soon as no ending could make it right.
Every word is a keyword, a function, or a name of the schema; a column belongs to a table of its own FROM clause or of
an outer one (`tasks.sql.scope`); a literal that begins as a word or number of the question goes on as that one
(`tasks.sql.copying`). Whether the finished statement prepares is for SQLite to say.

Limits: SQLite's dialect and SELECT alone; scopes are not followed into common table expressions.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from functools import lru_cache

from tasks.sql.copying import Copied
from tasks.sql.executor import compiles, open_database
from tasks.sql.scope import Scopes, begins, fits

_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>'(?:[^']|'')*'?)|(?P<quoted>"[^"]*"?|`[^`]*`?)|(?P<number>\d+(?:\.\d*)?)
    |(?P<word>[^\W\d]\w*)|(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
KEYWORDS = frozenset(
    """
    all and as asc between by case cast collate cross current_date desc distinct else end escape except exists from
    full glob group having in inner intersect integer is join left like limit natural not null nulls numeric offset on
    or order outer over partition real recursive right select text then union using values when where with
    """.split()
)
FUNCTIONS = frozenset(
    """
    abs avg cast ceil ceiling coalesce count date datetime dense_rank floor glob group_concat ifnull iif instr julianday
    lag lead length like lower ltrim max min nullif power printf rank replace round row_number rtrim sqrt strftime
    substr substring sum time total trim typeof upper
    """.split()
)
_FIRST = ("select", "with")
_MARKS = frozenset("()*,.=<>!+-/%|;")


class Continuation:
    """The texts that may become an answer to one question over one schema.

    `schema` is DDL that SQLite builds (else UserError); names compare without case, as SQLite does.
    """

    def __init__(self, schema: str, question: str = "") -> None:
        self._empty, self._tables = _built(schema)
        self._copied = Copied(question)

    def allows(self, text: str) -> bool:
        """Whether `text` may be the beginning of a statement; its last word may be unfinished.

        >>> rule = Continuation("CREATE TABLE airports (name TEXT, runway_count INT)", "How many runways has Heathrow?")
        >>> rule.allows("SELECT runw"), rule.allows("SELECT raquo")
        (True, False)
        """
        return _Reader(self._tables, self._copied).reads(text)

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
    """One pass over one text."""

    def __init__(self, tables: Mapping[str, frozenset[str]], copied: Copied) -> None:
        self.copied = copied
        self.scopes = Scopes(tables)
        self.before: list[str] = []  # what was read, lower case, spaces left out

    def reads(self, text: str) -> bool:
        """Whether every token may stand where it stands."""
        found = [(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(text)]
        for i, (kind, token) in enumerate(found):
            if kind == "space":
                continue
            last = i == len(found) - 1
            after = "".join(text for _, text in found[i + 1 : i + 3]).strip()[:1]
            if not self._token(kind, token, after, last):
                return False
            if kind == "number" and not last and found[i + 1][0] == "word":
                return False
            self.before.append(token.lower())
        return True

    def _token(self, kind: str, token: str, after: str, last: bool) -> bool:
        previous = self.before[-1] if self.before else ""
        if kind == "word":
            return self._word(token.lower(), previous, after, last)
        if not previous:
            return token == "("
        if kind == "string":
            return previous == "like" or self.copied.allows_text(token)
        if kind == "number":
            return self.copied.allows_number(token, last, whole=previous == "limit")
        if kind == "mark":
            return token in _MARKS and self.scopes.mark(token)
        return True

    def _word(self, word: str, previous: str, after: str, last: bool) -> bool:
        scopes = self.scopes
        if not previous or (previous == "(" and set(self.before) == {"("}):
            if fits(word, _FIRST, last):
                scopes.keyword(word)
                return True
            return False
        if previous == ".":
            return scopes.column(word, self.before[-2] if len(self.before) > 1 else "", last)
        if previous == "as":
            if "cast" in self.before[-7:] and fits(word, KEYWORDS, last):
                return True
            scopes.alias(word, self.before[-2])
            return True
        if scopes.expects_table(previous):
            return scopes.table(word, last) or (previous == "(" and fits(word, ("select",), last))
        if last:
            return begins(word, KEYWORDS, True) or begins(word, FUNCTIONS, True) or scopes.may_begin(word, previous)
        if after == ".":
            return scopes.qualifier(word)
        if word in FUNCTIONS and after in ("", "("):
            return True
        if word in KEYWORDS:
            return scopes.keyword(word)
        return scopes.column(word, "", False) or scopes.implicit_alias(word, previous)
