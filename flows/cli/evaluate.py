"""The command that lets a model answer and judges it: evaluate."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.errors import UserError

if TYPE_CHECKING:
    from flows.answers import Candidate
    from infra.settings import Settings
    from tasks.data.example import Example
    from tasks.evaluation.scorecard import Scorecard
    from tasks.evaluation.spec import EvaluationSpec

PREDICTIONS = (".jsonl", ".parquet")
_SHOTS = 2


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(evaluate)


def evaluate(
    data: Annotated[str, typer.Option(help="Examples with gold SQL: id, question, sql, and schema or db_id.")],
    model: Annotated[
        str | None,
        typer.Argument(help="hf:ID@REVISION, a folder (model, adapter, release), Production or a version."),
    ] = None,
    databases: Annotated[
        Path | None,
        typer.Option(help="Folder of SQLite files, DB_ID/DB_ID.sqlite, for rows without rows of their own."),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Recipe whose prompt (for a bare model) and evaluation settings hold.")
    ] = "quickstart",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the recipe; may be repeated."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model of an adapter's folder; the recipe's when absent.")
    ] = None,
    release: Annotated[str | None, typer.Option(help="Registered model; needed when there are several.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask so many rows only, drawn by hash.")] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ask an OpenAI-compatible server instead; its key: NIGHTSHIFT_ENDPOINT_KEY."),
    ] = None,
    model_name: Annotated[str | None, typer.Option(help="The model's name on that server.")] = None,
    shots_from: Annotated[
        str | None, typer.Option(metavar="FILE", help="Training examples to show a bare model ahead of each question.")
    ] = None,
    shots: Annotated[
        int | None, typer.Option(min=1, max=16, help="How many of them; else the recipe's evaluation.shots, or 2.")
    ] = None,
    corrections: Annotated[
        int | None, typer.Option(min=0, max=10, help="Further tries for an answer that does not run.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=0, max=64, help="Draw so many more answers to each question: pass@k and vote.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.01, max=2, help="At which samples are drawn; else the recipe's, or 0.8.")
    ] = None,
    suite: Annotated[
        int | None,
        typer.Option(min=0, max=100, help="Fuzzed copies of each database on which a match must hold too."),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Keep the answers here (.jsonl or .parquet), for nightshift score.")
    ] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Write the scorecard as JSON; - prints it and nothing else.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the HTML report.")] = None,
) -> None:
    """Let a model answer examples as it does at night, and judge its SQL by running it.

    Answers are kept as they come: after a crash the same command goes on with the questions that are left. An adapter
    is asked as it was taught (its prompt.json), a release with its own answer length, a bare model as the recipe says.

    An OpenAI-compatible server (vLLM, llama.cpp, Ollama, a hosted model) is asked with --endpoint and --model-name.

    Example: nightshift evaluate Production --data test.jsonl --predictions answers.jsonl --report report.html
    """
    from flows.recipe import load_recipe

    if (endpoint is None) != (model_name is None) or (model is None) == (endpoint is None):
        raise UserError("name one model: MODEL, or --endpoint URL with --model-name NAME")
    for path in (predictions, json_out, report):
        if path is not None and str(path) != "-" and not path.absolute().parent.is_dir():
            raise UserError(f"{path}: there is no folder {path.parent}")
    if predictions is not None and predictions.suffix not in PREDICTIONS:
        raise UserError(f"--predictions {predictions}: give a name that ends in {' or '.join(PREDICTIONS)}")
    if shots is not None and shots_from is None:
        raise UserError("--shots needs --shots-from FILE: what is shown comes from training rows alone")
    # Everything a person can get wrong is found before the slow imports.
    given = {
        "suite": suite,
        "shots": shots,
        "corrections": corrections,
        "samples": samples,
        "temperature": temperature,
    }
    changes = [f"evaluation.{key}={value}" for key, value in given.items() if value is not None]
    asked = load_recipe(recipe, [*(overrides or []), *changes])
    if temperature is not None and not asked.evaluation.samples:
        raise UserError("--temperature is that of samples: give --samples N; the answer itself is greedy")
    from flows.cli.cards import read_rows, show_card, write_json

    rows = read_rows(data)
    from flows.cli.connect import quiet_model
    from flows.cli.progress import progress_bars
    from infra.progress import emit
    from infra.settings import apply_environment, load_settings

    quiet_model()
    with progress_bars(enabled=sys.stderr.isatty()):
        emit("model", "looking for it")
        settings = load_settings()
        apply_environment(settings)
        from flows.answers import draw
        from flows.subject import at_endpoint, find_subject
        from tasks.data.values import add_values

        most = asked.evaluation.max_new_tokens
        if endpoint is not None:
            subject = at_endpoint(endpoint, model_name, asked)
        else:
            subject, most = find_subject(model, asked, settings, release, base, lambda text: emit("model", text))
        spec = asked.evaluation.model_copy(update={"max_new_tokens": most})
        if subject.adapter is not None and shots_from is not None:
            raise UserError("an adapter is asked as it was taught; --shots-from is for models without one")
        if subject.adapter is None and spec.shots and shots_from is None:
            raise UserError(f"recipe {asked.name}: evaluation.shots={spec.shots} needs --shots-from FILE here")
        train = add_values(read_rows(shots_from), subject.prompt.sample_values) if shots_from else []
        if train and not spec.shots:
            spec = spec.model_copy(update={"shots": _SHOTS})
        rows = _on_databases(draw(rows, limit), databases)
        card, place, shown = _evaluate(settings, subject, rows, spec, predictions, train)
    if report is not None:
        from tasks.evaluation.report import ReportData, render_report

        page = ReportData(outcome="scored", release=subject.name, scorecards={subject.role: card})
        report.write_text(render_report(page), encoding="utf-8")
    if write_json(json_out, card.model_dump_json(indent=2)):
        return
    show_card(f"{subject.name} on {card.n} examples", card)
    if subject.endpoint and asked.prompt.decoding != "greedy":
        print(f"decoding: greedy, by the server; prompt.decoding={asked.prompt.decoding} holds for models loaded here")
    if spec.shots and subject.adapter is None:
        print(f"examples shown a question: {shown:.2f} of {spec.shots}, as many as fit prompt.max_tokens")
    print(f"predictions: {place}")


def _on_databases(rows: list[Example], databases: Path | None) -> list[Example]:
    """The rows, each with the file its queries run on; raises UserError for a missing file and for repeated ids."""
    from tasks.evaluation.scorecard_build import database_file

    if databases is not None and not databases.is_dir():
        raise UserError(f"no folder {databases}")
    twice = [id for id, count in Counter(row.id for row in rows).items() if count > 1]
    if twice:
        raise UserError(f"example ids must be unique; more than once: {', '.join(map(repr, twice[:3]))}")
    if databases is None:
        return rows
    return [
        row if row.setup or row.database else replace(row, database=str(database_file(databases, row.db_id)))
        for row in rows
    ]


def _evaluate(
    settings: Settings,
    subject: Candidate,
    rows: list[Example],
    spec: EvaluationSpec,
    out: Path | None,
    train: list[Example],
) -> tuple[Scorecard, str, float]:
    """The scorecard, where the predictions are, and how many examples a question showed."""
    import json
    import shutil

    from flows.answers import answer, judge, load_scorecard
    from infra.hashing import fingerprint
    from tasks.data.attached import named_by_content
    from tasks.evaluation.predictions import read_predictions, write_predictions

    store = settings.open_store()
    test = fingerprint([row.to_row() for row in named_by_content(rows)])
    work = settings.work / "evaluate" / fingerprint([subject.fingerprint, test, spec.max_new_tokens])
    work.mkdir(parents=True, exist_ok=True)
    found = answer(store, [subject], rows, test, spec, work, train=lambda: train)[subject.role]
    card = load_scorecard(store, judge(store, subject, found, rows, test, spec, work))
    place = f"{settings.store_url}/{found.key}"
    if out is not None:
        kept = work / "answers.jsonl"
        kept.write_bytes(store.read(found.key))
        write_predictions(out, read_predictions(kept))
        place = str(out)
    shutil.rmtree(work)
    rows_shown = [json.loads(line).get("shown", 0) for line in store.read(found.key).splitlines()]
    return card, place, sum(rows_shown) / len(rows_shown)
