"""Every built-in recipe is loaded and trained for two steps, with a tiny random model of its own architecture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli.nights import GROUPS, recipes
from flows.recipe import builtin_recipes, load_recipe, recipe_group
from tasks.data.example import Example
from tasks.models.loading import is_whole_model
from tasks.models.resolve import resolve_model
from tasks.training.curriculum import plan_curriculum
from tasks.training.job import ADAPTER, read_result
from tasks.training.session import run_session

# What stands in for a recipe's model: the same architecture class, special tokens and chat template.
FAMILIES = {
    "CodeLlama": "codellama",
    "Qwen3": "qwen3",
    "Qwen2.5": "qwen2",
    "flan-t5": "t5",
    "Falcon3": "falcon3",
    "gemma-3": "gemma3",
    "smollm2": "llama",
}
DDL = "CREATE TABLE cars (id INTEGER PRIMARY KEY, name TEXT, price REAL)"
LEVELS = ("easy", "medium", "hard")
ROWS = [
    Example(
        f"r{i}",
        "cars",
        f"Above {i}?",
        DDL,
        f"SELECT name FROM cars WHERE price > {i}",
        setup="INSERT INTO cars VALUES (1, 'Saab', 30), (2, 'BMW', 50)",
        difficulty=LEVELS[i % 3],
    )
    for i in range(36)
]


def stand_in(model: str) -> str:
    if model.startswith("random:"):
        return model
    (family,) = {tiny for name, tiny in FAMILIES.items() if name in model}
    return f"random:{family}-tiny"


OWN = {"quickstart", "spider", "tiny", "tiny_full", "tiny_prompt_tuning", "tiny_seq2seq", "tiny_dpo", "tiny_grpo"}
PUBLISHED = {
    *("s000_codellama_lora", "s000_curriculum"),
    *("s001_fullft", "s001_lora_r16_qv", "s001_lora_r16_all", "s001_lora_r64_all", "s001_qlora_r64"),
    *("s001_prompt_random", "s001_prompt_text"),
    *("s001_dpo", "s001_sft_dpo", "s001_rm", "s001_grpo_rm", "s001_sft_grpo"),
    *("s001_grpo_lr1e5", "s001_grpo_lr1e6", "s001_grpo_lr1e8_clip03", "s001_grpo_ngen4"),
    *("s002_flan_t5_large", "s002_flan_t5_base_fullft"),
    *("s003_qwen_3ep", "s003_qwen_12ep", "s003_falcon"),
    *("s004_gemma_r4", "s004_gemma_r8", "s004_gemma_r16"),
}
CORRECTED = {
    *("s000_curriculum_fixed", "s001_lora_r64_all_fixed", "s001_prompt_random_fixed", "s001_prompt_text_fixed"),
    *("s002_flan_t5_large_fixed", "s003_qwen_fixed", "s004_gemma_fixed"),
    *("s001_sft_dpo_fixed", "s001_sft_grpo_fixed", "s001_grpo_rm_fixed"),
}


def test_the_recipes_are_counted() -> None:
    assert set(builtin_recipes()) == OWN | PUBLISHED | CORRECTED
    assert len(builtin_recipes()) == 44


def test_recipes_are_listed_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    recipes(as_json=False)
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in builtin_recipes())
    assert set(GROUPS) == {recipe_group(path) for path in builtin_recipes().values()}
    assert all(f"{heading}\n" in listed for heading in GROUPS.values())
    recipes(as_json=True)
    (t5,) = [row for row in json.loads(capsys.readouterr().out) if row["name"] == "s002_flan_t5_large"]
    assert (t5["group"], t5["methods"]) == ("flan_t5", ["seq2seq"])


def test_the_head_of_a_recipe_is_the_command_that_runs_it() -> None:
    for name, path in builtin_recipes().items():
        assert f"nightshift retrain {name}" in path.read_text().partition("version:")[0] or name == "quickstart"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.mark.night
@pytest.mark.parametrize("name", list(builtin_recipes()))
def test_a_recipe_trains_for_two_steps(name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(name)
    model = resolve_model(stand_in(recipe.model), cache)
    training = recipe.training.model_dump()
    # A byte tokenizer needs more tokens; four bits and their optimisers need a GPU; a step is one forward pass here.
    # All else is as the recipe says.
    training |= {"max_length": 2000, "max_dropped_share": 0.0, "quantize": None}
    training["lora"]["first_layer"] = 0
    for stage, stage_spec in zip(training["stages"], recipe.training.stages, strict=True):
        at_once = recipe.training.sequences_at_once(stage_spec) * recipe.training.share_of(stage_spec)
        stage |= {"max_steps": 2, "epochs": 1.0, "evaluations": 1, "patience": None, "global_batch": at_once}
        if "pairs" in stage:
            stage["pairs"] |= {"samples": 1, "max_new_tokens": 8}
        if stage["method"] == "grpo":  # what a random model says earns nothing: chance rewards it here
            monkeypatch.setattr("tasks.training.rewards.format_reward", lambda answer: sum(map(ord, answer.text)) % 2)
            stage |= {"max_new_tokens": 8, "rewards": stage["rewards"] | {"format": 1.0}}
        if stage["optimizer"].endswith("8bit"):
            stage["optimizer"] = "adamw"
    spec = type(recipe.training).model_validate(training)
    prompt = recipe.prompt.model_copy(update={"max_tokens": 1900})
    job = plan_curriculum(spec, prompt, model.path, model.fingerprint, "code", ROWS, [], tmp_path)
    run_session(job, tmp_path)
    for stage in job.stages:
        result = read_result(tmp_path / stage.folder)
        assert result is not None
        assert 1 <= result.steps <= 2
        assert result.trainable > 0
        assert is_whole_model(tmp_path / stage.folder / ADAPTER) == (spec.tune == "full")
