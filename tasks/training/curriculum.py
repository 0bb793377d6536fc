"""From a dataset and a training spec to the trainer's job: rows of each stage, fingerprints, folders.

A finished stage lies in the store under its fingerprint, so another night that asks for the very same stage takes it
from there, and a night that broke off goes on behind it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from infra.errors import UserError
from infra.hashing import fingerprint, fingerprint_of_folder
from infra.store import Store
from tasks.data.dataset import write_examples
from tasks.data.example import Example
from tasks.data.prompts import PromptSpec
from tasks.models.loading import ADAPTER_CONFIG, is_whole_model
from tasks.training.job import (
    ADAPTER,
    STAGE_MARKER,
    StageJob,
    StageResult,
    TrainingJob,
    read_result,
    stage_fingerprint,
)
from tasks.training.sampling import stage_rows
from tasks.training.spec import TrainingSpec
from tasks.training.uploads import restore_checkpoint

JOB = "job.json"


def stage_key(mark: str) -> str:
    """Where the store keeps the stage with fingerprint `mark`."""
    return f"stages/{mark}"


def plan_curriculum(
    spec: TrainingSpec,
    prompt: PromptSpec,
    base: Path,
    base_fingerprint: str,
    code: str,
    train: Sequence[Example],
    validation: Sequence[Example],
    work: Path,
    start: Path | None = None,
) -> TrainingJob:
    """Sample every stage's rows, write them below `work`, and return the job (also written there as JSON).

    `start` is the adapter folder that the first stage starts from, None for a fresh adapter. Deterministic: the same
    inputs give the same fingerprints. Raises UserError when a stage finds no row.
    """
    work.mkdir(parents=True, exist_ok=True)
    write_examples(work / "validation.jsonl", validation)
    shared = spec.model_dump(mode="json", exclude={"stages", "save_steps", "upload_every", "start_from"}) | {
        "prompt": prompt.model_dump(mode="json")
    }
    jobs, before, policy = [], fingerprint_of_folder(start) if start else "", ""
    for index, stage in enumerate(spec.stages):
        rows = stage_rows(spec, index, train)
        content = fingerprint([[e.schema, e.question, e.evidence, e.sql] for e in rows])
        mark = stage_fingerprint(base_fingerprint, before, content, stage, shared, code)
        folder = f"{index + 1}-{stage.name}-{mark}"
        write_examples(work / f"{folder}.jsonl", rows)
        jobs.append(StageJob(spec=stage, fingerprint=mark, folder=folder, rows=f"{folder}.jsonl", before=policy))
        before, policy = mark, folder if stage.yields == "policy" else policy
    job = TrainingJob(
        base=str(base),
        start=str(start or ""),
        validation="validation.jsonl",
        prompt=prompt,
        training=spec,
        stages=tuple(jobs),
    )
    (work / JOB).write_text(job.model_dump_json(indent=1))
    return job


def start_folder(spec: TrainingSpec) -> Path | None:
    """The folder that `start_from` names itself, None for a fresh adapter or a release; UserError if it is missing."""
    if not spec.start_from.startswith("path:"):
        return None
    folder = Path(spec.start_from.removeprefix("path:")).resolve()
    if not ((folder / ADAPTER_CONFIG).is_file() or is_whole_model(folder)):
        raise UserError(f"training.start_from: {folder} is no folder of an adapter (no {ADAPTER_CONFIG} in it)")
    return folder


def restore_stages(job: TrainingJob, store: Store, work: Path) -> set[str]:
    """Bring finished stages from the store into the work folder, and what was uploaded of a broken one.

    Returns the names of those finished before.
    """
    finished = set()
    for stage in job.stages:
        folder, key = work / stage.folder, stage_key(stage.fingerprint)
        if read_result(folder) is None and store.has_tree(key):
            shutil.rmtree(folder, ignore_errors=True)
            source = store.get_tree(key, work / f"{stage.folder}.fetched")
            shutil.copytree(source / ADAPTER, folder / ADAPTER)
            shutil.copy(source / STAGE_MARKER, folder / STAGE_MARKER)
        if read_result(folder) is not None:
            finished.add(stage.spec.name)
        else:
            restore_checkpoint(stage, store, work)
    return finished


def keep_stage(stage: StageJob, store: Store, work: Path) -> StageResult:
    """Put a finished stage's adapter and result into the store, if they are not there; returns the result."""
    folder = work / stage.folder
    result = read_result(folder)
    assert result is not None, "only a finished stage is kept"
    if not store.has_tree(stage_key(stage.fingerprint)):
        for path in sorted((folder / ADAPTER).iterdir()):
            store.put(f"{stage_key(stage.fingerprint)}/{ADAPTER}/{path.name}", path)
        store.write(f"{stage_key(stage.fingerprint)}/{STAGE_MARKER}", (folder / STAGE_MARKER).read_bytes())
        store.close_tree(stage_key(stage.fingerprint), {"name": stage.spec.name})
    return result
