"""Commands that use a model or judge its answers: ask."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(ask)


def ask(
    question: Annotated[str, typer.Argument(help="The question, in words.")],
    database: Annotated[Path, typer.Option("--database", help="SQLite file to ask; it is only read.")],
    release: Annotated[str | None, typer.Option(help="Registered model; needed when there are several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print SQL and rows as JSON.")] = False,
) -> None:
    """Answer a question with the adapter in Production: the SQL, and its rows.

    Exit code 1 when the SQL does not run.

    Example: nightshift ask "How many singers are from France?" --database concerts.sqlite
    """
    if not database.is_file():
        raise UserError(f"no database file {database}")
    from flows.cli.connect import connected

    settings = connected()
    from registry.serving import Production, release_in_production
    from tasks.sql.executor import Limits

    logging.getLogger("transformers").setLevel(logging.ERROR)
    name = release_in_production(settings.open_store(), release)
    answer = Production(settings, name).ask(question, database, Limits(rows=1000))
    execution = answer.execution
    if as_json:
        document = {
            "release": answer.release,
            "version": answer.version,
            "question": question,
            "sql": answer.sql,
            "status": execution.status,
            "message": execution.message,
            "columns": list(execution.columns),
            "rows": [[cell if not isinstance(cell, bytes) else cell.hex() for cell in row] for row in execution.rows],
        }
        print(json.dumps(document, indent=2))
    else:
        from flows.cli.show import show_answer

        show_answer(answer.sql, execution, f"{answer.release} version {answer.version}")
    raise typer.Exit(0 if execution.status == "ok" else 1)
