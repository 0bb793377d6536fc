"""Supervised fine-tuning of encoder-decoder models (T5): prompt to the encoder, SQL from the decoder.

Rows are those of `sft`, divided where the answer begins. Limits: no shared prefixes, since a decoder attends to one
encoded prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.training.engine import Run, Trained
from tasks.training.methods.sft import Sft
from tasks.training.padding import divide, pad_rows
from tasks.training.preflight import check_gradients
from tasks.training.trainer import arguments, follow, run_trainer


class Seq2Seq(Sft):
    """Rows, start and files are those of `sft`."""

    def train(self, run: Run) -> Trained:
        """Train with transformers' own trainer."""
        from datasets import Dataset
        from transformers import Trainer, TrainingArguments

        def dataset(rows: Sequence[dict[str, Any]]) -> Dataset:
            return Dataset.from_list([divide(row) for row in rows])

        trainer = Trainer(
            model=run.model,
            args=TrainingArguments(
                **arguments(run),
                label_smoothing_factor=run.stage.spec.label_smoothing,
                train_sampling_strategy="group_by_length",
                activation_checkpointing=run.engine.training.gradient_checkpointing,
            ),
            train_dataset=dataset(run.rows),
            eval_dataset=dataset(run.validation) if run.validation else None,
            data_collator=lambda rows: pad_rows(rows, run.engine.tokenizer.pad_token_id),
            callbacks=[follow(run.folder, run.progress, check_gradients)],
        )
        return run_trainer(trainer, run)


METHOD = Seq2Seq()
