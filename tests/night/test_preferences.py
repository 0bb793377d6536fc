"""A night that ends in GRPO with a reward model, on the tiny model (a minute): the policy is what is released."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import nightshift


@pytest.mark.night
def test_a_night_with_a_reward_model_releases_the_policy(project: Path) -> None:
    code, outcome = nightshift(project, "retrain", "tiny_grpo")
    assert (code, outcome["outcome"]) == (0, "promoted")
    (train,) = (project / ".nightshift" / "store" / "nights").glob("*/train.json")
    trained = json.loads(train.read_text())
    sft, judge, grpo = trained["stages"]
    assert [stage["method"] for stage in (sft, judge, grpo)] == ["sft", "reward", "grpo"]
    assert trained["adapter"]["key"].endswith(grpo["fingerprint"])
    assert 0 <= judge["metrics"]["eval_accuracy"] <= 1
    assert {"reward_last", "held_out_reward", "held_out_reward_model"} <= grpo["metrics"].keys()
