"""`nightshift train`: the adapter of a recipe, without judging or promoting it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flows.night import Night


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(train)


def train(
    recipe: Annotated[str, typer.Argument(help="Built-in recipe or path of a recipe file.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder for the adapter.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the recipe; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Prepare a recipe's data and train its adapter; nothing is judged, registered or promoted.

    The folder is an ordinary one that PeftModel.from_pretrained loads, with the tokenizer and the prompt format beside.
    It is the first half of a night: `nightshift retrain` with the same recipe goes on behind it, and this command,
    after it broke off, where it stopped. Exit code: 0 trained, 1 failed, 5 data rejected.

    Example: nightshift train quickstart --out adapter --set training.seed=7
    """
    from flows.cli.progress import progress_bars
    from flows.night import plan_night
    from flows.recipe import load_recipe
    from infra.errors import UserError
    from infra.progress import emit
    from infra.settings import apply_environment, load_settings
    from tasks.models.resolve import check_model

    if out.exists():
        raise UserError(f"--out {out}: that is there already; name a new folder")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}")
    settings = load_settings()
    # Everything a person can get wrong is found before the slow imports.
    night = plan_night(load_recipe(recipe, overrides or []), settings=settings)
    apply_environment(settings)
    with progress_bars(enabled=not as_json):
        if settings.dispatch == "here":
            check_model(night.recipe.model, settings.models_path, lambda text: emit("model", text))
        emit("start", f"starting Prefect and MLflow for {night.recipe.name}")
        document = _run(night, recipe, overrides or [], out)
    _tell(document, as_json)


def _run(night: Night, recipe: str, overrides: list[str], out: Path) -> dict[str, Any]:
    from flows.embedded import prefect_api

    with prefect_api("flows.adapter"):
        from flows.adapter import adapter, trained
        from tasks.training.job import ADAPTER

        adapter(recipe, tuple(overrides))
        document = trained(night)
    if document["outcome"] != "trained":
        return document
    kept = night.store.get_tree(document["adapter"]["key"], night.work / "adapter-fetched") / ADAPTER
    making = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(making, ignore_errors=True)
    shutil.copytree(kept, making)
    making.rename(out)
    return document | {"path": str(out)}


def _tell(document: dict[str, Any], as_json: bool) -> None:
    from flows.cli.nights import EXIT_CODES

    if as_json:
        print(json.dumps(document, indent=2))
    elif document["outcome"] == "trained":
        from flows.cli.show import show_stages

        show_stages(document)
        print(f"adapter: {document['path']}")
        print(f"next: nightshift evaluate {document['path']} --data DATA, or nightshift retrain with the same recipe")
    else:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in document["reasons"].items())
        print(f"the data break their contract, nothing was trained: {reasons or 'nightshift validate says more'}")
    raise typer.Exit(0 if document["outcome"] == "trained" else EXIT_CODES[document["outcome"]])
