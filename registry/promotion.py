"""Promotion: the one door to Production, and the way back.

`promote` lets a sealed verdict through, or refuses and says why; `rollback` returns to a version that passed once. Each
decision is one entry of the ledger; what MLflow shows follows from it (`registry.projection`). Limits: actors and
approvers are self-declared: neither MLflow nor open-source Prefect knows who is calling.
"""

from __future__ import annotations

from infra import tracking
from infra.errors import NightshiftError
from infra.store import Store
from registry import releases
from registry.approval import find_decision
from registry.artifacts import check_artifacts
from registry.attached import attach_verdict
from registry.events import announce
from registry.ledger import Ledger, LedgerEntry, StalePromotion
from registry.projection import Projection, project, sanctioned
from registry.verdict import Verdict, check

__all__ = ["Projection", "PromotionRefused", "project", "promote", "reject", "rollback"]


class PromotionRefused(NightshiftError):
    """A version that may not enter Production, with the reason."""


def promote(
    store: Store, name: str, verdict: Verdict, actor: str, reason: str, approver: str | None = None
) -> LedgerEntry:
    """Put the version that `verdict` names into Production and return its ledger entry.

    The same verdict a second time returns the entry it made, if that is still the head. Raises PromotionRefused,
    VerdictAltered or StalePromotion (Production changed since the gates ran); any trouble with MLflow or the store
    before the entry is written promotes nothing.
    """
    check(verdict)
    about = f"{name} version {verdict.version}"
    _require_sense(store, name, verdict, actor, reason, approver)
    project(store, name)
    ledger = Ledger(store, name)
    entries = ledger.entries()
    head = entries[-1] if entries else None
    earlier = [entry for entry in entries if entry.verdict_seal == verdict.sealed]
    if earlier and earlier[-1] == head:
        return earlier[-1]
    if earlier:
        raise PromotionRefused(f"the verdict on {about} already served entry {earlier[-1].number}; evaluate it again")
    _require_champion(verdict, head, about)
    _require_registered(name, verdict, about)
    try:
        entry = ledger.append(
            "promote",
            after=head,
            version=verdict.version,
            adapter_hash=verdict.adapter_hash,
            champion_at_decision=verdict.champion_version,
            verdict_seal=verdict.sealed,
            actor=actor,
            approver=approver,
            reason=reason,
            night=verdict.night,
        )
    except StalePromotion:
        # Two who carry out the same decision at once meet here: the entry is there, whoever of them wrote it.
        entry = ledger.head()
        if entry is None or entry.verdict_seal != verdict.sealed:
            raise
    project(store, name)
    return entry


def _require_sense(
    store: Store, name: str, verdict: Verdict, actor: str, reason: str, approver: str | None = None
) -> None:
    """Refuse what the verdict alone, or a person's decision about it, already forbids."""
    about = f"{name} version {verdict.version}"
    if verdict.release != name:
        raise PromotionRefused(f"the verdict is about {verdict.release}, not {name}")
    if not actor.strip() or not reason.strip():
        raise PromotionRefused(f"promoting {about} needs an actor and a reason; the ledger records both")
    if verdict.status == "fail":
        missed = [gate.id for gate in verdict.gates if gate.status == "fail"]
        raise PromotionRefused(f"{about} failed its gates ({', '.join(missed) or 'there are none'})")
    if verdict.status == "needs_approval" and not (approver or "").strip():
        raise PromotionRefused(f"{about} needs approval; name an approver")
    decision = find_decision(store, name, verdict.version, verdict.sealed)
    if decision is not None and decision.decision == "reject":
        raise PromotionRefused(f"{about} was rejected by {decision.approver}: {decision.reason}")


def _require_champion(verdict: Verdict, head: LedgerEntry | None, about: str) -> None:
    now = (head.version, head.adapter_hash) if head else (None, None)
    if (verdict.champion_version, verdict.champion_adapter_hash) != now:
        compared = f"version {verdict.champion_version}" if verdict.champion_version else "no champion"
        stands = f"version {head.version} (entry {head.number})" if head else "none"
        raise StalePromotion(f"{about} was judged against {compared}, the champion is now {stands}; evaluate it again")


