"""Our stages against the plain way of TRL: the same model, rows, learning rates, batches and number of steps.

Run: `python -m tests.benchmarks.training [--model REF] [--steps N] [--batch N]`. The plain way is what tutorials do:
every stage loads the model anew and trains TRL's SFTTrainer with its defaults on rows padded to the longest allowed.
Each side runs in a process of its own; seconds include loading, peak memory is the process's. A figure holds for
machines with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

QUICKSTART = "quickstart"  # its model
SIDES = ("stages", "plain")


def main() -> None:
    """Run both sides and print them beside each other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="model reference; the quickstart's when not given")
    parser.add_argument("--steps", type=int, default=10, help="optimiser steps of each of the two stages")
    parser.add_argument("--batch", type=int, default=8, help="rows per step")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(_measured(given.side, given.job)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _write_job(Path(folder), given.model, given.steps, given.batch)
        found = {side: _run(side, Path(folder)) for side in SIDES}
    print(f"{'':8}{'rows/s':>8}{'seconds':>9}{'padding':>9}{'peak MB':>9}{'first loss':>12}{'last loss':>11}")
    for side, row in found.items():
        print(
            f"{side:8}{row['rows'] / row['seconds']:>8.2f}{row['seconds']:>9.1f}{row['padding']:>9.1%}"
            f"{row['peak_mb']:>9.0f}{row['first']:>12.3f}{row['last']:>11.3f}"
        )
    ours, plain = (found[side]["rows"] / found[side]["seconds"] for side in SIDES)
    print(f"stages / plain: {ours / plain:.2f}")


def _write_job(folder: Path, model: str, steps: int, batch: int) -> None:
    """A job of two stages over generated questions, as a night would write it."""
    from flows.recipe import load_recipe
    from infra.settings import load_settings
    from tasks.data.synthetic.generate import GenerateSpec, generate
    from tasks.models.resolve import resolve_model
    from tasks.training.curriculum import plan_curriculum
    from tasks.training.spec import TrainingSpec

    recipe = load_recipe(QUICKSTART)
    local = resolve_model(
        model or recipe.model, load_settings().models_path, say=lambda text: print(text, file=sys.stderr)
    )
    drawn = {"max_samples": steps * batch}
    byte_tokens = local.ref.kind == "random"
    spec = TrainingSpec.model_validate(
        {
            "lora": {"r": 16, "alpha": 32},
            "per_device_batch": batch,
            "max_length": 2000 if byte_tokens else 512,
            "stages": [
                {"name": name, "data": drawn | {"difficulty": [name]}, "global_batch": batch, "max_steps": steps}
                for name in ("easy", "medium")
            ],
        }
    )
    rows = generate(GenerateSpec(seed=7, train_per_database=20))
    prompt = recipe.prompt.model_copy(update={"max_tokens": 1900}) if byte_tokens else recipe.prompt
    train = [row for row in rows if row.tags.get("split") == "train"]
    plan_curriculum(spec, prompt, local.path, local.fingerprint, "benchmark", train, [], folder)


def _run(side: str, folder: Path) -> dict[str, Any]:
    import os

    from infra.settings import PROCESS_ENVIRONMENT

    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.training", "--side", side, "--job", str(folder / "job.json")],
        env=PROCESS_ENVIRONMENT | dict(os.environ),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def _measured(side: str, path: Path) -> dict[str, Any]:
    """One side's work, in this process."""
    from tasks.training.job import TrainingJob
    from tasks.training.memory import peak_memory

    job, started = TrainingJob.model_validate_json(path.read_text()), time.perf_counter()
    curve, rows, padding = (_stages if side == "stages" else _plain)(job, path.parent)
    seconds = time.perf_counter() - started
    peak = peak_memory() / 2**20
    return {"rows": rows, "seconds": seconds, "padding": padding, "peak_mb": peak, "first": curve[0], "last": curve[-1]}


def _stages(job: Any, work: Path) -> tuple[list[float], int, float]:
    from tasks.training.job import read_result
    from tasks.training.session import run_session

    run_session(job, work)
    results = [read_result(work / stage.folder) for stage in job.stages]
    padding = sum(result.metrics["padding_share"] for result in results) / len(results)
    steps = sum(result.steps * stage.spec.global_batch for result, stage in zip(results, job.stages, strict=True))
    return [loss for result in results for _, loss in result.curve], steps, padding


def _plain(job: Any, work: Path) -> tuple[list[float], int, float]:
    """TRL's defaults, a model loaded for every stage, rows padded to the longest allowed."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM, set_seed
    from trl import SFTConfig, SFTTrainer

    from tasks.data.dataset import read_examples
    from tasks.data.prompts import Prompter
    from tasks.models.loading import load_tokenizer

    training, curve, rows, before = job.training, [], 0, None
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
        texts = [
            {"prompt": prompter.render(e.schema, e.question), "completion": prompter.completion(e.sql)}
            for e in read_examples(work / stage.rows)
        ]
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
                max_steps=stage.spec.max_steps,
                max_length=training.max_length,
                logging_steps=1,
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
                seed=training.seed,
            ),
            train_dataset=Dataset.from_list(texts),
            data_collator=collate,
            processing_class=tokenizer,
            peft_config=lora if before is None else None,
        )
        trainer.train()
        before = work / f"plain-{stage.folder}" / "final"
        trainer.save_model(str(before))
        curve += [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
        rows += trainer.state.global_step * stage.spec.global_batch
    return curve, rows, 1 - tokens / slots


if __name__ == "__main__":
    main()
