"""Releases in MLflow's model registry: candidates, their verdicts, and the adapter files behind a version.

A version is one adapter, in an MLflow model folder (`registry.package`) or alone. Its files lie in its night's run
under `adapter/<hash>/`, so that a night repeated by force cannot overwrite what an older version points at; its hash
(of the adapter's own files), night and verdict are tags of the version.
Limits: MLflow cannot set an alias on a condition, so nothing here decides what Production is (see `registry.ledger`).
"""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra import tracking
from infra.errors import NightshiftError, UserError
from infra.hashing import fingerprint_of_folder
from registry.gates import Status
from registry.ledger import check_name
from registry.package import adapter_of
from registry.verdict import Verdict, VerdictAltered, check

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

PRODUCTION_ALIAS = "Production"  # MLflow tells aliases apart by case
PREVIOUS_ALIAS = "Previous"

HASH_TAG = "nightshift.adapter_hash"
VERDICT_TAG = "nightshift.verdict"
SEAL_TAG = "nightshift.verdict_seal"
REJECTED_TAG = "nightshift.rejected"
METRIC_TAG = "nightshift.metric."
VERDICTS = "verdicts"  # folder of a run's artifacts
PAGE = 1000

STATUSES: tuple[Status, ...] = ("pass", "fail", "needs_approval")


class AdapterChanged(NightshiftError):
    """A version's files, or its recorded hash, are not those that were registered."""


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
    known = client.search_model_versions(condition, max_results=PAGE)
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


def attach_verdict(name: str, version: str, verdict: Verdict, metrics: Mapping[str, float] | None = None) -> None:
    """Put a sealed verdict on the version it judged: as tags, and whole as an artifact of the run.

    `metrics` are the headline figures shown by `list_releases`. The artifact is written first, so that a seal on a
    version always has its verdict behind it. Raises VerdictAltered, and UserError for another version's verdict.
    """
    check(verdict)
    if (verdict.release, verdict.version) != (name, str(version)):
        raise UserError(
            f"a verdict on {verdict.release} version {verdict.version} cannot go on {name} version {version}"
        )
    client, release = tracking.client(), get_release(name, version)
    tracking.log_text(release.run_id, verdict.model_dump_json(indent=2), _verdict_file(version, verdict.sealed))
    for metric, value in (metrics or {}).items():
        client.set_model_version_tag(name, release.version, METRIC_TAG + metric, repr(float(value)))
    client.set_model_version_tag(name, release.version, VERDICT_TAG, verdict.status)
    client.set_model_version_tag(name, release.version, SEAL_TAG, verdict.sealed)


def attached_verdict(name: str, version: str) -> Verdict | None:
    """The verdict on a version; None when it was never judged. Raises VerdictAltered or AdapterChanged when it does not
    match its seal, its version or the registered adapter."""
    release = get_release(name, version)
    seal = release.tags.get(SEAL_TAG)
    if not seal:
        return None
    verdict = find_verdict(name, version, seal)
    if verdict is None:
        raise VerdictAltered(f"the verdict on {name} version {version} is not in MLflow any more; judge it again")
    if verdict.adapter_hash != release.adapter_hash:
        raise AdapterChanged(f"the verdict on {name} version {version} is about another adapter; judge it again")
    return verdict


def find_verdict(name: str, version: str, seal: str) -> Verdict | None:
    """The verdict on a version that carries this seal, be it the newest or not; None when MLflow does not hold it.

    Raises VerdictAltered when it is not what was sealed.
    """
    release = get_release(name, version)
    held = [file.path for file in tracking.client().list_artifacts(release.run_id, VERDICTS)]
    return _read_verdict(release, seal) if _verdict_file(release.version, seal) in held else None


