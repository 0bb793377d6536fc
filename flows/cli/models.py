"""Commands that need a model: fetch, ask."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(fetch)
    app.command()(ask)


def fetch(
    recipe: Annotated[str, typer.Argument(help="Name of a built-in recipe, or a .yaml file.")] = "quickstart",
    as_json: Annotated[bool, typer.Option("--json", help="Print where the model lies, as JSON.")] = False,
) -> None:
    """Get a recipe's base model now, so that no night waits for it: downloaded, checked, converted, cached.

    Example: nightshift fetch quickstart
    """
    from flows.cli.connect import quiet_model
    from flows.cli.show import progress_bars
    from flows.recipe import check_recipe, load_recipe
    from infra.progress import emit
    from infra.settings import load_settings
    from tasks.models.resolve import resolve_model

    wanted = load_recipe(recipe)
    check_recipe(wanted)
    quiet_model()
    with progress_bars(enabled=sys.stderr.isatty()):
        model = resolve_model(wanted.model, load_settings().models_path, say=lambda text: emit("model", text))
    if as_json:
        print(json.dumps({"model": wanted.model, "path": str(model.path), "fingerprint": model.fingerprint}, indent=2))
    else:
        print(f"{model.ref.label}: {model.path}")


def ask(
    question: Annotated[str, typer.Argument(help="The question, in words.")],
    database: Annotated[
        str,
        typer.Option(
            "--database", metavar="FILE|URL", help="SQLite file or postgresql://USER@HOST/NAME; it is only read."
        ),
    ],
    release: Annotated[str | None, typer.Option(help="Registered model; needed when there are several.")] = None,
    evidence: Annotated[str, typer.Option(help="A hint for the model, such as what a column means.")] = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what the SQL does, and how the database runs it.")
    ] = False,
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="Most rows the SQL may return.")] = 10_000,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Deadline of the SQL.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print SQL and rows as JSON.")] = False,
) -> None:
    """Answer a question with the adapter in Production: the SQL, and its rows.

    The schema is read from the database; the SQL is run read-only. Exit code 1 when it does not run. Say whether the
    answer was right with `nightshift feedback`.

    Example: nightshift ask "How many singers are from France?" --database concerts.sqlite --explain
    """
    from tasks.sql.databases import connect_database

    opened = connect_database(database)
    schema = opened.schema()  # what is wrong with the database shows before the slow imports
    from flows.cli.connect import connected, quiet_model

    quiet_model()
    settings = connected()
    from registry.answering import Ask
    from registry.answers import remember
    from registry.ledger import chosen_release
    from registry.serving import finish_answer, load_production
    from tasks.sql.executor import Limits

    served = load_production(settings, chosen_release(settings.open_store(), release))
    asked = Ask(question, schema, evidence, opened)
    [written] = served.answerer.answer([asked])
    limits = Limits(rows=rows, seconds=seconds)
    answer = finish_answer(served, asked, written, opened, limits, explained=explain)
    remember(settings, answer)
    document = answer.document(explained=explain)
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        from flows.cli.show import show_answer

        show_answer(document)
    raise typer.Exit(0 if document["status"] == "ok" else 1)
