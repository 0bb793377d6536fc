"""Commands about data and answers, no model needed: validate, score."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(validate)
    app.command()(score)


def validate(
    data: Annotated[str, typer.Argument(help="File, glob, folder or s3:// url: .jsonl, .json, .csv, .parquet.")],
    recipe: Annotated[str | None, typer.Option(help="Recipe whose validation settings apply.")] = None,
    docs: Annotated[Path | None, typer.Option(help="Folder for Great Expectations' Data Docs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check rows against the data contract; every rejected row is named with its reasons.

    Exit code 1 when the contract is broken.

    Example: nightshift validate questions.jsonl --docs docs --json
    """
    from flows.recipe import load_recipe
    from tasks.data.ingest import read_sources
    from tasks.data.sources import FileSource, source_files
    from validation.spec import ValidationSpec

    spec = load_recipe(recipe).validation if recipe else ValidationSpec()
    source = FileSource(path=data)
    source_files(source)
    examples, bad = read_sources([source])
    from validation.quarantine import quarantine_table
    from validation.run import validate_examples

    result = validate_examples(examples, bad, spec, docs)
    if as_json:
        print(json.dumps(result.to_json(), indent=2))
    else:
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(quarantine_table(result)))
        for row in result.quarantined[:20]:
            print(f"{row.file} row {row.row} ({row.id}): {', '.join(row.reasons)}")
        if len(result.quarantined) > 20:
            print(f"... and {len(result.quarantined) - 20} more; --json names them all")
    raise typer.Exit(0 if result.success else 1)


def score(
    examples: Annotated[str, typer.Option(help="Examples with gold SQL: id, question, sql, and schema or db_id.")],
    predictions: Annotated[Path, typer.Option(help="JSONL with id and prediction.")],
    databases: Annotated[
        Path | None, typer.Option(help="Folder of SQLite files for rows with db_id and no rows of their own.")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the scorecard as JSON; - prints it.")] = None,
    html_out: Annotated[Path | None, typer.Option("--html", help="Write the HTML report.")] = None,
) -> None:
    """Judge predictions by running them; no model needed.

    Example: nightshift score --examples test.jsonl --predictions answers.jsonl --html report.html
    """
    from tasks.data.ingest import read_sources
    from tasks.data.sources import FileSource
    from tasks.evaluation.predictions import read_predictions
    from tasks.evaluation.report import ReportData, render_report
    from tasks.evaluation.scorecard import Subject
    from tasks.evaluation.scorecard_build import build_scorecard

    rows, bad = read_sources([FileSource(path=examples)])
    if bad:
        raise UserError(f"{bad[0].file} row {bad[0].row}: {', '.join(bad[0].reasons)}; run nightshift validate for all")
    if not predictions.is_file():
        raise UserError(f"no predictions file {predictions}")
    answers = read_predictions(predictions, [row.id for row in rows])
    from flows.cli.show import progress_bars, table
    from infra.hashing import fingerprint
    from infra.progress import emit

    subject = Subject(role="predictions", name=predictions.name, fingerprint="")
    test = fingerprint([row.to_row() for row in rows])
    with progress_bars(enabled=sys.stderr.isatty()):
        card = build_scorecard(
            rows,
            answers,
            subject,
            test,
            databases=databases,
            progress=lambda done, total: emit("judge", "", done, total),
        )
    if html_out is not None:
        html_out.write_text(
            render_report(ReportData(outcome="scored", scorecards={"predictions": card})), encoding="utf-8"
        )
    if json_out is not None and str(json_out) == "-":
        print(card.model_dump_json(indent=2))
        return
    if json_out is not None:
        json_out.write_text(card.model_dump_json(indent=2), encoding="utf-8")
    shown = [(name, f"{i.value:.4f}", f"{i.low:.4f} to {i.high:.4f}", i.n) for name, i in card.metrics.items()]
    table(f"{predictions.name} on {card.n} examples", ("metric", "value", "95% interval", "n"), shown)
    gold = card.gold
    print(f"gold: {gold.ok} with rows, {gold.empty} without (weak), {gold.failed} that do not run (not counted)")
