"""Looking at every release: repair, hear, time out, find drift. For the `check` flow and `nightshift status` alike."""

from __future__ import annotations

from typing import Any

from infra.settings import Settings
from registry.decisions import reject_overdue
from registry.drift import describe, find_drift
from registry.ledger import known_releases
from registry.projection import project
from registry.releases import registered_names


def look(settings: Settings, names: list[str] | None = None, take_back: bool = False) -> list[dict[str, Any]]:
    """Repair, hear, time out and look for drift; one `registry.drift.describe` document a release."""
    store, feedback = settings.open_store(), settings.open_feedback()
    seen = []
    for name in sorted({*known_releases(store), *registered_names()}) if names is None else names:
        projection = project(store, name, take_back)
        reject_overdue(store, name)
        findings = find_drift(store, name, projection, feedback)
        seen.append(describe(store, name, projection, findings))
    return seen
