"""Drift of reality: where what runs, is shown or is said differs from what the ledger decided, and what to do about it.

Nothing is changed here. Limits: a process that serves is known by the note it leaves in the store; the note of one that
was killed on another machine stays until somebody deletes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import psutil

from infra.errors import NotFound, first_line
from infra.lease import place_of_processes
from infra.store import Store
from registry.approval import pending_requests
from registry.artifacts import ArtifactsGone, check_artifacts
from registry.attached import find_verdict
from registry.ledger import LedgerEntry
from registry.projection import Projection
from registry.releases import Rejected
from registry.verdict import VerdictAltered
from tasks.data.feedback import Feedback, read_feedback
from tasks.evaluation.statistics import wilson_interval

LEAST_JUDGEMENTS = 10
WRONG_SHARE = 0.5  # of judged answers; people rather speak up about wrong ones, so a few mean nothing

Code = Literal["unsanctioned", "no_verdict", "artifacts_gone", "serving_differs", "feedback_bad", "unreadable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference: what is so, and what to do. `error` is about Production itself, `warning` about what follows."""

    code: Code
    level: Literal["error", "warning"]
    release: str
    version: str
    summary: str
    resolution: str

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return asdict(self)


def find_drift(store: Store, name: str, projection: Projection, feedback: Store | None = None) -> list[Finding]:
    """Everything about release `name` that is not as the ledger says, worst first. `projection` is what
    `registry.projection.project` just returned; without a `feedback` store nothing is said about feedback."""
    found = list(_unsanctioned(name, projection))
    if projection.entry is not None:
        found += _verdict(name, projection.entry)
        found += _artifacts(name, projection.entry)
        found += _serving(store, name, projection.entry)
        if feedback is not None:
            found += _feedback(feedback, name, projection.entry)
    return sorted(found, key=lambda finding: finding.level)


def unreadable(name: str, error: Exception) -> Finding:
    """The finding that a release's ledger, verdicts or model cannot be read, so that nothing can be said about it."""
    resolution = "mend this first; until then nothing can be promoted or rolled back"
    return Finding("unreadable", "error", name, "", first_line(error), resolution)


def _unsanctioned(name: str, projection: Projection) -> Iterator[Finding]:
    if projection.unsanctioned is None:
        return
    entry, version = projection.entry, projection.unsanctioned
    says = f"version {entry.version} (entry {entry.number})" if entry else "nothing"
    summary = f"MLflow had version {version} in Production, which has no passed verdict; the ledger says {says}"
    resolution = (
        "nightshift status --take-back gives Production back; only a version that passed its gates can go there"
    )
    if projection.taken_back:
        summary, resolution = f"{summary}; it was taken back", "ask who set it; a version needs a passed verdict"
    yield Finding("unsanctioned", "error", name, version, summary, resolution)


def _verdict(name: str, entry: LedgerEntry) -> Iterator[Finding]:
    try:
        verdict = find_verdict(name, entry.version, entry.verdict_seal) if entry.verdict_seal else None
        told = "is not in MLflow"
    except VerdictAltered as error:
        verdict, told = None, f"does not match its seal ({error})"
    if verdict is None:
        summary = f"version {entry.version} is in Production by entry {entry.number}, whose verdict {told}"
        resolution = "restore MLflow's artifacts, or nightshift rollback to a version that has its verdict"
        yield Finding("no_verdict", "error", name, entry.version, summary, resolution)


def _artifacts(name: str, entry: LedgerEntry) -> Iterator[Finding]:
    try:
        check_artifacts(name, entry.version)
    except ArtifactsGone as error:
        resolution = "restore MLflow's artifacts, or nightshift rollback to a version whose files are there"
        yield Finding("artifacts_gone", "error", name, entry.version, str(error), resolution)


def _serving(store: Store, name: str, entry: LedgerEntry) -> Iterator[Finding]:
    for key in store.list(f"serving/{name}"):
        process = key.rpartition("/")[2].removesuffix(".json")
        try:
            note = store.read_json(key)
        except NotFound:
            continue  # it stopped just now
        if note.get("place") == place_of_processes() and not psutil.pid_exists(note["pid"]):
            continue  # it was killed here
        version = str(note["version"])
        if version != entry.version:
            summary = f"{process} serves version {version}, in Production is {entry.version}"
            resolution = (
                f"it should switch within seconds; if not, restart it, or delete {key} from the store if it died"
            )
            yield Finding("serving_differs", "warning", name, version, summary, resolution)


def _feedback(feedback: Store, name: str, entry: LedgerEntry) -> Iterator[Finding]:
    about = (record for _, record in read_feedback(feedback) if isinstance(record, Feedback))
    verdicts = [r.verdict for r in about if (r.release, r.version) == (name, entry.version)]
    wrong = verdicts.count("wrong")
    if len(verdicts) < LEAST_JUDGEMENTS:
        return
    low, _ = wilson_interval(wrong, len(verdicts))
    if low > WRONG_SHARE:
        summary = f"people judged {wrong} of {len(verdicts)} answers of version {entry.version} wrong"
        resolution = "read them (nightshift feedback --list), then nightshift rollback or retrain with the corrections"
        yield Finding("feedback_bad", "warning", name, entry.version, summary, resolution)


def describe(
    store: Store, name: str, projection: Projection, findings: list[Finding], rejected: Rejected | None = None
) -> dict[str, Any]:
    """One release for `nightshift status --json`: what is in Production, who waits, who was rejected since, and every
    finding."""
    entry = projection.entry
    production = None
    if entry is not None:
        about = entry.model_dump(mode="json")
        kept = ("version", "action", "actor", "approver", "reason", "time", "night", "adapter_hash", "verdict_seal")
        production = {key: about[key] for key in kept} | {"entry": entry.number}
    return {
        "release": name,
        "production": production,
        "previous": entry.previous_version if entry else None,
        "awaiting_approval": [request.model_dump(mode="json") for request in pending_requests(store, name)],
        "rejected": rejected.model_dump(mode="json") if rejected else None,
        "adopted": projection.heard,
        "repaired": projection.changed,
        "findings": [finding.to_json() for finding in findings],
    }
