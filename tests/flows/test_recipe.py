"""Recipes: every built-in one loads; what is wrong with one is said in a line."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml

from flows.recipe import builtin_recipes, find_recipe, load_recipe, parse_recipe
from infra.errors import UserError


def test_every_builtin_recipe_loads_and_is_named_like_its_file() -> None:
    found = builtin_recipes()
    assert {"quickstart", "spider", "tiny"} <= set(found)
    for name in found:
        assert load_recipe(name).name == name


def test_a_recipe_survives_freezing() -> None:
    from flows.recipe import parse_recipe

    recipe = load_recipe("quickstart")
    assert parse_recipe(recipe.content(), "frozen") == recipe


def test_overrides_reach_into_lists_and_are_typed() -> None:
    recipe = load_recipe(
        "tiny", ["training.stages.1.max_steps=3", "prompt.schema_style=ddl", "evaluation.max_samples=null"]
    )
    assert recipe.training.stages[1].max_steps == 3
    assert recipe.prompt.schema_style == "ddl"
    assert recipe.evaluation.max_samples is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainig.seed=3", "unknown key 'trainig'; did you mean 'training'"),
        ("training.stages.0.learningrate=3", "did you mean 'learning_rate'"),
        ("training.stages.0.method=sfd", "training.stages.0: unknown method; there are sft"),
        ("training.lora.rank=3", "unknown key 'training.lora.rank'"),
        ("data.sources.0.sed=3", "did you mean 'seed'"),
        ("data.sources.0={kind: fil, path: x}", "data.sources.0: unknown kind 'fil'; did you mean 'file'?"),
        ("data.sources.0={kind: ftp, path: x}", "there are file, hub, query, feedback, generated"),
        ("gates.0.metric=execution_acuracy", "did you mean 'execution_accuracy'"),
        ("training.seed", "write path=value"),
        ("training.stages.7.name=x", "a list of 3"),
        ("name.first=x", "is a single value"),
        ("training.stages=[]", "training.stages"),
        ("version=9", "version"),
        ("release={}", "'release.name' is missing"),
    ],
)
def test_mistakes_are_one_line(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("tiny", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_recipes_name_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'quickstart'"):
        find_recipe("quikstart")
    with pytest.raises(UserError, match=r"there is no recipe file nowhere/mine\.yaml"):
        find_recipe("nowhere/mine.yaml")
    with pytest.raises(UserError, match=r"neither a \.yaml file nor a built-in"):
        find_recipe("mine")


def test_unreadable_yaml_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("version: [1\n")
    with pytest.raises(UserError, match=r"recipe mine\.yaml cannot be read"):
        load_recipe(str(path))
    path.write_text("- a\n")
    with pytest.raises(UserError, match="no mapping"):
        load_recipe(str(path))
    path.write_text("version: 1\ntraining:\n  seed: 1\n  seed: 2\n")
    with pytest.raises(UserError, match=r"mine\.yaml cannot be read: a second key 'seed' .*line 4"):
        load_recipe(str(path))


def test_the_readme_recipe_is_valid(tmp_path: Path) -> None:
    """The recipe that the README shows to people who bring their own data."""
    readme = Path(__file__).parents[2] / "README.md"
    blocks = [b.split("```")[0] for b in readme.read_text().split("```yaml\n")[1:]]
    (whole,) = [block for block in blocks if "version:" in block]
    path = tmp_path / "readme.yaml"
    path.write_text(textwrap.dedent(whole))
    recipe = load_recipe(str(path))
    assert yaml.safe_load(whole)["name"] == recipe.name
    # The other blocks are parts of a recipe: further sources, or keys that take the place of those above.
    for block in blocks:
        if block is not whole:
            content, part = yaml.safe_load(whole), yaml.safe_load(block)
            if isinstance(part, list):
                content["data"]["sources"] += part
            else:
                content |= {key: content.get(key, {}) | value for key, value in part.items()}
            parse_recipe(content, "of the README")


def test_an_override_that_is_no_yaml_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match="the value is no YAML") as told:
        load_recipe("tiny", ["data.sources=["])
    assert "\n" not in str(told.value)
