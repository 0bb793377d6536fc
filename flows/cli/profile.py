"""The command that shows what a data set holds: profile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(profile)


def profile(
    data: Annotated[str, typer.Argument(help="File, glob, folder or s3:// url: .jsonl, .json, .csv, .parquet.")],
    out: Annotated[Path | None, typer.Option(help="HTML file to write.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Count tokens as this model does: hf:, path:, wheel: reference.")
    ] = None,
    max_rows: Annotated[
        int | None,
        typer.Option(min=1, help="Rows profiled at most, drawn by a hash of their ids; 500,000 when absent."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
) -> None:
    """Show what data hold: sources, databases, SQL, lengths, words, repeats, examples; one page, and JSON.

    Example: nightshift profile train.jsonl --out report.html
    """
    if out is None and not as_json:
        raise UserError("profile needs --out report.html, or --json, or both")
    from flows.cli.files import check_out, counter_of, whole_file

    if out is not None:
        check_out(out)
    from flows.cli.progress import progress_bars
    from infra.progress import emit
    from tasks.data.ingest import read_sources
    from tasks.data.profile import count_signs, profile_examples
    from tasks.data.profile_page import render_profile
    from tasks.data.sources import FileSource

    source = FileSource(path=data)
    read = read_sources([source.model_copy(update={"max_rows": max_rows}) if max_rows else source])
    name, count = ("words and signs", count_signs) if model is None else (model, counter_of(model))
    with progress_bars(enabled=sys.stderr.isatty()):
        found = profile_examples(
            data,
            read.examples,
            read.bad,
            undrawn=read.undrawn,
            tokenizer=name,
            count_tokens=count,
            progress=lambda n, of: emit("profile", "", n, of),
        )
    if out is not None:
        with whole_file(out) as waiting:
            waiting.write_text(render_profile(found), encoding="utf-8")
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        for left in read.undrawn:
            print(left.told())
        print(f"{found.rows:,} rows of {found.database_count:,} databases, {found.unreadable:,} unreadable: {out}")
