"""Carrying out what was decided about a version that waits for a person: promotion, rejection, time-out."""

from __future__ import annotations

from infra.errors import UserError
from infra.store import Store
from registry.approval import TIMED_OUT, Decision, DecisionMade, decide_request, pending_requests
from registry.attached import attached_verdict
from registry.ledger import LedgerEntry
from registry.promotion import promote, reject
from registry.verdict import Verdict


def require_verdict(release: str, version: str) -> Verdict:
    """The verdict a version carries; raises UserError when it was never judged."""
    verdict = attached_verdict(release, version)
    if verdict is None:
        raise UserError(f"{release} version {version} carries no verdict; only a judged version can be promoted")
    return verdict


def carry_out(store: Store, release: str, verdict: Verdict, decision: Decision) -> LedgerEntry | None:
    """Do what was decided; the ledger entry of a promotion, None of a rejection. May be repeated."""
    if decision.decision == "reject":
        told = f"rejected by {decision.approver}: {decision.reason}"
        reject(release, verdict.version, verdict, told, by=decision.approver)
        return None
    return promote(store, release, verdict, actor=decision.approver, reason=decision.reason, approver=decision.approver)


def time_out(store: Store, release: str, verdict: Verdict) -> Decision:
    """Record that nobody decided in time."""
    return decide_request(store, release, verdict, "reject", TIMED_OUT, "nobody decided in time")


def reject_overdue(store: Store, release: str) -> list[str]:
    """Reject every version whose time to decide is over; returns them."""
    rejected = []
    for request in pending_requests(store, release):
        verdict = require_verdict(release, request.version) if request.expired else None
        if verdict is None or verdict.sealed != request.verdict_seal:
            continue  # there is time left, or it was judged again since and the old question is void
        try:
            decision = time_out(store, release, verdict)
        except DecisionMade:
            continue  # somebody decided at this very moment
        carry_out(store, release, verdict, decision)
        rejected.append(request.version)
    return rejected
