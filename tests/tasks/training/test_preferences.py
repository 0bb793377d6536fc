"""reward, dpo and grpo on a tiny model: where they start, that they resume to the same end, what they leave behind."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tasks.data.example import Example
from tasks.data.prompts import Prompter, PromptSpec
from tasks.models.loading import load_adapter, load_base, load_tokenizer
from tasks.models.precision import Precision
from tasks.training import trainer
from tasks.training.curriculum import plan_curriculum
from tasks.training.job import ADAPTER, StageResult, TrainingJob, read_result
from tasks.training.methods.grpo import tokenise_prompts
from tasks.training.pairs import Pair
from tasks.training.policy_samples import sample
from tasks.training.preference_rows import tokenise_pairs
from tasks.training.reward_model import RewardModel
from tasks.training.session import run_session
from tasks.training.spec import TrainingSpec

DDL = "CREATE TABLE cars (id INTEGER PRIMARY KEY, name TEXT, price REAL)"
SETUP = "INSERT INTO cars VALUES (1, 'Saab', 30), (2, 'BMW', 50), (3, 'Volvo', 20)"
ROWS = [
    Example(
        f"r{i}", "cars", f"Above {i}?", DDL, f"SELECT id FROM cars WHERE price > {i}", setup=SETUP, difficulty="easy"
    )
    for i in range(16)
]
PROMPT = PromptSpec(format="plain", max_tokens=400)
FLOAT = Precision("float32", None)
SFT = {"name": "taught", "global_batch": 4, "max_steps": 6, "learning_rate": 0.02}
DPO = {
    "name": "preferred",
    "method": "dpo",
    "global_batch": 4,
    "max_steps": 3,
    "learning_rate": 0.005,
    "pairs": {"origins": ["rules"]},
}
GRPO = {
    "name": "rewarded",
    "method": "grpo",
    "global_batch": 32,
    "generations": 8,
    "max_steps": 3,
    "warmup": 0.0,
    "learning_rate": 0.02,
    "max_new_tokens": 8,
    "rewards": {"format": 1.0},
    "eval_rows": 4,
}
REWARD = {"name": "judging", "method": "reward", "global_batch": 4, "max_steps": 6, "learning_rate": 0.01}


def plan(model: Path, work: Path, *stages: dict[str, Any]) -> TrainingJob:
    spec = TrainingSpec.model_validate(
        {"lora": {"r": 2, "alpha": 4}, "per_device_batch": 16, "save_steps": 1, "stages": list(stages)}
    )
    return plan_curriculum(spec, PROMPT, model, "base", "code", ROWS, ROWS[:4], work)


def result(job: TrainingJob, work: Path, stage: int = -1) -> StageResult:
    found = read_result(work / job.stages[stage].folder)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def preferred(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingJob]:
    work = tmp_path_factory.mktemp("preferred")
    job = plan(tiny_model, work, SFT, DPO, GRPO)
    run_session(job, work)
    return work, job


def test_dpo_starts_at_the_sft_adapter_which_is_its_reference(preferred: tuple[Path, TrainingJob]) -> None:
    work, job = preferred
    dpo = result(job, work, 1)
    assert job.stages[1].before == job.stages[0].folder
    # Were the base model the reference, the sft adapter's answers would already differ from it.
    assert dpo.curve[0] == (1, pytest.approx(math.log(2), abs=1e-6))
    assert dpo.metrics["first_rewards/chosen"] == dpo.metrics["first_rewards/rejected"] == 0.0
    assert dpo.metrics["eval_rewards/margins"] > 0
    assert dpo.metrics["pairs_pairs"] == dpo.rows >= 12
    assert dpo.eval_loss is not None
    assert dpo.eval_loss < math.log(2)


def test_what_a_preference_trainer_added_is_gone(preferred: tuple[Path, TrainingJob]) -> None:
    from safetensors import safe_open

    work, job = preferred
    for stage in job.stages:
        folder = work / stage.folder / ADAPTER
        assert not [path for path in folder.iterdir() if path.is_dir()]  # no adapter beside the policy's
        with safe_open(folder / "adapter_model.safetensors", "pt") as stored:
            assert not [name for name in stored.keys() if "ref" in name.split(".")]  # noqa: SIM118 - no mapping
        assert json.loads((folder / "adapter_config.json").read_text())["task_type"] == "CAUSAL_LM"


def test_grpo_starts_from_the_stage_before_and_tells_its_rewards(preferred: tuple[Path, TrainingJob]) -> None:
    work, job = preferred
    grpo = result(job, work, 2)
    assert job.stages[2].before == job.stages[1].folder
    assert {"reward_first", "reward_last", "held_out_reward_before"} <= grpo.metrics.keys()
    assert grpo.metrics["held_out_format"] == grpo.metrics["held_out_reward"]  # the only part with a weight
    assert grpo.rows == 16


@pytest.mark.night
def test_grpo_raises_its_reward(tiny_model: Path, tmp_path: Path) -> None:
    """The model learns to end its answers, which half of the format reward is for."""
    rewarded = {**GRPO, "max_steps": 10, "scheduler": "constant_with_warmup"}
    job = plan(tiny_model, tmp_path, SFT, DPO, rewarded)
    run_session(job, tmp_path)
    found = result(job, tmp_path).metrics
    assert found["reward_last"] > found["reward_first"] > 0


@pytest.mark.night
@pytest.mark.parametrize(("stages", "broken"), [((SFT, DPO), 1), ((SFT, GRPO), 1)])
def test_a_broken_stage_resumes_to_the_same_end(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: tuple[dict, ...], broken: int
) -> None:
    whole = plan(tiny_model, tmp_path / "whole", *stages)
    run_session(whole, tmp_path / "whole")
    mark = trainer.mark_complete

    def die(folder: Path, step: int) -> None:
        mark(folder, step)
        if folder.name.startswith(f"{broken + 1}-") and step == 2:
            raise KeyboardInterrupt

    again = plan(tiny_model, tmp_path / "again", *stages)
    monkeypatch.setattr(trainer, "mark_complete", die)
    with pytest.raises(KeyboardInterrupt):
        run_session(again, tmp_path / "again")
    monkeypatch.undo()
    run_session(again, tmp_path / "again")
    expected, found = result(whole, tmp_path / "whole"), result(again, tmp_path / "again")
    assert found.resumed_from == 2
    assert [step for step, _ in found.curve] == [1, 2, 3]
    # To the last bit on one machine; the tolerance is for sums in another order.
    assert [loss for _, loss in found.curve] == pytest.approx([loss for _, loss in expected.curve], abs=1e-6)
    for name in ("eval_rewards/margins", "held_out_reward", "reward_last"):
        assert found.metrics.get(name) == pytest.approx(expected.metrics.get(name), abs=1e-6)


def test_a_reward_model_has_one_head_and_serves_grpo(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    scored = {**GRPO, "max_steps": 2, "rewards": {"format": 0.8, "reward_model": 0.2}, "reward_model": "judging"}
    job = plan(tiny_model, tmp_path, SFT, REWARD, scored)
    run_session(job, tmp_path)
    folder, made = tmp_path / job.stages[1].folder / ADAPTER, result(job, tmp_path, 1)
    (head,) = (tensor for name, tensor in load_file(folder / "adapter_model.safetensors").items() if "score" in name)
    assert head.shape[0] == 1
    assert made.curve[-1][1] < made.curve[0][1]
    assert {"eval_accuracy", "eval_margin", "eval_min_reward", "eval_mean_reward"} <= made.metrics.keys()
    # The policy goes on from the stage before the reward model, not from the reward model.
    assert job.stages[2].before == job.stages[0].folder
    grpo = result(job, tmp_path)
    parts = grpo.metrics
    assert parts["held_out_reward"] == pytest.approx(
        0.8 * parts["held_out_format"] + 0.2 * parts["held_out_reward_model"], abs=1e-6
    )
    prompter = Prompter(PROMPT, load_tokenizer(tiny_model))
    model = RewardModel(tiny_model, folder, prompter, FLOAT)
    one, other, first_again = model.score([ROWS[0], ROWS[1], ROWS[0]], [ROWS[0].sql, "DROP", ROWS[0].sql])
    assert 0 < one < 1
    assert one != other
    assert one == pytest.approx(first_again, abs=1e-6)  # padding does not change a score


def test_samples_depend_on_the_seed_alone(tiny_model: Path) -> None:
    import torch

    prompter, model = Prompter(PROMPT, load_tokenizer(tiny_model)), load_base(tiny_model, FLOAT)
    before = torch.random.get_rng_state()
    one, same, other = (sample(model, prompter, ["a", "b"], 3, 1.0, 6, seed) for seed in ("x", "x", "y"))
    assert one == same != other
    assert [len(texts) for texts in one] == [3, 3]
    assert torch.equal(before, torch.random.get_rng_state())
    assert sample(model, prompter, ["a"], 1, 0.0, 6, "x") == sample(model, prompter, ["a"], 1, 0.0, 6, "y")


def test_pairs_and_prompts_are_those_of_evaluation(tiny_model: Path) -> None:
    prompter = Prompter(PROMPT, load_tokenizer(tiny_model))
    pair = Pair("a", "Which?", "", DDL, "sqlite", "SELECT id FROM cars", "SELECT name FROM cars", "rules:wrong_column")
    (row,) = tokenise_pairs([pair], prompter, 600, 0.0).rows
    decode = prompter.tokenizer.decode
    prompt = prompter.render(DDL, "Which?")
    assert decode(row["prompt_ids"]) == prompt
    assert [decode(row[key]) for key in ("chosen_ids", "rejected_ids")] == [
        prompter.completion(sql) for sql in (pair.chosen, pair.rejected)
    ]
    assert tokenise_prompts([ROWS[0]], prompter, 500).rows[0]["prompt"] == prompter.render(DDL, "Above 0?")
    assert tokenise_prompts(ROWS, prompter, 10).dropped == len(ROWS)


def test_policy_samples_become_pairs(tiny_model: Path, tmp_path: Path) -> None:
    drawn = {**DPO, "max_steps": 1, "pairs": {"origins": ["policy"], "samples": 2, "max_new_tokens": 6}}
    job = plan(tiny_model, tmp_path, {**drawn, "data": {"max_samples": 4}})
    run_session(job, tmp_path)
    made = next((tmp_path / job.stages[0].folder / "pairs").glob("*.json"))
    assert {pair["maker"] for pair in json.loads(made.read_text())["pairs"]} == {"policy"}
    assert load_adapter(load_base(tiny_model, FLOAT), tmp_path / job.stages[0].folder / ADAPTER)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{**GRPO, "global_batch": 12}], "make it a multiple of generations=8"),
        ([{**GRPO, "evaluations": 3}], "grpo has no validation loss"),
        ([{**GRPO, "reward_model": "judging"}], "give both or neither"),
        ([{**GRPO, "rewards": {"reward_model": 1}, "reward_model": "judging"}], "is no earlier `reward` stage"),
        ([{**DPO, "pairs": {"origins": []}}], "at least 1 item"),
        ([SFT, {**REWARD, "pairs": {}}], "come from the origins rules and endpoint"),
        ([REWARD], "add a stage that trains a policy"),
    ],
)
def test_what_cannot_be_trained_is_refused(stages: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingSpec.model_validate({"stages": stages})


def test_all_weights_are_not_trained_on_preferences() -> None:
    with pytest.raises(ValueError, match="use tune: lora"):
        TrainingSpec.model_validate({"tune": "full", "stages": [DPO]})
