"""Parsing: is this text one SQL statement, and what is its tree?

Limits: sqlglot's parser is lenient, so its yes is not SQLite's yes; `prepares` and `runs` of the judge are. It reads
`hello`, `1` and a fenced block as expressions and `SHOW TABLES` as a command: those are refused here by what the
statement starts with and by the kind of its tree.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from tasks.sql.tokens import first_keyword, tokens

if TYPE_CHECKING:  # a judging worker seldom parses, and importing the parser takes longer than starting it
    from sqlglot import exp

ParseStatus = Literal["ok", "empty", "not_sql", "multiple_statements", "syntax_error"]

LONGEST = 50_000  # characters that are parsed; as many take half a second, and no answer to a question has them
WRITING = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER"})
_STARTS = WRITING | {"SELECT", "WITH", "VALUES"}
# Statements of SQLite that sqlglot keeps as an unparsed command.
_COMMAND = re.compile(
    r"ALTER\s+TABLE\s+\S+\s+(ADD|DROP|RENAME)\s+\S|CREATE\s+(TEMP\w*\s+)?TRIGGER\s.*\bEND$", re.IGNORECASE | re.DOTALL
)

# sqlglot warns on every statement it keeps as a command; whether that is acceptable is decided here instead.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The outcome of `parse`; `tree` is set exactly when `status` is ok. Trees are shared: copy before changing one."""

    status: ParseStatus
    tree: exp.Expression | None = None
    message: str = ""


def parse(sql: str, dialect: str = "sqlite") -> Parsed:
    """Parse one statement of `dialect`; comments and a final semicolon are fine. Never raises on bad SQL."""
    return parsed(sql, dialect)  # a cache of its own would tell `parse(sql)` from `parse(sql, "sqlite")`


@lru_cache(maxsize=16384)
def parsed(sql: str, dialect: str) -> Parsed:
    """What `parse` remembers."""
    if len(sql) > LONGEST:
        return Parsed("syntax_error", message=f"longer than {LONGEST:,} characters")
    first = next(tokens(sql), None)
    if first is None:
        return Parsed("empty", message="there is no statement")
    keyword = first.group().upper() if first.lastgroup == "word" else ""
    if keyword not in _STARTS and first.group() != "(":
        return Parsed("not_sql", message=f"a statement cannot start with {first.group()[:40]!r}")
    text = sql[first.start() :].rstrip().rstrip(";").rstrip()
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if _COMMAND.match(text) and keyword == "CREATE":  # a trigger's body holds semicolons of its own
        return Parsed("ok", exp.Command(this="CREATE", expression=text[len("CREATE") :]))
    if keyword == "REPLACE":  # SQLite's shorthand
        sql = sql[: first.start()] + "INSERT OR REPLACE" + sql[first.end() :]
    try:
        found = sqlglot.parse(sql, read=_reader(dialect))
    except (SqlglotError, RecursionError) as error:
        return Parsed("syntax_error", message=(str(error).splitlines() or ["nested too deeply"])[0])
    trees = [tree for tree in found if tree is not None and not isinstance(tree, exp.Semicolon)]
    if len(trees) != 1:
        return Parsed("multiple_statements", message=f"{len(trees)} statements where one is expected")
    return _judge(trees[0], text)


@cache
def _reader(dialect: str) -> Any:
    """sqlglot's object for a dialect, which it would otherwise make anew for every statement."""
    from sqlglot import Dialect

    return Dialect.get_or_raise(dialect)


def _judge(tree: exp.Expression, text: str) -> Parsed:
    from sqlglot import exp

    if isinstance(tree, exp.Command) and _COMMAND.match(text):
        return Parsed("ok", tree)
    if not isinstance(
        tree, (exp.Query, exp.Values, exp.Insert, exp.Update, exp.Delete, exp.Create, exp.Drop, exp.Alter)
    ):
        return Parsed("not_sql", message=f"{type(tree).__name__.lower()} is not a query or a data change")
    if isinstance(tree, (exp.Select, exp.Update)) and not tree.expressions:
        return Parsed("syntax_error", message=f"{first_keyword(text)} of nothing")
    return Parsed("ok", tree)


def writes(sql: str, dialect: str = "sqlite") -> bool:
    """Whether the statement is meant to change data or schema, judged by its keyword (through WITH, by its tree)."""
    keyword = first_keyword(sql)
    if keyword != "WITH":
        return keyword in WRITING
    from sqlglot import exp

    return isinstance(parse(sql, dialect).tree, (exp.Insert, exp.Update, exp.Delete))


def to_sqlite(sql: str, dialect: str) -> str:
    """`sql` of `dialect` rewritten for SQLite; text that sqlglot cannot read comes back unchanged."""
    return transpile(sql, dialect, "sqlite")


@lru_cache(maxsize=4096)
def transpile(sql: str, read: str, write: str) -> str:
    """`sql` of the dialect `read` rewritten in the dialect `write`; text that cannot be read comes back unchanged."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        return ";\n".join(part for part in sqlglot.transpile(sql, read=read, write=write) if part)
    except (SqlglotError, RecursionError):
        return sql
