"""The job file: everything the trainer process needs, and what it leaves behind.

A stage's folder is named by its name and fingerprint (base model, adapter before it, rows, settings, code), so that a
changed stage never resumes from another one's checkpoints. `stage.json`, written last, says the stage is done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from infra.hashing import fingerprint
from tasks.data.prompts import PromptSpec
from tasks.training.rungs import Rung
from tasks.training.spec import AnyStage, Stage, TrainingSpec

STAGE_MARKER = "stage.json"
ADAPTER = "adapter"
PROGRESS = "progress.json"
ENDED = "ended.json"  # a stage that fell behind: tasks.training.rungs.Ended


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageJob(_Model):
    """One stage: its settings, its folder below the work folder and the rows it trains on."""

    spec: Stage
    fingerprint: str
    folder: str = Field(description="name of the stage's folder below the work folder")
    rows: str = Field(description="name of the JSONL file of examples below the work folder")
    before: str = Field("", description="folder of the stage whose policy it starts from; empty: where the job starts")


class TrainingJob(_Model):
    """The whole curriculum for one trainer process."""

    base: str = Field(description="folder of the base model")
    start: str = Field("", description="folder of the adapter that the first stage starts from; empty: a fresh one")
    validation: str = Field(description="JSONL file of validation examples below the work folder")
    prompt: PromptSpec
    training: TrainingSpec
    stages: tuple[StageJob, ...]
    rungs: tuple[Rung, ...] = Field((), description="looks at the last stage, which ends if it has fallen behind")


class StageResult(_Model):
    """What a finished stage reports; the content of its marker."""

    name: str
    method: str
    fingerprint: str
    rows: int
    dropped: int = Field(description="rows too long to train on")
    tables_dropped: int = Field(0, description="tables that prompts left out to stay within their budget")
    steps: int
    tokens: int = Field(description="tokens in one pass over the rows, padding not counted")
    seconds: float
    resumed_from: int = Field(description="step of the checkpoint it resumed from; 0 for a fresh start")
    curve: list[tuple[int, float]] = Field(description="(step, training loss)")
    eval_loss: float | None
    trainable: int
    peak_memory_mb: float
    memory_estimate_mb: float = Field(0.0, description="what the stage was expected to need at its peak")
    precision: str
    device: str = Field("", description="what it ran on: Tesla T4, NVIDIA L4, CPU")
    metrics: dict[str, float] = Field({}, description="what else was measured: speed, padding, the method's own")
    lengths: dict[str, float] = Field({}, description="tokens of the rows: min, mean, median, max")
    example: dict[str, str] = Field({}, description="one row as text: what is read, and what is taught")


def stage_fingerprint(base: str, before: str, rows: str, stage: AnyStage, shared: dict[str, Any], code: str) -> str:
    """The name of a stage's result: everything that can change its adapter."""
    return fingerprint([base, before, rows, stage.model_dump(mode="json"), shared, code])


def read_result(folder: Path) -> StageResult | None:
    """The result of a finished stage folder, or None while it is not finished."""
    marker = folder / STAGE_MARKER
    return StageResult.model_validate_json(marker.read_text()) if marker.is_file() else None
