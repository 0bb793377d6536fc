"""A small SQL lexer: enough to tell strings and comments from code.

Limits: it knows no grammar. It exists because half a sentence of prose, a chat token or a broken query must be cut
without a parser agreeing first; everything that needs structure goes through `tasks.sql.parse`. A name in brackets has
256 characters at most: each of a thousand brackets that never close would otherwise be followed to the end of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<string>'[^']*(?:''[^']*)*')
      | (?P<name>"[^"]*(?:""[^"]*)*"|`[^`]*`|\[[^\]\n]{0,256}\])
      | (?P<word>[^\W\d]\w*)
      | (?P<number>\d[\w.]*)
      | (?P<symbol>.)""",
    re.VERBOSE | re.DOTALL,
)


def tokens(sql: str, start: int = 0) -> Iterator[re.Match[str]]:
    """The tokens of `sql` from `start` on, whitespace and comments left out; `lastgroup` says what each one is."""
    for match in TOKEN.finditer(sql, start):
        if match.lastgroup not in ("space", "comment"):
            yield match


@lru_cache(maxsize=256)  # few: an answer may be long, and its questions come in turn
def lexed(sql: str) -> tuple[tuple[str, str], ...]:
    """The kind and the text of each of `tokens(sql)`, remembered for the next question about the same text."""
    return tuple([(match.lastgroup or "", match.group()) for match in tokens(sql)])


def first_keyword(sql: str) -> str:
    """The first word of the statement in upper case; empty when it starts with something else or holds nothing."""
    first = next(tokens(sql), None)
    return first.group().upper() if first is not None and first.lastgroup == "word" else ""


_ORDER = re.compile(r"\border\b", re.IGNORECASE)
_DEPTH = re.compile(
    r"""'[^']*' | "[^"]*" | `[^`]*` | \[[^\]\n]{0,256}\] | --[^\n]* | /\*.*?(?:\*/|\Z)
      | (?P<open>\() | (?P<close>\)) | (?P<order>\border(?>\s|--[^\n]*\n|/\*.*?\*/)++by\b)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def order_matters(sql: str) -> bool:
    """Whether the outermost query has ORDER BY; one in a subquery, a window, an aggregate or a string does not count.

    SQL puts all of those in parentheses, so that this needs no parser, which takes fifty times as long. Parentheses
    around the whole query, which SQLite refuses and other dialects allow, are seen through.
    """
    if _ORDER.search(sql) is None:
        return False
    depth = 0
    for match in _DEPTH.finditer(sql):
        kind = match.lastgroup
        if kind == "order" and depth == 0:
            return True
        depth += (kind == "open") - (kind == "close")
    first = next(tokens(sql), None)
    inner = _unwrapped(sql[first.end() :]) if first is not None and first.group() == "(" else None
    return inner is not None and order_matters(inner)


def _unwrapped(sql: str) -> str | None:
    """What stands before the parenthesis that closes the one just opened, when nothing follows it but a semicolon."""
    depth = 1
    for token in tokens(sql):
        if token.group() in ("(", ")"):
            depth += 1 if token.group() == "(" else -1
        if depth == 0:
            rest = [other.group() for other in tokens(sql, token.end())]
            return sql[: token.start()] if all(text == ";" for text in rest) else None
    return None


_LIMIT = re.compile(r"\b(?:limit|fetch)\b", re.IGNORECASE)
_LAST_LIMIT = re.compile(r"\slimit\s+\d+(?:\s*(?:,|\boffset\b)\s*\d+)?[\s;]*\Z", re.IGNORECASE)


def has_limit(sql: str) -> bool:
    """Whether the word LIMIT or FETCH is anywhere in the text."""
    return _LIMIT.search(sql) is not None


def without_limit(sql: str) -> str | None:
    """`sql` without the LIMIT it ends in; None where that takes a parser: several, comments, no whole number."""
    if len(_LIMIT.findall(sql)) != 1 or "--" in sql or "/*" in sql:
        return None
    last = _LAST_LIMIT.search(sql)
    return sql[: last.start()] if last is not None else None
