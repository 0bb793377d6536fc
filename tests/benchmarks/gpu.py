"""Training on a GPU: Qwen3-0.6B's architecture with random weights, rows of 195 tokens, all weights and LoRA.

Run: `make bench-gpu`, or `python -m tests.benchmarks.gpu [--steps N] [--batch N]`. Each side is a night's own trainer
process (`tasks.training.session`); nothing is downloaded, and about 25 GB of disk are used for a while. Without a CUDA
GPU it says so and ends with exit code 0. `--tiny` runs the same on any machine with a model of two layers, in seconds:
it proves that the command works, its figures mean nothing.

rows/s is the batch over the median step, so that loading, the first steps' warm-up and the writing of weights are left
out; `whole` is the same over the trainer's whole run. MFU is the share of the GPU's dense 16-bit peak that the model's
own arithmetic takes (PaLM, arXiv:2204.02311, appendix B): three passes of every product that is trained, two of those
that are frozen, the causal half of attention, and the vocabulary at the taught positions alone, as the trainer does it.
Limit: all rows are of one length and share no schema; real ones pay for padding and gain from shared schemas.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.data.example import Example
from tasks.models.shape import ModelShape, shape_of
from tasks.training.job import StageResult, TrainingJob, read_result
from tests.tasks.training.sizes import QWEN3_06

TOKENS = 195  # of every row: the mean of the data that the seed was measured on
SEED, GOAL = 83.0, 250.0  # rows/s: the seed's best H200 epoch of full fine-tuning (87.7 GB at its peak), and ours to be
TINY = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "head_dim": 16} | {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
RANK = 16
# Dense products in 16 bits, TFLOP/s, by NVIDIA's data sheets; of the H100 the SXM board.
PEAK = {"T4": 65.0, "L4": 121.0, "A100": 312.0, "H100": 989.0, "H200": 989.0}
DDL = "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price REAL)"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run: the model's config.json, optimiser steps, rows a step."""

    config: dict[str, Any]
    steps: int
    batch: int


