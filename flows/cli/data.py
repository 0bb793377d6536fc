"""Commands about data: validate."""

from __future__ import annotations

import json
from os.path import normpath
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(validate)


def validate(
    data: Annotated[
        str | None,
        typer.Argument(
            help="File, glob, folder or s3:// url: .jsonl, .json, .csv, .parquet; when absent all of the recipe."
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe whose validation applies, and whose field map where DATA is its source.")
    ] = None,
    docs: Annotated[Path | None, typer.Option(help="Folder for Great Expectations' Data Docs.")] = None,
    quarantine: Annotated[
        Path | None, typer.Option(help="File for the rejected rows: reasons and the original row, as JSON Lines.")
    ] = None,
    max_rows: Annotated[
        int | None,
        typer.Option(min=1, help="Rows checked of a source at most; what the recipe says, else 500,000, when absent."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check rows against the data contract; every rejected row is named with its reasons.

    Without DATA every source of the recipe is checked, databases, datasets and feedback too, as a night will.
    Exit code 1 when the contract is broken.

    Example: nightshift validate questions.jsonl --recipe orders.yaml --docs docs
    """
    from flows.cli.files import check_folder, check_out, counter_of, whole_file
    from flows.recipe import load_recipe
    from tasks.data.ingest import read_sources
    from tasks.data.row_source import RowSource
    from tasks.data.sources import FileSource, source_files
    from validation.spec import ValidationSpec

    if data is None and recipe is None:
        raise UserError("validate needs DATA, or --recipe, or both")
    chosen = load_recipe(recipe) if recipe else None
    spec = chosen.validation if chosen else ValidationSpec()
    sources = list(chosen.data.sources) if chosen else []
    if data is not None:
        files = [s for s in sources if isinstance(s, FileSource)]
        sources = [next((s for s in files if normpath(s.path) == normpath(data)), FileSource(path=data))]
    read_from = {file.name for source in sources if isinstance(source, FileSource) for file in source_files(source)}
    if docs is not None:
        check_folder(docs, "--docs")
    if quarantine is not None:
        check_out(quarantine, "--quarantine")
        if quarantine.resolve() in {Path(name).resolve() for name in read_from}:
            raise UserError(f"--quarantine {quarantine}: that is a file of the data; name another file")
    if max_rows:
        sources = [s.model_copy(update={"max_rows": max_rows}) if isinstance(s, RowSource) else s for s in sources]
    read = read_sources(sources)
    from validation.quarantine import quarantine_table, write_quarantine
    from validation.run import validate_examples

    counter = counter_of(chosen.model) if chosen and spec.counts_tokens else None
    result = validate_examples(read.examples, read.bad, spec, docs, count_tokens=counter, undrawn=read.undrawn)
    if quarantine is not None:
        with whole_file(quarantine) as waiting:
            write_quarantine(waiting, result.quarantined)
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
