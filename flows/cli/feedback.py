"""The command that says whether an answer was right: feedback."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.errors import UserError

TOKEN = "NIGHTSHIFT_REVIEWER_TOKEN"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(feedback)


def feedback(
    answer: Annotated[str, typer.Argument(help="Id of an answer that `ask` gave here.")] = "last",
    right: Annotated[bool, typer.Option("--right", help="The SQL answers the question.")] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="It does not.")] = False,
    correct: Annotated[str, typer.Option(metavar="SQL", help="What it should have been; implies --wrong.")] = "",
    by: Annotated[str, typer.Option(help="Your name as a reviewer; your token is read from " + TOKEN + ".")] = "",
    question: Annotated[str, typer.Option(help="Instead of an answer's id: the question, with --schema, --sql.")] = "",
    schema: Annotated[Path | None, typer.Option(help="File of the CREATE TABLE statements it was asked over.")] = None,
    sql: Annotated[str, typer.Option(help="The SQL that was answered.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="Show what was said so far.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say whether an answer was right, and what it should have been.

    It lands in the feedback source (NIGHTSHIFT_FEEDBACK, or `feedback` in the store). Only what a named reviewer signs
    with a token can become training data; anything else is kept as an opinion.

    Example: nightshift feedback last --correct "SELECT count(*) FROM singer" --by ada
    """
    from infra.settings import load_settings

    settings = load_settings()
    if listed:
        _list(settings, as_json)
        return
    if right == bool(wrong or correct):
        raise UserError("say --right, --wrong, or --correct SQL")
    from registry.answers import judged, recall
    from tasks.data.feedback import reviewers_from_environment, sign, write_feedback

    token = os.environ.get(TOKEN, "")
    if bool(by) != bool(token):
        raise UserError(f"a reviewer needs both --by NAME and a token in {TOKEN}; give both or neither")
    known = reviewers_from_environment()
    if by and known and known.get(by) != token:
        raise UserError(f"{by!r} is no reviewer with this token; see NIGHTSHIFT_REVIEWERS")
    draft = _draft(question, schema, sql) if question or schema or sql else recall(settings, answer)
    record = judged(draft, "right" if right else "wrong", correct)
    if by:
        record = sign(record, by, token)
    new = write_feedback(settings.open_feedback(), record)
    if as_json:
        print(json.dumps({"id": record.id, "new": new} | record.model_dump(mode="json"), indent=2))
    else:
        print(f"{'recorded' if new else 'already recorded'}: {record.verdict}, by {by or 'nobody in particular'}")


def _draft(question: str, schema: Path | None, sql: str) -> dict[str, Any]:
    if not (question and schema and sql):
        raise UserError("without an answer's id, give all of --question, --schema FILE and --sql")
    if not schema.is_file():
        raise UserError(f"no schema file {schema}")
    from tasks.data.schema import parse_schema
    from tasks.data.scripts import schema_and_setup

    ddl, setup = schema_and_setup(schema.read_text(encoding="utf-8"))
    parse_schema(ddl)
    kept = {"question": question, "db_id": schema.stem, "schema": ddl, "setup": setup, "sql": sql}
    return kept | {"release": "", "version": ""}


def _list(settings: Any, as_json: bool) -> None:
    from tasks.data.feedback import Feedback, read_feedback, reviewers_from_environment, trusted

    reviewers = reviewers_from_environment()
    rows = []
    for key, record in read_feedback(settings.open_feedback()):
        if isinstance(record, Feedback):
            rows.append({"key": key, "trusted": trusted(record, reviewers)} | record.model_dump(mode="json"))
        else:
            rows.append({"key": key, "trusted": False, "problem": record})
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from flows.cli.show import minute, table

    columns = ("time", "database", "question", "verdict", "reviewer", "trusted")
    shown = [
        (minute(r["time"]), r["db_id"], r["question"], r["verdict"], r["reviewer"], "yes" if r["trusted"] else "no")
        if "problem" not in r
        else (r["key"], "", r["problem"], "unreadable", "", "no")
        for r in rows
    ]
    table("Feedback", columns, shown)
