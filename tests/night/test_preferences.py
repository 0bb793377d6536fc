"""A night that ends in GRPO with a reward model, on the tiny model (a minute): the policy is what is released."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.night
def test_a_night_with_a_reward_model_releases_the_policy(tmp_path: Path) -> None:
    hidden = ("NIGHTSHIFT_", "PREFECT_", "MLFLOW_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    command = [sys.executable, "-m", "flows.cli", "retrain", "tiny_grpo", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "promoted"
    (train,) = (tmp_path / ".nightshift" / "store" / "nights").glob("*/train.json")
    trained = json.loads(train.read_text())
    sft, judge, grpo = trained["stages"]
    assert [stage["method"] for stage in (sft, judge, grpo)] == ["sft", "reward", "grpo"]
    assert trained["adapter"]["key"].endswith(grpo["fingerprint"])
    assert 0 <= judge["metrics"]["eval_accuracy"] <= 1
    assert {"reward_last", "held_out_reward", "held_out_reward_model"} <= grpo["metrics"].keys()