def _read_verdict(release: Release, seal: str) -> Verdict:
    about = f"the verdict on {release.name} version {release.version}"
    with tempfile.TemporaryDirectory() as folder:
        path = tracking.client().download_artifacts(release.run_id, _verdict_file(release.version, seal), folder)
        try:
            verdict = Verdict.model_validate_json(Path(path).read_bytes())
        except ValidationError:
            raise VerdictAltered(f"{about} cannot be read; judge it again") from None
    check(verdict)
    if (verdict.sealed, verdict.release, verdict.version) != (seal, release.name, release.version):
        raise VerdictAltered(f"{about} belongs to another version; judge it again")
    return verdict


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
    models = {model.name: model for model in _pages(client.search_registered_models, name and f"name = '{name}'")}
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in models:
        # A search leaves aliases out in some versions of MLflow; asking for the model itself never does.
        for alias, version in client.get_registered_model(model).aliases.items():
            aliases.setdefault((model, str(version)), []).append(alias)
    rows = []
    for model in sorted(models):
        versions = _pages(client.search_model_versions, f"name = '{model}'")
        for version in sorted(versions, key=lambda v: int(v.version), reverse=True):
            rows.append(_row(version, sorted(aliases.get((model, str(version.version)), []))))
    return rows


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
    found = _pages(tracking.client().search_model_versions, f"tags.`{HASH_TAG}` LIKE '%'")
    return sorted({version.name for version in found})


def download_adapter(name: str, version: str, target: Path) -> Path:
    """Fetch a version's adapter into the folder `target` (made; must be empty) and return it.

    Raises AdapterChanged when the files are not those that were registered; `target` then holds nothing.
    """
    return _download(name, version, target, adapter_of)


def download_release(name: str, version: str, target: Path) -> Path:
    """Fetch all of a version's files, as they were packed, into `target`; otherwise like `download_adapter`."""
    return _download(name, version, target, lambda folder: folder)


def _download(name: str, version: str, target: Path, part: Callable[[Path], Path]) -> Path:
    from mlflow.artifacts import download_artifacts

    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} is not empty; give a new folder for the adapter")
    release = get_release(name, version)
    if not release.adapter_hash:
        raise AdapterChanged(f"{name} version {version} records no adapter hash; register it through nightshift")
    source = tracking.client().get_model_version_download_uri(name, release.version)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the checked folder is moved into place and never half there.
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        files = Path(download_artifacts(artifact_uri=source, dst_path=folder, tracking_uri=tracking.tracking_uri()))
        found = fingerprint_of_folder(adapter_of(files))
        if found != release.adapter_hash:
            raise AdapterChanged(
                f"{name} version {version}: files are {found}, registered were {release.adapter_hash}; do not use it"
            )
        if target.exists():
            target.rmdir()
        shutil.move(part(files), target)
    return target


def production_version(name: str) -> str | None:
    """The version that the Production alias points at.

    None says that the model is registered and has no such alias; every other trouble is MLflow's own error, so that an
    outage is never taken for an empty registry.
    """
    return aliases_of(name).get(PRODUCTION_ALIAS)


def aliases_of(name: str) -> dict[str, str]:
    """Alias -> version of a registered model; MLflow's own error when there is no such model."""
    found = tracking.client().get_registered_model(name).aliases
    return {alias: str(version) for alias, version in found.items()}


def staged_production(name: str) -> list[str]:
    """The versions under MLflow's stage Production, lowest first; a person may have put several there."""
    found = _pages(tracking.client().search_model_versions, f"name = '{name}'")
    return sorted((str(v.version) for v in found if v.current_stage == PRODUCTION_ALIAS), key=int)


def set_stage_production(name: str, version: str | None) -> bool:
    """Show `version` (None: nothing) under MLflow's stage Production and archive whatever was there; False when it
    already was so."""
    client, staged = tracking.client(), staged_production(name)
    if staged == ([] if version is None else [version]):
        return False
    with warnings.catch_warnings():
        # Stages are on their way out of MLflow; until they are gone its UI shows them, so they follow the alias.
        warnings.filterwarnings("ignore", message=".*transition_model_version_stage", category=FutureWarning)
        if version is None:
            for each in staged:
                client.transition_model_version_stage(name, each, "Archived")
        else:
            client.transition_model_version_stage(name, version, PRODUCTION_ALIAS, archive_existing_versions=True)
    return True


def _pages(search, condition: str | None) -> list:
    found, token = [], None
    while True:
        page = search(filter_string=condition or None, max_results=PAGE, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _verdict_file(version: str, seal: str) -> str:
    return f"{VERDICTS}/{version}-{seal}.json"


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
