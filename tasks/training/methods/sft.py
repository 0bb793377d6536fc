"""Supervised fine-tuning with TRL's SFTTrainer, loss on the SQL alone.

Rows arrive tokenised with a completion mask, so nothing is truncated or re-templated here. Questions over one schema
share its tokens (`tasks.training.batches`), and batches are grouped by length. Mixed precision is autocast; what is
trained stays float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tasks.models.families import PRODUCTS
from tasks.training import sharding
from tasks.training.batches import IGNORED, collate, group_rows, join_rows
from tasks.training.engine import Engine, Prepared, Run, Trained
from tasks.training.inner_scale import scale_inside
from tasks.training.job import StageJob
from tasks.training.padding import additive, pad_rows, with_labels
from tasks.training.parts import save_part, start_policy
from tasks.training.preflight import check_gradients, check_rows, tokenise
from tasks.training.trainer import arguments, follow, run_trainer


class Sft:
    """Supervised fine-tuning, as the session calls it."""

    def prepare(self, engine: Engine, stage: StageJob, model: Any) -> Prepared:
        """Rows with a completion mask, each checked."""
        training, prompter = engine.training, engine.prompter
        rows = tokenise(engine.rows(stage), prompter, training.max_length, training.max_dropped_share)
        check_rows(rows, engine.tokenizer)
        return Prepared(rows, tokenise(engine.validation, prompter, training.max_length, 1.0).rows)

    def start(self, engine: Engine, stage: StageJob, before: Path | None) -> Any:
        """The policy of the stage before, or a fresh adapter."""
        return start_policy(engine, before)

    def train(self, run: Run) -> Trained:
        """Train on the answers alone."""
        return train_sft(run)

    def save(self, run: Run, folder: Path) -> None:
        """An adapter folder, or a whole model."""
        save_part(run.model, folder, Path(run.engine.job.base).name)


METHOD = Sft()
# Attention that adds its mask to the scores, and in what numbers: made once a batch instead of once a layer.
_ADDED = {"eager": "float32", PRODUCTS: "bfloat16"}


def train_sft(run: Run) -> Trained:
    """Train `run.model` in place; an interrupted run with the same folder continues from its last whole checkpoint."""
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from peft.helpers import disable_input_dtype_casting
    from trl import SFTConfig, SFTTrainer

    training, precision = run.engine.training, run.engine.precision
    share, own_code = training.share_prefix, training.backend == "unsloth"
    attention = run.model.config._attn_implementation

    class AnswerLossTrainer(SFTTrainer):
        """SFTTrainer whose loss projects only the answer's positions onto the vocabulary.

        TRL does so only where it has Triton kernels; without, it projects every position, in float32, and masks
        afterwards, which took a quarter of a step on a CPU. The loss is the same token mean.
        """

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if own_code or self.accelerator.num_processes > 1:
                # The lines below step around Unsloth's forward, and around the wrapper in which several processes
                # synchronise gradients.
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            causal = self.accelerator.unwrap_model(model)
            causal = causal.get_base_model() if isinstance(causal, PeftModel) else causal
            labels = inputs["labels"][:, 1:]
            answer = labels != IGNORED
            dtype = getattr(torch, precision.autocast) if precision.autocast else None
            with torch.autocast(labels.device.type, dtype=dtype, enabled=dtype is not None):
                given = {name: value for name, value in inputs.items() if name != "labels"}
                hidden = causal.base_model(**given, use_cache=False).last_hidden_state[:, :-1]
                logits = causal.get_output_embeddings()(hidden[answer])
            loss = torch.nn.functional.cross_entropy(logits.float(), labels[answer], reduction="sum")
            loss = loss / (answer.sum() if num_items_in_batch is None else num_items_in_batch)
            return (loss, {}) if return_outputs else loss  # evaluation asks for outputs, and only the loss is used

    def dataset(items: Sequence[dict[str, Any]]) -> Dataset:
        if share == 1:
            return Dataset.from_list([with_labels(row) for row in items])
        return Dataset.from_list([join_rows(group) for group in group_rows(items, share)])

    def batch(sequences: Sequence[dict[str, Any]]) -> dict[str, Any]:
        pad = run.engine.tokenizer.pad_token_id
        if share == 1:
            return pad_rows(sequences, pad)
        made = collate(sequences, pad)
        if attention not in _ADDED:
            return made
        return made | {"attention_mask": additive(made["attention_mask"], _ADDED[attention])}

    def check(model: Any) -> None:
        sharding.check_divided(model, training.shards)
        check_gradients(model)

    config = SFTConfig(
        **arguments(run),
        train_sampling_strategy="group_by_length",
        activation_checkpointing=training.gradient_checkpointing and not own_code,
        max_length=None,
        packing=False,
        prediction_loss_only=True,
    )
    sharding.prepare(config, precision)
    trainer = AnswerLossTrainer(
        model=run.model,
        args=config,
        train_dataset=dataset(run.rows),
        eval_dataset=dataset(run.validation) if run.validation else None,
        data_collator=batch,
        processing_class=run.engine.tokenizer,
        callbacks=[follow(run.folder, run.progress, check)],
    )
    # PEFT would cast every layer's input to the adapter's float32 and autocast back again: a fifth of a step on a CPU.
    cast = disable_input_dtype_casting(run.model, active=precision.autocast is not None and not own_code)
    with cast, nullcontext() if own_code else scale_inside(run.model):
        return run_trainer(trainer, run)
