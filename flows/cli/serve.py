"""The command that serves Production over HTTP: serve."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.cli.connect import quiet_model
from infra.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(serve)


def serve(
    database: Annotated[
        list[str] | None,
        typer.Option("--database", metavar="NAME=FILE|URL", help="A database to answer about; may be repeated."),
    ] = None,
    release: Annotated[str | None, typer.Option(help="Registered model; needed when there are several.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback a token is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8080,
    poll: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks at the ledger.")] = 2.0,
    batch_size: Annotated[int, typer.Option(min=1, max=256, help="Questions answered together.")] = 16,
) -> None:
    """Answer over HTTP with the release in Production, and follow it when it moves, without dropping a request.

    A web page is at `/`; `/ask`, `/batch`, `/feedback`, `/health`, `/release`, `/databases`, `/metrics` and
    `/openapi.json` are for programs. Beyond loopback every path needs the token in NIGHTSHIFT_SERVE_TOKEN; reviewers
    and their tokens are in NIGHTSHIFT_REVIEWERS (name:token,name:token).

    Example: nightshift serve --database concerts=concerts.sqlite --database shop=postgresql://reader@db/shop
    """
    from registry.service.access import access_from_environment

    access = access_from_environment(host)
    databases = _databases(database or [])
    from flows.cli.connect import connected

    quiet_model()
    settings = connected()
    store = settings.open_store()
    from registry.ledger import chosen_release

    name = chosen_release(store, release)
    from registry.service.run import run_service

    run_service(settings, name, databases, access, host=host, port=port, poll=poll, batch_size=batch_size)


def _databases(given: list[str]) -> dict[str, Any]:
    """Name -> database; a bare FILE is named by its stem, a bare URL by its database."""
    from tasks.sql.databases import connect_database

    found: dict[str, Any] = {}
    for text in given:
        head, sign, rest = text.partition("=")
        named = bool(sign) and "/" not in head and ":" not in head
        opened = connect_database(rest if named else text)
        name = head if named else opened.name
        if name in found:
            raise UserError(f"--database {name} is given twice; name one of them otherwise: NAME=FILE")
        opened.name = name
        opened.schema()  # a database that cannot be read shows before anything else is loaded
        found[name] = opened
    return found
