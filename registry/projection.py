"""The projection: what MLflow shows (aliases Production and Previous, stage Production) follows the ledger's head.

`project` repairs it after any crash; every command begins with it. A person who sets Production in MLflow, by alias or
by stage, is heard: a version with a passed verdict enters the ledger as a manual promotion, one without is flagged and,
by policy, taken back. Limits: MLflow keeps no history of its aliases, so a move is recognised by comparison with the
last projection; an alias or stage that a person merely removed is set again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from infra import tracking
from infra.errors import Busy, NightshiftError, NotFound
from infra.lease import Lease
from infra.store import Store
from registry import releases
from registry.approval import DecisionMade, decide_request, find_decision, find_request
from registry.attached import attached_verdict, find_verdict
from registry.download import AdapterChanged
from registry.events import announce
from registry.ledger import Ledger, LedgerBroken, LedgerEntry, StalePromotion
from registry.stages import set_stage_production, staged_production
from registry.verdict import Verdict, VerdictAltered

PROJECTED_TAG = "nightshift.projected"  # on the registered model: "<entry number>:<version>" as last projected
ROUNDS = 5  # repetitions when the ledger moves underneath; five changes in a row would be a fault
PATIENCE = 120.0  # seconds to wait for another projection; a dead one on another machine is given up after 60
POLL = 0.1
KEPT_LEASES = 20


@dataclass(frozen=True, slots=True)
class Projection:
    """What MLflow shows after `project`.

    `entry` is the ledger's head (None: nothing promoted yet), `changed` whether anything had to be written, `heard`
    whether a person's move became an entry, and `unsanctioned` the version (several: separated by commas) that was
    found in Production without a passed verdict; `taken_back` says that Production was moved away from it.
    """

    entry: LedgerEntry | None
    changed: bool = False
    heard: bool = False
    unsanctioned: str | None = None
    taken_back: bool = False


@dataclass(frozen=True, slots=True)
class _Shown:
    """What MLflow was last told, and where its aliases and its stage Production stand."""

    number: int
    version: str | None
    production: str | None
    previous: str | None
    staged: tuple[str, ...]

    def agrees(self, entry: LedgerEntry | None) -> bool:
        """Whether all of it is what `entry` asks for."""
        if entry is None:
            return self == _Shown(0, None, None, None, ())
        wanted = _Shown(entry.number, entry.version, entry.version, entry.previous_version, (entry.version,))
        return self == wanted

    def moved_to(self, entry: LedgerEntry | None) -> list[str]:
        """Versions in Production that neither the head nor the last projection put there: a person did."""
        ours = {None, self.version, entry.version if entry else None}
        return list(dict.fromkeys(v for v in (self.production, *self.staged) if v not in ours))


def project(store: Store, name: str, take_back: bool = False) -> Projection:
    """Make MLflow show the ledger's head, hear a person's move, and change nothing else.

    Safe to call at any time and from several processes; only one at a time writes. `take_back` is the policy for a
    version that a person put into Production without a passed verdict: True gives Production back to the head. Raises
    LedgerBroken when the ledger is shorter than what MLflow was last told, and MLflow's or the store's own errors.
    """
    shown, entry = _state(store, name)
    if shown is None or shown.agrees(entry):
        return Projection(entry)
    with _alone(store, name):
        return _project_alone(store, name, take_back)


def _project_alone(store: Store, name: str, take_back: bool) -> Projection:
    heard = changed = False
    for _ in range(ROUNDS):
        shown, entry = _state(store, name)
        if shown is None:
            return Projection(None)
        moved = shown.moved_to(entry)
        if len(moved) == 1 and (verdict := sanctioned(store, name, moved[0])) is not None:
            heard |= _hear(store, name, verdict, entry)
            continue
        unsanctioned = ", ".join(moved) or None
        waiting = entry is not None and shown.number < entry.number
        if unsanctioned and not take_back and not waiting:
            return Projection(entry, changed, heard, unsanctioned)
        changed |= _show(name, entry, shown)
        if Ledger(store, name).head() == entry:
            return Projection(entry, changed, heard, unsanctioned, taken_back=unsanctioned is not None)
    raise NightshiftError(f"Production of {name} changed {ROUNDS} times while it was shown in MLflow; try again")


@contextmanager
def _alone(store: Store, name: str) -> Iterator[None]:
    """One projection at a time: a half-made one of another process would look like a person's move."""
    deadline = time.monotonic() + PATIENCE
    while True:
        lease = Lease(store, f"project-{name}")
        try:
            lease.__enter__()
            break
        except (Busy, NotFound):
            if time.monotonic() > deadline:
                raise Busy(f"another process is showing {name} in MLflow; look at it if this lasts") from None
            time.sleep(POLL * (0.5 + random.random()))
    try:
        yield
    finally:
        lease.__exit__(None, None, None)
        if lease.number % KEPT_LEASES == 0:
            _forget_leases(store, lease)


