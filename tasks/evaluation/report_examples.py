"""Which examples the report shows, and how: what broke first, then what was won, then the rest.

The choice depends on ids and outcomes alone, never on order or chance: the same night shows the same examples.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from tasks.evaluation.scorecard import ExampleOutcome, Scorecard

_SHOWN = 6  # a group
_CELL = 60  # characters of one result cell


def choose_examples(main: Scorecard | None, reference: Scorecard | None, role: str) -> list[dict[str, Any]]:
    """Groups of examples of `main`, against the scorecard `reference` of `role`; groups without any are left out."""
    if main is None:
        return []
    before = {example.id: example for example in reference.examples} if reference is not None else {}
    judged = [example for example in main.examples if example.execution_match is not None]

    def was_right(example: ExampleOutcome) -> bool | None:
        return before[example.id].execution_match if example.id in before else None

    wrong = [e for e in judged if not e.execution_match]
    right = [e for e in judged if e.execution_match]
    groups = [
        ("Broken", f"{role} was right, this one is wrong", [e for e in wrong if was_right(e)]),
        ("Won", f"{role} was wrong, this one is right", [e for e in right if was_right(e) is False]),
        ("Wrong", "neither is right" if before else "", [e for e in wrong if not was_right(e)]),
        ("Right", "both are right" if before else "", [e for e in right if was_right(e) is not False]),
        (
            "Broken gold",
            "gold itself does not run; counted nowhere",
            [e for e in main.examples if e.execution_match is None],
        ),
    ]
    return [
        {
            "title": title,
            "about": about,
            "total": f"{len(examples):,}",
            "shown": [_show(example, before.get(example.id), role) for example in _spread(examples)],
        }
        for title, about, examples in groups
        if examples
    ]


def _spread(examples: Iterable[ExampleOutcome]) -> list[ExampleOutcome]:
    """A few examples, taking turns among error classes so that one frequent fault does not hide the others."""
    kinds: dict[str, list[ExampleOutcome]] = {}
    for example in sorted(examples, key=lambda e: e.id):
        kinds.setdefault(example.error_class or "", []).append(example)
    turns = (example for turn in zip_longest(*(kinds[name] for name in sorted(kinds))) for example in turn)
    return [example for example in turns if example is not None][:_SHOWN]


def _show(example: ExampleOutcome, before: ExampleOutcome | None, role: str) -> dict[str, Any]:
    answers = [
        _answer("Gold", example.gold, example.gold_message, example.gold_columns, example.gold_rows),
        _answer("Predicted", example.sql or example.prediction, example.message, example.columns, example.rows),
    ]
    if before is not None and before.sql != example.sql:
        sql = before.sql or before.prediction
        answers.append(_answer(role.capitalize(), sql, before.message, before.columns, before.rows))
    return {
        "id": example.id,
        "question": example.question or example.id,
        "match": example.execution_match,
        "error": (example.error_class or "").replace("_", " "),
        "vacuous": example.vacuous,
        "transpiled": example.transpiled,
        "database": ", ".join(example.slices.get("database", [])),
        "answers": answers,
    }


def _answer(title: str, sql: str, message: str, columns: list[str], rows: list[list[object]]) -> dict[str, Any]:
    cells = [[_cell(value) for value in row] for row in rows]
    return {"title": title, "sql": sql, "message": message, "columns": columns, "rows": cells}


def _cell(value: object) -> str:
    text = "NULL" if value is None else str(value)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"
