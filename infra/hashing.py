"""Fingerprints: the same content gives the same name on any machine.

Limits: sha256 over canonical JSON; floats are written as Python's shortest repr, so a fingerprint is stable
across platforms but 1 and 1.0 differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

LENGTH = 16  # hex digits kept: 64 bits, far beyond what one store will ever hold


def canonical_json(value: Any) -> bytes:
    """Serialise `value` with sorted keys and no spaces, so that equal content is equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def fingerprint(value: Any) -> str:
    """The fingerprint of any JSON value: 16 hex digits of its sha256."""
    return hashlib.sha256(canonical_json(value)).hexdigest()[:LENGTH]


def sha256_of_file(path: Path) -> str:
    """The full sha256 of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint_of_folder(folder: Path, names: Iterable[str] | None = None) -> str:
    """The fingerprint of a folder's files (all, or those in `names`): relative paths and contents, nothing else."""
    files = (
        sorted(p for p in folder.rglob("*") if p.is_file()) if names is None else [folder / n for n in sorted(names)]
    )
    return fingerprint([[p.relative_to(folder).as_posix(), sha256_of_file(p)] for p in files])


def code_version(packages: Iterable[str], libraries: Iterable[str] = ()) -> str:
    """The version of our own code: the sources of `packages` (import names) plus the versions of `libraries`.

    A git revision would change with every edit of the documentation; this changes when a step's behaviour can.
    """
    root = Path(__file__).resolve().parent.parent
    sources: list[list[str]] = []
    for package in sorted(packages):
        base = root / package.replace(".", "/")
        paths = [base.with_suffix(".py")] if base.with_suffix(".py").is_file() else sorted(base.rglob("*"))
        for path in paths:
            if path.suffix in {".py", ".yaml", ".json"} and path.is_file():
                sources.append([path.relative_to(root).as_posix(), sha256_of_file(path)])
    return fingerprint({"sources": sources, "libraries": {name: metadata.version(name) for name in sorted(libraries)}})
