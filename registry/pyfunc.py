"""The release as an MLflow model ("models from code": MLflow runs this file, nothing is pickled).

Input rows: `question`, and `schema` (CREATE TABLE statements) or `database` (a SQLite file on the machine that answers;
only its schema is read). Output rows: `sql`, `valid`, `reason` when it is not, `tokens`, `seconds`. The base model is
looked for in NIGHTSHIFT_MODELS, else NIGHTSHIFT_HOME/models, and fetched once when it is not there.

Limits: no batching across requests and no switch to a newer release; `nightshift serve` has both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from infra.errors import UserError
from infra.settings import load_settings
from registry.answering import Ask, Written, load_release
from tasks.sql.databases import SqliteFile


class SqlModel(PythonModel):
    """Answers questions with the SQL that this release's adapter writes."""

    def load_context(self, context: Any) -> None:
        """Load base model and adapter; raises Incompatible when they do not fit."""
        adapter = Path(context.artifacts["adapter"])
        self.answerer = load_release(adapter.parent, load_settings().models_path)

    # The hint keeps MLflow from deriving a signature of its own: `registry.package` writes it.
    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[dict]:
        """One row of output for each row of input; a row that cannot be answered says why."""
        rows = model_input.to_dict("records")
        found = [_schema_of(row) for row in rows]
        asks = [
            Ask(_text(row, "question"), schema, _text(row, "evidence"))
            for row, (schema, problem) in zip(rows, found, strict=True)
            if not problem
        ]
        written = iter(self.answerer.answer(asks))
        return [_document(Written("", False, problem) if problem else next(written)) for _, problem in found]


def _schema_of(row: dict[str, Any]) -> tuple[str, str]:
    """The schema to ask about, or what is wrong with the row."""
    schema, database = _text(row, "schema"), _text(row, "database")
    if not _text(row, "question"):
        return "", "question is empty"
    if bool(schema) == bool(database):
        return "", "give either schema or database"
    if schema:
        return schema, ""
    try:
        return SqliteFile(Path(database)).schema(), ""
    except UserError as error:
        return "", str(error)


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    return value.strip() if isinstance(value, str) else ""  # a column left out of one row arrives as NaN


def _document(written: Written) -> dict[str, Any]:
    return {
        "sql": written.sql,
        "valid": written.valid,
        "reason": written.reason,
        "tokens": written.tokens,
        "seconds": round(written.seconds, 4),
    }


set_model(SqlModel())
