"""The command that frees disk space: clean."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(clean)


def clean(
    keep_nights: Annotated[
        int, typer.Option(min=1, help="The newest nights of each recipe that keep everything.")
    ] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go and remove nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Remove adapters and checkpoints of stages, rows of datasets and scratch folders of old nights.

    Never touched: releases and the nights they rest on, running nights, the ledger, scorecards, reports, MLflow.

    Example: nightshift clean --keep-nights 14 --dry-run
    """
    from flows.cleaning import clean_up, summary
    from flows.cli.connect import connected

    told = clean_up(connected(), keep_nights, dry_run)
    if as_json:
        print(json.dumps(told, indent=2))
        return
    from flows.cli.show import table

    table(
        "Old nights", ("", "where", "MB"), [(o["kind"], o["place"], f"{o['megabytes']:,.1f}") for o in told["removed"]]
    )
    print(summary(told))
