"""The reader of an unfinished statement: what each of its words may be, taken in one after the other.

A reader can be copied where it stands, so that many ways to go on are tried without reading the beginning again
(`tasks.sql.continuation`). What is a name is decided by `tasks.sql.scope`, the order of words by `tasks.sql.grammar`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.sql.copying import Copied
from tasks.sql.grammar import AGGREGATES, FORCED, FUNCTIONS, KEYWORDS, TYPES, WINDOWS, Grammar, twin
from tasks.sql.scope import Scopes, fits

TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>'(?:[^']|'')*'?)|(?P<quoted>"[^"]*"?|`[^`]*`?)|(?P<number>\d+(?:\.\d*)?)
    |(?P<word>[^\W\d]\w*)|(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_BRACKET_AFTER = frozenset(["in", "exists", "over"])
_COMPARING = frozenset("=<>!")
_VALUE_AFTER = frozenset(["=", "<", ">", "like", "glob", "in", "between", "and", "then", "else", "when", "case", "is"])
_NUMBER = re.compile(r"[-\d.,:/ ]*")


@dataclass(frozen=True, slots=True)
class Names:
    """What is known beforehand: names as the schema writes them, columns of numbers, the words of the question."""

    written: frozenset[str]
    numbers: frozenset[str]
    copied: Copied


class Reader:
    """Where the reading of one text stands; every method that takes something in says whether it may stand there."""

    def __init__(self, scopes: Scopes, names: Names) -> None:
        self._scopes, self._names = scopes, names
        self._grammar = Grammar()
        self._before: list[str] = []  # what was read, lower case, spaces left out
        self._point = False  # the word before is followed by a point

    def copy(self) -> Reader:
        """The same place, to go on from in another way."""
        other = twin(self)
        other._scopes, other._grammar, other._before = self._scopes.copy(), self._grammar.copy(), self._before[:]
        return other

    def aliases(self) -> set[str]:
        """The names that were given so far, to tables and to values."""
        return self._scopes.aliases()

    def take(self, kind: str, token: str, after: str, last: bool) -> bool:
        """Take a token in; `after` is the first character of the next one, `last`: the token may be unfinished."""
        allowed = self._token(kind, token, after, last)
        self._before.append(token.lower())
        return allowed

    def _token(self, kind: str, token: str, after: str, last: bool) -> bool:
        previous, scopes, grammar = self._before[-1] if self._before else "", self._scopes, self._grammar
        point, self._point = self._point, False
        if previous in _BRACKET_AFTER and token != "(":
            return False
        if kind == "word":
            return self._is_even(token) and self._word(token.lower(), previous, after, last)
        if kind == "mark":
            if token == "." and not point:
                return False
            if token == "," and scopes.limited() and self._before[-2:-1] != ["limit"]:
                return False
            return grammar.mark(token, scopes.table_before(), scopes.limited()) and scopes.mark(token)
        if not previous:
            return False
        if kind == "quoted":
            return self._quoted(token, previous, after)
        if not grammar.due or previous in (".", "as") or scopes.expects_table(previous):
            return False
        grammar.operand(token)
        if kind == "string":
            return previous in ("like", "glob") or (self._fits_column(token) and self._copied(token))
        return self._names.copied.allows_number(token, last, whole=previous == "limit")

    def _word(self, word: str, previous: str, after: str, last: bool) -> bool:
        grammar, scopes = self._grammar, self._scopes
        if previous == ".":
            grammar.operand(word)
            return after != "." and scopes.column(word, self._before[-2], last)
        if previous == "as":
            grammar.operand(word)
            if "cast" in self._before[-7:] and fits(word, TYPES, last):
                return True
            return after != "." and (last or word not in KEYWORDS) and scopes.alias(word, self._before[-2], last)
        if previous == "limit":
            return False
        if scopes.expects_table(previous) or (previous == "(" and self._before[-2:-1] == ["from"]):
            if not scopes.table(word, last):
                return previous == "(" and self._keyword(word, frozenset({"select"}), last)
            grammar.operand(word)
            return after != "."
        keywords = grammar.keywords(scopes.table_before(), scopes.limited())
        operand = grammar.due and set(self._before) - {"("} and grammar.previous not in FORCED
        if operand and not last and (after == "." or after != "(" or word not in FUNCTIONS):
            if after == "." and scopes.qualifier(word):
                self._point = True
                grammar.operand(word)
                return True
            if after != "." and word not in keywords and scopes.column(word, "", False):
                grammar.operand(word)
                return True
        if operand and fits(word, self._functions(), last) and (last or after in ("", "(")):
            grammar.operand(word)
            return True
        if self._keyword(word, keywords, last):
            return True
        if last:
            grammar.operand(word)
            return bool(operand and scopes.may_begin(word)) or scopes.implicit_alias(word, previous, last)
        if after != "." and word not in KEYWORDS and scopes.implicit_alias(word, previous, last):
            grammar.operand(word)
            return True
        return False

    def _functions(self) -> frozenset[str]:
        """The functions that may be called here: no aggregate in WHERE or in another one, no window in either."""
        found = FUNCTIONS
        if not self._scopes.aggregates() or self._grammar.inside(AGGREGATES):
            found -= AGGREGATES
        elif not self._scopes.inside_brackets() and self._scopes.windows():
            found |= WINDOWS
        return found - self._grammar.opened()

    def _quoted(self, token: str, previous: str, after: str) -> bool:
        """A name in quotes, or a text in double ones where a value may stand, as SQLite reads it."""
        grammar, scopes = self._grammar, self._scopes
        last = len(token) == 1 or token[-1] != token[0]
        name = token[1:].lower() if last else token[1:-1].lower()
        if previous == ".":
            grammar.operand(token)
            return scopes.column(name, self._before[-2].strip('"`'), last)
        if previous == "as":
            grammar.operand(token)
            return scopes.alias(name, self._before[-2], last)
        if scopes.expects_table(previous):
            grammar.operand(token)
            return scopes.table(name, last)
        if not grammar.due:
            return False
        grammar.operand(token)
        if not last and after in ("", ".") and scopes.qualifier(name):
            self._point = after == "."
            return True
        value = previous in _VALUE_AFTER or (previous in "(," and not scopes.selects())
        free = previous in ("like", "glob")
        if token[0] == '"' and value and (free or (self._fits_column(token) and self._copied(token))):
            return True
        return scopes.column(name, "", last) or (last and scopes.may_begin(name))

    def _copied(self, literal: str) -> bool:
        return self._names.copied.allows_text(literal)

    def _fits_column(self, literal: str) -> bool:
        """Whether a literal may be compared with the column before it: `hotel_id = 'Ritz'` finds nothing."""
        before = [token for token in self._before[-4:] if token not in _COMPARING]
        compared = bool(self._before) and self._before[-1] in _COMPARING
        if not compared or not before or before[-1] not in self._names.numbers:
            return True
        return self._names.copied.has_numbers() and _NUMBER.fullmatch(literal.strip("'\"")) is not None

    def _is_even(self, word: str) -> bool:
        """Whether every part of a word is written in one case, or the word as in the schema: not `typeoF`."""
        if all(part in (part.lower(), part.upper(), part.capitalize()) for part in word.split("_")):
            return True
        return any(name.startswith(word[1:], 1) and name[0].lower() == word[0].lower() for name in self._names.written)

    def _keyword(self, word: str, keywords: frozenset[str], last: bool) -> bool:
        if last:
            return any(keyword.startswith(word) and self._scopes.may_follow(keyword) for keyword in keywords)
        if word not in keywords or not self._scopes.may_follow(word):
            return False
        self._grammar.keyword(word)
        return self._scopes.keyword(word)
