"""MLflow's stage Production, which its pages show beside the alias.

Stages are on their way out of MLflow; until they are gone they follow the alias.
"""

from __future__ import annotations

import warnings

from infra import tracking
from registry.releases import PRODUCTION_ALIAS


def staged_production(name: str) -> list[str]:
    """The versions under MLflow's stage Production, lowest first; a person may have put several there."""
    found = tracking.pages(tracking.client().search_model_versions, f"name = '{name}'")
    return sorted((str(v.version) for v in found if v.current_stage == PRODUCTION_ALIAS), key=int)


def set_stage_production(name: str, version: str | None) -> bool:
    """Show `version` (None: nothing) under MLflow's stage Production and archive whatever was there; False when it
    already was so."""
    client, staged = tracking.client(), staged_production(name)
    if staged == ([] if version is None else [version]):
        return False
    with warnings.catch_warnings():
        # Stages are deprecated in MLflow and still what people look at: shown on purpose, on every promotion.
        warnings.filterwarnings("ignore", message=".*transition_model_version_stage", category=FutureWarning)
        if version is None:
            for each in staged:
                client.transition_model_version_stage(name, each, "Archived")
        else:
            client.transition_model_version_stage(name, version, PRODUCTION_ALIAS, archive_existing_versions=True)
    return True
