"""rollback: Production returns to the version before, or to any version that ever passed its gates.

The version's files are fetched and checked first; the ledger records who and why. `nightshift rollback` does the same.
"""

from __future__ import annotations

from prefect import flow
from prefect.states import Completed, State

from flows.runtime import connect
from registry.promotion import rollback as back


@flow(name="rollback", flow_run_name="rollback {release}")
def rollback(release: str, by: str, reason: str, version: str = "") -> State:
    """Return Production to an earlier version.

    Args:
        release: name of the registered model.
        by: who decides; kept in the ledger.
        reason: why; kept in the ledger.
        version: the version to return to; empty: the one before.
    """
    entry = back(connect().open_store(), release, version or None, actor=by, reason=reason)
    told = f"{release} version {entry.version} is in Production again, version {entry.previous_version} is not"
    return Completed(name="RolledBack", message=told)
