"""Commands about releases: releases, promote, rollback, history."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from typing import Annotated

import typer

from infra.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(releases)
    app.command()(promote)
    app.command()(rollback)
    app.command()(history)


def releases(
    name: Annotated[str | None, typer.Argument(help="Registered model; all when absent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List registered versions with verdict, aliases and headline metrics.

    Example: nightshift releases text2sql-quickstart --json
    """
    from flows.cli.connect import connected
    from registry.ledger import known_releases
    from registry.projection import project
    from registry.releases import list_releases, registered_names

    settings = connected()
    store = settings.open_store()
    for known in known_releases(store):
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
    if name and not rows:
        raise UserError(f"no release {name!r}; registered are: {', '.join(registered_names()) or 'none'}")
    if as_json:
        print(json.dumps([row.model_dump(mode="json") for row in rows], indent=2))
        return
    from flows.cli.show import minute, table

    if not rows:
        print("nothing is registered yet: run `nightshift retrain` first")
    for known, versions in groupby(rows, key=lambda row: row.name):
        shown = [
            (
                row.version,
                ", ".join(row.aliases),
                row.stage,
                row.verdict,
                f"{row.metrics['execution_accuracy']:.3f}" if "execution_accuracy" in row.metrics else "",
                minute(row.created),
            )
            for row in versions
        ]
        table(known, ("version", "aliases", "stage", "verdict", "accuracy", "created (UTC)"), shown)


def promote(
    version: Annotated[str, typer.Argument(help="Version that awaits approval.")],
    approve: Annotated[bool, typer.Option("--approve", help="Say yes: it goes to Production.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Say no: it never goes there.")] = False,
    by: Annotated[str, typer.Option("--by", help="Who decides; kept in the ledger.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the ledger.")] = "",
    release: Annotated[str | None, typer.Option(help="Registered model; needed when there are several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ledger entry (null: rejected) as JSON.")] = False,
) -> None:
    """Decide about a version that its gates let through and that waits for a person.

    Example: nightshift promote 3 --approve --by "Ada" --reason "checked the report"
    """
    if approve == reject or not (by.strip() and reason.strip()):
        raise UserError(
            "a decision needs --approve or --reject, --by NAME and --reason TEXT: the ledger keeps who and why"
        )
    from flows.cli.connect import connected
    from registry.approval import decide_request
    from registry.decisions import carry_out, require_verdict
    from registry.releases import release_with

    store = connected().open_store()
    name = release_with(version, release)
    verdict = require_verdict(name, version)
    decision = decide_request(store, name, verdict, "approve" if approve else "reject", by, reason)
    entry = carry_out(store, name, verdict, decision)
    if as_json:
        print(entry.model_dump_json(indent=2) if entry else "null")
    elif entry:
        print(f"{name} version {entry.version} is in Production; approved by {decision.approver}")
    else:
        print(f"{name} version {version} is rejected by {decision.approver}: {decision.reason}")
    if entry is None and approve:
        raise typer.Exit(3)


def rollback(
    version: Annotated[str | None, typer.Argument(help="Version to return to; absent: the one before.")] = None,
    by: Annotated[str, typer.Option("--by", help="Who decides; kept in the ledger.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the ledger.")] = "",
    release: Annotated[str | None, typer.Option(help="Registered model; needed when there are several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ledger entry as JSON.")] = False,
) -> None:
    """Return Production to the version before, or to any version that ever passed its gates.

    Its files are fetched and checked first.

    Example: nightshift rollback --by "Ada" --reason "wrong dates since Tuesday"
    """
    if not (by.strip() and reason.strip()):
        raise UserError("a rollback needs --by NAME and --reason TEXT: the ledger keeps who and why")
    from flows.cli.connect import connected
    from registry.ledger import chosen_release
    from registry.promotion import rollback as back

    store = connected().open_store()
    name = chosen_release(store, release)
    entry = back(store, name, version, actor=by, reason=reason)
    if as_json:
        print(entry.model_dump_json(indent=2))
    else:
        print(f"{name} version {entry.version} is in Production again; version {entry.previous_version} is not")


def history(
    release: Annotated[str | None, typer.Argument(help="Registered model; all when absent.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also compare with MLflow: nothing cut off, every verdict there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show the ledger: what was in Production, since when, why and by whom. The hash chain is always checked.

    With --verify the exit code is 1 as soon as anything does not fit.

    Example: nightshift history text2sql-quickstart --verify
    """
    from infra.settings import load_settings
    from registry.ledger import Ledger, chosen_release, known_releases

    store = load_settings().open_store()
    names = [chosen_release(store, release)] if release else known_releases(store)
    entries = [(name, entry) for name in names for entry in Ledger(store, name).entries()]
    if verify:
        from flows.cli.connect import connected
        from registry.projection import verify as verify_release

        connected()
        for name in names:
            verify_release(store, name)
    if as_json:
        print(json.dumps([{"release": name} | entry.model_dump(mode="json") for name, entry in entries], indent=2))
        return
    from flows.cli.show import minute, people, table

    if not entries:
        print("nothing was promoted yet: run `nightshift retrain` first")
    for name, some in groupby(entries, key=lambda entry: entry[0]):
        shown = [
            (e.number, minute(e.time), e.action, e.version, ", ".join(people(e.actor, e.approver)), e.reason)
            for _, e in some
        ]
        table(f"{name}: its ledger", ("entry", "when (UTC)", "action", "version", "by", "reason"), shown)
    if verify:
        print(f"verified: {len(entries)} entries of {len(names)} release(s), chained, complete, verdicts in place")
