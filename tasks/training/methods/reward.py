"""A reward model: the base model with one output and a LoRA adapter, trained on pairs with TRL's RewardTrainer.

It starts from the base model whatever the stages before it trained, and its own evaluation is on held-out pairs: the
share it puts in the right order, the margin, and the range of its scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.training.engine import Engine, Prepared, Run, Trained
from tasks.training.job import StageJob
from tasks.training.parts import save_part
from tasks.training.reward_model import add_scoring_adapter, scoring_base
from tasks.training.stage_pairs import prepare_pairs
from tasks.training.trainer import arguments, follow, last_logged, run_trainer

METRICS = ("accuracy", "margin", "min_reward", "mean_reward", "max_reward")


class Reward:
    """Reward modelling, as the session calls it."""

    def prepare(self, engine: Engine, stage: StageJob, model: Any) -> Prepared:
        """Whole sequences of prompt and answer, a right and a wrong one each."""
        prepared = prepare_pairs(engine, stage, None)
        for rows in (prepared.train.rows, prepared.validation):
            for row in rows:
                prompt = row.pop("prompt_ids")
                row |= {key: prompt + row[key] for key in ("chosen_ids", "rejected_ids")}
        return prepared

    def start(self, engine: Engine, stage: StageJob, before: Path | None) -> Any:
        """A fresh head and adapter on a copy of the base model of its own."""
        base = scoring_base(Path(engine.job.base), engine.precision, engine.tokenizer.pad_token_id)
        return add_scoring_adapter(base, engine.training.lora)

    def train(self, run: Run) -> Trained:
        """Train with the Bradley-Terry loss."""
        return train_reward(run)

    def save(self, run: Run, folder: Path) -> None:
        """An adapter folder that holds the head, too."""
        save_part(run.model, folder, Path(run.engine.job.base).name)


METHOD = Reward()


def train_reward(run: Run) -> Trained:
    """Train `run.model` in place on its pairs."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    trainer = RewardTrainer(
        model=run.model,
        args=RewardConfig(
            **arguments(run), max_length=None, activation_checkpointing=run.engine.training.gradient_checkpointing
        ),
        train_dataset=Dataset.from_list(run.rows),
        eval_dataset=Dataset.from_list(list(run.validation)) if run.validation else None,
        processing_class=run.engine.tokenizer,
        callbacks=[follow(run.folder, run.progress)],
    )
    trained = run_trainer(trainer, run)
    return trained.measured(last_logged(trainer, METRICS))
