"""`nightshift plan`: the class each step needs, the levers that change it, hours and cost from what nights recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.plan import plan_recipe
from flows.recipe import Recipe, load_recipe, parse_recipe
from infra.errors import UserError
from infra.gpu import CLASSES, POOLS, gpu_class
from infra.settings import Settings
from tasks.models.precision import Precision
from tasks.models.shape import shape_of
from tasks.training.footprint import Step
from tasks.training.planning import place_training
from tasks.training.stage_memory import Lengths, stage_step, training_memory
from tests.tasks.training import sizes

LLAMA_8B = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
}


def recipe(tmp_path: Path, config: dict[str, Any], *overrides: str) -> Recipe:
    """The tiny recipe with a model that is a config.json and nothing else."""
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return load_recipe("tiny", [f"model=path:{folder}", "training.max_length=640", *overrides])


def settings(tmp_path: Path, **more: Any) -> Settings:
    return Settings(home=tmp_path / "home", **more)


def places(found: dict[str, Any], step: str = "train") -> dict[str, dict[str, Any]]:
    return {place["pool"]: place for place in found["steps"][step]["classes"]}


def test_an_8b_model_goes_past_the_l4_to_the_h100_and_the_plan_says_what_would_keep_it(tmp_path: Path) -> None:
    found = plan_recipe(recipe(tmp_path, LLAMA_8B, "training.per_device_batch=16"), settings(tmp_path))
    assert found["parameters"] == pytest.approx(8.03e9, rel=0.01)
    train = places(found)
    assert set(train) == {gpu.pool for gpu in CLASSES}
    assert found["steps"]["train"]["pool"] == "gpu-h100"
    assert found["steps"]["train"]["why"].startswith("gpu-l4 is too small")
    assert not train["gpu-l4"]["fits"]
    assert train["gpu-l4"]["levers"], "an L4 trains a LoRA of an 8B model"
    assert not train["gpu-t4"]["fits"]
    assert (train["gpu-t4"]["precision"], train["gpu-l4"]["precision"]) == ("float16", "bfloat16")
    assert (found["steps"]["prepare"]["pool"], found["steps"]["promote"]["pool"]) == ("cpu", "cpu")


def test_the_levers_do_what_the_plan_says(tmp_path: Path) -> None:
    before = plan_recipe(recipe(tmp_path, LLAMA_8B, "training.per_device_batch=16"), settings(tmp_path))
    place = places(before)["gpu-t4"]
    assert "training.quantize=nf4" in place["levers"], "16 GB of weights do not fit a T4 unless in four bits"
    after = plan_recipe(recipe(tmp_path, LLAMA_8B, *place["levers"]), settings(tmp_path))
    assert places(after)["gpu-t4"]["fits"]
    assert places(after)["gpu-t4"]["need_gib"] == pytest.approx(place["need_with_levers_gib"])


def test_full_fine_tuning_needs_more_and_adapters_are_its_last_lever(tmp_path: Path) -> None:
    lora = places(plan_recipe(recipe(tmp_path, LLAMA_8B), settings(tmp_path)))
    full = places(plan_recipe(recipe(tmp_path, LLAMA_8B, "training.tune=full"), settings(tmp_path)))
    # Weights, gradients and two averages in float32: 16 bytes each.
    assert full["gpu-h200"]["need_gib"] > 16 * 8.03e9 / 2**30
    assert lora["gpu-h200"]["need_gib"] < full["gpu-h200"]["need_gib"] / 3
    assert full["gpu-h100"]["levers"][-1] == "training.tune=lora"


def test_several_processes_need_as_many_gpus_and_a_divided_model_less_on_each(tmp_path: Path) -> None:
    full = ("training.tune=full", "training.share_prefix=1", "training.per_device_batch=1")

    def on(*more: str) -> dict[str, Any]:
        return plan_recipe(recipe(tmp_path, LLAMA_8B, *full, *more), settings(tmp_path))

    alone, together, divided = on(), on("training.processes=4"), on("training.processes=4", "training.sharding=fsdp")
    one, four, parts = (places(found)["gpu-h100"] for found in (alone, together, divided))
    assert [place["gpus"] for place in (one, four, parts)] == [1, 4, 4]
    # DDP keeps a second copy of 4 bytes of every gradient; a quarter of 16 bytes a weight is a quarter.
    assert four["need_gib"] - one["need_gib"] == pytest.approx(1.08 * 4 * 8.03e9 / 2**30, rel=0.05)
    assert 16 * 8.03e9 / 4 / 2**30 < parts["need_gib"] < one["need_gib"] / 2
    assert parts["fits"]
    assert not four["fits"]
    assert "training.sharding=fsdp" in four["levers"]
    assert "training.tune=lora" not in four["levers"]
    assert "on each of 4 GPUs in one machine" in divided["steps"]["train"]["why"]
    assert "GPUs" not in alone["steps"]["train"]["why"]
    assert places(divided, "evaluate")["gpu-h100"]["gpus"] == 1


def test_processes_on_cpus_share_their_memory(tmp_path: Path) -> None:
    asked = ("training.processes=2", "training.share_prefix=1", "training.per_device_batch=1")
    two = places(plan_recipe(recipe(tmp_path, sizes.QWEN3_06, *asked), settings(tmp_path)))["cpu"]
    assert two["gpus"] == 1
    assert two["need_gib"] == pytest.approx(2 * (1.08 * sum(two["parts_gib"].values()) + 1.5), rel=0.02)


def test_hours_and_cost_come_from_recorded_nights_of_the_class_alone(tmp_path: Path) -> None:
    asked = recipe(tmp_path, LLAMA_8B)
    there = settings(tmp_path, prices={"gpu-l4": 0.8})
    store = there.open_store()
    store.write_json("nights/n1/night.json", {"recipe": asked.content()})
    # 100 rows of 50 tokens in 25 steps of 4 rows: 5,000 tokens in 10 seconds.
    stage = {"name": "easy", "rows": 100, "tokens": 5000, "steps": 25, "seconds": 10.0, "reused": False}
    store.write_json("nights/n1/train.json", {"stages": [stage | {"resumed_from": 0, "device": "NVIDIA L4"}]})
    train = places(plan_recipe(asked, there))
    # Three stages of 16 rows: 2,400 tokens at 500 a second.
    assert train["gpu-l4"]["hours"] == round(2400 / 500 / 3600, 3)
    assert train["gpu-l4"]["cost"] == round(train["gpu-l4"]["hours"] * 0.8, 2)
    assert train["gpu-h100"]["hours"] is None
    twice = recipe(tmp_path, LLAMA_8B, "training.processes=2", "training.share_prefix=1", "training.per_device_batch=1")
    assert places(plan_recipe(twice, there))["gpu-l4"]["hours"] is None  # a speed of another number of GPUs
    other = parse_recipe(asked.content() | {"model": "random:llama-tiny"}, "other")
    store.write_json("nights/n1/night.json", {"recipe": other.content()})
    assert places(plan_recipe(asked, there))["gpu-l4"]["hours"] is None


def test_pairs_rewards_and_drawn_answers_are_counted(tmp_path: Path) -> None:
    judge = "{name: judge, method: reward}"
    scored = "{name: last, method: grpo, reward_model: judge, rewards: {reward_model: 1.0}}"
    shape, precision = shape_of(LLAMA_8B), Precision("bfloat16", "bfloat16")

    def step(*stages: str) -> Step:
        asked = recipe(tmp_path, LLAMA_8B, "training.share_prefix=1", f"training.stages=[{', '.join(stages)}]")
        return stage_step(asked.training, asked.training.stages[-1], shape, precision, Lengths(640, 96))

    sft, dpo, grpo = step("{name: a}"), step("{name: a, method: dpo}"), step("{name: a, method: grpo}")
    reward = step("{name: a}", judge)
    assert dpo.sequences == reward.sequences == 2 * sft.sequences
    assert reward.answers == 0
    assert step("{name: a, method: prompt_tuning}").answers == sft.tokens
    assert dpo.beside == grpo.beside == 4 * sft.trained
    assert grpo.length == sft.length + 96
    assert step(judge, scored).beside - grpo.beside == 2 * shape.parameters

    def whole(tokens: int) -> int:
        stages = "training.stages=[{name: a, method: grpo, max_new_tokens: %s}]"
        asked = recipe(tmp_path, LLAMA_8B, "training.share_prefix=1", stages % tokens)
        return training_memory(asked.training, shape, precision, 96).total

    assert whole(4096) > whole(64) > 2 * shape.parameters


def test_a_recipe_whose_pools_are_all_too_small_is_told_so(tmp_path: Path) -> None:
    asked = recipe(tmp_path, LLAMA_8B, "training.tune=full", "infra.train=[cpu]")
    step = plan_recipe(asked, settings(tmp_path))["steps"]["train"]
    assert step["pool"] is None
    assert "cpu has 14 GiB" in step["why"]


def test_evaluation_shrinks_its_batch_and_a_strange_family_is_refused(tmp_path: Path) -> None:
    asked = recipe(tmp_path, LLAMA_8B, "evaluation.batch_size=512", "infra.evaluate=[gpu-l4]")
    step = plan_recipe(asked, settings(tmp_path))["steps"]["evaluate"]
    assert step["pool"] == "gpu-l4"
    assert "only with evaluation.batch_size=" in step["why"]
    with pytest.raises(UserError, match="family 't5'"):
        plan_recipe(recipe(tmp_path, {"model_type": "t5"}), settings(tmp_path))
    with pytest.raises(UserError, match="no pool 'gpu-l5'"):
        plan_recipe(recipe(tmp_path, LLAMA_8B, "infra.train=[gpu-l5]"), settings(tmp_path))


PUBLIC = {
    "Qwen3-0.6B": sizes.QWEN3_06,
    "Qwen2.5-1.5B": sizes.QWEN25_15,
    "Llama-3.2-3B": sizes.LLAMA_3,
    "Mistral-7B": sizes.MISTRAL_7,
    "Qwen3-8B": sizes.QWEN3_8,
}


def table() -> str:
    """The table of docs/deploying.md: GiB that training needs on each class, and the levers where it is too much."""
    rows = ["| model | " + " | ".join(POOLS[1:]) + " | all weights |", "| --- " * (len(POOLS) + 1) + "|"]
    batches = [f"training.stages.{number}.global_batch=16" for number in range(3)]
    asked = ["training.max_length=640", "training.per_device_batch=16", "training.lora.r=16", *batches]
    lora, full = load_recipe("tiny", asked), load_recipe("tiny", [*asked, "training.tune=full"])
    for name, content in PUBLIC.items():
        shape = shape_of(content)
        cells = []
        for pool in POOLS[1:]:
            place = place_training(lora.training, shape, gpu_class(pool), 96, (), 0)
            short = [lever.removeprefix("training.") for lever in place.levers]
            cells.append(f"{place.need_gib:.0f}" if place.fits else f"{place.need_gib:.0f}: {', '.join(short) or 'no'}")
        every = [(gpu, place_training(full.training, shape, gpu, 96, (), 0)) for gpu in CLASSES if gpu.is_gpu]
        fitting = [gpu.pool for gpu, place in sorted(every, key=lambda pair: pair[0].memory_gib) if place.fits]
        cells.append(f"{every[2][1].need_gib:.0f}: {fitting[0] if fitting else 'none'}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def test_the_guides_table_is_what_the_rules_say() -> None:
    assert table() in (Path(__file__).parents[2] / "docs" / "deploying.md").read_text()
