"""Training by transformers' own trainer, for methods whose sequences hold one row each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tasks.training.engine import Run, Trained
from tasks.training.padding import pad_rows
from tasks.training.preflight import check_gradients
from tasks.training.trainer import arguments, follow, run_trainer


def train_plainly(run: Run, labelled: Callable[[dict[str, Any]], dict[str, Any]], **settings: Any) -> Trained:
    """Train on the rows that `labelled` makes of the stage's; `settings` go to TrainingArguments."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    def dataset(rows: Sequence[dict[str, Any]]) -> Dataset:
        return Dataset.from_list([labelled(row) for row in rows])

    trainer = Trainer(
        model=run.model,
        args=TrainingArguments(
            **arguments(run),
            train_sampling_strategy="group_by_length",
            activation_checkpointing=run.engine.training.gradient_checkpointing,
            **settings,
        ),
        train_dataset=dataset(run.rows),
        eval_dataset=dataset(run.validation) if run.validation else None,
        data_collator=lambda rows: pad_rows(rows, run.engine.tokenizer.pad_token_id),
        callbacks=[follow(run.folder, run.progress, check_gradients)],
    )
    return run_trainer(trainer, run)
