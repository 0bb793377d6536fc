"""Which texts can still become one SELECT over a given schema: the rule behind constrained decoding.

Follows PICARD (Scholak, Schucher, Bahdanau 2021): reject a continuation as soon as no ending could make it right.
Every word is a keyword, a function, or a name of the schema; a column belongs to a table of its own FROM clause or of
an outer one (`tasks.sql.scope`); a literal that begins as a word or number of the question goes on as that one
(`tasks.sql.copying`). Whether the finished statement prepares is for SQLite to say.

Limits: SQLite's dialect and SELECT alone; scopes are not followed into common table expressions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from tasks.sql.connection import Sealed, open_database
from tasks.sql.copying import Copied
from tasks.sql.executor import compiles
from tasks.sql.grammar import FORCED, FUNCTIONS, KEYWORDS, TYPES, WINDOWS, Grammar
from tasks.sql.guard import read_only
from tasks.sql.scope import Scopes, fits

_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>'(?:[^']|'')*'?)|(?P<quoted>"[^"]*"?|`[^`]*`?)|(?P<number>\d+(?:\.\d*)?)
    |(?P<word>[^\W\d]\w*)|(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)


_LAST_WORD = re.compile(r"[^\W\d]\w*$")
_NUMERIC = re.compile(r"(?:BIG|SMALL|TINY|MEDIUM)?INT|REAL|FLOAT|DOUBLE|DECIMAL|NUMERIC", re.IGNORECASE)
_FREE_WORD = re.compile(r"(?:\bAS\s+\w+|\bT\d*)$", re.IGNORECASE)  # aliases are free
_WORDS = frozenset(form for word in KEYWORDS | FUNCTIONS | WINDOWS for form in (word, word.upper()))


class Continuation:
    """The texts that may become an answer to one question over one schema.

    `schema` is DDL that SQLite builds (else UserError); names compare without case, as SQLite does.
    """

    def __init__(self, schema: str, question: str = "") -> None:
        self._empty, self._tables, self._names, self._numbers = _built(schema)
        self._copied = Copied(question)
        self._known: dict[str, bool] = {}  # the same whole word is asked for after each of its tokens

    def allows(self, text: str) -> bool:
        """Whether `text` may be the beginning of a statement; its last word may be unfinished.

        >>> rule = Continuation("CREATE TABLE airports (name TEXT, runway_count INT)", "How many runways has Heathrow?")
        >>> rule.allows("SELECT runw"), rule.allows("SELECT raquo")
        (True, False)
        """
        if text not in self._known:
            self._known[text] = _Reader(self._tables, self._names, self._numbers, self._copied).reads(text)
        return self._known[text]

    def names(self, text: str) -> list[str] | None:
        """The words that the last, unfinished word of `text` may become; None where it may become any.

        Names are given as the schema writes them, keywords in upper and in lower case.
        """
        found = _LAST_WORD.search(text)
        if found is None or text.count("'") % 2 or _FREE_WORD.search(text):
            return None
        word, rest = found.group(), text[: found.start()]
        options = [name for name in (*self._names, *_WORDS) if name.startswith(word)]
        return [name for name in options if self.allows(rest + name)]

    def completes(self, text: str) -> bool:
        """Whether `text` is a whole statement that SQLite prepares on the schema."""
        return compiles(self._empty, text)


@lru_cache(maxsize=512)
def _built(
    schema: str,
) -> tuple[Sealed, dict[str, frozenset[str]], frozenset[str], frozenset[str]]:
    """The schema as an empty database; tables and columns in lower case; names as written; columns of numbers."""
    connection = open_database(schema=schema)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
    tables: dict[str, frozenset[str]] = {}
    written = set(names)
    numeric: set[str] = set()
    other: set[str] = set()
    connection.set_guard(None)  # only our own statement runs until it is set again
    for name in names:
        found = connection.execute("SELECT name, type FROM pragma_table_info(?)", (name,)).fetchall()
        tables[name.lower()] = frozenset(column.lower() for column, _ in found)
        written |= {column for column, _ in found}
        for column, kind in found:
            (numeric if _NUMERIC.match(kind) else other).add(column.lower())
    connection.set_guard(read_only)
    return connection, tables, frozenset(written), frozenset(numeric - other)


class _Reader:
    """One pass over one text."""

    def __init__(
        self, tables: Mapping[str, frozenset[str]], names: frozenset[str], numbers: frozenset[str], copied: Copied
    ) -> None:
        self.names, self.numbers, self.copied = names, numbers, copied
        self.scopes = Scopes(tables)
        self.grammar = Grammar()
        self.before: list[str] = []  # what was read, lower case, spaces left out

    def reads(self, text: str) -> bool:
        """Whether every token may stand where it stands. Comments never may."""
        if "--" in text or "/*" in text:
            return False
        found = [(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(text)]
        for i, (kind, token) in enumerate(found):
            if kind == "space":
                if self.before and self.before[-1] == ".":
                    return False
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
            return self._is_even(token) and self._word(token.lower(), previous, after, last)
        if kind == "mark":
            scopes = self.scopes
            return self.grammar.mark(token, scopes.table_before(previous), scopes.limited()) and scopes.mark(token)
        if not previous or not self.grammar.due:
            return False
        self.grammar.operand(token)
        if kind == "string":
            return previous == "like" or (not self._is_number() and self.copied.allows_text(token))
        if kind == "number":
            return self.copied.allows_number(token, last, whole=previous == "limit")
        return True

    def _word(self, word: str, previous: str, after: str, last: bool) -> bool:
        grammar, scopes = self.grammar, self.scopes
        if previous == ".":
            grammar.operand(word)
            return scopes.column(word, self.before[-2] if len(self.before) > 1 else "", last)
        if previous == "as":
            grammar.operand(word)
            if "cast" in self.before[-7:] and fits(word, TYPES, last):
                return True
            scopes.alias(word, self.before[-2])
            return True
        keywords = grammar.keywords(scopes.table_before(previous), scopes.limited())
        if scopes.expects_table(previous) or (previous == "(" and len(self.before) > 1 and self.before[-2] == "from"):
            if not scopes.table(word, last):
                return previous == "(" and self._keyword(word, frozenset({"select"}), last)
            grammar.operand(word)
            return True
        operand = grammar.due and set(self.before) - {"("} and grammar.previous not in FORCED
        if operand and not last and (after == "." or after != "(" or word not in FUNCTIONS):
            if after == "." and scopes.qualifier(word):
                grammar.operand(word)
                return True
            if after != "." and word not in keywords and scopes.column(word, "", False):
                grammar.operand(word)
                return True
        names = FUNCTIONS if scopes.inside_brackets() else FUNCTIONS | WINDOWS
        if operand and fits(word, names, last) and (last or after in ("", "(")):
            grammar.operand(word)
            return True
        if self._keyword(word, keywords, last):
            return True
        if last:
            grammar.operand(word)
            return (operand and scopes.may_begin(word, previous)) or scopes.may_alias(word, previous)
        if scopes.implicit_alias(word, previous):
            grammar.operand(word)
            return True
        return False

    def _is_number(self) -> bool:
        """Whether the literal that comes is compared with a column of numbers: `hotel_id = 'Ritz'` finds nothing."""
        before = [token for token in self.before[-4:] if token not in ("=", "<", ">", "!")]
        compared = bool(self.before) and self.before[-1] in ("=", "<", ">")
        return compared and bool(before) and before[-1] in self.numbers

    def _is_even(self, word: str) -> bool:
        """Whether every part of a word is written in one case, or the word as in the schema: not `typeoF`."""
        even = all(part in (part.lower(), part.upper(), part.capitalize()) for part in word.split("_"))
        return even or any(name.startswith(word) for name in self.names)

    def _keyword(self, word: str, keywords: frozenset[str], last: bool) -> bool:
        if last:
            return any(keyword.startswith(word) and self.scopes.may_follow(keyword) for keyword in keywords)
        if word not in keywords or not self.scopes.may_follow(word):
            return False
        self.grammar.keyword(word)
        return self.scopes.keyword(word)
