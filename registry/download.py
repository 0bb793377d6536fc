"""The files behind a version, fetched and checked against the hash they were registered with."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from infra import tracking
from infra.errors import NightshiftError, UserError
from infra.hashing import fingerprint_of_folder
from registry.package import adapter_of
from registry.releases import get_release


class AdapterChanged(NightshiftError):
    """A version's files, or its recorded hash, are not those that were registered."""


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
