"""Prefect events about releases: nightshift.promoted, nightshift.rejected, nightshift.rolled-back, nightshift.drift.

An automation may notify, retrain or page on them. Each event carries an id made of what it reports, so that a command
repeated after a crash sends it again and Prefect keeps one. Limits: without a Prefect server nobody listens and
nothing is sent; an event is news, the ledger is the truth.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

News = Literal["promoted", "rejected", "rolled-back", "drift"]

_NAMESPACE = uuid.UUID("6f0a3c1e-5a58-4c8f-9c83-0e2f7b0f5a11")  # any fixed one: ids of ours differ from others'


def announce(news: News, release: str, version: str | None, key: str, about: dict[str, Any], time: str = "") -> None:
    """Send one event about `release`; `key` tells it from every other (a ledger hash, a verdict's seal)."""
    from prefect.context import FlowRunContext
    from prefect.events import emit_event
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value() is None and FlowRunContext.get() is None:
        return
    resource = {
        "prefect.resource.id": f"nightshift.release.{release}",
        "prefect.resource.name": release,
        "nightshift.version": version or "",
        "nightshift.finding": str(about.get("code", "")),  # of drift, so that a trigger can choose
    }
    emit_event(
        f"nightshift.{news}",
        resource,
        occurred=datetime.fromisoformat(time) if time else None,
        payload=about,
        id=uuid.uuid5(_NAMESPACE, f"{news}/{release}/{key}"),
    )
