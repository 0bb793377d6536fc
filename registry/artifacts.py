"""Whether a version's files are still there and still those that were registered.

The files are fetched, their hash is compared, and each is read as what it claims to be. Limits: the base model is not
loaded; a version of gigabytes is fetched whole.
"""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

from pydantic import ValidationError

from infra.errors import NightshiftError, first_line
from registry.download import download_adapter
from tasks.data.prompts import PromptSpec

PROMPT = "prompt.json"


class ArtifactsGone(NightshiftError):
    """A version whose files cannot be fetched, or are not what was registered."""


def check_artifacts(name: str, version: str) -> None:
    """Raise ArtifactsGone unless the version's files can be fetched, are unaltered and readable."""
    about = f"{name} version {version}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            files = download_adapter(name, version, Path(folder) / "adapter")
        except Exception as error:  # missing files are another error on every kind of storage
            raise ArtifactsGone(f"the files of {about} cannot be fetched: {first_line(error)}") from error
        weights = sorted(files.rglob("*.safetensors"))
        if not weights:
            raise ArtifactsGone(f"{about} holds no .safetensors file")
        for path in weights:
            _check_safetensors(path, about)
        try:
            PromptSpec.model_validate_json((files / PROMPT).read_text(encoding="utf-8"))
            for path in files.glob("*config.json"):
                json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, ValidationError) as error:
            raise ArtifactsGone(f"{about} cannot be loaded: {first_line(error)}") from None


def _check_safetensors(path: Path, about: str) -> None:
    """The header is JSON and its offsets cover the file exactly (the format of huggingface/safetensors)."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        try:
            (length,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(min(length, size)))
            end = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
        except (struct.error, ValueError, KeyError, TypeError, AttributeError):
            raise ArtifactsGone(f"{about}: {path.name} is no safetensors file") from None
    if 8 + length + end != size or end == 0:
        raise ArtifactsGone(f"{about}: {path.name} holds {size} bytes, its header says {8 + length + end}")
