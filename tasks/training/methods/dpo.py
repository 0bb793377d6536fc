"""Direct preference optimisation with TRL's DPOTrainer, the policy that the stage starts from as its reference.

Base weights are shared: the reference is a frozen copy of the adapter beside the one that is trained, made before the
first step (and before a checkpoint is read): the loss begins at ln 2, and a resumed stage has the same reference.
Rows arrive tokenised: TRL would tokenise the rendered prompts anew, with a second BOS where the tokenizer puts one.
"""

from __future__ import annotations

from typing import Any

from tasks.training.borrowed import borrowed
from tasks.training.engine import Engine, Prepared, Run, Trained
from tasks.training.job import StageJob
from tasks.training.methods.sft import Sft
from tasks.training.stage_pairs import prepare_pairs
from tasks.training.trainer import arguments, follow, last_logged, run_trainer

METRICS = ("rewards/accuracies", "rewards/margins", "rewards/chosen", "rewards/rejected")


class Dpo(Sft):
    """Starts and saves as `sft` does; its rows are pairs."""

    def prepare(self, engine: Engine, stage: StageJob, model: Any) -> Prepared:
        """Pairs of the stage's rows; those of the origin `policy` come from `model`."""
        return prepare_pairs(engine, stage, model)

    def train(self, run: Run) -> Trained:
        """Train against the policy as it is now."""
        with borrowed(run.model):
            return train_dpo(run)


METHOD = Dpo()


def train_dpo(run: Run) -> Trained:
    """Train the adapter of `run.model`, of which a frozen copy is the reference."""
    from datasets import Dataset
    from peft.helpers import disable_input_dtype_casting
    from trl import DPOConfig, DPOTrainer

    class PairTrainer(DPOTrainer):
        """DPOTrainer over rows that are token ids already."""

        def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
            return dataset

    spec = run.stage.spec
    trainer = PairTrainer(
        model=run.model,
        args=DPOConfig(
            **arguments(run),
            beta=spec.beta,
            loss_type=[spec.loss],
            label_smoothing=spec.label_smoothing,
            max_length=None,
            activation_checkpointing=run.engine.training.gradient_checkpointing,
        ),
        train_dataset=Dataset.from_list(run.rows),
        eval_dataset=Dataset.from_list(list(run.validation)) if run.validation else None,
        processing_class=run.engine.tokenizer,
        callbacks=[follow(run.folder, run.progress)],
    )
    with disable_input_dtype_casting(run.model, active=run.engine.precision.autocast is not None):
        trained = run_trainer(trainer, run)
    first = next((entry for entry in trainer.state.log_history if METRICS[0] in entry), {})
    begun = {f"first_{name}": float(first[name]) for name in METRICS if name in first}
    return trained.measured(begun | last_logged(trainer, METRICS))
