"""What a night's first stage starts from: a fresh adapter, a folder, or a release.

`training.start_from: Production` is settled when the night is planned: the version that stands there then becomes part
of the frozen recipe, and so of the night's key. Where nothing is in Production yet the night begins from the base, and
says so. A release is fetched, checked against its hash, and must stand on the recipe's own base model.
"""

from __future__ import annotations

from pathlib import Path

from flows.recipe import Recipe
from infra.errors import NightshiftError, UserError
from infra.progress import emit
from infra.store import Store
from registry.download import download_adapter
from registry.ledger import Ledger
from registry.releases import PRODUCTION_ALIAS, get_release
from tasks.training.curriculum import start_folder
from tasks.training.spec import RELEASE


def settle_start(recipe: Recipe, store: Store) -> Recipe:
    """The recipe with `Production` replaced by the version that is there now, by `base` when there is none."""
    if recipe.training.start_from != PRODUCTION_ALIAS:
        return recipe
    head = Ledger(store, recipe.release.name).head()
    start = "base" if head is None else f"{RELEASE}{recipe.release.name}@{head.version}"
    if head is None:
        emit("plan", f"nothing of {recipe.release.name} is in Production yet: the first stage starts from the base")
    training = recipe.training.model_copy(update={"start_from": start})
    return recipe.model_copy(update={"training": training})


def fetch_start(recipe: Recipe, work: Path) -> Path | None:
    """The adapter folder that the first stage starts from, a release's below `work`; None for a fresh adapter.

    Raises UserError for a release on another base model, AdapterChanged when its files are not those registered, and
    NightshiftError where `Production` was not settled: a fresh adapter in its place would be another training.
    """
    start = recipe.training.start_from
    if start == PRODUCTION_ALIAS:
        raise NightshiftError("training.start_from: Production stands for no version yet; settle_start comes first")
    if not start.startswith(RELEASE):
        return start_folder(recipe.training)
    name, _, version = start.removeprefix(RELEASE).partition("@")
    base = get_release(name, version).tags.get("nightshift.base_model", "")
    if base != recipe.model:
        raise UserError(
            f"training.start_from: {name} version {version} stands on {base.partition('#')[0] or 'an unknown model'}, "
            f"the recipe trains {recipe.model.partition('#')[0]}"
        )
    folder = work / f"start-{name}-{version}"
    return folder if folder.is_dir() else download_adapter(name, version, folder)
