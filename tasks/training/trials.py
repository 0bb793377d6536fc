"""A trial: one training with its own values, what it measured, and where the store keeps that.

A trial is recorded once, under `sweeps/<key>/trials/<number>.json`, by whoever holds its lease: of two processes that
want the same trial one runs it. A trial that broke off is not recorded and is run again; one that failed is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import AlreadyExists, NotFound
from infra.hashing import fingerprint
from infra.lease import Lease
from infra.store import Store
from tasks.data.prompts import PromptSpec
from tasks.evaluation.scorecard import Interval
from tasks.training.rungs import Rung
from tasks.training.spec import TrainingSpec

# Two losses before the first step are the same to within the arithmetic of different kernels.
SAME_START = 5e-3
# What of a stage has no part in its loss before the first step.
_LATER = (
    *("name", "learning_rate", "epochs", "max_steps", "warmup", "scheduler", "optimizer", "betas", "weight_decay"),
    *("max_grad_norm", "evaluations", "patience", "min_delta"),
)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Trial(_Model):
    """What one trial tries: values by their path in the recipe, and how many rows it sees."""

    number: int = Field(ge=0, description="its place in the sweep, from 0")
    name: str = Field(description="for people, such as trial 12 or qlora")
    stage: int = Field(0, ge=0, description="stage of the search it belongs to, from 0")
    values: dict[str, Any] = Field({}, description="path in the recipe -> value")
    train: int | None = Field(None, ge=1, description="training rows, of the manifest's nested order; all when absent")
    validation: int | None = Field(None, ge=1, description="rows it is compared on; all when absent")
    rungs: tuple[Rung, ...] = Field((), description="looks at its last training stage, where it may be ended")


class TrialResult(_Model):
    """What became of a trial. Losses are means over tokens that are taught; None is what was not measured."""

    number: int
    name: str
    stage: int = Field(description="stage of the search, from 0")
    values: dict[str, Any] = Field(description="path in the recipe -> value")
    status: Literal["finished", "failed", "pruned"]
    error: str | None = Field(None, description="why it failed or was pruned")
    objective: float | None = Field(None, description="what the sweep compares; absent unless finished")
    low: float | None = Field(None, description="lower end of the objective's 95% interval, where it has one")
    high: float | None = None
    initial_loss: float | None = Field(None, description="training loss of the first batch, before any weight changed")
    final_loss: float | None = Field(None, description="mean training loss of the last tenth of the steps")
    eval_loss: float | None = Field(None, description="loss on the validation rows")
    execution_accuracy: Interval | None = None
    samples_per_second: float | None = Field(None, description="rows trained on, by the seconds spent in training")
    tokens_per_second: float | None = None
    tokens: int | None = Field(None, description="tokens seen in training, padding not counted")
    trainable: int | None = Field(None, description="weights that were trained")
    total_parameters: int | None = Field(None, description="weights of the base model and of what was added to it")
    peak_memory_mb: float | None = None
    seconds: float = Field(description="wall time of all its attempts")
    steps: int | None = None
    data_fingerprint: str = Field(description="the rows it was trained on and compared on")
    prompt_fingerprint: str
    run_id: str | None = Field(None, description="its MLflow run")
    predictions_key: str | None = Field(None, description="its answers in the store")
    scorecard_key: str | None = Field(None, description="what became of each of them")
    curve: list[tuple[int, float]] = Field([], description="(step, training loss), stages one after another")
    train_rows: int | None = None
    validation_rows: int | None = None
    rungs: list[tuple[float, float]] = Field([], description="(share of the last training stage, loss there)")
    device: str = ""
    ended: float = Field(0.0, description="when it was recorded, in seconds of Unix time")
    start_fingerprint: str = Field("", description="all that decides initial_loss: equal here, equal there")


def start_fingerprint(base: str, data: str, prompt: PromptSpec, training: TrainingSpec) -> str:
    """What decides the loss of the first batch: model, rows and their order, prompt, and how the first stage reads it.

    A fresh LoRA adapter changes no output, whatever its rank (arXiv:2106.09685, section 4.1), so `lora` has no part.
    """
    first = training.stages[0].model_dump(mode="json")
    shared = training.model_dump(
        mode="json", exclude={"stages", "lora", "save_steps", "upload_every", "gradient_checkpointing"}
    )
    stage = {key: value for key, value in first.items() if key not in _LATER}
    # The rows of a stage are drawn by seed and name.
    return fingerprint([base, data, prompt.model_dump(mode="json"), shared, stage, training.stages[0].name])


def odd_start(result: TrialResult, others: Sequence[TrialResult]) -> str:
    """Why a trial did not start from the model that the others started from; empty when it did.

    `others` are recorded trials. Those with the same `start_fingerprint` must have had the same loss before their first
    step: a different one means that a trial went on with weights of another. Failed ones do not count: an odd start may
    be why they failed, and would make every later trial odd.
    """
    for other in others:
        same = other.start_fingerprint and other.start_fingerprint == result.start_fingerprint
        if not same or other.status == "failed":
            continue
        if other.initial_loss is None or result.initial_loss is None or other.number == result.number:
            continue
        # Losses that begin at zero, as GRPO's do, are compared by their size alone.
        if abs(other.initial_loss - result.initial_loss) > SAME_START * max(1.0, abs(other.initial_loss)):
            return (
                f"its loss before the first step is {result.initial_loss:.4f}, that of {other.name} "
                f"{other.initial_loss:.4f}, with the same model, data and prompt: it did not start fresh"
            )
    return ""


def trials_prefix(sweep: str) -> str:
    """Where the store keeps the results of a sweep."""
    return f"sweeps/{sweep}/trials"


def read_trials(store: Store, sweep: str) -> list[TrialResult]:
    """All recorded trials of a sweep, by number."""
    found = [TrialResult.model_validate_json(store.read(key)) for key in store.list(trials_prefix(sweep))]
    return sorted(found, key=lambda result: result.number)


def read_trial(store: Store, sweep: str, number: int) -> TrialResult | None:
    """One recorded trial, or None."""
    try:
        return TrialResult.model_validate_json(store.read(f"{trials_prefix(sweep)}/{number}.json"))
    except NotFound:
        return None


def record_trial(store: Store, sweep: str, result: TrialResult) -> TrialResult:
    """Record a result for good; returns the recorded one, which is another's if that came first.

    A trial that did not start from the same model as its like is recorded as failed, with the figures that show it.
    """
    strange = odd_start(result, read_trials(store, sweep))
    if strange and result.status == "finished":
        result = result.model_copy(update={"status": "failed", "error": strange, "objective": None})
    try:
        store.create_json(f"{trials_prefix(sweep)}/{result.number}.json", result.model_dump(mode="json"))
    except AlreadyExists:
        return read_trial(store, sweep, result.number) or result
    return result


@contextmanager
def claimed(store: Store, sweep: str, number: int) -> Iterator[None]:
    """Hold a trial while running it; raises Busy when another process or thread does."""
    with Lease(store, f"sweeps/{sweep}/{number}"):
        yield
