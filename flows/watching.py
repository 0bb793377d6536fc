"""Looking at every release: repair, hear, time out, find drift. For the `check` flow and `nightshift status` alike."""

from __future__ import annotations

from typing import Any

from infra.errors import NightshiftError, UserError
from infra.settings import Settings
from infra.store import Store
from registry.decisions import reject_overdue
from registry.drift import describe, find_drift, unreadable
from registry.ledger import known_releases
from registry.projection import Projection, project
from registry.releases import last_rejected, registered_names


def look(settings: Settings, names: list[str] | None = None, take_back: bool = False) -> list[dict[str, Any]]:
    """Repair, hear, time out and look for drift; one `registry.drift.describe` document a release.

    Raises UserError for a name that is unknown: looking at nothing would find nothing.
    """
    store, feedback = settings.open_store(), settings.open_feedback()
    known = sorted({*known_releases(store), *registered_names()})
    for name in names or ():
        if name not in known:
            raise UserError(f"no release {name!r}; known are: {', '.join(known) or 'none'}")
    return [_look_at(store, feedback, name, take_back) for name in (known if names is None else names)]


def _look_at(store: Store, feedback: Store, name: str, take_back: bool) -> dict[str, Any]:
    try:
        projection = project(store, name, take_back)
        reject_overdue(store, name)
        findings = find_drift(store, name, projection, feedback)
        rejected = last_rejected(name, projection.entry.version if projection.entry else None)
    except NightshiftError as error:  # a broken ledger of one release must not hide the others
        projection, findings, rejected = Projection(None), [unreadable(name, error)], None
    return describe(store, name, projection, findings, rejected)
