"""The command that writes question/SQL pairs about a user's database: generate."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import UserError

MOST_ROWS = 2000  # rows that a check may read: more groups than this make no question


class Dialect(StrEnum):
    """The dialect of the gold queries."""

    own = "own"
    sqlite = "sqlite"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(generate)


def generate(
    database: Annotated[str, typer.Option(help="SQLite file, sqlite:///FILE or postgresql://USER@HOST/NAME.")],
    out: Annotated[Path, typer.Option(help="JSONL file to write.")],
    rows: Annotated[int, typer.Option(min=1, help="Pairs to write; fewer when the database offers no more.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the questions.")] = 7,
    carry: Annotated[int, typer.Option(min=0, help="Sampled rows a table that every pair carries; 0: none.")] = 40,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time that one query may take.")] = 2.0,
    dialect: Annotated[
        Dialect, typer.Option(help="own: what the database speaks; sqlite: what `nightshift ask` asks models for.")
    ] = Dialect.own,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Write verified question/SQL pairs about your own database, which is only read.

    Values from the database stand in questions, and sampled rows in the file: keep it where the data may be.

    Example: nightshift generate --database shop.sqlite --out shop.jsonl --rows 500
    """
    from flows.cli.files import check_out, whole_file

    check_out(out)
    if out.exists() and Path(database.removeprefix("sqlite:///")).resolve() == out.resolve():
        raise UserError(f"--out {out}: that is the database; name another file")
    from flows.cli.progress import progress_bars
    from infra.progress import emit
    from tasks.data.dataset import write_examples
    from tasks.data.introspect import open_reader
    from tasks.data.synthetic.from_database import FromDatabaseSpec, generate_from
    from tasks.sql.executor import Limits

    reader = open_reader(database, Limits(seconds=seconds, rows=MOST_ROWS))
    try:
        with progress_bars(enabled=sys.stderr.isatty()):
            spec = FromDatabaseSpec(rows=rows, seed=seed, carry=carry, dialect=dialect.value)
            found = generate_from(reader, spec, lambda done, total: emit("generate", "", done, total))
    finally:
        reader.close()
    if not found.examples:
        raise UserError(f"database {reader.name}: no question has a telling answer; are its tables filled?")
    with whole_file(out) as waiting:
        write_examples(waiting, found.examples)
    counts = {"schema_version": 1, "database": reader.name, "out": str(out), "asked_for": rows, **found.counts()}
    if as_json:
        print(json.dumps(counts, indent=2))
    else:
        _show(counts)


def _show(counts: dict) -> None:
    levels = ", ".join(f"{count} {level}" for level, count in counts["difficulty"].items())
    print(f"{counts['rows']} verified pairs ({levels}) in {counts['out']}")
    print(
        f"{counts['queries']} different queries of {len(counts['shapes'])} shapes about {counts['tables_used']} of "
        f"{counts['tables']} tables, {counts['references']} references ({len(counts['references_inferred'])} inferred)"
    )
    for link in counts["references_inferred"]:
        print(f"  inferred: {link}")
    for table, reason in counts["left_out"].items():
        print(f"  left out: {table} ({reason})")
    if counts["rows"] < counts["asked_for"]:
        print(f"the database offers no more; {counts['asked_for']} were asked for")
