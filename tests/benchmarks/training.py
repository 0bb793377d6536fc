"""Our stages against the ways they stand beside: the same model, rows, learning rates and batches, one epoch a stage.

Run: `python -m tests.benchmarks.training [--model REF] [--steps N] [--batch N] [--factory FOLDER]`.

- `stages` is ours with its defaults, several questions over a schema in one sequence; `alone` the same with every
  question in a sequence of its own, so that its tokens are the others' to the last one; `again` is `alone` with
  another seed, so that the losses show how far order and start alone move them.
- `plain` is what tutorials do: every stage loads the model anew and trains TRL's SFTTrainer with its defaults on rows
  padded to the longest allowed.
- `factory` is LLaMA-Factory with the settings of its LoRA example, in the virtual environment FOLDER, which is made
  when it is absent (`tests.benchmarks.factory`); without `--factory` it is left out.

Each side runs in a process of its own, one after the other; seconds include imports and loading, peak memory is the
process's, and the loss is that of held-out rows under the adapter that a side leaves, measured by one function. A
figure holds for machines with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.factory import environment, train_factory
from tests.benchmarks.plain import texts, train_plain

QUICKSTART = "quickstart"  # its model
OURS, ALONE, AGAIN, PLAIN, FACTORY = "stages", "alone", "again", "plain", "factory"
STAGES = ("easy", "medium")
HELD_OUT, HELD_OUT_ROWS = "held-out.jsonl", 64


def main() -> None:
    """Run every side and print them beside each other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="model reference; the quickstart's when not given")
    parser.add_argument("--steps", type=int, default=16, help="batches of rows in each of the two stages, read once")
    parser.add_argument("--batch", type=int, default=8, help="rows per step")
    parser.add_argument("--factory", type=Path, help="folder of LLaMA-Factory's virtual environment")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--adapter", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(_measured(given.side, given.work, given.adapter)))
        return
    python = environment(given.factory) if given.factory else None
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in (OURS, ALONE, AGAIN, PLAIN) + ((FACTORY,) if python else ()):
            work = Path(folder) / side
            share, seed = 1 if side in (ALONE, AGAIN) else None, 43 if side == AGAIN else 42
            _write_job(work, given.model, given.steps, given.batch, share, seed)
            row = train_factory(python, work) if side == FACTORY and python else _run(side, work)
            found[side] = row | _run("held_out", work, Path(row["adapter"]))
            print(f"{side} is done in {row['seconds']:.0f} s", file=sys.stderr)
    _show(found)


def _show(found: dict[str, dict[str, Any]]) -> None:
    titles = ("rows/s", "seconds", "rows", "padding", "peak MB", "held-out loss")
    print(f"{'':8}" + "".join(f"{title:>15}" for title in titles))
    for side, row in found.items():
        print(
            f"{side:8}{row['rows'] / row['seconds']:>15.2f}{row['seconds']:>15.1f}{row['rows']:>15}"
            f"{row['padding']:>15.1%}{row['peak_mb']:>15.0f}{row['held_out']:>15.3f}"
        )
    speed = {side: row["rows"] / row["seconds"] for side, row in found.items()}
    for ours in (OURS, ALONE):
        against = ", ".join(f"{speed[ours] / speed[side]:.2f} of {side}" for side in (PLAIN, FACTORY) if side in found)
        print(f"{ours}: {against}")


def _write_job(folder: Path, model: str, steps: int, batch: int, share: int | None, seed: int) -> None:
    """A job of two stages over generated questions, as a night would write it, and its rows as texts."""
    from flows.recipe import load_recipe
    from infra.settings import load_settings
    from tasks.data.dataset import write_examples
    from tasks.data.synthetic.generate import GenerateSpec, generate
    from tasks.models.resolve import resolve_model
    from tasks.training.curriculum import plan_curriculum
    from tasks.training.spec import TrainingSpec

    folder.mkdir()
    recipe = load_recipe(QUICKSTART)
    local = resolve_model(
        model or recipe.model, load_settings().models_path, say=lambda text: print(text, file=sys.stderr)
    )
    drawn = {"max_samples": steps * batch}
    byte_tokens = local.ref.kind == "random"
    spec = TrainingSpec.model_validate(
        {
            "seed": seed,
            "lora": {"r": 16, "alpha": 32},
            "per_device_batch": batch,
            "max_length": 2000 if byte_tokens else 512,
            "stages": [
                {"name": name, "data": drawn | {"difficulty": [name]}, "global_batch": batch} for name in STAGES
            ],
        }
        | ({"share_prefix": share} if share else {})
    )
    rows = generate(GenerateSpec(seed=7, train_per_database=20, validation_per_database=40))
    prompt = recipe.prompt.model_copy(update={"max_tokens": 1900}) if byte_tokens else recipe.prompt
    train = [row for row in rows if row.tags.get("split") == "train"]
    plan_curriculum(spec, prompt, local.path, local.fingerprint, "benchmark", train, [], folder)
    held_out = [row for row in rows if row.tags.get("split") == "validation" and row.difficulty in STAGES]
    write_examples(folder / HELD_OUT, held_out[:: len(held_out) // HELD_OUT_ROWS][:HELD_OUT_ROWS])


def _run(side: str, work: Path, adapter: Path | None = None) -> dict[str, Any]:
    """One side, or the held-out loss of the adapter it left, in a process of its own."""
    from infra.settings import PROCESS_ENVIRONMENT

    command = [sys.executable, "-m", "tests.benchmarks.training", "--side", side, "--work", str(work)]
    done = subprocess.run(
        command + (["--adapter", str(adapter)] if adapter else []),
        env=PROCESS_ENVIRONMENT | dict(os.environ),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def _measured(side: str, work: Path, adapter: Path | None) -> dict[str, Any]:
    """One side's work, in this process."""
    from tasks.training.job import TrainingJob
    from tasks.training.memory import peak_memory

    job, started = TrainingJob.model_validate_json((work / "job.json").read_text()), time.perf_counter()
    if adapter:
        return {"held_out": _held_out(job, work, adapter)}
    found = train_plain(job, work) if side == PLAIN else _stages(job, work)
    return found | {"seconds": time.perf_counter() - started, "peak_mb": peak_memory() / 2**20}


def _stages(job: Any, work: Path) -> dict[str, Any]:
    from tasks.training.job import ADAPTER, read_result
    from tasks.training.session import run_session

    run_session(job, work)
    results = [read_result(work / stage.folder) for stage in job.stages]
    return {
        "rows": round(sum(result.steps * result.metrics["rows_per_step"] for result in results)),
        "padding": sum(result.metrics["padding_share"] for result in results) / len(results),
        "adapter": str(work / job.stages[-1].folder / ADAPTER),
    }


def _held_out(job: Any, work: Path, adapter: Path) -> float:
    """Mean loss of an answer's token over the held-out rows, a row at a time in float32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tasks.data.prompts import Prompter
    from tasks.models.loading import load_tokenizer

    tokenizer = load_tokenizer(Path(job.base))
    base = AutoModelForCausalLM.from_pretrained(job.base, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(adapter)).eval()
    lost = count = 0.0
    for prompt, completion in texts(work / HELD_OUT, Prompter(job.prompt, tokenizer)):
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer = tokenizer(completion, add_special_tokens=False)["input_ids"]
        labels = torch.tensor([[-100] * len(before) + answer])
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([before + answer]), labels=labels).loss
        lost, count = lost + float(loss) * len(answer), count + len(answer)
    return lost / count


if __name__ == "__main__":
    main()
