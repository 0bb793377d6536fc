"""The plain way of TRL, as tutorials have it: a model loaded for every stage, TRL's defaults, fixed padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def texts(rows: Path, prompter: Any) -> list[tuple[str, str]]:
    """The prompts and completions of a JSONL file of examples."""
    from tasks.data.dataset import read_examples

    return [(prompter.render(e.schema, e.question), prompter.completion(e.sql)) for e in read_examples(rows)]


def train_plain(job: Any, work: Path) -> dict[str, Any]:
    """Train a job's stages; the rows seen, the share of padding and the last adapter's folder.

    Every stage loads the model anew and trains TRL's SFTTrainer with its defaults; rows are padded to `max_length`.
    """
    import torch
    from datasets import Dataset
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM, set_seed
    from trl import SFTConfig, SFTTrainer

    from tasks.data.prompts import Prompter
    from tasks.models.loading import load_tokenizer

    training, rows, before = job.training, 0, None
    tokens = slots = 0
    tokenizer = load_tokenizer(Path(job.base))
    tokenizer.padding_side = "right"
    prompter = Prompter(job.prompt, tokenizer)

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        nonlocal tokens, slots
        length = training.max_length
        tokens, slots = tokens + sum(len(item["input_ids"]) for item in items), slots + length * len(items)

        def padded(rows: list[dict[str, Any]], key: str, filler: int) -> torch.Tensor:
            return torch.tensor([row[key] + [filler] * (length - len(row[key])) for row in rows])

        mask = [item | {"ones": [1] * len(item["input_ids"])} for item in items]
        return {
            "input_ids": padded(items, "input_ids", tokenizer.pad_token_id),
            "attention_mask": padded(mask, "ones", 0),
            "labels": padded(items, "labels", -100),
        }

    for stage in job.stages:
        set_seed(training.seed)
        model = AutoModelForCausalLM.from_pretrained(job.base)
        if before is not None:
            model = PeftModel.from_pretrained(model, before, is_trainable=True)
        lora = LoraConfig(
            r=training.lora.r,
            lora_alpha=training.lora.alpha,
            target_modules=list(training.lora.targets),
            task_type="CAUSAL_LM",
        )
        pairs = [{"prompt": p, "completion": c} for p, c in texts(work / stage.rows, prompter)]
        on_cpu = not torch.cuda.is_available()
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=str(work / f"plain-{stage.folder}"),
                use_cpu=on_cpu,
                per_device_train_batch_size=stage.spec.global_batch,
                learning_rate=stage.spec.learning_rate,
                lr_scheduler_type=stage.spec.scheduler,
                warmup_steps=stage.spec.warmup,
                num_train_epochs=stage.spec.epochs,
                max_length=training.max_length,
                logging_steps=1,
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
                seed=training.seed,
            ),
            train_dataset=Dataset.from_list(pairs),
            data_collator=collate,
            processing_class=tokenizer,
            peft_config=lora if before is None else None,
        )
        trainer.train()
        before = str(work / f"plain-{stage.folder}" / "final")
        trainer.save_model(before)
        rows += trainer.state.global_step * stage.spec.global_batch
    return {"rows": rows, "padding": 1 - tokens / slots, "adapter": before}
