"""check: is reality still what the ledger decided?

Scheduled, and started when an approval runs out of time or MLflow tells that somebody moved Production (see
`flows.webhook`). For every release it repairs what MLflow shows, takes a person's move of Production into the ledger or
flags it (or, by policy, takes it back), rejects versions that nobody decided about in time, and looks for drift. A
finding about Production itself fails the run, so that the automation which reports failures reports it.
"""

from __future__ import annotations

from typing import Literal

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.states import Completed, Failed, State

from flows.runtime import connect
from flows.watching import look
from infra.hashing import fingerprint
from registry.events import announce


@flow(name="check")
def check(release: str = "", unsanctioned: Literal["", "flag", "revert"] = "") -> State:
    """Look at one release or at all.

    Args:
        release: name of the registered model; empty: every one with a ledger or a version that a night registered.
        unsanctioned: what happens to a version that somebody set to Production without a passed verdict; empty: what
            NIGHTSHIFT_UNSANCTIONED says.
    """
    settings = connect()
    seen = look(settings, [release] if release else None, (unsanctioned or settings.unsanctioned) == "revert")
    findings = [finding for one in seen for finding in one["findings"]]
    for finding in findings:
        announce("drift", finding["release"], finding["version"], fingerprint(finding), finding)
    rows = [{key: f[key] for key in ("level", "release", "summary", "resolution")} for f in findings]
    create_table_artifact(rows or [{"summary": "no drift"}], key="drift", description=f"{len(seen)} releases checked")
    told = "; ".join(f["summary"] for f in findings) or f"{len(seen)} releases are as the ledger says"
    if any(finding["level"] == "error" for finding in findings):
        return Failed(name="Drift", message=told)
    return Completed(name="Drift" if findings else "AsDecided", message=told)
