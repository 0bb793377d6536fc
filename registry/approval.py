"""Who must say yes, and what was said: the approval policy of a recipe, requests and decisions.

A request and its decision are one key each in the store, created conditionally: of an approval, a rejection and a
time-out that meet, exactly one counts, on S3 too. A decision survives a crash before its promotion; the same command
goes on from it. Limits: names of approvers are self-declared.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from infra.errors import AlreadyExists, NightshiftError, NotFound, UserError
from infra.store import Store
from registry.ledger import Ledger
from registry.verdict import Verdict

TIMED_OUT = "nobody"  # the approver of a decision that time took


class DecisionMade(NightshiftError):
    """A request that was decided already, by somebody else or otherwise."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ApprovalWhen(_Frozen):
    """Conditions of which any one asks a person before a promotion."""

    first_release: bool = Field(False, description="nothing is in Production yet")
    gain_below: float | None = Field(
        None, gt=0, description="the gain in execution accuracy over the champion is smaller than this"
    )
    base_model_changed: bool = Field(False, description="the champion stands on another base model")

    @model_validator(mode="after")
    def _check(self) -> ApprovalWhen:
        if not (self.first_release or self.gain_below is not None or self.base_model_changed):
            raise ValueError("approval: when: names no condition; give first_release, gain_below or base_model_changed")
        return self


class ApprovalPolicy(_Frozen):
    """A policy with conditions."""

    when: ApprovalWhen


Approval = Literal["auto", "manual"] | ApprovalPolicy


def approval_reason(
    policy: Approval, verdict: Verdict, gain: float | None, champion_base: str | None, base: str
) -> str | None:
    """Why a person must decide about a verdict that did not fail, or None when nobody has to.

    `gain` is challenger minus champion in execution accuracy; None is unknown, and an unknown gain asks a person.
    """
    if verdict.status == "needs_approval":
        return "; ".join(f"{gate.id}: {gate.evidence}" for gate in verdict.gates if gate.status == "needs_approval")
    if policy == "manual":
        return "the recipe asks a named person"
    if policy == "auto":
        return None
    when, champion = policy.when, verdict.champion_version
    if when.first_release and champion is None:
        return "this would be the first release in Production"
    if when.gain_below is not None and champion is not None and (gain is None or gain < when.gain_below):
        told = "unknown" if gain is None else f"{gain:+.4f}"
        return f"the gain over version {champion} is {told}, below {when.gain_below:g}"
    if when.base_model_changed and champion is not None and champion_base != base:
        return f"version {champion} stands on base model {champion_base}, this one on {base}"
    return None


class Request(_Frozen):
    """One version that waits for a person."""

    release: str
    version: str
    verdict_seal: str
    reason: str = Field(description="why a person must decide")
    created: str
    deadline: str = Field(description="ISO 8601 in UTC; without a decision by then the version is rejected")

    @property
    def expired(self) -> bool:
        """Whether the time to decide is over."""
        return datetime.now(UTC) >= datetime.fromisoformat(self.deadline)


class Decision(_Frozen):
    """What a person, or the passing of time, decided."""

    decision: Literal["approve", "reject"]
    approver: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    time: str
    verdict_seal: str


def request_key(name: str, version: str) -> str:
    """The store key of a request."""
    return f"approvals/{name}/{version}/request.json"


def request_approval(store: Store, name: str, verdict: Verdict, reason: str, hours: float) -> Request:
    """Open a request, or return the one that was opened before for the same verdict."""
    now = datetime.now(UTC)
    request = Request(
        release=name,
        version=verdict.version,
        verdict_seal=verdict.sealed,
        reason=reason,
        created=now.isoformat(timespec="seconds"),
        deadline=(now + timedelta(hours=hours)).isoformat(timespec="seconds"),
    )
    try:
        store.create_json(request_key(name, verdict.version), request.model_dump(mode="json"))
    except AlreadyExists:
        known = find_request(store, name, verdict.version)
        if known is not None and known.verdict_seal == verdict.sealed:
            return known
        # Judged again, against a newer champion: the old question is void, and so is any answer to it.
        store.write_json(request_key(name, verdict.version), request.model_dump(mode="json"))
    return request


def find_request(store: Store, name: str, version: str) -> Request | None:
    """The request about a version, or None."""
    try:
        return Request.model_validate(store.read_json(request_key(name, version)))
    except NotFound:
        return None


def find_decision(store: Store, name: str, version: str, seal: str) -> Decision | None:
    """The decision about a version's verdict, or None."""
    try:
        return Decision.model_validate(store.read_json(f"approvals/{name}/{version}/decision-{seal}.json"))
    except NotFound:
        return None


def decide_request(
    store: Store, name: str, verdict: Verdict, decision: Literal["approve", "reject"], approver: str, reason: str
) -> Decision:
    """Record the decision about a verdict; the same person deciding the same again gets the recorded one back.

    Raises DecisionMade when it was decided otherwise or by somebody else, by its gates, or by a promotion, and
    UserError without approver or reason.
    """
    about = f"{name} version {verdict.version}"
    if verdict.status == "fail":
        raise DecisionMade(f"{about} was rejected by its gates; nobody can decide otherwise")
    if not approver.strip() or not reason.strip():
        raise UserError("a decision needs the name of who decides and a reason; the ledger keeps both")
    request = find_request(store, name, verdict.version)
    known = find_decision(store, name, verdict.version, verdict.sealed)
    if known is None and request is not None and request.verdict_seal == verdict.sealed and request.expired:
        decision, approver, reason = "reject", TIMED_OUT, f"nobody decided before {request.deadline}"
    entry = next((e for e in reversed(Ledger(store, name).entries()) if e.verdict_seal == verdict.sealed), None)
    if known is None and entry is not None and decision == "reject":
        raise DecisionMade(f"{about} came into Production by entry {entry.number}; nightshift rollback takes it out")
    made = Decision(
        decision=decision,
        approver=approver.strip(),
        reason=reason.strip(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        verdict_seal=verdict.sealed,
    )
    try:
        store.create_json(f"approvals/{name}/{verdict.version}/decision-{verdict.sealed}.json", made.model_dump())
    except AlreadyExists:
        known = find_decision(store, name, verdict.version, verdict.sealed)
        if known is None or (known.decision, known.approver) != (made.decision, made.approver):
            told = f"{known.decision} by {known.approver} at {known.time}: {known.reason}" if known else "unreadable"
            raise DecisionMade(f"{about} was decided before ({told})") from None
        return known
    return made


def pending_requests(store: Store, name: str) -> list[Request]:
    """Requests without a decision, oldest first; those past their deadline among them."""
    found = []
    for key in store.list(f"approvals/{name}"):
        if not key.endswith("/request.json"):
            continue
        request = Request.model_validate(store.read_json(key))
        if find_decision(store, name, request.version, request.verdict_seal) is None:
            found.append(request)
    return sorted(found, key=lambda request: (request.created, int(request.version)))
