"""Recipes by name, for runs that a server starts: what somebody types into a form reads no file of the worker's disk.

A name is looked for among the built-in recipes, in the recipe folder (NIGHTSHIFT_RECIPES) and in the store, where
`nightshift retrain FILE --deployed` puts a file under its name and digest. Overrides may change how a night trains and
judges, but not where it reads from. The command line on one's own machine may name any file (`flows.recipe`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flows.recipe import (
    Recipe,
    builtin_recipes,
    find_recipe,
    load_recipe,
    override,
    parse_mapping,
    parse_recipe,
    read_mapping,
)
from infra.errors import NotFound, UserError
from infra.settings import Settings
from infra.store import Store

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(@[0-9a-f]{12})?")
FOLDER = "recipes"


def named_recipe(settings: Settings, name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that a deployment's run names.

    Raises UserError for what is no name, for an unknown one, and for overrides that change a place.
    """
    if not NAME.fullmatch(name) or name.endswith((".yaml", ".yml")):
        raise UserError(
            f"recipe {name!r}: a run of the deployment takes the name of a recipe, not a file; "
            "nightshift retrain FILE --deployed brings a file along"
        )
    content = _find(settings, name)
    changed = override(content, overrides)
    # Checked first: a mistake in a key is told as such.
    recipe = parse_recipe(changed, name)
    if new := set(_places(recipe)) - set(_places(parse_recipe(content, name))):
        raise UserError(
            f"recipe {name}: an override sets {sorted(new)[0]}, a place to read from; a run of the deployment takes "
            "places from the recipe alone"
        )
    return recipe


def chosen_recipe(settings: Settings, name: str, overrides: Sequence[str] = ()) -> Recipe:
    """What a flow's parameters ask for: in a run of a deployment a name, on one's own command line any file, too."""
    from prefect.runtime import deployment

    return named_recipe(settings, name, overrides) if deployment.id else load_recipe(name, overrides)


def chosen_text(settings: Settings, name: str) -> tuple[str, str]:
    """The text of the recipe that `chosen_recipe` finds under `name`, and the name of its file."""
    from prefect.runtime import deployment

    path = _file(settings, name) if deployment.id else find_recipe(name)
    return (_stored(settings, name), f"{name}.yaml") if path is None else (path.read_text("utf-8"), path.name)


def _find(settings: Settings, name: str) -> dict[str, Any]:
    path = _file(settings, name)
    return parse_mapping(_stored(settings, name), f"recipe {name}") if path is None else read_mapping(path, "recipe")


def _file(settings: Settings, name: str) -> Path | None:
    """The built-in recipe, or the one in the recipe folder; None for one that can only be in the store."""
    builtin = builtin_recipes()
    if name in builtin:
        return builtin[name]
    files = (settings.recipes_path / f"{name}{suffix}" for suffix in (".yaml", ".yml"))
    return next((path for path in files if path.is_file()), None)


def _stored(settings: Settings, name: str) -> str:
    try:
        return settings.open_store().read(f"{FOLDER}/{name}.yaml").decode("utf-8")
    except NotFound:
        raise UserError(
            f"no recipe {name!r}: it is not built in, not in the recipe folder {settings.recipes_path} of the worker "
            "and not in the store"
        ) from None


def keep_recipe(store: Store, path: Path) -> str:
    """Put a recipe file into the store; its name there, which has the digest of its content."""
    data = path.read_bytes()
    stem = re.sub(r"[^A-Za-z0-9_.-]", "-", path.stem).lstrip("-._") or "recipe"
    name = f"{stem}@{hashlib.sha256(data).hexdigest()[:12]}"
    store.write(f"{FOLDER}/{name}.yaml", data)
    return name


def _places(recipe: Recipe) -> Iterator[str]:
    """Everything in a recipe that says where to read: `path: value`. Every text of a source counts."""
    content = recipe.content()
    yield from _texts(content["data"]["sources"], "data.sources")
    if recipe.model.startswith("path:"):
        yield f"model={recipe.model}"
    if recipe.training.start_from.startswith("path:"):
        yield f"training.start_from={recipe.training.start_from}"


def _texts(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{path}.{number}")
    elif isinstance(value, str):
        yield f"{path}={value}"
