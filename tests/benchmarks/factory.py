"""LLaMA-Factory beside our stages: its virtual environment, a job's rows in its form, and its run.

Its pins are not ours, so it lives in an environment of its own. torchaudio, which it imports and needs for sound
alone, has no build for CPUs: an empty module takes its place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

RELEASE = "llamafactory==0.9.5"
# What training imports; its pages (gradio), servers and models' hubs other than Hugging Face's are left out.
NEEDS = (
    "accelerate==1.11.0",
    "av",
    "datasets==4.0.0",
    "einops",
    "fire",
    "matplotlib",
    "numpy",
    "omegaconf",
    "packaging",
    "pandas",
    "peft==0.18.1",
    "protobuf",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scipy",
    "sentencepiece",
    "sse-starlette",
    "tiktoken",
    "torchdata==0.11.0",
    "transformers==5.6.0",
    "trl==0.24.0",
    "tyro<0.9.0",
)
_STUBS = "stubs"
_SIDE = Path(__file__).with_name("factory_side.py")


def environment(folder: Path) -> Path:
    """The Python of LLaMA-Factory's virtual environment in `folder`, made when it is absent."""
    import torch

    python = folder / "bin" / "python"
    done = folder / "made"
    if not done.exists():
        print(f"making {RELEASE}'s environment in {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        release = torch.__version__.partition("+")[0]  # the one that we run on, so that its kernels are the same
        subprocess.run([*install, f"torch=={release}", *NEEDS], check=True)
        subprocess.run([*install, "--no-deps", RELEASE], check=True)
        (folder / _STUBS).mkdir()
        (folder / _STUBS / "torchaudio.py").write_text("")
        done.write_text("")
    return python


def train_factory(python: Path, work: Path) -> dict[str, Any]:
    """Train a job's stages by LLaMA-Factory, as its LoRA example does, one after the other in one process.

    Returns seconds, rows, the share of padding, the process's peak memory and the last adapter's folder.
    """
    from infra.settings import PROCESS_ENVIRONMENT
    from tasks.data.prompts import Prompter
    from tasks.models.loading import load_tokenizer
    from tasks.training.job import TrainingJob

    job = TrainingJob.model_validate_json((work / "job.json").read_text())
    tokenizer = load_tokenizer(Path(job.base))
    settings, tokens = _settings(job, work, Prompter(job.prompt, tokenizer), tokenizer)
    (work / "factory.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [str(python), str(_SIDE), str(work / "factory.json")],
        env=PROCESS_ENVIRONMENT | dict(os.environ) | {"PYTHONPATH": str(python.parent.parent / _STUBS)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found | {"padding": 1 - tokens / found["slots"], "adapter": settings[-1]["output_dir"]}


def _settings(job: Any, work: Path, prompter: Any, tokenizer: Any) -> tuple[list[dict[str, Any]], int]:
    """One set of LLaMA-Factory's arguments for every stage, and the tokens of their rows, which it writes."""
    import torch

    from tests.benchmarks.plain import texts

    training, before, settings, tokens = job.training, None, [], 0
    data = work / "factory-data"
    data.mkdir()
    files = {}
    for stage in job.stages:
        pairs = texts(work / stage.rows, prompter)
        tokens += sum(len(tokenizer(p + c, add_special_tokens=False)["input_ids"]) for p, c in pairs)
        rows = [{"instruction": prompt, "input": "", "output": answer} for prompt, answer in pairs]
        (data / f"{stage.spec.name}.json").write_text(json.dumps(rows))
        files[stage.spec.name] = {"file_name": f"{stage.spec.name}.json"}
        output = str(work / f"factory-{stage.folder}")
        settings.append(
            {
                "stage": "sft",
                "do_train": True,
                "model_name_or_path": job.base,
                "finetuning_type": "lora",
                "lora_rank": training.lora.r,
                "lora_alpha": training.lora.alpha,
                "lora_target": "all",
                "dataset_dir": str(data),
                "dataset": stage.spec.name,
                "template": "empty",  # the prompts are rendered already
                "cutoff_len": training.max_length,
                "output_dir": output,
                "per_device_train_batch_size": stage.spec.global_batch,
                "learning_rate": stage.spec.learning_rate,
                "lr_scheduler_type": stage.spec.scheduler,
                "warmup_ratio": stage.spec.warmup,
                "num_train_epochs": stage.spec.epochs,
                "bf16": True,
                "use_cpu": not torch.cuda.is_available(),
                "logging_steps": 1,
                "include_num_input_tokens_seen": "all",
                "report_to": "none",
                "disable_tqdm": True,
                "seed": training.seed,
            }
            | ({"adapter_name_or_path": before} if before else {})
        )
        before = output
    (data / "dataset_info.json").write_text(json.dumps(files))
    return settings, tokens
