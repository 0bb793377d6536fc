"""What every method tells its trainer alike: arguments, optimiser, checkpoints, and the course of the loss."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.errors import UserError
from tasks.models.loading import lacks_eight_bit, require
from tasks.models.precision import probe_device
from tasks.training import sharding
from tasks.training.checkpoints import last_checkpoint, mark_complete, step_of
from tasks.training.engine import Run, Trained
from tasks.training.ranks import is_first, summed, wait_for_all
from tasks.training.specs.stage import EIGHT_BIT, StageSpec


def arguments(run: Run) -> dict[str, Any]:
    """Arguments that transformers' TrainingArguments and TRL's configurations share, for one stage."""
    spec, training, precision = run.stage.spec, run.engine.training, run.engine.precision
    per_device = training.sequences_at_once(spec)
    chosen = {"optim": spec.optimizer} if spec.optimizer in EIGHT_BIT else {}
    return chosen | {
        "output_dir": str(run.folder),
        "per_device_train_batch_size": per_device,
        "per_device_eval_batch_size": per_device,
        "gradient_accumulation_steps": training.accumulated(spec),
        "learning_rate": spec.learning_rate,
        "num_train_epochs": spec.epochs,
        "max_steps": spec.max_steps or -1,
        "warmup_steps": spec.warmup,
        "lr_scheduler_type": spec.scheduler,
        "weight_decay": spec.weight_decay,
        "adam_beta1": spec.betas[0],
        "adam_beta2": spec.betas[1],
        "max_grad_norm": spec.max_grad_norm,
        "use_cpu": next(run.model.parameters()).device.type == "cpu",
        "bf16": precision.autocast == "bfloat16",
        "fp16": precision.autocast == "float16",
        "tf32": precision.tf32 or None,
        "use_liger_kernel": precision.liger,
        **sharding.arguments(training),
        "remove_unused_columns": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a loss that is not a number must show
        "save_strategy": "steps",
        "save_total_limit": 2,
        **_evaluations(run),
        "seed": training.seed,
        "data_seed": training.seed,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def _evaluations(run: Run) -> dict[str, Any]:
    """When checkpoints are written and validation rows are looked at; several looks keep the best checkpoint."""
    often = run.stage.spec.evaluations
    if often == 1:
        return {"save_steps": run.engine.training.save_steps}
    if not run.validation:
        raise UserError(
            f"stage {run.stage.spec.name}: evaluations={often} needs validation rows and there are none; raise "
            "data.splits.validation_share, or set evaluations to 1"
        )
    share = 1 / often  # a number below one is a share of all steps
    return {
        "save_steps": share,
        "eval_strategy": "steps",
        "eval_steps": share,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
    }


def _set_optimizer(trainer: Any, spec: StageSpec) -> None:
    """Give `trainer` the stage's optimiser where it is none of the trainer's own."""
    import torch

    if spec.optimizer in EIGHT_BIT:
        require(f"optimizer {spec.optimizer} of stage {spec.name}", lacks_eight_bit(probe_device()), "use adamw")
    classes = {"nadam": torch.optim.NAdam, "adam": torch.optim.Adam, "adamax": torch.optim.Adamax}
    if spec.optimizer in classes:
        settings = {"lr": spec.learning_rate, "betas": spec.betas, "eps": 1e-8}
        trainer.optimizer_cls_and_kwargs = (classes[spec.optimizer], settings)


def _keep_float32(model: Any) -> None:
    """Undo what TRL's trainers do to adapters over weights in four bits: in bfloat16 small steps are lost.

    What a stage starts from is rounded to bfloat16 once.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _keep_learning_rate(trainer: Any) -> None:
    """Shorten a warm-up as long as the stage: its first step has no learning rate, and the only one must learn."""
    create = trainer.create_scheduler

    def create_scheduler(num_training_steps: int, optimizer: Any = None) -> Any:
        trainer.args.warmup_steps = min(trainer.args.get_warmup_steps(num_training_steps), num_training_steps - 1)
        return create(num_training_steps, optimizer)

    trainer.create_scheduler = create_scheduler


