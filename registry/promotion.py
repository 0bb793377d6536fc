"""Promotion: the one door to Production.

`promote` lets a sealed verdict through, or refuses and says why; the decision is one entry of the ledger. What MLflow
shows (the aliases Production and Previous, the stage Production) is a projection of the ledger's head that `project`
makes again after any crash; every command begins with it. A person who moves the Production alias in MLflow is heard:
a version with a passed verdict enters the ledger, one without is flagged and, by policy, taken back.
Limits: MLflow keeps no history of its aliases, so a move is recognised by comparison with the last projection; a move
made while a promotion waits for its projection counts as older than the promotion. Actors and approvers are
self-declared: neither MLflow nor open-source Prefect knows who is calling.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from infra import tracking
from infra.errors import NightshiftError
from infra.store import Store
from registry import releases
from registry.ledger import Ledger, LedgerBroken, LedgerEntry, StalePromotion
from registry.verdict import Verdict, VerdictAltered, check

PROJECTED_TAG = "nightshift.projected"  # on the registered model: "<entry number>:<version>" as last projected
ROUNDS = 5  # projections repeated when the ledger moves underneath; five promotions in a row would be a fault
SETTLE_SECONDS = 0.3  # a move seen twice this far apart is a person's, not another process's half-made projection


class PromotionRefused(NightshiftError):
    """A version that may not enter Production, with the reason."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What MLflow shows after `project`.

    `entry` is the ledger's head (None: nothing promoted yet), `changed` whether anything had to be written, `heard`
    whether a person's move became an entry, and `unsanctioned` the version that the Production alias was found on
    without a passed verdict (left there, or taken back when so asked).
    """

    entry: LedgerEntry | None
    changed: bool = False
    heard: bool = False
    unsanctioned: str | None = None


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
    if verdict.release != name:
        raise PromotionRefused(f"the verdict is about {verdict.release}, not {name}")
    if not actor.strip() or not reason.strip():
        raise PromotionRefused(f"promoting {about} needs an actor and a reason; the ledger records both")
    if verdict.status == "fail":
        missed = [gate.id for gate in verdict.gates if gate.status == "fail"]
        raise PromotionRefused(f"{about} failed its gates ({', '.join(missed) or 'there are none'})")
    if verdict.status == "needs_approval" and not (approver or "").strip():
        raise PromotionRefused(f"{about} needs approval; name an approver")
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
    release = releases.get_release(name, verdict.version)
    if release.adapter_hash != verdict.adapter_hash:
        raise PromotionRefused(
            f"{about} is registered with adapter {release.adapter_hash or 'unknown'}, judged was {verdict.adapter_hash}"
        )
    attached = release.tags.get(releases.SEAL_TAG)
    if attached is None:
        releases.attach_verdict(name, verdict.version, verdict)
    elif attached != verdict.sealed:
        raise PromotionRefused(f"{about} carries another verdict than the one presented; use that, or judge it again")
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
        # A create whose answer was lost is repeated by the S3 client and meets its own entry; that one counts.
        entry = ledger.head()
        if entry is None or entry.verdict_seal != verdict.sealed:
            raise
    project(store, name)
    return entry


def _require_champion(verdict: Verdict, head: LedgerEntry | None, about: str) -> None:
    now = (head.version, head.adapter_hash) if head else (None, None)
    if (verdict.champion_version, verdict.champion_adapter_hash) != now:
        compared = f"version {verdict.champion_version}" if verdict.champion_version else "no champion"
        stands = f"version {head.version} (entry {head.number})" if head else "none"
        raise StalePromotion(f"{about} was judged against {compared}, the champion is now {stands}; evaluate it again")


def project(store: Store, name: str, take_back: bool = False) -> Projection:
    """Make MLflow show the ledger's head, hear a person's move of the Production alias, and change nothing else.

    Safe to call at any time and from several processes. `take_back` is the policy for a version that a person put into
    Production without a passed verdict: True moves the alias back to the head. Raises LedgerBroken when the
    ledger is shorter than what MLflow was last told, and MLflow's or the store's own errors.
    """
    heard, changed = False, False
    for _ in range(ROUNDS):
        # MLflow first: the ledger only grows, so whatever MLflow was told before this line is in it.
        shown = _shown(name)
        entry = Ledger(store, name).head()
        if shown is None:
            if entry is not None:
                raise NightshiftError(f"the ledger has {name} in Production, MLflow has no such model; restore MLflow")
            return Projection(None)
        projected_number, projected_version, production = shown
        if projected_number > (entry.number if entry else 0):
            raise LedgerBroken(
                f"ledger of {name}: entry {projected_number} is missing, MLflow showed it; restore the store"
            )
        head_version = entry.version if entry else None
        unsanctioned = None
        if production not in {None, projected_version, head_version}:
            time.sleep(SETTLE_SECONDS)
            if _shown(name) != shown:
                continue
            if _has_passed(name, production):
                _hear(store, name, production, entry)
                heard = True
                continue
            unsanctioned = production
            waiting = entry is not None and projected_number < entry.number
            if not take_back and not waiting:
                return Projection(entry, changed, heard, unsanctioned)
        changed |= _show(name, entry, f"{projected_number}:{projected_version}")
        if Ledger(store, name).head() == entry:
            return Projection(entry, changed, heard, unsanctioned)
    raise NightshiftError(f"Production of {name} changed {ROUNDS} times while it was shown in MLflow; try again")


def reject(name: str, version: str, verdict: Verdict, reason: str) -> None:
    """Record on a version that it was not promoted: its verdict, and `reason` in words."""
    if not reason.strip():
        raise PromotionRefused(f"rejecting {name} version {version} needs a reason")
    releases.attach_verdict(name, version, verdict)
    tracking.client().set_model_version_tag(name, str(version), releases.REJECTED_TAG, reason)


def _shown(name: str) -> tuple[int, str | None, str | None] | None:
    """What MLflow was last told (entry number, version) and where Production is now; None: no such model."""
    from mlflow.exceptions import MlflowException

    try:
        model = tracking.client().get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    number, _, version = model.tags.get(PROJECTED_TAG, "0:").partition(":")
    production = model.aliases.get(releases.PRODUCTION_ALIAS)
    return int(number), version or None, None if production is None else str(production)


def _show(name: str, entry: LedgerEntry | None, projected: str) -> bool:
    """Write aliases, stage and the projection's own tag (last: without it the next call repeats all of this)."""
    client, aliases = tracking.client(), releases.aliases_of(name)
    wanted = {
        releases.PREVIOUS_ALIAS: entry.previous_version if entry else None,
        releases.PRODUCTION_ALIAS: entry.version if entry else None,
    }
    changed = False
    for alias, version in wanted.items():
        if aliases.get(alias) == version:
            continue
        changed = True
        if version is None:
            client.delete_registered_model_alias(name, alias)
        else:
            client.set_registered_model_alias(name, alias, version)
    if entry is None:
        return changed
    changed |= releases.set_stage_production(name, entry.version)
    told = f"{entry.number}:{entry.version}"
    if told != projected:
        client.set_registered_model_tag(name, PROJECTED_TAG, told)
        changed = True
    return changed


def _has_passed(name: str, version: str) -> bool:
    """Whether a version carries an unaltered passed verdict on the adapter it is registered with."""
    try:
        verdict = releases.attached_verdict(name, version)
    except (VerdictAltered, releases.AdapterChanged):
        return False
    return verdict is not None and verdict.status == "pass"


def _hear(store: Store, name: str, version: str, head: LedgerEntry | None) -> None:
    verdict = releases.attached_verdict(name, version)
    try:
        Ledger(store, name).append(
            "manual",
            after=head,
            version=version,
            adapter_hash=verdict.adapter_hash,
            champion_at_decision=verdict.champion_version,
            verdict_seal=verdict.sealed,
            actor="a person in MLflow",
            reason=f"the {releases.PRODUCTION_ALIAS} alias was moved to version {version} in MLflow",
            night=verdict.night,
        )
    except StalePromotion:
        return  # another process moved the ledger first; the next round reads what it wrote