def _forget_leases(store: Store, lease: Lease) -> None:
    for key in store.list(f"leases/{lease.name}"):
        if int(key.rpartition("/")[2].partition(".")[0]) < lease.number:
            store.delete(key)


def _state(store: Store, name: str) -> tuple[_Shown | None, LedgerEntry | None]:
    # MLflow first: the ledger only grows, so whatever MLflow was told before this line is in it.
    shown = _shown(name)
    entry = Ledger(store, name).head()
    if shown is None and entry is not None:
        raise NightshiftError(f"the ledger has {name} in Production, MLflow has no such model; restore MLflow")
    if shown is not None and shown.number > (entry.number if entry else 0):
        raise LedgerBroken(f"ledger of {name}: entry {shown.number} is missing, MLflow showed it; restore the store")
    return shown, entry


def _shown(name: str) -> _Shown | None:
    """What MLflow shows; None only when it says that there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        model = tracking.client().get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    number, _, version = model.tags.get(PROJECTED_TAG, "0:").partition(":")
    aliases = {alias: str(version) for alias, version in model.aliases.items()}
    return _Shown(
        int(number),
        version or None,
        aliases.get(releases.PRODUCTION_ALIAS),
        aliases.get(releases.PREVIOUS_ALIAS),
        tuple(staged_production(name)),
    )


def _show(name: str, entry: LedgerEntry | None, shown: _Shown) -> bool:
    """Write aliases, stage and the projection's own tag (last: without it the next call repeats all of this)."""
    client, changed = tracking.client(), False
    wanted = {
        releases.PREVIOUS_ALIAS: (shown.previous, entry.previous_version if entry else None),
        releases.PRODUCTION_ALIAS: (shown.production, entry.version if entry else None),
    }
    for alias, (now, version) in wanted.items():
        if now == version:
            continue
        changed = True
        if version is None:
            client.delete_registered_model_alias(name, alias)
        else:
            client.set_registered_model_alias(name, alias, version)
    changed |= set_stage_production(name, entry.version if entry else None)
    if entry is not None and (shown.number, shown.version) != (entry.number, entry.version):
        news = "rolled-back" if entry.action == "rollback" else "promoted"
        announce(news, name, entry.version, entry.hash, entry.model_dump(mode="json"), entry.time)
        client.set_registered_model_tag(name, PROJECTED_TAG, f"{entry.number}:{entry.version}")
        changed = True
    return changed


def verify(store: Store, name: str) -> int:
    """The number of ledger entries, after checking the chain, that MLflow knows of no later one, and that every
    verdict an entry rests on is there and unaltered.

    Raises LedgerBroken naming the entry at fault.
    """
    _state(store, name)
    entries = Ledger(store, name).entries()
    for entry in entries:
        verdict = find_verdict(name, entry.version, entry.verdict_seal) if entry.verdict_seal else None
        if verdict is None:
            raise LedgerBroken(f"ledger of {name}: the verdict behind entry {entry.number} is not in MLflow")
        if verdict.adapter_hash != entry.adapter_hash or verdict.status == "fail":
            raise LedgerBroken(f"ledger of {name}: entry {entry.number} does not follow from its verdict")
    return len(entries)


def sanctioned(store: Store, name: str, version: str) -> Verdict | None:
    """The unaltered, passed verdict of a version on the adapter it is registered with, unless a person rejected it."""
    try:
        verdict = attached_verdict(name, version)
    except (VerdictAltered, AdapterChanged):
        return None
    if verdict is None or verdict.status == "fail":
        return None
    decision = find_decision(store, name, version, verdict.sealed)
    if decision is not None:
        return verdict if decision.decision == "approve" else None
    return verdict if verdict.status == "pass" else None


def _hear(store: Store, name: str, verdict: Verdict, head: LedgerEntry | None) -> bool:
    """Make a person's move an entry; False when the ledger moved, or when its time to be approved is over."""
    person, why = "a person in MLflow", f"{releases.PRODUCTION_ALIAS} was set to version {verdict.version} in MLflow"
    request = find_request(store, name, verdict.version)
    try:
        if request is not None and request.verdict_seal == verdict.sealed:
            # Whoever puts a waiting version into Production has decided; else time would reject what serves.
            decision = find_decision(store, name, verdict.version, verdict.sealed)
            decision = decision or decide_request(store, name, verdict, "approve", person, why)
            if decision.decision == "reject":
                return False
        Ledger(store, name).append(
            "manual",
            after=head,
            version=verdict.version,
            adapter_hash=verdict.adapter_hash,
            champion_at_decision=verdict.champion_version,
            verdict_seal=verdict.sealed,
            actor=person,
            reason=why,
            night=verdict.night,
        )
    except (StalePromotion, DecisionMade):
        return False  # another process moved the ledger or decided first; the next round reads what it wrote
    return True