def follow(
    folder: Path, progress: Callable[[int, int, float | None], None], first: Callable[[Any], None] = lambda _: None
) -> Any:
    """A callback that marks whole checkpoints in `folder` and reports progress.

    `first` is given the model after its first backward pass, before any weight has changed.
    """
    from transformers import TrainerCallback

    class Follow(TrainerCallback):
        """Marks whole checkpoints and reports progress."""

        begun = False

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if not self.begun:
                first(model)
                self.begun = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            wait_for_all()  # each process has written its random state
            if is_first():
                mark_complete(folder, state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if is_first():
                progress(state.global_step, state.max_steps, (logs or {}).get("loss"))

    return Follow()


def run_trainer(trainer: Any, run: Run, evaluate: bool = True) -> Trained:
    """Train, from the last whole checkpoint if there is one, and evaluate once at the end on the validation rows."""
    _keep_float32(run.model)
    _set_optimizer(trainer, run.stage.spec)
    _keep_learning_rate(trainer)
    if run.stage.spec.patience is not None:
        from transformers import EarlyStoppingCallback

        trainer.add_callback(EarlyStoppingCallback(run.stage.spec.patience, run.stage.spec.min_delta))
    counted, pace = _count_batches(trainer, run), _keep_pace(trainer)
    # Batches of like length are drawn from torch's own random numbers, which must be the same in every process.
    trainer.accelerator.rng_types = ["torch"]
    checkpoint, started = last_checkpoint(run.folder), time.perf_counter()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.perf_counter() - started
    run.model.eval()
    curve = [(entry["step"], float(entry["loss"])) for entry in trainer.state.log_history if "loss" in entry]
    eval_loss = float(trainer.evaluate()["eval_loss"]) if run.validation and evaluate else None
    sharding.give_up_gathered(run.model)
    resumed = step_of(checkpoint) if checkpoint else 0
    steps = trainer.state.global_step - resumed
    read = summed(counted.upto(steps * trainer.args.gradient_accumulation_steps))
    rows = read["rows"] or steps * run.stage.spec.global_batch
    metrics = {"rows_per_second": round(rows / seconds, 3), "rows_per_step": round(rows / max(1, steps), 3)}
    if len(pace) > 1:
        # The median step: neither the first one's warm-up nor the writing of a checkpoint is in it.
        between = [after - before for before, after in itertools.pairwise(pace)]
        metrics["step_seconds"] = round(statistics.median(between), 5)
    if read["slots"]:
        metrics["tokens_per_second"] = round(read["tokens"] / seconds, 1)
        metrics["padding_share"] = round(1 - read["tokens"] / read["slots"], 4)
    return Trained(curve, eval_loss, trainer.state.global_step, resumed, metrics)


def _keep_pace(trainer: Any) -> list[float]:
    """When each optimiser step of `trainer` ended, in seconds, as they end."""
    from transformers import TrainerCallback

    ended: list[float] = []

    class Pace(TrainerCallback):
        """Notes the time."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            ended.append(time.perf_counter())

    trainer.add_callback(Pace)
    return ended


@dataclass
class _Batches:
    """What each batch held that was made for training, in order: rows, tokens, and slots with the padding."""

    made: list[tuple[int, int, int]] = field(default_factory=list)

    def upto(self, count: int) -> dict[str, int]:
        """The first `count` batches together; loaders make one ahead, which a stage that is cut never reads."""
        used = self.made[:count]
        return {name: sum(batch[i] for batch in used) for i, name in enumerate(("rows", "tokens", "slots"))}


def _count_batches(trainer: Any, run: Run) -> _Batches:
    """Count, while batches are made for training, what is in them.

    A sequence that shares a schema holds several rows, fewer than it may where the schema has no more. Rows that a
    method's trainer tokenises itself are not counted.
    """
    collate, read = trainer.data_collator, _Batches()
    run.model.train()

    def counted(rows: Any) -> Any:
        batch = collate(rows)
        if run.model.training and "input_ids" in rows[0]:  # not the batches of an evaluation in between
            questions = sum(max(row["segments"]) if "segments" in row else 1 for row in rows)
            read.made.append((questions, sum(len(row["input_ids"]) for row in rows), batch["input_ids"].numel()))
        return batch

    trainer.data_collator = counted
    return read


def last_logged(trainer: Any, names: Sequence[str]) -> dict[str, float]:
    """The last values of TRL's own metrics, in training and (`eval_…`) on the validation rows."""
    found: dict[str, float] = {}
    for entry in trainer.state.log_history:
        found |= {key: float(entry[key]) for name in names for key in (name, f"eval_{name}") if key in entry}
    return found
