"""Error classes: one word for how a wrong answer is wrong, so that a thousand failures become a short table.

An answer that is no SQL, breaks off or does not run is named after that; one that runs is named after the first
difference between its syntax tree and gold's (`tasks.evaluation.differences`), else after its result.

Limits: the first fault counts. SQLite stops at the first unknown name; `ExampleOutcome.faults` has every difference.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.evaluation.differences import FAULTS
from tasks.evaluation.health import has_non_ascii, is_loop, is_truncated
from tasks.sql.judgement import Judgement
from tasks.sql.parse import parse, writes

# What each class means, in the order they are looked for; FAULTS come between those two groups.
_BEFORE: dict[str, str] = {
    "no_sql": "nothing was answered",
    "fenced": "a code fence without SQL in it",
    "prose": "words instead of SQL",
    "repetition": "the same tokens again and again",
    "truncated": "it breaks off in the middle",
    "non_ascii": "typographic characters where SQL has its own",
    "syntax_error": "the database cannot read it",
    "multiple_statements": "more than one statement",
    "forbidden": "it would change the database or reach beyond it",
    "timeout": "it does not end within its deadline",
    "resource_limit": "it needs more memory or rows than it may have",
    "unknown_table": "a table that the schema lacks",
    "unknown_column": "a column that the schema lacks",
    "other_sql_error": "the database refuses it for another reason",
    "wrong_state": "it changes the data otherwise than gold does",
}
_AFTER: dict[str, str] = {
    "empty_result": "no row where gold has some",
    "wrong_rows": "other rows than gold's, with no difference that has a name",
}
ERROR_CLASSES: dict[str, str] = {**_BEFORE, **FAULTS, **_AFTER}  # in that order, each with what it means

_MESSAGES = (
    ("no such table", "unknown_table"),
    ("no such column", "unknown_column"),
    ("has no column named", "unknown_column"),
)
_UNREADABLE = ("syntax_error", "sql_error", "schema_error", "multiple_statements")


def error_class(judgement: Judgement, text: str = "", faults: Sequence[str] = ()) -> str | None:
    """One of ERROR_CLASSES; None when the answer is right, or when gold is broken and nothing can be said.

    `text` is the answer as it came, `faults` are the differences from gold, the most telling first.
    """
    if judgement.execution_match is not False:
        return None
    if judgement.status == "ok":
        return _wrong_result(judgement, faults)
    if judgement.status in _UNREADABLE and (found := _unreadable(judgement, text)) is not None:
        return found
    if judgement.status in ("schema_error", "sql_error"):
        message = judgement.message.lower()
        return next((name for part, name in _MESSAGES if part in message), "other_sql_error")
    return judgement.status


def _unreadable(judgement: Judgement, text: str) -> str | None:
    """What is wrong with the text of an answer that did not run, if that is what is wrong."""
    sql = judgement.sql
    if parse(sql).status in ("empty", "not_sql"):
        if not text.strip() and not sql.strip():
            return "no_sql"
        if is_loop(text or sql):
            return "repetition"
        return "fenced" if "```" in text else "prose"
    if is_loop(sql):
        return "repetition"
    if has_non_ascii(sql) and not has_non_ascii(judgement.gold_sql):
        return "non_ascii"
    return "truncated" if judgement.status != "multiple_statements" and is_truncated(sql) else None


def _wrong_result(judgement: Judgement, faults: Sequence[str]) -> str:
    if is_loop(judgement.sql) and not is_loop(judgement.gold_sql):
        return "repetition"
    if writes(judgement.gold_sql):
        return "wrong_state"
    if faults:
        return faults[0]
    if len(judgement.columns) != len(judgement.gold_columns):
        return "wrong_columns"
    return "empty_result" if judgement.gold_rows and not judgement.rows else "wrong_rows"
