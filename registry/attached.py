"""Verdicts on versions: as tags for people, and whole as an artifact of the version's run, found by their seal."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from infra import tracking
from infra.errors import UserError
from registry.download import AdapterChanged
from registry.releases import METRIC_TAG, SEAL_TAG, VERDICT_TAG, Release, get_release
from registry.verdict import Verdict, VerdictAltered, check

VERDICTS = "verdicts"  # folder of a run's artifacts


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


def _verdict_file(version: str, seal: str) -> str:
    return f"{VERDICTS}/{version}-{seal}.json"
