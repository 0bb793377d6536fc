"""What a release consists of: an MLflow model folder that holds the adapter, never the base model.

    MLmodel, requirements.txt …     signature, input example, pinned libraries
    pyfunc.py                       the model from code (`registry.pyfunc`)
    code/                           the packages it imports, as they were when it was judged
    artifacts/adapter/              exactly the adapter's files: their hash is the release's
    artifacts/manifest.json         what it has to be loaded on

Limits: the packed packages keep their names (`tasks`, `infra`, `registry`), so they take no effect in a process that
has already imported others of these names.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from registry.answering import ADAPTER
from registry.manifest import FILE, Manifest

ARTIFACTS = "artifacts"
# What `registry.pyfunc` needs at run time.
PACKED = {
    "infra": (),
    "tasks": ("training", "evaluation", "data/synthetic"),
    "registry": ("service",),
}
REQUIREMENTS = (
    "mlflow",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "gguf",
    "sqlglot",
    "pydantic",
    "pydantic-settings",
    "pandas",
    "pyyaml",
    "sqlalchemy",
)
_EXAMPLE: dict[str, Any] = {
    "question": "How many singers are from France?",
    "schema": "CREATE TABLE singer (singer_id INTEGER PRIMARY KEY, name TEXT, country TEXT);",
}


def pack_release(target: Path, adapter: Path, manifest: Manifest, about: dict[str, str]) -> Path:
    """Write the release of an adapter folder into `target` (must not exist) and return it.

    `about` is kept in the MLmodel file as metadata: lineage, for whoever finds the folder alone.
    """
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    inputs = Schema([
        ColSpec("string", "question"),
        *(ColSpec("string", name, required=False) for name in ("schema", "database", "evidence")),
    ])  # fmt: skip
    outputs = Schema([
        ColSpec("string", "sql"),
        ColSpec("boolean", "valid"),
        ColSpec("string", "reason"),
        ColSpec("long", "tokens"),
        ColSpec("double", "seconds"),
    ])  # fmt: skip
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # it announces that it looks at the example
    with tempfile.TemporaryDirectory() as folder:
        staging = Path(folder)
        shutil.copytree(adapter, staging / ADAPTER)
        (staging / FILE).write_text(manifest.model_dump_json(indent=2))
        mlflow.pyfunc.save_model(
            path=str(target),
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={"adapter": str(staging / ADAPTER), "manifest": str(staging / FILE)},
            code_paths=[str(path) for path in _copy_code(staging / "code")],
            signature=ModelSignature(inputs=inputs, outputs=outputs),
            input_example=_EXAMPLE,
            pip_requirements=[f"{name}=={_public(metadata.version(name))}" for name in REQUIREMENTS],
            metadata=about,
        )
    _forget_paths(target / "MLmodel")
    return target


def adapter_of(release: Path) -> Path:
    """The adapter's own folder in a release's files; a folder that is no MLflow model is the adapter itself."""
    return release / ARTIFACTS / ADAPTER if (release / "MLmodel").is_file() else release


def _copy_code(target: Path) -> list[Path]:
    root = Path(__file__).resolve().parent.parent
    for package, left_out in PACKED.items():
        skipped = {root / package / part for part in left_out}

        def ignored(folder: str, names: list[str], skipped: set[Path] = skipped) -> set[str]:
            here = Path(folder)
            return {name for name in names if name == "__pycache__" or here / name in skipped}

        shutil.copytree(root / package, target / package, ignore=ignored)
    return [target / package for package in PACKED]


def _forget_paths(mlmodel: Path) -> None:
    """Take this machine's folders out of the MLmodel file; MLflow loads by the places inside the release."""
    content = yaml.safe_load(mlmodel.read_text())
    flavor = content["flavors"]["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    mlmodel.write_text(yaml.safe_dump(content))


def _public(version: str) -> str:
    """Without a local part: `2.13.0+cpu` is on one index alone."""
    return version.partition("+")[0]
