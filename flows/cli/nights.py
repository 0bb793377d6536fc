"""Commands about nights: retrain, recipes."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from infra.settings import Settings

EXIT_CODES = {
    "promoted": 0,
    "nothing_new": 0,
    "planned": 0,
    "failed": 1,
    "rejected": 3,
    "awaiting_approval": 4,
    "data_rejected": 5,
}

# Folders of recipes, as a heading.
GROUPS = {
    "": "Nightshift's own",
    "bird": "BIRD in 6 GB: Qwen2.5-Coder-1.5B and Falcon3-1B",
    "codellama": "Weighted mixture and curriculum: CodeLlama-7B",
    "flan_t5": "Encoder-decoders on Spider: Flan-T5",
    "gemma3": "Ranks of LoRA on a laptop: Gemma-3-1b",
    "qwen3": "Methods compared: Qwen3-0.6B on synthetic_text_to_sql",
}


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(retrain)
    app.command()(recipes)


def retrain(
    recipe: Annotated[str, typer.Argument(help="Built-in recipe or path of a recipe file.")] = "quickstart",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the recipe; may be repeated."),
    ] = None,
    deployed: Annotated[
        bool,
        typer.Option("--deployed", help="As a run of the deployment `nightly`, on its workers; followed from here."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen and change nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run again although nothing has changed.")] = False,
    reason: Annotated[str, typer.Option(help="Why, kept with the night.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Run one night: prepare, train, evaluate, promote.

    Exit code: 0 promoted or nothing new, 1 failed, 3 rejected, 4 awaiting approval, 5 data rejected.

    --deployed needs a Prefect server (PREFECT_API_URL); stopping the command does not stop the night there.

    Example: nightshift retrain quickstart --set training.seed=7
    """
    from flows.cli.progress import progress_bars
    from flows.night import is_final, plan_night
    from flows.recipe import load_recipe
    from infra.progress import emit
    from infra.settings import apply_environment, load_settings
    from tasks.models.resolve import check_model

    settings = load_settings()
    if deployed:
        with progress_bars(enabled=not as_json):
            outcome = _run_deployed(settings, recipe, overrides or [], dry_run=dry_run, force=force, reason=reason)
        _tell(settings, outcome, as_json)
    # Everything a person can get wrong is found before the slow imports.
    night = plan_night(load_recipe(recipe, overrides or []), force, settings)
    if dry_run:
        from flows.outcome import planned

        _tell(settings, planned(night), as_json)
    if settings.dispatch == "here" and not is_final(night):  # machines of pools have models of their own
        with progress_bars(enabled=not as_json):
            check_model(night.recipe.model, settings.models_path, lambda text: emit("model", text))
    apply_environment(settings)
    try:
        with progress_bars(enabled=not as_json):
            outcome = _run(night.recipe.name, recipe, overrides or [], force, reason, night)
    except Exception as error:
        if as_json:
            from flows.outcome import failed

            print(json.dumps(failed(night, error), indent=2))
        raise
    _tell(settings, outcome, as_json)


def _tell(settings: Settings, outcome: dict[str, Any], as_json: bool) -> None:
    from flows.cli.show import show_night
    from flows.told import local_report

    outcome |= {"report": local_report(settings.root, outcome)}
    if as_json:
        print(json.dumps(outcome, indent=2))
    else:
        show_night(outcome)
    raise typer.Exit(EXIT_CODES[outcome["outcome"]])


def _run_deployed(settings: Settings, recipe: str, overrides: list[str], **more: Any) -> dict[str, Any]:
    """Start and follow the night on the Prefect server; a recipe file goes through the store."""
    from flows.cli.connect import need_server
    from flows.library import keep_recipe
    from flows.recipe import builtin_recipes, find_recipe, load_recipe
    from infra.settings import apply_environment

    need_server()
    name = recipe
    if recipe.endswith((".yaml", ".yml")):
        load_recipe(recipe, overrides)  # a mistake is told here and now
        name = keep_recipe(settings.open_store(), find_recipe(recipe))
    elif recipe in builtin_recipes():
        load_recipe(recipe, overrides)
    apply_environment(settings)
    from flows.deployed import follow, start

    return follow(start({"recipe": name, "overrides": overrides, **more}), recipe)


def _run(name: str, recipe: str, overrides: list[str], force: bool, reason: str, night: Any) -> dict[str, Any]:
    from flows.embedded import prefect_api
    from infra.progress import emit

    emit("start", f"starting Prefect and MLflow for {name}")
    with prefect_api("flows.retrain"):
        from flows.retrain import retrain as flow

        state = flow(recipe, overrides, dry_run=False, force=force, reason=reason, return_state=True)
    if state.is_completed():
        return state.result()
    latest = night.outcome("latest")
    if state.name == "DataRejected" and latest is not None:
        return latest
    error = state.result(raise_on_failure=False)
    raise error if isinstance(error, BaseException) else RuntimeError(state.message or "the flow failed")


def recipes(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the built-in recipes: Nightshift's own, then published set-ups by model family.

    Those that end in _fixed correct what held the published set-up of that name back.

    Example: nightshift recipes --json
    """
    from flows.recipe import builtin_recipes, load_recipe, recipe_group

    found = [(recipe_group(path), load_recipe(str(path))) for path in builtin_recipes().values()]
    if as_json:
        rows = [
            {
                "name": r.name,
                "group": group,
                "description": r.description,
                "model": r.model,
                "methods": list(dict.fromkeys(s.method for s in r.training.stages)),
                "stages": [s.name for s in r.training.stages],
            }
            for group, r in found
        ]
        print(json.dumps(rows, indent=2))
        return
    width = max(len(r.name) for _, r in found) + 2
    for group in dict.fromkeys(group for group, _ in found):
        print(f"{GROUPS.get(group, group)}\n")
        for r in (r for its_group, r in found if its_group == group):
            lines = textwrap.wrap(r.description, max(30, shutil.get_terminal_size().columns - width - 2)) or [""]
            print("\n".join(f"  {r.name if i == 0 else '':<{width}}{line}" for i, line in enumerate(lines)))
        print()
