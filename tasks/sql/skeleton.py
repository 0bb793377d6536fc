"""The skeleton of a statement: its text with every name and literal replaced, so that queries of one form share it.

Whatever depends on structure alone (difficulty, hardness) is the same for all statements with one skeleton, and
thousands of questions have a few hundred. Words that SQL knows, and names of functions, stay as they are.

Limits: a skeleton is for counting, never for running. Text that is no SQL has one too.
"""

from __future__ import annotations

from functools import lru_cache

from sqlglot.tokens import Tokenizer

from tasks.sql.tokens import TOKEN


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    """Every word that is part of a keyword of sqlglot's base dialect."""
    return frozenset(word for keyword in Tokenizer.KEYWORDS for word in keyword.split() if word.isalpha())


def skeleton(sql: str) -> str:
    """`sql` with names as `x`, strings as `''`, numbers as `1`, keywords in upper case, comments as space.

    >>> skeleton("SELECT T1.name,  count(*) FROM singer AS T1 WHERE age >= 20 -- adults")
    'SELECT x.x, COUNT(*) FROM x AS x WHERE x >= 1'
    """
    known, parts = _words(), []
    waiting, space = "", ""  # a word that is a function if an opening bracket follows, else a name
    for match in TOKEN.finditer(sql):
        kind, text = match.lastgroup, match.group()
        if kind in ("space", "comment"):
            space = " "
            continue
        if waiting:
            parts.append(waiting if text == "(" else "x")
            waiting = ""
        if space:
            parts.append(space)
            space = ""
        if kind == "word":
            upper = text.upper()
            if upper in known:
                parts.append(upper)
            else:
                waiting = upper
        else:
            parts.append("x" if kind == "name" else "''" if kind == "string" else "1" if kind == "number" else text)
    if waiting:
        parts.append("x")
    return "".join(parts).strip()
