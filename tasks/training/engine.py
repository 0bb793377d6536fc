"""What every stage of one trainer process shares, and what a training method has to bring.

A method is one module of `tasks.training.methods` with an object of the class `Method`; the session calls it in this
order: `start` the model where no live one fits, `prepare` the rows, `train`, `save`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from tasks.data.dataset import read_examples
from tasks.data.example import Example
from tasks.data.prompts import Prompter
from tasks.models.families import check_architecture
from tasks.models.loading import load_base, load_tokenizer
from tasks.models.precision import Precision
from tasks.training.job import StageJob, TrainingJob
from tasks.training.preflight import Tokenised
from tasks.training.spec import TrainingSpec

Progress = Callable[[int, int, float | None], None]


@dataclass
class Engine:
    """The job, its folder, and the models that are loaded once for all stages."""

    job: TrainingJob
    work: Path
    precision: Precision
    fitted: TrainingSpec | None = None

    @property
    def training(self) -> TrainingSpec:
        """What the recipe says about training; `fitted` to this machine's memory while a stage runs."""
        return self.fitted or self.job.training

    @cached_property
    def tokenizer(self) -> Any:
        """The base model's tokenizer."""
        return load_tokenizer(Path(self.job.base))

    @cached_property
    def prompter(self) -> Prompter:
        """The one renderer of prompts."""
        return Prompter(self.job.prompt, self.tokenizer)

    @cached_property
    def base(self) -> Any:
        """The base model; a method's `start` makes it trainable, in place."""
        if self.training.backend == "unsloth":
            return self._base_of_unsloth()
        base = load_base(Path(self.job.base), self.precision, self.training.quantize or "")
        check_architecture(base.config, self.job.stages[0].spec.architecture, self.job.stages[0].spec.method)
        base.config.use_cache = False
        if self.training.quantize is not None:
            from peft import prepare_model_for_kbit_training

            base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
        return base

    def _base_of_unsloth(self) -> Any:
        from tasks.models import unsloth

        training = self.training
        base = unsloth.load_base(
            Path(self.job.base),
            self.precision,
            training.quantize is not None,
            training.max_length,
            training.gradient_checkpointing,
        )
        check_architecture(base.config, "causal", "sft")
        base.config.use_cache = False
        return base

    def drop_base(self) -> None:
        """Let the next stage load the base model anew."""
        self.__dict__.pop("base", None)

    @cached_property
    def validation(self) -> list[Example]:
        """The validation examples."""
        return read_examples(self.work / self.job.validation)

    def rows(self, stage: StageJob) -> list[Example]:
        """The examples that a stage trains on."""
        return read_examples(self.work / stage.rows)


@dataclass(frozen=True)
class Prepared:
    """A stage's rows as its trainer takes them, checked; `validation` may be empty. `metrics`: how they came about."""

    train: Tokenised
    validation: Sequence[dict[str, Any]]
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One stage about to train: `folder` takes its checkpoints, `progress(step, steps, loss)` hears of each step."""

    engine: Engine
    stage: StageJob
    model: Any
    rows: list[dict[str, Any]]
    validation: Sequence[dict[str, Any]]
    folder: Path
    progress: Progress


@dataclass(frozen=True)
class Trained:
    """What a method's training reports: the loss curve as (step, loss), steps, and the step it resumed from."""

    curve: list[tuple[int, float]]
    eval_loss: float | None
    steps: int
    resumed_from: int
    metrics: dict[str, float] = field(default_factory=dict)

    def measured(self, metrics: Mapping[str, float]) -> Trained:
        """The same with further metrics."""
        return replace(self, metrics=self.metrics | dict(metrics))


class Method(Protocol):
    """What the session needs of a stage's `method`."""

    def prepare(self, engine: Engine, stage: StageJob, model: Any) -> Prepared:
        """Tokenise and check the rows of `stage`, which starts from `model`; raises before training time is spent."""

    def start(self, engine: Engine, stage: StageJob, before: Path | None) -> Any:
        """The model to train: from the adapter folder `before`, or fresh when there is none."""

    def train(self, run: Run) -> Trained:
        """Train `run.model` in place; goes on from the last whole checkpoint in `run.folder`."""

    def save(self, run: Run, folder: Path) -> None:
        """Write what was trained into `folder`, so that `tasks.models.loading.load_adapter` takes it.

        Called in every process, of which the first one writes.
        """
