"""Output health: what is wrong with a model's answer as a text, whatever its SQL means.

A model that does not know when to stop, answers in prose or wraps its SQL in a fence is mended by its prompt, its
template or its stop tokens, not by more data; so these are counted apart from the errors.

Limits: a text is not always what it looks like; the bounds below are set so that no gold query of the public
benchmarks is flagged, and a subtle fault may pass.
"""

from __future__ import annotations

import re
from collections import Counter

from tasks.sql.parse import parse
from tasks.sql.tokens import first_keyword, lexed

HEALTH: dict[str, str] = {
    "empty": "nothing was answered",
    "prose": "words around the SQL, or instead of it",
    "fenced": "the SQL stands in a code fence",
    "chat_tokens": "tokens of a chat template in the text",
    "repetition": "the same few tokens again and again",
    "truncated": "it breaks off in the middle of the SQL",
    "non_ascii": "characters beyond ASCII outside literals and quoted names",
    "multiple_statements": "more than one statement",
    "gave_up": "constrained decoding had to let go: nothing within the schema would end the statement",
}

_LONGEST = 24  # tokens of one round of a loop
_ROUNDS, _LOOPED = 5, 16  # a loop is at least so many rounds, and so many tokens
_CHAT = re.compile(r"<\|[^|>\n]{1,40}\|>|</?s>|<(?:start|end)_of_turn>|<[eb]os>|<pad>|\[/?INST\]|</?think>", re.I)
_OPEN = frozenset("SELECT FROM WHERE AND OR ON BY JOIN IN LIKE BETWEEN NOT AS SET VALUES HAVING UNION".split())  # noqa: SIM905 - reads as text
_OPEN_SYMBOLS = frozenset(",(=<>+-/.|")


def output_health(text: str, sql: str, gave_up: bool = False) -> tuple[str, ...]:
    """The flags of HEALTH for an answer `text` from which `sql` was extracted, in the order of that table.

    `gave_up` is told by whoever generated the text.
    """
    if not text.strip():
        return ("empty", "gave_up") if gave_up else ("empty",)
    is_sql = parse(sql).status not in ("empty", "not_sql")
    flags = {
        "prose": not is_sql or _has_words_around(text, sql),
        "fenced": "```" in text,
        "chat_tokens": _CHAT.search(text) is not None,
        "repetition": is_loop(text),
        # Prose may well end in "by" or hold an é: that says nothing about SQL that is not there.
        "truncated": is_sql and is_truncated(sql),
        "non_ascii": is_sql and has_non_ascii(sql),
        "multiple_statements": _is_multiple(text, sql),
        "gave_up": gave_up,
    }
    return tuple(name for name in HEALTH if flags.get(name))


def is_loop(text: str) -> bool:
    """Whether the text holds the same tokens, up to 24 of them, at least five times in a row and 16 in all."""
    if len(text) < _LOOPED:
        return False
    found = [token for _, token in lexed(text)]
    # Four fifths of a loop repeat its first round, and each token of it comes once a round: that clears most texts.
    if len(found) - len(set(found)) < 0.8 * _LOOPED:
        return False
    if sum(count for count in Counter(found).values() if count >= _ROUNDS) < _LOOPED:
        return False
    for period in range(1, min(_LONGEST, len(found) // _ROUNDS) + 1):
        run = 0
        for one, two in zip(found, found[period:], strict=False):
            run = run + 1 if one == two else 0
            if run + period >= max(_LOOPED, _ROUNDS * period):
                return True
    return False


def is_truncated(sql: str) -> bool:
    """Whether a statement breaks off: an open bracket or quote, or an end that asks for more."""
    depth, last = 0, ""
    for kind, value in lexed(sql):
        if kind == "symbol":
            depth += (value == "(") - (value == ")")
            if value in "'\"`":  # the lexer found no end of it
                return True
        last = value.upper() if kind == "word" else value
    return depth > 0 or last in _OPEN or last in _OPEN_SYMBOLS


def has_non_ascii(sql: str) -> bool:
    """Whether characters beyond ASCII stand where SQL itself does; SQLite takes each of them for a name."""
    if sql.isascii():
        return False
    return any(kind not in ("string", "name") and not value.isascii() for kind, value in lexed(sql))


def _has_words_around(text: str, sql: str) -> bool:
    if text == sql:
        return False
    rest = _CHAT.sub(" ", text.replace(sql, " ", 1).replace("```", " "))
    words = re.findall(r"[^\W\d_]+", rest)
    return any(word.lower() not in ("sql", "sqlite", "query", "answer") for word in words)


def _is_multiple(text: str, sql: str) -> bool:
    if text == sql:
        return False
    at = text.find(sql)
    rest = text[at + len(sql) :].lstrip(" \t\n`;") if sql and at >= 0 else ""
    return first_keyword(rest) in ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER")
