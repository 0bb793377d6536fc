"""Commands about answers, no model needed: score, compare."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.errors import UserError

if TYPE_CHECKING:
    from tasks.data.example import Example
    from tasks.evaluation.compare import Pair
    from tasks.evaluation.scorecard import Scorecard

_DATABASES = typer.Option(
    help="Folder of SQLite files, DB_ID/DB_ID.sqlite, for rows with db_id and no rows of their own."
)
_JSON = typer.Option("--json", help="Write the result as JSON; - prints it and nothing else.")
_HTML = typer.Option("--html", help="Write the HTML report.")


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(score)
    app.command()(compare)


def score(
    examples: Annotated[str, typer.Option(help="Examples with gold SQL: id, question, sql, and schema or db_id.")],
    predictions: Annotated[Path, typer.Option(help="JSONL with id and prediction; samples, tokens, seconds if known.")],
    databases: Annotated[Path | None, _DATABASES] = None,
    suite: Annotated[
        int, typer.Option(min=0, max=100, help="Fuzzed copies of each database on which a match must hold too.")
    ] = 0,
    json_out: Annotated[Path | None, _JSON] = None,
    html_out: Annotated[Path | None, _HTML] = None,
) -> None:
    """Judge predictions by running them: every metric with its interval, slices, error classes.

    Example: nightshift score --examples test.jsonl --predictions answers.jsonl --html report.html
    """
    from flows.cli.cards import read_rows, show_card, write_json
    from tasks.evaluation.report import ReportData, render_report

    rows = read_rows(examples)
    card = _judge(rows, predictions, databases, suite)
    if html_out is not None:
        page = render_report(ReportData(outcome="scored", scorecards={"predictions": card}))
        html_out.write_text(page, encoding="utf-8")
    if write_json(json_out, card.model_dump_json(indent=2)):
        return
    show_card(f"{predictions.name} on {card.n} examples", card)


def compare(
    subjects: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B ...",
            help="Scorecards (JSON of score) or predictions (JSONL), A being the reference; or runs: reports of a "
            "study, recorded trials, a sweep's or study's key.",
        ),
    ],
    examples: Annotated[
        str | None, typer.Option(help="Examples with gold SQL, where a subject is predictions.")
    ] = None,
    databases: Annotated[Path | None, _DATABASES] = None,
    varies: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Of runs: a path of the recipe that was studied.")
    ] = None,
    reference: Annotated[str, typer.Option(help="Of runs: the one that others are held against.")] = "",
    markdown_out: Annotated[Path | None, typer.Option("--markdown", help="Of runs: write the report as text.")] = None,
    log: Annotated[str, typer.Option(metavar="EXPERIMENT", help="Of runs: keep the report in MLflow, too.")] = "",
    json_out: Annotated[Path | None, _JSON] = None,
    html_out: Annotated[Path | None, _HTML] = None,
) -> None:
    """Compare models on the same examples, pair by pair: differences with intervals, slices, who changed sides.

    Of many runs it says what each cost and reached, which the test set can tell apart, and what else differs.

    Example: nightshift compare champion.json challenger.json --html comparison.html
    """
    from flows.cli.runs import compare_runs_of

    if compare_runs_of(subjects, varies or [], reference, markdown_out, log, json_out, html_out):
        return
    if len(subjects) < 2:
        raise UserError("nothing to compare: give two scorecards or predictions files, or more")
    from flows.cli.cards import read_rows, write_json
    from tasks.evaluation.compare import compare_scorecards

    rows = read_rows(examples) if examples is not None else None
    names = _names(subjects)
    cards = [(name, _subject(path, rows, databases)) for name, path in zip(names, subjects, strict=True)]
    found = compare_scorecards(cards)
    if html_out is not None:
        from tasks.evaluation.compare_view import render_comparison

        html_out.write_text(render_comparison(found), encoding="utf-8")
    if not write_json(json_out, found.model_dump_json(indent=2)):
        for pair in found.pairs:
            _show_pair(pair)


def _judge(rows: list[Example], predictions: Path, databases: Path | None, suite: int = 0) -> Scorecard:
    from flows.cli.progress import progress_bars
    from infra.hashing import fingerprint
    from infra.progress import emit
    from tasks.evaluation.predictions import read_predictions
    from tasks.evaluation.scorecard import Subject
    from tasks.evaluation.scorecard_build import build_scorecard

    if databases is not None and not databases.is_dir():
        raise UserError(f"no folder {databases}")
    answers = read_predictions(predictions, [row.id for row in rows])
    subject = Subject(role="predictions", name=predictions.name, fingerprint="")
    test = fingerprint([row.to_row() for row in rows])

    def progress(done: int, total: int) -> None:
        emit(f"judge {predictions.name}", "", done, total)

    with progress_bars(enabled=sys.stderr.isatty()):
        return build_scorecard(rows, answers, subject, test, databases=databases, progress=progress, suite=suite)


def _subject(path: Path, rows: list[Example] | None, databases: Path | None) -> Scorecard:
    from pydantic import ValidationError

    from tasks.evaluation.scorecard import Scorecard

    if not path.is_file():
        raise UserError(f"no file {path}")
    text = path.read_text(encoding="utf-8", errors="replace")
    if not _is_document(text):
        if rows is None:
            raise UserError(f"{path} is no scorecard; to judge it as predictions, give --examples")
        return _judge(rows, path, databases)
    try:
        return Scorecard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise UserError(f"{path} is no scorecard of this version: {place}: {first['msg']}") from None


def _is_document(text: str) -> bool:
    """Whether the text is one JSON object and not a list of them, a line each."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and "prediction" not in value


def _names(paths: list[Path]) -> list[str]:
    """File names without their ends, with as many folders before them as tell them apart."""
    for parts in range(1, 1 + max(len(path.absolute().parts) for path in paths)):
        names = ["/".join(path.absolute().with_suffix("").parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [path.name for path in paths]


def _show_pair(pair: Pair) -> None:
    from flows.cli.show import table
    from tasks.evaluation.compare import telling_slices
    from tasks.evaluation.compare_view import cells, metric_cells, notes, sentence

    print(sentence(pair))
    for note in notes(pair):
        print(f"  {note}")
    keys = ("label", "reference", "other", "difference", "range", "p")
    columns = ("metric", pair.reference, pair.other, "change", "95% interval", "p (Holm)", "")
    rows = metric_cells(pair)
    table("", columns, [[*(row[key] for key in keys), row["sure"]] for row in rows])
    telling = [
        (
            f"{dimension}: {value}",
            *(cells("execution_accuracy", found)[key] for key in ("n", "difference", "range", "p")),
        )
        for dimension, value, found in telling_slices(pair)
    ]
    if telling:
        table("Slices that differ beyond chance", ("slice", "n", "change", "95% interval", "p (Holm)"), telling)
    else:
        print("no slice differs beyond chance, all slices counted")
    for title, changes in (("lost", pair.lost), ("won", pair.won)):
        shown = ", ".join(change.id for change in changes[:8]) + (", ..." if len(changes) > 8 else "")
        print(f"{title}: {len(changes)}" + (f" ({shown})" if changes else ""))
