"""The release as an MLflow model ("models from code": MLflow runs this file, nothing is pickled).

Input rows: `question`, and `schema` (CREATE TABLE statements) or `database` (a SQLite file on the machine that answers;
its schema is read, and sample values when the adapter was taught with some). Output rows: `sql`, `valid`, `reason` when
it is not, `tokens`, `seconds`. The base model is looked for in NIGHTSHIFT_MODELS, else NIGHTSHIFT_HOME/models, and
fetched once when it is not there.

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
        found = [_ask_of(row) for row in model_input.to_dict("records")]
        written = iter(self.answerer.answer([ask for ask in found if isinstance(ask, Ask)]))
        return [_document(next(written) if isinstance(ask, Ask) else Written("", False, ask)) for ask in found]


def _ask_of(row: dict[str, Any]) -> Ask | str:
    """What a row asks, or what is wrong with it."""
    question, schema, path = _text(row, "question"), _text(row, "schema"), _text(row, "database")
    if not question:
        return "question is empty"
    if bool(schema) == bool(path):
        return "give either schema or database"
    if schema:
        return Ask(question, schema, _text(row, "evidence"))
    try:
        database = SqliteFile(Path(path))
        return Ask(question, database.schema(), _text(row, "evidence"), database)
    except UserError as error:
        return str(error)


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
