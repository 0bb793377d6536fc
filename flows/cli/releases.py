"""Commands about releases: releases, promote, history."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from infra.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(releases)
    app.command()(promote)
    app.command()(history)


def releases(
    name: Annotated[str | None, typer.Argument(help="Registered model; all when absent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List registered versions with verdict, aliases and headline metrics.

    Example: nightshift releases text2sql-quickstart --json
    """
    from flows.cli.connect import connected
    from registry.promotion import project
    from registry.releases import list_releases

    settings = connected()
    store = settings.open_store()
    for known in sorted({key.split("/")[1] for key in store.list("ledger")}):
        found = project(store, known)
        if found.unsanctioned:
            warning = (
                f"{known}: Production in MLflow stands on version {found.unsanctioned}, which has no passed verdict"
            )
            print(
                f"nightshift: {warning}; the ledger says {found.entry.version if found.entry else None}",
                file=sys.stderr,
            )
    rows = list_releases(name)
    if as_json:
        print(json.dumps([row.model_dump(mode="json") for row in rows], indent=2))
        return
    from flows.cli.show import table

    shown = [
        (
            row.name,
            row.version,
            ", ".join(row.aliases),
            row.stage,
            row.verdict,
            f"{row.metrics['execution_accuracy']:.3f}" if "execution_accuracy" in row.metrics else "",
            row.created,
        )
        for row in rows
    ]
    table("Releases", ("release", "version", "aliases", "stage", "verdict", "execution accuracy", "created"), shown)


def promote(
    version: Annotated[str, typer.Argument(help="Version that awaits approval.")],
    approve: Annotated[bool, typer.Option("--approve", help="Say yes; without it nothing happens.")] = False,
    by: Annotated[str, typer.Option("--by", help="Who approves; kept in the ledger.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the ledger.")] = "",
    release: Annotated[str | None, typer.Option(help="Registered model; needed when there are several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ledger entry as JSON.")] = False,
) -> None:
    """Approve a version that its gates let through and that waits for a person.

    Example: nightshift promote 3 --approve --by "Ada" --reason "checked the report"
    """
    if not (approve and by and reason):
        raise UserError("a promotion needs --approve, --by NAME and --reason TEXT: the ledger keeps who and why")
    from flows.cli.connect import connected
    from registry.promotion import promote as put
    from registry.releases import attached_verdict, list_releases

    store = connected().open_store()
    names = [release] if release else sorted({row.name for row in list_releases() if row.version == version})
    if len(names) != 1:
        raise UserError(
            f"version {version} of which release? choose with --release: {', '.join(names) or 'none is registered'}"
        )
    verdict = attached_verdict(names[0], version)
    if verdict is None:
        raise UserError(f"{names[0]} version {version} carries no verdict; only a judged version can be promoted")
    entry = put(store, names[0], verdict, actor=by, reason=reason, approver=by)
    if as_json:
        print(entry.model_dump_json(indent=2))
    else:
        print(f"{names[0]} version {entry.version} is in Production; approved by {by}")


def history(
    release: Annotated[str | None, typer.Argument(help="Registered model; all when absent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show the ledger: what was in Production, since when, why and by whom. The hash chain is verified.

    Example: nightshift history text2sql-quickstart
    """
    from infra.settings import load_settings
    from registry.ledger import Ledger

    store = load_settings().open_store()
    names = [release] if release else sorted({key.split("/")[1] for key in store.list("ledger")})
    entries = [(name, entry) for name in names for entry in Ledger(store, name).entries()]
    if as_json:
        print(json.dumps([{"release": name} | entry.model_dump(mode="json") for name, entry in entries], indent=2))
        return
    from flows.cli.show import table

    columns = ("release", "entry", "when", "action", "version", "before", "by", "reason")
    table(
        "Ledger",
        columns,
        [(n, e.number, e.time, e.action, e.version, e.previous_version, e.actor, e.reason) for n, e in entries],
    )
