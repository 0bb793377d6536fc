"""SQL scripts: statements told apart, and a context of DDL and INSERTs divided into schema and setup.

Limits: statements end at semicolons outside strings, comments and trigger bodies, and where a CREATE follows a closed
CREATE (...) without one, as SynSQL and SQLAlchemy print schemas; nothing is parsed further, so that a script that no
parser reads still comes through for SQLite to judge.
"""

from __future__ import annotations

import re
import sqlite3

from tasks.data.schema import parse_schema
from tasks.sql.databases import Script
from tasks.sql.tokens import tokens

_ROWS = re.compile(r"\b(INSERT|REPLACE|UPDATE|DELETE)\b", re.IGNORECASE)
_UNENDED = re.compile(r"\)\s*CREATE\b", re.IGNORECASE)
_TRIGGER = re.compile(r"CREATE\s+(TEMP\w*\s+)?TRIGGER\b", re.IGNORECASE)
_FILLED = re.compile(r"CREATE\s+(TEMP\w*\s+)?TABLE\b[^(]*\bAS\s+(SELECT|WITH|VALUES)\b", re.IGNORECASE)
_DDL = ("CREATE", "ALTER", "DROP")


def split_script(script: str) -> list[str]:
    """The statements of a script in order, each trimmed and without its semicolon; comments stay with what follows."""
    statements: list[str] = []
    begin, first, before, depth, trigger = 0, -1, "", 0, False
    for token in tokens(script):
        text = token.group() if token.lastgroup in ("symbol", "word") else ""
        if text == ";":
            if trigger and not sqlite3.complete_statement(script[begin : token.end()]):
                continue  # the end of a statement in the trigger's body
            if first >= 0:
                statements.append(script[begin : token.start()].strip())
            begin, first, depth, trigger = token.end(), -1, 0, False
        elif depth == 0 and before == ")" and text.upper() == "CREATE" and not trigger:
            statements.append(script[begin : token.start()].strip())
            begin, first = token.start(), token.start()
            trigger = _TRIGGER.match(script, first) is not None
        elif first < 0:
            first = token.start()
            trigger = _TRIGGER.match(script, first) is not None
        depth += (text == "(") - (text == ")")
        before = text
    if first >= 0:
        statements.append(script[begin:].strip())
    return statements


def schema_and_setup(context: str) -> tuple[str, str]:
    """Divide a context into its DDL and the statements that fill it; plain DDL comes back unchanged.

    Triggers and tables made from queries stay behind the rows that they depend on. Text without any DDL is all schema.
    """
    if not _ROWS.search(context) and not _UNENDED.search(context):
        return context, ""
    schema: list[str] = []
    setup: list[str] = []
    for statement in split_script(context):
        first = next(tokens(statement))
        code = statement[first.start() :]
        late = bool(setup) and (_TRIGGER.match(code) or _FILLED.match(code))
        end = "\n;" if "--" in statement.rsplit("\n", 1)[-1] else ";"  # a comment must not swallow the semicolon
        (schema if first.group().upper() in _DDL and not late else setup).append(statement + end)
    return ("\n".join(schema), "\n".join(setup)) if schema else (context, "")


def pasted_database(script: str) -> Script:
    """A database to ask, made of the CREATE TABLE and INSERT statements that somebody pasted; raises UserError."""
    schema, setup = schema_and_setup(script)
    parse_schema(schema)  # says what is wrong with it
    return Script(schema, setup)
