"""Commands that need a model: fetch, export, ask."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from tasks.sql.databases import Database

Dtype = Literal["float32", "bfloat16", "float16"]
Quantised = Literal["f32", "f16", "q8_0"]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(fetch)
    app.command()(export)
    app.command()(ask)


def fetch(
    recipe: Annotated[str, typer.Argument(help="Name of a built-in recipe, or a .yaml file.")] = "quickstart",
    as_json: Annotated[bool, typer.Option("--json", help="Print where the model lies, as JSON.")] = False,
) -> None:
    """Get a recipe's base model now, and make the local databases, so that no night waits for either.

    The model is downloaded, checked, converted and cached. Prefect's and MLflow's databases are made or brought up to
    date where no server is named (PREFECT_API_URL, MLFLOW_TRACKING_URI).

    Example: nightshift fetch quickstart
    """
    from flows.cli.connect import connected, quiet_model
    from flows.cli.progress import progress_bars
    from flows.recipe import check_recipe, load_recipe
    from infra.databases import make_databases
    from infra.progress import emit
    from tasks.models.resolve import resolve_model

    wanted = load_recipe(recipe)
    check_recipe(wanted)
    quiet_model()
    settings = connected()
    with progress_bars(enabled=sys.stderr.isatty()):
        model = resolve_model(wanted.model, settings.models_path, say=lambda text: emit("model", text))
        emit("model", f"{model.ref.label}: {model.path}", 1, 1)
        emit("databases", "making what Prefect and MLflow keep here")
        made = make_databases()
        emit("databases", " and ".join(made) or "kept by servers", 1, 1)
    if as_json:
        told = {"model": wanted.model, "path": str(model.path), "fingerprint": model.fingerprint, "databases": made}
        print(json.dumps(told, indent=2))
    else:
        print(f"{model.ref.label}: {model.path}")


def export(
    release: Annotated[str, typer.Argument(help="Name of the release, as `nightshift releases` lists it.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder for the merged model.")],
    version: Annotated[str, typer.Option(help="Its version; the one in Production when not given.")] = "",
    dtype: Annotated[
        Dtype, typer.Option(help="Number format of the weights; merging itself is in float32.")
    ] = "float32",
    gguf: Annotated[
        Quantised | None, typer.Option(help="Write a GGUF file for llama.cpp, too, with matrices in this format.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print where the model lies, as JSON.")] = False,
) -> None:
    """Merge a release's adapter into its base model: safetensors that any server of transformers models loads.

    The folder keeps the prompt format in prompt.json: ask the model as it was taught. GGUF is for the Llama family.

    Example: nightshift export text2sql-quickstart --out merged --dtype bfloat16 --gguf q8_0
    """
    from flows.cli.connect import connected, quiet_model

    quiet_model()
    settings = connected()
    from infra.errors import UserError
    from registry.download import download_release
    from registry.ledger import Ledger
    from registry.manifest import FILE, check_manifest, read_manifest
    from registry.package import ARTIFACTS, adapter_of
    from tasks.models.export import export_merged
    from tasks.models.loading import load_tokenizer
    from tasks.models.resolve import resolve_model

    head = Ledger(settings.open_store(), release).head()
    if not version and head is None:
        raise UserError(f"release {release!r} has nothing in Production; name a version with --version")
    version = version or head.version
    with tempfile.TemporaryDirectory() as scratch:
        files = download_release(release, version, Path(scratch) / "release")
        adapter, manifest = adapter_of(files), read_manifest(files / ARTIFACTS / FILE)
        base = resolve_model(manifest.base_model, settings.models_path)
        check_manifest(manifest, adapter, load_tokenizer(base.path))
        note = {"release": release, "version": version, "base_model": manifest.base_model}
        made = export_merged(base.path, adapter, out, dtype, note | {"adapter_hash": manifest.adapter_hash}, gguf)
    if as_json:
        print(json.dumps(note | {"path": str(made), "dtype": dtype, "gguf": gguf}, indent=2))
    else:
        print(f"{release} version {version}, merged: {made}")


def ask(
    question: Annotated[str, typer.Argument(help="The question, in words.")],
    database: Annotated[
        str | None,
        typer.Option(
            "--database", metavar="FILE|URL", help="SQLite file or postgresql://USER@HOST/NAME; it is only read."
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Instead: CREATE TABLE statements, INSERTs to answer from; - is stdin."),
    ] = None,
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

    The schema is read from the database, or given; the SQL is run read-only. Exit code 1 when it does not run. Say
    whether the answer was right with `nightshift feedback`.

    Example: nightshift ask "How many singers are from France?" --database concerts.sqlite --explain
    """
    opened = _opened(database, schema)
    ddl = opened.schema()  # what is wrong with the database shows before the slow imports
    from flows.cli.connect import connected, quiet_model

    quiet_model()
    settings = connected()
    from registry.answering import Ask
    from registry.answers import remember
    from registry.ledger import chosen_release
    from registry.serving import finish_answer, load_production
    from tasks.sql.executor import Limits

    served = load_production(settings, chosen_release(settings.open_store(), release))
    asked = Ask(question, ddl, evidence, opened)
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


def _opened(database: str | None, schema: str | None) -> Database:
    """The database that is asked: a file, a server, or a script of its own."""
    from infra.errors import UserError, first_line
    from tasks.data.scripts import pasted_database
    from tasks.sql.databases import connect_database

    if (database is None) == (schema is None):
        raise UserError("say what is asked: --database FILE|URL, or --schema FILE|- with CREATE TABLE statements")
    if database is not None:
        return connect_database(database)
    if schema != "-" and not Path(schema).is_file():
        raise UserError(f"no schema file {schema}")
    try:
        return pasted_database(sys.stdin.read() if schema == "-" else Path(schema).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--schema {schema} cannot be read: {first_line(error)}") from None
