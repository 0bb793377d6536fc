"""The SQL inside a model's answer: fences, prose, chat tokens and repetitions are cut away.

Limits: one statement comes back, the first; text that holds none comes back stripped, so that the judge can say what
is wrong with it. Nothing is repaired: broken SQL stays broken, and a broken outer query never yields its subquery.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tasks.sql.parse import parse
from tasks.sql.tokens import TOKEN

# What a statement starts with; stricter than one word, so that "With the table above" and "Create a list" are prose.
# Comments are taken whole and never given back: a row of them could be divided in more ways than could ever be tried.
_START = re.compile(
    r"""\b(?: SELECT\b
      | WITH(?>\s|--[^\n]*\n|/\*.{0,1000}?\*/)++(?:RECURSIVE\s+)?[\w"`\[\]]+\s*(?:\([^()]*\)\s*)?
        AS\s*(?:(?:NOT\s+)?MATERIALIZED\s*)?\(
      | INSERT\s+(?:OR\s+\w+\s+)?INTO\b
      | REPLACE\s+INTO\b
      | UPDATE\s+(?:OR\s+\w+\s+)?[\w"`\[\].]+\s+SET\b
      | DELETE\s+FROM\b
      | VALUES\s*\(
      | CREATE\s+(?:(?:UNIQUE|TEMP|TEMPORARY|VIRTUAL|OR\s+REPLACE)\s+)?(?:TABLE|VIEW|INDEX|TRIGGER)\b
      | DROP\s+(?:TABLE|VIEW|INDEX|TRIGGER)\b
      | ALTER\s+TABLE\b
      | ATTACH\s+(?:DATABASE\s+)?['"]
      | PRAGMA\s+\w+
      | VACUUM\b(?=\s*(?:;|INTO\b|\Z))
      | EXPLAIN\s+(?:QUERY\s+PLAN\s+)?SELECT\b )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
# The first words of these, without the one that `_end` counts.
_STARTS = frozenset(
    {"WITH", "INSERT", "REPLACE", "UPDATE", "DELETE", "VALUES", "CREATE", "DROP", "ALTER", "ATTACH", "PRAGMA", "VACUUM"}
    | {"EXPLAIN"}
)
_FIRST = re.compile(r"SELECT\b", re.IGNORECASE)
_FENCE = re.compile(r"```[ \t]*(?:[A-Za-z0-9_+-]*[ \t]*\n|sqlite3?\b|sql\b)?(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
_LABEL = re.compile(r"(?:\bSQL(?:ite)?(?:[ _]?query)?|\bquery|\banswer)\s*\**\s*:\s*\**\s*", re.IGNORECASE)
_CHAT = r"<\|[^|>\n]{1,40}\|>|</?s>|<(?:start|end)_of_turn>|<[eb]os>|<pad>|</?(?:answer|sql)>|\[/?SQL\]|\[/?INST\]"
_CHAT_TOKEN = re.compile(_CHAT, re.IGNORECASE)
# Where a statement ends although no semicolon says so.
_STOP = re.compile(
    rf"""```|\]\]|\#\#\#|{_CHAT}
      | \*{{0,2}}\b(?:Explanation|Note|Question|Schema|Database\ Schema|Output|SQL)\s*\*{{0,2}}\s*:""",
    re.IGNORECASE | re.VERBOSE,
)
# What may follow an empty line and still belong to the statement.
_GOES_ON = frozenset(
    {"SELECT", "FROM", "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "OFFSET", "UNION", "INTERSECT", "EXCEPT", "JOIN"}
    | {"LEFT", "RIGHT", "INNER", "OUTER", "FULL", "CROSS", "NATURAL", "ON", "USING", "AND", "OR", "NOT", "AS", "WINDOW"}
    | {"RETURNING", "VALUES", "SET", "CASE", "WHEN", "THEN", "ELSE", "END", "INSERT", "UPDATE", "DELETE", "DO", "BEGIN"}
)
_NESTING = frozenset({"UNION", "INTERSECT", "EXCEPT", "AS", "EXPLAIN"})
_OPEN_ENDS = frozenset(",(=<>|+-*/") | (_GOES_ON - {"END"})
_JOINS_A_QUERY = _NESTING | {"ALL", "PLAN", "BEGIN"}


# What alone can end a statement before its text does; a text without it need not be read token by token.
_MAY_END = re.compile(rf";|\n\s*\n|\b(?:SELECT|{'|'.join(sorted(_STARTS))})\b", re.IGNORECASE)


def extract_sql(text: str) -> str:
    """The first SQL statement in `text`, without its final semicolon; clean SQL comes back as it is."""
    text = _THOUGHT.sub("", text).strip()
    while token := _CHAT_TOKEN.match(text):
        text = text[token.end() :].lstrip()
    label = _LABEL.match(text)
    body = text[label.end() :] if label else text
    first = _START.match(body)
    if first is not None and not re.match(r"[^\n;'\"`]*:[ \t]*(?:\n|\Z|```)", body):
        return _cut(body, 0)
    for fenced in _FENCE.finditer(body):
        found = _search(fenced.group(1).strip())
        if found:
            return found
    found = _search(body)
    if found:
        return found
    return _CHAT_TOKEN.split(text, maxsplit=1)[0].replace("```", "").strip().rstrip(";").rstrip()


def _search(text: str) -> str:
    """The first statement in prose: one that begins a line or follows a colon, if any, that parses, if any."""
    starts = [match.start() for match in _START.finditer(text) if not _is_nested(text, match.start())]
    begins = [at for at in starts if _begins(text, at)]
    others = [at for at in starts if at not in set(begins)]
    for at in (*begins, *others):
        cut = _cut(text, at)
        if parse(cut).status == "ok":
            return cut
    return _cut(text, (*begins, *others)[0]) if starts else ""


def _begins(text: str, at: int) -> bool:
    before = text[:at].rstrip(" \t*`")
    return not before or before[-1] in "\n:"


def _is_nested(text: str, at: int) -> bool:
    before = text[max(0, at - 24) : at].rstrip()
    last = re.search(r"\w+\Z", before)
    return before.endswith("(") or (last is not None and last.group().upper() in _NESTING)


def _cut(text: str, start: int) -> str:
    if text[start - 1 : start] == "`" and (close := text.find("`", start)) >= 0:  # inline code
        return text[start:close].strip().rstrip(";").rstrip()
    return text[start : _end(text, start)].strip().rstrip(";").rstrip()


def _end(text: str, start: int) -> int:
    """Where the statement that starts at `start` ends."""
    first, stops = _FIRST.match(text, start), _STOP.search(text, start) is not None
    if first is not None and not stops and _MAY_END.search(text, first.end()) is None:
        return len(text)
    head = text[start : start + 60].upper()
    trigger = re.match(r"CREATE\s+(?:TEMP\w*\s+)?TRIGGER\b", head) is not None
    mains = 0 if head.startswith(("UPDATE", "DELETE")) else 1  # queries at depth 0 that no set operation announces
    depth, previous, at = 0, "", start
    while at < len(text):
        if stops and _STOP.match(text, at):
            return at
        token = TOKEN.match(text, at)
        value, kind = token.group(), token.lastgroup
        word = value.upper() if kind == "word" else ""
        if kind == "space" and depth <= 0 and value.count("\n") > 1 and not _goes_on(text, token.end(), previous):
            return at
        if value == ";" and kind == "symbol" and not (trigger and previous != "END"):
            return at
        if kind == "symbol":
            depth += {"(": 1, ")": -1}.get(value, 0)
        if word == "SELECT" and depth <= 0 and previous not in _JOINS_A_QUERY and not trigger:
            if mains == 0:
                return at
            mains -= 1
        elif (
            word
            and word in _STARTS
            and at > start
            and depth <= 0
            and _restarts(text, at, previous, text[start:at])
            and not trigger
        ):
            return at
        if kind not in ("space", "comment"):
            previous = word or value
        at = token.end()
    return len(text)


def _goes_on(text: str, at: int, previous: str) -> bool:
    if previous in _OPEN_ENDS:
        return True
    following: Iterable[re.Match[str]] = (match for match in TOKEN.finditer(text, at) if match.lastgroup != "space")
    token = next(iter(following), None)
    if token is None:
        return False
    if token.lastgroup == "word":
        # In capitals anywhere, otherwise only where it cannot be the start of a sentence.
        return token.group().upper() in _GOES_ON and (token.group().isupper() or token.group().islower())
    return token.lastgroup == "comment" or token.group() in {",", "(", ")", "=", "<", ">", "||", "+", "-", "*", "/"}


def _restarts(text: str, at: int, previous: str, before: str) -> bool:
    """Whether another statement of the same kind begins here: a model that repeats itself."""
    if previous in {"DO", "ON", "OR", "OF", "AFTER", "BEFORE", "AS"} or not _START.match(text, at):
        return False
    same = re.match(r"\w+", before)
    return same is not None and text[at:].upper().startswith(same.group().upper()) and text[at - 1] in " \t\n"
