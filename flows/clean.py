"""clean: what old nights left on disk goes, by policy; never a release, a running night or the ledger."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.states import Completed, State

from flows.cleaning import clean_up, summary
from flows.runtime import connect


@flow(name="clean")
def clean(keep_nights: int = 30, dry_run: bool = False) -> State:
    """Remove adapters and checkpoints of stages, rows of datasets and scratch folders of old nights.

    Args:
        keep_nights: the newest nights of each recipe that keep everything.
        dry_run: say what would go and remove nothing.
    """
    told = clean_up(connect(), keep_nights, dry_run)
    create_table_artifact(told["removed"] or [{"place": "nothing"}], key="clean", description=summary(told))
    return Completed(name="Planned" if dry_run else "Cleaned", message=summary(told))