def _require_registered(name: str, verdict: Verdict, about: str) -> None:
    """The registered adapter is the judged one, and carries this verdict and no other."""
    release = releases.get_release(name, verdict.version)
    if release.adapter_hash != verdict.adapter_hash:
        raise PromotionRefused(
            f"{about} is registered with adapter {release.adapter_hash or 'unknown'}, judged was {verdict.adapter_hash}"
        )
    attached = release.tags.get(releases.SEAL_TAG)
    if attached is None:
        attach_verdict(name, verdict.version, verdict)
    elif attached != verdict.sealed:
        raise PromotionRefused(f"{about} carries another verdict than the one presented; use that, or judge it again")


def rollback(store: Store, name: str, version: str | None, actor: str, reason: str) -> LedgerEntry:
    """Return Production to `version`, which passed once, or to the one before the head when None.

    The version's files are fetched and checked first. Asked again for the version that a rollback just brought back,
    returns that entry. Raises PromotionRefused, ArtifactsGone, or StalePromotion when somebody was faster.
    """
    if not actor.strip() or not reason.strip():
        raise PromotionRefused(f"rolling back {name} needs an actor and a reason; the ledger records both")
    project(store, name)
    ledger = Ledger(store, name)
    entries = ledger.entries()
    if not entries:
        raise PromotionRefused(f"{name} has nothing in Production to roll back from")
    head = entries[-1]
    if version is None:
        # Going back twice is either a repetition after a crash or a wish for the version before: nobody can tell.
        if head.action == "rollback":
            raise PromotionRefused(
                f"entry {head.number} already rolled {name} back from version {head.previous_version} to "
                f"{head.version}; name the version to go to"
            )
        version = head.previous_version
    if version is None:
        raise PromotionRefused(f"{name} version {head.version} is the first in Production; nothing was there before")
    if version == head.version:
        if head.action == "rollback":
            return head
        raise PromotionRefused(f"{name} version {version} is in Production already")
    adapter_hash, seal, night = _passed_once(store, name, version, entries)
    if releases.get_release(name, version).adapter_hash != adapter_hash:
        raise PromotionRefused(f"{name} version {version} is now registered with another adapter than the one judged")
    check_artifacts(name, version)
    entry = ledger.append(
        "rollback",
        after=head,
        version=version,
        adapter_hash=adapter_hash,
        champion_at_decision=head.version,
        verdict_seal=seal,
        actor=actor,
        reason=reason,
        night=night,
    )
    project(store, name)
    return entry


def _passed_once(
    store: Store, name: str, version: str, entries: list[LedgerEntry]
) -> tuple[str, str | None, str | None]:
    """Adapter hash, verdict seal and night of a version that was in Production or holds a passed verdict."""
    for entry in reversed(entries):
        if entry.version == version:
            return entry.adapter_hash, entry.verdict_seal, entry.night
    verdict = sanctioned(store, name, version)
    if verdict is None:
        raise PromotionRefused(
            f"{name} version {version} never passed its gates; only a version that did can come back"
        )
    return verdict.adapter_hash, verdict.sealed, verdict.night


def reject(name: str, version: str, verdict: Verdict, reason: str, by: str = "nightshift") -> None:
    """Record on a version that it was not promoted: its verdict, and `reason` in words."""
    if not reason.strip():
        raise PromotionRefused(f"rejecting {name} version {version} needs a reason")
    attach_verdict(name, version, verdict)
    tracking.client().set_model_version_tag(name, str(version), releases.REJECTED_TAG, reason)
    about = {"release": name, "version": version, "by": by, "reason": reason, "verdict": verdict.status}
    announce("rejected", name, str(version), verdict.sealed, about)
