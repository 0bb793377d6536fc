"""Supervised fine-tuning of a LoRA adapter with TRL's SFTTrainer, loss on the SQL alone.

Rows arrive tokenised with a completion mask, so nothing is truncated or re-templated here. Questions over one schema
share its tokens (`tasks.training.batches`), and batches are grouped by length. Mixed precision is autocast over a
frozen base; the adapter stays float32.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.models.precision import Precision
from tasks.training.batches import IGNORED, collate, group_rows, join_rows
from tasks.training.checkpoints import last_checkpoint, mark_complete
from tasks.training.spec import LoraSpec, SftStage, TrainingSpec


def add_adapter(base: Any, lora: LoraSpec) -> Any:
    """`base` with a fresh, trainable LoRA adapter."""
    from peft import LoraConfig, get_peft_model

    layers = list(range(lora.first_layer, base.config.num_hidden_layers)) if lora.first_layer else None
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        layers_to_transform=layers,
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, config)


def train_sft(
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, Any]],
    validation: list[dict[str, Any]],
    stage: SftStage,
    training: TrainingSpec,
    precision: Precision,
    folder: Path,
    progress: Callable[[int, int, float | None], None],
) -> tuple[list[tuple[int, float]], float | None, int, int]:
    """Train `model` in place and return (loss curve, validation loss, steps, step resumed from).

    Checkpoints go to `folder`; an interrupted run with the same folder continues from the last whole one.
    """
    import torch
    from datasets import Dataset
    from peft.helpers import disable_input_dtype_casting
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class AnswerLossTrainer(SFTTrainer):
        """SFTTrainer whose loss projects only the answer's positions onto the vocabulary.

        TRL does so only where it has Triton kernels; without, it projects every position, in float32, and masks
        afterwards, which took a quarter of a step on a CPU. The loss is the same token mean.
        """

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if return_outputs or self.accelerator.num_processes > 1:
                # Several processes synchronise gradients in the wrapper that the lines below step around.
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            causal = self.accelerator.unwrap_model(model).get_base_model()
            labels = inputs["labels"][:, 1:]
            answer = labels != IGNORED
            dtype = getattr(torch, precision.autocast) if precision.autocast else None
            with torch.autocast(labels.device.type, dtype=dtype, enabled=dtype is not None):
                hidden = causal.base_model(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    position_ids=inputs["position_ids"],
                    use_cache=False,
                ).last_hidden_state[:, :-1]
                logits = causal.get_output_embeddings()(hidden[answer])
            loss = torch.nn.functional.cross_entropy(logits.float(), labels[answer], reduction="sum")
            return loss / (answer.sum() if num_items_in_batch is None else num_items_in_batch)

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            # The first step of a warm-up has a learning rate of zero: a stage of one step would learn nothing from it.
            self.args.warmup_steps = min(self.args.get_warmup_steps(num_training_steps), num_training_steps - 1)
            return super().create_scheduler(num_training_steps, optimizer)

    class Follow(TrainerCallback):
        """Marks whole checkpoints and reports progress."""

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            mark_complete(folder, state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            progress(state.global_step, state.max_steps, (logs or {}).get("loss"))

    def joined(items: list[dict[str, Any]]) -> Dataset:
        return Dataset.from_list([join_rows(group) for group in group_rows(items, training.share_prefix)])

    per_device = training.sequences_at_once(stage)
    config = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=per_device,
        per_device_eval_batch_size=per_device,
        gradient_accumulation_steps=stage.global_batch // (per_device * training.share_prefix),
        learning_rate=stage.learning_rate,
        num_train_epochs=stage.epochs,
        max_steps=stage.max_steps or -1,
        warmup_steps=stage.warmup,
        lr_scheduler_type=stage.scheduler,
        weight_decay=stage.weight_decay,
        max_grad_norm=1.0,
        train_sampling_strategy="group_by_length",
        use_cpu=not _on_accelerator(model),
        bf16=precision.autocast == "bfloat16",
        fp16=precision.autocast == "float16",
        activation_checkpointing=False,
        max_length=None,
        packing=False,
        remove_unused_columns=False,
        logging_steps=1,
        save_strategy="steps",
        save_steps=training.save_steps,
        save_total_limit=2,
        seed=training.seed,
        data_seed=training.seed,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = AnswerLossTrainer(
        model=model,
        args=config,
        train_dataset=joined(rows),
        eval_dataset=joined(validation) if validation else None,
        data_collator=lambda sequences: collate(sequences, tokenizer.pad_token_id),
        processing_class=tokenizer,
        callbacks=[Follow()],
    )
    checkpoint = last_checkpoint(folder)
    # PEFT would cast every layer's input to the adapter's float32 and autocast back again: a fifth of a step on a CPU.
    with disable_input_dtype_casting(model, active=precision.autocast is not None):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    curve = [(entry["step"], float(entry["loss"])) for entry in trainer.state.log_history if "loss" in entry]
    eval_loss = float(trainer.evaluate()["eval_loss"]) if validation else None
    resumed = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    return curve, eval_loss, trainer.state.global_step, resumed


def _on_accelerator(model: Any) -> bool:
    return next(model.parameters()).device.type != "cpu"
