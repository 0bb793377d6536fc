"""approve: a named person says yes or no to a version that its gates let through.

A deployment of its own, because Prefect can suspend neither a subflow nor a flow without a deployment. It suspends with
a typed form (approver, decision, reason), which frees its process and its slot, and goes on when the form is sent.
Without an answer in time Prefect fails the run, and the `check` flow, which listens for that, rejects the version.
`nightshift promote VERSION --approve | --reject` decides the same, anywhere.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any, Literal

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.states import Completed, State
from pydantic import Field

from flows.runtime import connect
from infra.errors import UserError
from infra.store import Store
from registry.approval import Request, decide_request, find_decision, find_request, request_approval
from registry.decisions import carry_out, require_verdict, time_out
from registry.verdict import Verdict

DEPLOYMENT = "approve/approve"


class ApprovalForm(RunInput):
    """What a person fills in."""

    approver: str = Field(min_length=1, description="your name; kept in the ledger")
    decision: Literal["approve", "reject"] = Field(description="approve: it goes to Production; reject: it never does")
    reason: str = Field(min_length=1, description="why; kept in the ledger")


@flow(name="approve", flow_run_name="approve {release} version {version}")
def approve(release: str, version: str) -> State:
    """Ask a person about a version that waits for approval, then promote or reject it.

    Args:
        release: name of the registered model.
        version: the version that waits.
    """
    store = connect().open_store()
    verdict = require_verdict(release, version)
    request = find_request(store, release, version)
    if request is None or request.verdict_seal != verdict.sealed:
        raise UserError(f"{release} version {version} does not wait for approval; look at nightshift status")
    decision = find_decision(store, release, version, verdict.sealed)
    if decision is None and request.expired:
        decision = time_out(store, release, verdict)
    if decision is None:
        create_markdown_artifact(
            _question(request, verdict), key="approval", description=f"{release} version {version}"
        )
        left = (datetime.fromisoformat(request.deadline) - datetime.now(UTC)).total_seconds()
        form: Any = ApprovalForm.with_initial_data(description=_question(request, verdict))
        answer = suspend_flow_run(wait_for_input=form, timeout=max(1, int(left)), key="approval")
        decision = decide_request(store, release, verdict, answer.decision, answer.approver, answer.reason)
    entry = carry_out(store, release, verdict, decision)
    told = f"{decision.decision} by {decision.approver}: {decision.reason}"
    return Completed(name="Promoted" if entry else "Rejected", message=told)


def ask_person(store: Store, release: str, verdict: Verdict, reason: str, hours: float) -> str:
    """Open the request and, where the `approve` deployment exists, start it; says where to decide."""
    request = request_approval(store, release, verdict, reason, hours)
    command = f'nightshift promote {verdict.version} --approve --by NAME --reason "..."'
    started = _start_deployment(release, verdict)
    return f"decide before {request.deadline}: {f'in the Prefect UI ({started}) or ' if started else ''}{command}"


def _start_deployment(release: str, verdict: Verdict) -> str | None:
    """The name of the approve flow's run, or None where there is no server or no such deployment."""
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value() is None and "PREFECT_API_URL" not in os.environ:
        return None
    try:
        run = run_deployment(
            DEPLOYMENT,
            parameters={"release": release, "version": verdict.version},
            timeout=0,
            as_subflow=False,
            idempotency_key=f"approve-{release}-{verdict.version}-{verdict.sealed}",
        )
    except ObjectNotFound:
        return None
    return run.name


def _question(request: Request, verdict: Verdict) -> str:
    gates = "\n".join(f"| {g.status} | {g.id} | {g.evidence} |" for g in verdict.gates)
    champion = f"version {verdict.champion_version}" if verdict.champion_version else "nothing yet"
    return (
        f"**{request.release} version {request.version}** wants to replace {champion} in Production.\n\n"
        f"Asked because: {request.reason}. Decide before {request.deadline}, else it is rejected.\n\n"
        f"| | gate | evidence |\n| --- | --- | --- |\n{gates}\n"
    )
