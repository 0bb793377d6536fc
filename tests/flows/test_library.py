"""What a server's form may name: recipes by name, from three places, and no file of the worker's disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.library import keep_recipe, named_recipe
from flows.recipe import builtin_recipes, load_recipe
from infra.errors import UserError
from infra.settings import Settings

TINY = builtin_recipes()["tiny"].read_text()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_a_name_is_found_built_in_in_the_folder_and_in_the_store(settings: Settings, tmp_path: Path) -> None:
    assert named_recipe(settings, "tiny") == load_recipe("tiny")
    settings.recipes_path.mkdir(parents=True)
    (settings.recipes_path / "ours.yaml").write_text(TINY.replace("name: tiny", "name: ours"))
    assert named_recipe(settings, "ours").name == "ours"
    mine = tmp_path / "my recipe.yaml"
    mine.write_text(TINY.replace("name: tiny", "name: mine"))
    kept = keep_recipe(settings.open_store(), mine)
    assert kept.startswith("my-recipe@")
    assert named_recipe(settings, kept, ["training.seed=7"]).training.seed == 7
    mine.write_text(TINY)
    assert keep_recipe(settings.open_store(), mine) != kept  # the one above stays what it was
    assert named_recipe(settings, kept).name == "mine"


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../tiny", "recipes/tiny.yaml", "tiny.yaml", "~/tiny", "tiny\n", "", "..", "s3://a/b"]
)
def test_what_is_no_name_is_not_looked_for(settings: Settings, name: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    with pytest.raises(UserError, match="takes the name of a recipe, not a file"):
        named_recipe(settings, name)


def test_an_unknown_name_says_where_it_was_looked_for(settings: Settings) -> None:
    with pytest.raises(UserError, match=r"no recipe 'nope': .*home/recipes"):
        named_recipe(settings, "nope")


@pytest.mark.parametrize(
    "override",
    [
        "data.sources.0={kind: file, path: /etc/passwd}",
        "data.sources=[{kind: query, url: 'sqlite:////etc/x.db', query: SELECT 1}]",
        "data.sources=[{kind: hub, dataset: /home/somebody}]",
        "model=path:/home/somebody/model",
        "training.start_from=path:/home/somebody/adapter",
    ],
)
def test_an_override_names_no_place(settings: Settings, override: str) -> None:
    with pytest.raises(UserError, match="a place to read from"):
        named_recipe(settings, "tiny", [override])


def test_overrides_of_other_kinds_go_through_and_mistakes_are_told_as_such(settings: Settings) -> None:
    assert named_recipe(settings, "tiny", ["data.sources.0.seed=9"]).data.sources[0].seed == 9
    assert named_recipe(settings, "tiny", ["model=random:llama-tiny"]).model == "random:llama-tiny"
    with pytest.raises(UserError, match="did you mean 'training'"):
        named_recipe(settings, "tiny", ["trainig.seed=9"])
