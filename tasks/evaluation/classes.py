"""Error classes: one word for how a wrong answer is wrong, so that a thousand failures become a short table.

Limits: the first fault counts. SQLite stops at the first unknown name, and a result with the wrong columns is not
looked at further.
"""

from __future__ import annotations

from tasks.sql.judgement import Judgement
from tasks.sql.parse import parse, writes

ERROR_CLASSES: tuple[str, ...] = (
    "no_sql",
    "syntax_error",
    "multiple_statements",
    "forbidden",
    "timeout",
    "resource_limit",
    "unknown_table",
    "unknown_column",
    "other_sql_error",
    "wrong_columns",
    "empty_result",
    "wrong_order",
    "wrong_rows",
    "wrong_state",
)

_MESSAGES = (
    ("no such table", "unknown_table"),
    ("no such column", "unknown_column"),
    ("has no column named", "unknown_column"),
)


def error_class(judgement: Judgement, right_rows: bool = False) -> str | None:
    """One of ERROR_CLASSES; None when the answer is right, or when gold is broken and nothing can be said.

    `right_rows` says that the result holds gold's rows in another order than the one asked for. `wrong_state` is a
    data change that leaves the database otherwise than gold does.
    """
    if judgement.execution_match is not False:
        return None
    if judgement.status == "ok":
        return _wrong_result(judgement, right_rows)
    if judgement.status in ("syntax_error", "sql_error") and parse(judgement.sql).status in ("empty", "not_sql"):
        return "no_sql"
    if judgement.status in ("schema_error", "sql_error"):
        message = judgement.message.lower()
        return next((name for text, name in _MESSAGES if text in message), "other_sql_error")
    return judgement.status


def _wrong_result(judgement: Judgement, right_rows: bool) -> str:
    if writes(judgement.gold_sql):
        return "wrong_state"
    if len(judgement.columns) != len(judgement.gold_columns):
        return "wrong_columns"
    if judgement.gold_rows and not judgement.rows:
        return "empty_result"
    return "wrong_order" if right_rows else "wrong_rows"
