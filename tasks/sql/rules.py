"""The rules of the comparison by name: what every report says its execution accuracy means.

A change of any verdict raises VERSION. `tests/tasks/sql/test_rules.py` has cases on both sides of each rule.
"""

from __future__ import annotations

NAME = "strict-bag"
VERSION = 1
LABEL = f"{NAME} {VERSION}"

RULES: dict[str, str] = {
    "arity": "results have the same number of columns, also when they are empty; names of columns are nobody's answer",
    "bag": "without ORDER BY in gold's outermost query, rows are equal as a bag: any order, every duplicate counts",
    "order": "with it, rows come in gold's order",
    "ties": "rows whose sort keys are equal in gold may swap",
    "cut_tie": "where LIMIT cuts a tie, any rows of the tie are right, each as often as it is there",
    "limit_without_order": "LIMIT without ORDER BY takes any rows, as many as gold has",
    "storage_order": "a prediction without ORDER BY is in gold's order only if it still is when SQLite scans backwards",
    "column_order": "one order of the columns, the same for every row, turns the prediction into gold",
    "integers": "integers are equal exactly",
    "floats": "as soon as one side is a float, numbers are equal within 1e-6 relative or 1e-9 absolute; -0.0 equals 0",
    "text": "text is equal to the same text: case, spaces and accents count",
    "text_and_number": "text never equals a number",
    "blob": "a blob equals the same bytes and no text",
    "null": "NULL equals NULL and nothing else",
    "date": "dates are what SQLite makes of them, text or numbers: another format or precision is another value",
    "empty": "an empty gold is matched by an empty result; such a match is marked vacuous, like a single 0 or NULL",
    "one_statement": "the prediction is one statement; comments and a final semicolon are fine",
    "state": "gold that changes data is matched by whatever leaves the same tables, rows, views, indexes and triggers",
    "returning": "a change that returns rows must return gold's rows too",
    "read_only": "a prediction that changes data never matches gold that reads, nor one that reads gold that changes",
    "gold_failed": "gold that does not run is a fault of the data: no verdict, and counted in no accuracy",
}
