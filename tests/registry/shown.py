"""What MLflow shows about a release, for tests to look at."""

from __future__ import annotations

from infra import tracking
from registry.releases import PRODUCTION_ALIAS


def aliases_of(name: str) -> dict[str, str]:
    """Alias -> version of a registered model."""
    found = tracking.client().get_registered_model(name).aliases
    return {alias: str(version) for alias, version in found.items()}


def production_version(name: str) -> str | None:
    """The version that the Production alias points at."""
    return aliases_of(name).get(PRODUCTION_ALIAS)
