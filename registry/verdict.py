"""The verdict: what the gates decided about one adapter, sealed so that nothing changes on its way to Production.

Pure. The seal is a fingerprint over every field: it finds alterations (a status turned, a threshold lowered, the
verdict of another version presented), by accident or by hand. Limits: it is no signature. Whoever may write to the
store and to MLflow can compute a seal too; the ledger's hash chain then shows what was promoted on whose word.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, model_validator

from infra.errors import NightshiftError
from infra.hashing import fingerprint
from registry.gates import GateOutcome, Status, worst

SCHEMA_VERSION = 1


class VerdictAltered(NightshiftError):
    """A verdict whose content is not what was sealed."""


class Verdict(BaseModel):
    """The outcome of all gates for one registered version, against one champion, on one test set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(default=SCHEMA_VERSION, description="version of this document's shape")
    status: Status = Field(description="the worst of the gates; fail when there are none")
    release: str = Field(description="name of the registered model")
    version: str = Field(description="the version judged")
    adapter_hash: str = Field(description="fingerprint of the adapter's files that were evaluated")
    test_fingerprint: str = Field(description="fingerprint of the test set that decided")
    champion_version: str | None = Field(description="the version in Production that was compared with; None: none yet")
    champion_adapter_hash: str | None = Field(description="fingerprint of the champion's files; None: none yet")
    gates: tuple[GateOutcome, ...] = Field(description="every rule's outcome with its evidence")
    night: str = Field(description="key of the night that judged")
    created: str = Field(description="when, ISO 8601 in UTC")
    sealed: str = Field(default="", description="the seal taken when the verdict was reached")

    @model_validator(mode="after")
    def _check(self) -> Verdict:
        if (self.champion_version is None) != (self.champion_adapter_hash is None):
            raise ValueError("champion_version and champion_adapter_hash are both given or both absent")
        return self

    def seal(self) -> str:
        """The fingerprint over all content except the stored seal."""
        return fingerprint(self.model_dump(mode="json", exclude={"sealed"}))


def decide(
    outcomes: Sequence[GateOutcome],
    *,
    release: str,
    version: str,
    adapter_hash: str,
    test_fingerprint: str,
    champion_version: str | None,
    champion_adapter_hash: str | None,
    night: str,
    created: str | None = None,
) -> Verdict:
    """The sealed verdict over `outcomes`; its status is the worst of them, and `fail` when there are none.

    A night that may be resumed keeps the verdict it reached: judged anew, only `created` differs, but so does the seal.
    """
    verdict = Verdict(
        status=worst(outcomes),
        release=release,
        version=str(version),
        adapter_hash=adapter_hash,
        test_fingerprint=test_fingerprint,
        champion_version=champion_version,
        champion_adapter_hash=champion_adapter_hash,
        gates=tuple(outcomes),
        night=night,
        created=created or datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return verdict.model_copy(update={"sealed": verdict.seal()})


def check(verdict: Verdict) -> None:
    """Raise VerdictAltered unless the verdict is exactly what was sealed and its status follows from its gates."""
    about = f"the verdict on {verdict.release} version {verdict.version}"
    if not verdict.sealed:
        raise VerdictAltered(f"{about} carries no seal; judge the gates again")
    if verdict.sealed != verdict.seal():
        raise VerdictAltered(f"{about} was altered after it was sealed; judge the gates again")
    if verdict.status != worst(verdict.gates):
        raise VerdictAltered(f"{about} says {verdict.status}, its gates say {worst(verdict.gates)}; judge them again")
