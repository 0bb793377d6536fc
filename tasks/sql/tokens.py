"""A small SQL lexer: enough to tell strings and comments from code.

Limits: it knows no grammar. It exists because half a sentence of prose, a chat token or a broken query must be cut
without a parser agreeing first; everything that needs structure goes through `tasks.sql.parse`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<string>'[^']*(?:''[^']*)*')
      | (?P<name>"[^"]*(?:""[^"]*)*"|`[^`]*`|\[[^\]\n]*\])
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


def first_keyword(sql: str) -> str:
    """The first word of the statement in upper case; empty when it starts with something else or holds nothing."""
    first = next(tokens(sql), None)
    return first.group().upper() if first is not None and first.lastgroup == "word" else ""
