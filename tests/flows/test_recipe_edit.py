"""Values written into a recipe's text: the meaning changes as asked, comments and everything else stay."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from flows.recipe import builtin_recipes, parse_recipe, set_value
from flows.recipe_edit import diff, edit
from infra.errors import NightshiftError

TEXT = """\
# The head stays.
training:
  lora: {r: 16, alpha: 32}      # and so does this
  stages:
    - name: easy
      data: {difficulty: [easy]}
      learning_rate: 2.0e-3     # measured
    - name: hard
      warmup: 0.1
gates: []
"""


def test_values_are_replaced_where_they_stand() -> None:
    edits = [("training.lora.r", 8), ("training.stages.0.learning_rate", 1e-05), ("training.stages.1.warmup", 0.2)]
    assert edit(TEXT, edits) == TEXT.replace("r: 16", "r: 8").replace("2.0e-3 ", "1.0e-05 ").replace("0.1\n", "0.2\n")


def test_missing_keys_end_up_at_the_end_of_their_mapping() -> None:
    edits = [("training.lora.dropout", 0.1), ("training.stages.1.betas", [0.9, 0.95]), ("prompt.format", "plain")]
    after = edit(TEXT, edits)
    assert "{r: 16, alpha: 32, dropout: 0.1}      # and so does this" in after
    assert "      warmup: 0.1\n      betas: [0.9, 0.95]\ngates: []\nprompt: {format: plain}\n" in after


def test_a_star_reaches_every_place_of_a_list() -> None:
    after = edit(TEXT, [("training.stages.*.learning_rate", 0.001)])
    assert [stage["learning_rate"] for stage in yaml.safe_load(after)["training"]["stages"]] == [0.001, 0.001]
    assert "learning_rate: 0.001     # measured" in after


def test_blocks_are_replaced_whole() -> None:
    after = edit(TEXT, [("training.stages", [{"name": "all"}])])
    assert yaml.safe_load(after)["training"]["stages"] == [{"name": "all"}]
    assert after.endswith("gates: []\n")


def test_shared_values_are_refused() -> None:
    shared = "a: &x {b: 1}\nc: *x\n"
    with pytest.raises(NightshiftError, match="anchors"):
        edit(shared, [("c.b", 2)])


@pytest.mark.parametrize("name", list(builtin_recipes()))
def test_every_built_in_recipe_can_be_edited(name: str) -> None:
    text = builtin_recipes()[name].read_text(encoding="utf-8")
    edits = [("training.stages.*.warmup", 0.15), ("training.lora.r", 48), ("training.seed", 7)]
    content = yaml.safe_load(text)
    for path, value in edits:
        set_value(content, path, value, path)
    after = edit(text, edits)
    assert parse_recipe(yaml.safe_load(after), name) == parse_recipe(content, name)
    comments = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in after.splitlines() if line.lstrip().startswith("#")] == comments


def test_the_diff_is_one_that_patch_takes(tmp_path: Path) -> None:
    after = edit(TEXT, [("training.lora.r", 8)])
    (tmp_path / "r.yaml").write_text(TEXT)
    (tmp_path / "r.diff").write_text(diff(TEXT, after, "r.yaml"))
    subprocess.run(["git", "apply", "r.diff"], cwd=tmp_path, check=True)
    assert (tmp_path / "r.yaml").read_text() == after
