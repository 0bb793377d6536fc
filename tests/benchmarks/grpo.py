"""Does GRPO raise its reward? A supervised stage, then a bounded GRPO stage, on a built-in recipe's model and data.

Run: python -m tests.benchmarks.grpo            the quickstart's model: a quarter of an hour on two cores
     python -m tests.benchmarks.grpo tiny       a random model, whose answers only learn to end: a minute
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from flows.recipe import load_recipe
from infra.settings import load_settings
from tasks.data.build import divide
from tasks.data.ingest import read_sources
from tasks.models.resolve import resolve_model
from tasks.training.curriculum import plan_curriculum
from tasks.training.job import StageResult, read_result
from tasks.training.session import run_session

STAGES: dict[str, list[dict[str, Any]]] = {
    "quickstart": [
        {"name": "sft", "data": {"max_samples": 800}, "learning_rate": 1.5e-3},
        {
            "name": "grpo",
            "method": "grpo",
            "max_steps": 24,
            "learning_rate": 1e-4,
            "warmup": 0.0,
            "global_batch": 32,
            "generations": 8,
            "max_new_tokens": 64,
            "rewards": {"execution": 0.7, "syntax": 0.2, "format": 0.1},
        },
    ],
    "tiny": [
        {"name": "sft", "data": {"max_samples": 24}, "learning_rate": 0.02, "global_batch": 4},
        {
            "name": "grpo",
            "method": "grpo",
            "max_steps": 12,
            "learning_rate": 0.02,
            "warmup": 0.0,
            "scheduler": "constant_with_warmup",
            "global_batch": 32,
            "generations": 8,
            "max_new_tokens": 8,
            "rewards": {"format": 1.0},
        },
    ],
}


def run(name: str, work: Path) -> StageResult:
    """Train the stages of `name`; the result of its GRPO stage."""
    recipe = load_recipe(name)
    splits = divide(read_sources(recipe.data.sources).examples, recipe.data, {}).splits
    training = type(recipe.training).model_validate(recipe.training.model_dump() | {"stages": STAGES[name]})
    model = resolve_model(recipe.model, load_settings().models_path)
    job = plan_curriculum(
        training, recipe.prompt, model.path, model.fingerprint, "bench", splits["train"], splits["validation"], work
    )
    run_session(job, work)
    result = read_result(work / job.stages[-1].folder)
    assert result is not None
    return result


def main(arguments: list[str]) -> None:
    """Print the reward before and after, in training and on held-out questions."""
    name = arguments[0] if arguments else "quickstart"
    with tempfile.TemporaryDirectory() as folder:
        result = run(name, Path(folder))
    found = result.metrics
    print(f"{name}: {result.steps} steps over {result.rows} rows in {result.seconds:.0f} s")
    print(f"{'reward':<34} {'before':>8} {'after':>8}")
    print(f"{'sampled, first and last quarter':<34} {found['reward_first']:>8.3f} {found['reward_last']:>8.3f}")
    for key in sorted(key for key in found if key.startswith("held_out_") and not key.endswith("_before")):
        title = f"held out, greedy: {key.removeprefix('held_out_')}"
        print(f"{title:<34} {found[f'{key}_before']:>8.3f} {found[key]:>8.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
