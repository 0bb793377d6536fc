"""SQL scripts: statements told apart, and a context of DDL and INSERTs divided into schema and setup.

Limits: statements end at semicolons outside strings, comments and trigger bodies; nothing is parsed further, so that a
script that no parser reads still comes through for SQLite to judge.
"""

from __future__ import annotations

import re
import sqlite3

from tasks.sql.tokens import tokens

_ROWS = re.compile(r"\b(INSERT|REPLACE|UPDATE|DELETE)\b", re.IGNORECASE)
_TRIGGER = re.compile(r"CREATE\s+(TEMP\w*\s+)?TRIGGER\b", re.IGNORECASE)
_FILLED = re.compile(r"CREATE\s.*\bAS\s+(SELECT|WITH|VALUES)\b", re.IGNORECASE | re.DOTALL)
_DDL = ("CREATE", "ALTER", "DROP")


def split_script(script: str) -> list[str]:
    """The statements of a script in order, each trimmed and without its semicolon; comments stay with what follows."""
    statements: list[str] = []
    begin, first = 0, None
    for token in tokens(script):
        if token.lastgroup == "symbol" and token.group() == ";":
            body = script[begin : token.end()]
            trigger = first is not None and _TRIGGER.match(script, first)
            if trigger and not sqlite3.complete_statement(body):
                continue
            if first is not None:
                statements.append(body[:-1].strip())
            begin, first = token.end(), None
        elif first is None:
            first = token.start()
    if first is not None:
        statements.append(script[begin:].strip())
    return statements


def schema_and_setup(context: str) -> tuple[str, str]:
    """Divide a context into its DDL and the statements that fill it; a context of DDL alone comes back unchanged.

    Triggers and tables made from queries stay behind the rows that they depend on.
    """
    if not _ROWS.search(context):
        return context, ""
    schema: list[str] = []
    setup: list[str] = []
    for statement in split_script(context):
        token = next(tokens(statement))
        code = statement[token.start() :]
        late = bool(setup) and (_TRIGGER.match(code) or (_FILLED.match(code) and "VIEW" not in code[:40].upper()))
        (schema if token.group().upper() in _DDL and not late else setup).append(f"{statement};")
    if not setup:
        return context, ""
    return "\n".join(schema), "\n".join(setup)
