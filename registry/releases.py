"""Releases in MLflow's model registry: candidates, their tags and cards, and the list of all versions.

A version is one adapter, in an MLflow model folder (`registry.package`) or alone. Its files lie in its night's run
under `adapter/<hash>/`, so that a night repeated by force cannot overwrite what an older version points at; its hash
(of the adapter's own files), night and verdict are tags of the version.
Limits: MLflow cannot set an alias on a condition, so nothing here decides what Production is (see `registry.ledger`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra import tracking
from infra.errors import UserError
from infra.hashing import fingerprint_of_folder
from registry.gates import Status
from registry.ledger import check_name
from registry.package import adapter_of

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

PRODUCTION_ALIAS = "Production"  # MLflow tells aliases apart by case
PREVIOUS_ALIAS = "Previous"

HASH_TAG = "nightshift.adapter_hash"
VERDICT_TAG = "nightshift.verdict"
SEAL_TAG = "nightshift.verdict_seal"
REJECTED_TAG = "nightshift.rejected"
METRIC_TAG = "nightshift.metric."

STATUSES: tuple[Status, ...] = ("pass", "fail", "needs_approval")


class Release(BaseModel):
    """One registered version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="name of the registered model")
    version: str = Field(description="version number as text")
    adapter_hash: str = Field(description="fingerprint of the adapter's files; empty when registered by other means")
    run_id: str = Field(description="MLflow run that holds the files")
    tags: dict[str, str] = Field(description="all tags of the version")


class ReleaseRow(BaseModel):
    """One element of `nightshift releases --json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="name of the registered model")
    version: str = Field(description="version number as text")
    aliases: list[str] = Field(description="aliases that point at this version")
    stage: str = Field(description="MLflow's stage: None, Production or Archived")
    verdict: Literal["pass", "fail", "needs_approval"] | None = Field(description="None: not judged yet")
    metrics: dict[str, float] = Field(description="headline metrics of the version's scorecard")
    run_id: str = Field(description="MLflow run that holds the files")
    created: str = Field(description="when it was registered, ISO 8601 in UTC")


def register_candidate(
    name: str, run_id: str, folder: Path, night: str, tags: Mapping[str, str], description: str
) -> Release:
    """Upload a packed release, or a bare adapter folder, to the run and register it as the next version of `name`.

    The same night and adapter give the same version again, so a night that broke off here can be repeated.
    Raises UserError for a missing or empty folder.
    """
    from mlflow.exceptions import MlflowException

    check_name(name)
    if not re.fullmatch(r"[\w.:-]+", night):
        raise UserError(f"night key {night!r}: use letters, digits, '.', ':', '_' and '-'")
    adapter = adapter_of(folder)
    if not adapter.is_dir() or not any(adapter.iterdir()):
        raise UserError(f"{folder} holds no adapter; train before registering")
    adapter_hash, client = fingerprint_of_folder(adapter), tracking.client()
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    condition = f"name = '{name}' and tags.`{tracking.NIGHT_TAG}` = '{night}' and tags.`{HASH_TAG}` = '{adapter_hash}'"
    known = client.search_model_versions(condition, max_results=tracking.PAGE)
    if known:
        return _release(min(known, key=lambda version: int(version.version)))
    place = f"adapter/{adapter_hash}"
    tracking.log_folder(run_id, folder, place)
    version = client.create_model_version(
        name,
        source=f"{client.get_run(run_id).info.artifact_uri}/{place}",
        run_id=run_id,
        tags={**{k: str(v) for k, v in tags.items()}, tracking.NIGHT_TAG: night, HASH_TAG: adapter_hash},
        description=description,
    )
    return _release(version)


def get_release(name: str, version: str) -> Release:
    """The registered version; MLflow's own error when there is none or MLflow cannot be reached."""
    return _release(tracking.client().get_model_version(name, str(version)))


def attach_card(release: Release, description: str, markdown: str, html: str) -> None:
    """Put the model card on a version: `description` (Markdown) where MLflow's page shows it, and two files beside the
    adapter."""
    place = f"adapter/{release.adapter_hash}"
    tracking.log_text(release.run_id, markdown, f"{place}/card.md")
    tracking.log_text(release.run_id, html, f"{place}/card.html")
    tracking.client().update_model_version(release.name, release.version, description)


def list_releases(name: str | None = None) -> list[ReleaseRow]:
    """All versions of one release, or of every release, newest first; empty when nothing is registered."""
    client = tracking.client()
    condition = f"name = '{name}'" if name else None
    models = [model.name for model in tracking.pages(client.search_registered_models, condition)]
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in models:
        # A search leaves aliases out in some versions of MLflow; asking for the model itself never does.
        for alias, version in client.get_registered_model(model).aliases.items():
            aliases.setdefault((model, str(version)), []).append(alias)
    rows = []
    for model in sorted(models):
        versions = tracking.pages(client.search_model_versions, f"name = '{model}'")
        for version in sorted(versions, key=lambda v: int(v.version), reverse=True):
            rows.append(_row(version, sorted(aliases.get((model, str(version.version)), []))))
    return rows


class Rejected(BaseModel):
    """A version that did not get into Production."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = Field(description="version number as text")
    reason: str = Field(description="the gates it missed, or who said no and why")


def last_rejected(name: str, after: str | None) -> Rejected | None:
    """The newest version of `name`, if it was rejected and is newer than version `after`."""
    versions = tracking.pages(tracking.client().search_model_versions, f"name = '{name}'")
    newest = max(versions, key=lambda version: int(version.version), default=None)
    if newest is None or REJECTED_TAG not in newest.tags or int(newest.version) <= int(after or 0):
        return None
    return Rejected(version=str(newest.version), reason=newest.tags[REJECTED_TAG])


def release_with(version: str, name: str | None = None) -> str:
    """The release that a version number is about: `name`, or the only one that has it; raises UserError otherwise."""
    names = [name] if name else sorted({row.name for row in list_releases() if row.version == version})
    if len(names) != 1:
        raise UserError(
            f"version {version} of which release? choose with --release: {', '.join(names) or 'none is registered'}"
        )
    return names[0]


def registered_names() -> list[str]:
    """Names of the models that hold a version of ours; a shared MLflow holds other people's models, too."""
    found = tracking.pages(tracking.client().search_model_versions, f"tags.`{HASH_TAG}` LIKE '%'")
    return sorted({version.name for version in found})


def _release(version: ModelVersion) -> Release:
    tags = dict(version.tags)
    return Release(
        name=version.name,
        version=str(version.version),
        adapter_hash=tags.get(HASH_TAG, ""),
        run_id=version.run_id or "",
        tags=tags,
    )


def _row(version: ModelVersion, aliases: list[str]) -> ReleaseRow:
    status = version.tags.get(VERDICT_TAG)
    return ReleaseRow(
        name=version.name,
        version=str(version.version),
        aliases=aliases,
        stage=version.current_stage or "None",
        verdict=status if status in STATUSES else None,
        metrics={k.removeprefix(METRIC_TAG): float(v) for k, v in version.tags.items() if k.startswith(METRIC_TAG)},
        run_id=version.run_id or "",
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
    )
