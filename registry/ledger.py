"""The ledger: the append-only history of what was in Production, and the only place where that is decided.

One entry is one key of the store, created conditionally: of several rivals for a number exactly one succeeds, without
a lock. Entries are chained by sha256, so that a changed, missing or reordered entry is found by whoever reads next.
Limits: the chain cannot show that its newest entries were cut off; `registry.projection` compares its length with what
MLflow was last told.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import AlreadyExists, NightshiftError, UserError
from infra.hashing import canonical_json
from infra.store import Store

Action = Literal["promote", "rollback", "manual"]

GENESIS = "0" * 64  # what the first entry names as its predecessor


class StalePromotion(NightshiftError):
    """Production changed since the decision was made; somebody else promoted first."""


class LedgerBroken(NightshiftError):
    """An entry is missing, altered or unreadable."""


class LedgerEntry(BaseModel):
    """One change of Production."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=1, description="1 for the first promotion, then without gaps")
    action: Action = Field(description="what happened; manual: a person moved the alias in MLflow")
    version: str = Field(description="the version in Production from here on")
    adapter_hash: str = Field(description="fingerprint of that version's adapter files")
    previous_version: str | None = Field(description="the version it replaced; None: there was none")
    champion_at_decision: str | None = Field(description="the version the decision compared with; None: there was none")
    verdict_seal: str | None = Field(description="seal of the verdict it rests on")
    actor: str = Field(description="who or what did it, self-declared")
    approver: str | None = Field(default=None, description="who approved it where approval was needed, self-declared")
    reason: str = Field(description="why, in words")
    night: str | None = Field(description="key of the night it came from")
    time: str = Field(description="when, ISO 8601 in UTC")
    previous_hash: str = Field(description="hash of the entry before; zeros for the first")
    hash: str = Field(default="", description="sha256 over all other fields")

    def compute_hash(self) -> str:
        """The sha256 (64 hex digits) over every field but `hash`."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json", exclude={"hash"}))).hexdigest()


def check_name(name: str) -> None:
    """Raise UserError unless `name` can name a release: it becomes a folder of the store and part of MLflow queries."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(
            f"release name {name!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit"
        )


def known_releases(store: Store) -> list[str]:
    """Names of the releases that have a ledger."""
    return sorted({key.split("/")[1] for key in store.list("ledger")})


def chosen_release(store: Store, name: str | None) -> str:
    """The release that is meant: `name`, or the only one that was ever promoted; raises UserError otherwise."""
    known = known_releases(store)
    if not known:
        raise UserError("nothing is in Production yet: run `nightshift retrain` first")
    if name is None and len(known) > 1:
        raise UserError(f"several releases are in Production; choose one with --release: {', '.join(known)}")
    if name is not None and name not in known:
        raise UserError(f"release {name!r} has nothing in Production; these have: {', '.join(known)}")
    return name or known[0]


class Ledger:
    """The history of one release name in a store, under `ledger/<name>/<00000001>.json`."""

    def __init__(self, store: Store, name: str) -> None:
        check_name(name)
        self.store, self.name, self.prefix = store, name, f"ledger/{name}"

    def key(self, number: int) -> str:
        """The store key of entry `number`."""
        return f"{self.prefix}/{number:08d}.json"

    def entries(self) -> list[LedgerEntry]:
        """All entries, oldest first, verified; raises LedgerBroken naming the entry at fault."""
        keys = self.store.list(self.prefix)
        found: list[LedgerEntry] = []
        for number, key in enumerate(keys, start=1):
            if key != self.key(number):
                raise LedgerBroken(f"ledger of {self.name}: entry {number} is missing ({key!r} stands in its place)")
            found.append(self._read(number, found[-1].hash if found else GENESIS))
        return found

    def _read(self, number: int, previous_hash: str) -> LedgerEntry:
        try:
            entry = LedgerEntry.model_validate_json(self.store.read(self.key(number)))
        except ValidationError:
            raise LedgerBroken(f"ledger of {self.name}: entry {number} cannot be read as an entry") from None
        if entry.hash != entry.compute_hash() or entry.number != number:
            raise LedgerBroken(f"ledger of {self.name}: entry {number} was altered")
        if entry.previous_hash != previous_hash:
            raise LedgerBroken(f"ledger of {self.name}: entry {number} does not follow from entry {number - 1}")
        return entry

    def verify(self) -> int:
        """The number of entries, after checking every one; raises LedgerBroken naming the entry at fault."""
        return len(self.entries())

    def head(self) -> LedgerEntry | None:
        """The newest entry, which says what Production is; None when nothing was ever promoted."""
        entries = self.entries()
        return entries[-1] if entries else None

    def append(
        self,
        action: Action,
        *,
        after: LedgerEntry | None,
        version: str,
        adapter_hash: str,
        champion_at_decision: str | None,
        verdict_seal: str | None,
        actor: str,
        reason: str,
        night: str | None = None,
        approver: str | None = None,
    ) -> LedgerEntry:
        """Write the entry that follows `after`, the head on which the decision rests (None: an empty ledger).

        Raises StalePromotion when `after` is no longer the head, whoever won and however closely.
        """
        head = self.head()
        if head != after:
            raise self._stale(head)
        entry = LedgerEntry(
            number=after.number + 1 if after else 1,
            action=action,
            version=version,
            adapter_hash=adapter_hash,
            previous_version=after.version if after else None,
            champion_at_decision=champion_at_decision,
            verdict_seal=verdict_seal,
            actor=actor,
            approver=approver,
            reason=reason,
            night=night,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            previous_hash=after.hash if after else GENESIS,
        )
        entry = entry.model_copy(update={"hash": entry.compute_hash()})
        try:
            self.store.create_json(self.key(entry.number), entry.model_dump(mode="json"))
        except AlreadyExists:
            # A create whose answer was lost is repeated by the S3 client and meets its own entry; that one counts.
            entries = self.entries()
            if entry not in entries:
                raise self._stale(entries[-1] if entries else None) from None
        return entry

    def _stale(self, head: LedgerEntry | None) -> StalePromotion:
        now = f"entry {head.number}: version {head.version} by {head.actor}" if head else "empty"
        return StalePromotion(
            f"the ledger of {self.name} moved on ({now}) since this decision; evaluate against the new champion"
        )