def main(arguments: list[str] | None = None) -> int:
    """Measure both ways to train and print them beside the seed's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=0, help="optimiser steps; 60 when not given")
    parser.add_argument("--batch", type=int, default=0, help="rows a step, less a pass where memory is short; 128")
    parser.add_argument("--tiny", action="store_true", help="a model of two layers, on any machine")
    given = parser.parse_args(arguments)
    from tasks.models.precision import probe_device

    device = probe_device()
    if device.kind != "cuda" and not given.tiny:
        print("bench-gpu: no CUDA GPU on this machine, so nothing was measured (--tiny runs it on a CPU, as a test)")
        return 0
    if given.tiny:
        size = Size(QWEN3_06 | TINY | {"vocab_size": 512}, given.steps or 4, given.batch or 4)
    else:
        size = Size(QWEN3_06, given.steps or 60, given.batch or 128)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(size, Path(folder))
    show(size, found)
    return 0


def measure(size: Size, work: Path) -> dict[str, StageResult]:
    """Train with all weights and with LoRA, each in a process of its own; the result of each."""
    from tasks.models.process import ModelProcess
    from tasks.models.tiny import write_tiny_model
    from tasks.training.curriculum import JOB

    sizes = {name: value for name, value in size.config.items() if name != "model_type"}
    write_tiny_model(work / "model", "qwen3-tiny", **sizes)
    found = {}
    for tune in ("full", "lora"):
        print(f"training, {tune}: {size.steps} steps of {size.batch} rows", file=sys.stderr)
        job = write_job(size, tune, work / "model", work / tune)
        process = ModelProcess("tasks.training.session", work / tune / JOB)
        try:
            process.wait()
        finally:
            process.stop()
        result = read_result(work / tune / job.stages[0].folder)
        assert result is not None, "a trainer that ended well leaves its result"
        found[tune] = result
    return found


def write_job(size: Size, tune: str, model: Path, work: Path) -> TrainingJob:
    """One stage over rows of `TOKENS` tokens, as a night would write it."""
    from tasks.data.prompts import PromptSpec
    from tasks.training.curriculum import plan_curriculum
    from tasks.training.spec import TrainingSpec

    stage = {"name": "rows", "learning_rate": 1e-4, "global_batch": size.batch, "max_steps": size.steps}
    spec = TrainingSpec.model_validate(
        {
            "tune": tune,
            "lora": {"r": RANK, "alpha": 2 * RANK},
            "max_length": TOKENS,
            "max_dropped_share": 0,
            "per_device_batch": size.batch,
            "share_prefix": 1,
            "save_steps": size.steps + 1,  # none on the way
            "stages": [stage],
        }
    )
    prompt = PromptSpec(format="plain")
    rows = make_rows(model, prompt, size.steps * size.batch)
    return plan_curriculum(spec, prompt, model, "random", "benchmark", rows, [], work)


def make_rows(model: Path, prompt: Any, count: int) -> list[Example]:
    """Rows that make `TOKENS` tokens each, prompt and answer: a byte is a token, and the question fills up."""
    from tasks.data.prompts import Prompter
    from tasks.models.loading import load_tokenizer

    tokenizer = load_tokenizer(model)
    prompter = Prompter(prompt, tokenizer)
    sqls = [f"SELECT name FROM items WHERE price > {i:06d}" for i in range(count)]
    texts = prompter.render(DDL, "?") + prompter.completion(sqls[0])
    missing = TOKENS - len(tokenizer(texts, add_special_tokens=False)["input_ids"])
    questions = [f"{i:06d}".rjust(missing, "x") + "?" for i in range(count)]
    return [
        Example(f"r{i}", "items", question, DDL, sql, difficulty="easy")
        for i, (question, sql) in enumerate(zip(questions, sqls, strict=True))
    ]


def row_flops(shape: ModelShape, tokens: int, taught: int, tune: str, rank: int = RANK) -> float:
    """Floating-point operations that training on one row takes by the model's own arithmetic, forward and back."""
    passes = 3 if tune == "full" else 2  # forward, gradient of the input, and where it is trained of the weight
    linear = 2 * passes * shape.linear_parameters * tokens
    added = sum(rank * (a + b) for a, b in shape.linear_sizes.values()) * shape.layers
    adapter = 0 if tune == "full" else 2 * 3 * added * tokens
    # Scores and weighted values, two products each of which half is masked; neither has weights: three passes always.
    attention = 3 * 2 * 2 * shape.layers * shape.queries * tokens**2 / 2
    return linear + adapter + attention + 2 * passes * shape.vocabulary * shape.hidden * taught


def show(size: Size, found: dict[str, StageResult]) -> None:
    """Print the table."""
    from infra.gpu import class_of_device

    shape, first = shape_of(size.config), found["full"]
    taught = len(first.example["taught"].replace("<|im_end|>", "."))  # a byte is a token, the end of the answer one
    gpu = class_of_device(first.device)
    peak = PEAK.get(gpu.name) if gpu else None
    print(f"{shape.parameters / 1e6:.0f} M random weights of Qwen3-0.6B's architecture, on {first.device or 'CPU'}")
    print(f"rows of {TOKENS} tokens, {taught} of them taught; {size.steps} steps of {size.batch} rows")
    print(f"{'':14}{'rows/s':>9}{'whole':>9}{'tokens/s':>10}{'MFU':>7}{'peak GB':>9}{'estimate':>9}{'a pass':>8}")
    for tune, result in found.items():
        rate = size.batch / result.metrics["step_seconds"]
        mfu = f"{row_flops(shape, TOKENS, taught, tune) * rate / (peak * 1e12):.1%}" if peak else "n/a"
        print(
            f"{tune:14}{rate:>9.1f}{result.metrics['rows_per_second']:>9.1f}{rate * TOKENS:>10.0f}{mfu:>7}"
            f"{result.peak_memory_mb * 2**20 / 1e9:>9.1f}{result.memory_estimate_mb * 2**20 / 1e9:>9.1f}"
            f"{result.metrics['batch']:>8.0f}"
        )
    print(f"{'seed, H200':14}{SEED:>9.1f}{SEED:>9.1f}{SEED * TOKENS:>10.0f}{'':>7}{87.7:>9.1f}  (full, best epoch)")
    print(f"{'goal':14}{GOAL:>9.1f}")


if __name__ == "__main__":
    raise SystemExit(main())
