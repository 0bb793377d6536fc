"""Which texts can still become one SELECT over a given schema: the rule behind constrained decoding.

Follows PICARD (Scholak, Schucher, Bahdanau 2021): reject a continuation as soon as no ending could make it right.
Every word is a keyword, a function, or a name of the schema; a column belongs to a table of its own FROM clause or of
an outer one (`tasks.sql.scope`); a literal that begins as a word or number of the question goes on as that one
(`tasks.sql.copying`). Whether the finished statement prepares is for SQLite to say.

Limits: SQLite's dialect and SELECT alone; scopes are not followed into common table expressions, and columns of a
subquery in FROM may be any of the schema's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

from tasks.sql.connection import Sealed, open_database
from tasks.sql.copying import Copied
from tasks.sql.executor import compiles
from tasks.sql.grammar import FUNCTIONS, KEYWORDS, WINDOWS
from tasks.sql.guard import read_only
from tasks.sql.prefix import TOKEN, Names, Reader
from tasks.sql.scope import Scopes

_NUMERIC = re.compile(r"(?:BIG|SMALL|TINY|MEDIUM)?INT|REAL|FLOAT|DOUBLE|DECIMAL|NUMERIC", re.IGNORECASE)
_FREE_WORD = re.compile(r"(?:\bAS\s+\w+|\bT\d*)$", re.IGNORECASE)  # aliases are free
_WORDS = KEYWORDS | FUNCTIONS | WINDOWS


class Continuation:
    """The texts that may become an answer to one question over one schema.

    `schema` is DDL that SQLite builds (else UserError); names compare without case, as SQLite does.
    """

    def __init__(self, schema: str, question: str = "") -> None:
        self._empty, tables, self._names, numbers = _built(schema)
        start = Reader(Scopes(tables), Names(self._names, numbers, Copied(question)))
        # Beginnings of the text that was asked for last, up to where their readers stand and the mark after that.
        self._read: list[tuple[str, int, Reader]] = [("", 0, start)]
        self._become: dict[tuple[str, str], bool] = {}  # (text before a word, the word): may it stand there?
        self._known: dict[str, bool] = {}  # the same whole word is asked for after each of its tokens

    def allows(self, text: str) -> bool:
        """Whether `text` may be the beginning of a statement; its last word may be unfinished.

        >>> rule = Continuation("CREATE TABLE airports (name TEXT, runway_count INT)", "How many runways has Heathrow?")
        >>> rule.allows("SELECT runw"), rule.allows("SELECT raquo")
        (True, False)
        """
        if text not in self._known:
            self._known[text] = self._reads(text)
        return self._known[text]

    def names(self, text: str) -> Iterator[str] | None:
        """What the last, unfinished word of `text` may be the beginning of, to be asked `becomes`; None where of any.

        Words are spelt as the schema writes them, or as the text has begun them and on in upper or in lower case.
        """
        found = None if _FREE_WORD.search(text) else self._before_last(text)
        if found is None or found[1].lastgroup != "word" or found[1].end() != len(text):
            return None
        return self._spelt(found[1].group(), found[0].aliases())

    def _spelt(self, word: str, aliases: Iterable[str]) -> Iterator[str]:
        small = word.lower()
        change = str.upper if word.isupper() else str.lower
        for name in (word, *self._names, *aliases, *_WORDS):
            if name.startswith(word):
                yield name
            if name.lower().startswith(small):
                yield word + change(name[len(word) :])

    def becomes(self, text: str, word: str) -> bool:
        """Whether the last, unfinished word of `text` may become `word`."""
        found = self._before_last(text)
        if found is None:
            return False
        reader, match = found
        asked, rest = word.lower(), text[: match.start()]
        if (rest, asked) not in self._become:
            ends = ("", ".", "(")  # what may come after it: the beginning of any other word, or one of these
            self._become[rest, asked] = any(reader.copy().take("word", asked, end, False) for end in ends)
        return self._become[rest, asked]

    def completes(self, text: str) -> bool:
        """Whether `text` is a whole statement that SQLite prepares on the schema."""
        return compiles(self._empty, text)

    def _before_last(self, text: str) -> tuple[Reader, re.Match[str]] | None:
        """The last token of `text` and a reader that stands before it; None where another token may not stand.

        Read from where the last text that begins alike was read to.
        """
        while not text.startswith(self._read[-1][0]):
            self._read.pop()
        _, begun, reader = self._read[-1]
        reader = reader.copy()
        found = [match for match in TOKEN.finditer(text, begun) if match.lastgroup != "space"]
        for i, (match, following) in enumerate(pairwise(found)):
            end, start = match.end(), following.start()
            if (match.lastgroup, following.lastgroup, start == end) == ("number", "word", True):
                return None
            if match.group() == "." and start > end:
                return None
            if not reader.take(match.lastgroup or "", match.group(), following.group()[0], False):
                return None
            if i + 2 < len(found):  # what comes after it will not change any more
                self._read.append((text[: start + 1], end, reader.copy()))
        return (reader, found[-1]) if found else None

    def _reads(self, text: str) -> bool:
        """Whether every token may stand where it stands. Comments never may."""
        if not text.strip():
            return True
        found = self._before_last(text) if "--" not in text and "/*" not in text else None
        if found is None:
            return False
        reader, match = found
        last = match.end() == len(text)
        return (last or match.group() != ".") and reader.take(match.lastgroup or "", match.group(), "", last)


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
