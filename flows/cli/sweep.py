"""The command that searches a recipe's values: sweep."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(sweep)


def sweep(
    recipe: Annotated[str, typer.Argument(help="Built-in recipe or path of a recipe file with a `sweep:`.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the recipe; may be repeated."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trials that run side by side.")] = 1,
    deployed: Annotated[
        bool, typer.Option("--deployed", help="Run each trial as a deployment run on the recipe's pool for training.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what comes next and change nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Search again although this search ended before.")] = False,
    promote: Annotated[
        bool, typer.Option("--promote", help="Retrain with the winner's values; its gates decide about Production.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, kept with the search.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Search values of a recipe, stage by stage, and show the best as a change to it.

    The same command goes on where a search broke off; started twice, two processes share the trials. Trials are
    compared on validation rows, the test split is not looked at. With --promote the exit code is that of `retrain`.

    Example: nightshift sweep quickstart --workers 2 --set sweep.budget.hours=3
    """
    from flows.cli.connect import need_server
    from flows.recipe import load_recipe
    from flows.searching import plan_sweep
    from infra.settings import apply_environment, load_settings

    settings = load_settings()
    if deployed:
        need_server()
    # Everything a person can get wrong is found before the slow imports.
    found = plan_sweep(load_recipe(recipe, overrides or []), force, settings)
    apply_environment(settings)
    if dry_run:
        from flows.winner import summarise

        outcome = summarise(found, found.stands())
    else:
        _run(recipe, overrides or [], workers, deployed, force, promote, reason, quiet=as_json)
        outcome = found.outcome() or {}
        if "files" in outcome:
            from flows.winner import local_winner

            outcome |= {"files": local_winner(found, outcome["files"])}
    if as_json:
        print(json.dumps(outcome, indent=2))
    else:
        _show(outcome)
    raise typer.Exit(_exit_code(outcome))


def _run(
    recipe: str,
    overrides: list[str],
    workers: int,
    deployed: bool,
    force: bool,
    promote: bool,
    reason: str,
    quiet: bool,
) -> None:
    from flows.cli.progress import progress_bars
    from flows.embedded import prefect_api
    from infra.progress import emit

    with progress_bars(enabled=not quiet):
        emit("start", "starting Prefect and MLflow")
        with prefect_api("flows.sweep"):
            from flows.sweep import sweep as flow

            state = flow(
                recipe,
                tuple(overrides),
                workers=workers,
                deployed=deployed,
                force=force,
                promote=promote,
                reason=reason,
                return_state=True,
            )
    if not state.is_completed() and state.name != "NoWinner":  # that is an outcome, and told as one
        error = state.result(raise_on_failure=False)
        raise error if isinstance(error, BaseException) else RuntimeError(state.message or "the flow failed")


def _exit_code(outcome: dict[str, Any]) -> int:
    from flows.cli.nights import EXIT_CODES

    if outcome["outcome"] == "failed":
        return 1
    return EXIT_CODES[outcome["retrain"]["outcome"]] if "retrain" in outcome else 0


def _show(outcome: dict[str, Any]) -> None:
    from flows.cli.show import table

    stages = [
        (
            stage["stage"],
            stage["train"] or "all",
            stage["validation"] or "all",
            stage["trials"],
            stage["carried"],
            stage["failed"],
            stage["pruned"],
            _figure(stage["best"]),
        )
        for stage in outcome["stages"]
    ]
    columns = ("stage", "train", "validation", "trials", "taken over", "failed", "ended", outcome["objective"])
    table(f"{outcome['recipe']}: {outcome['outcome']}; {outcome['reason']}".rstrip("; "), columns, stages)
    ranked = sorted(outcome["trials"], key=lambda t: (-t["stage"], t["status"] != "finished", t["number"]))
    rows = [
        (t["number"], t["stage"] + 1, t["status"], _figure(t["objective"]), _values(t["values"]), t["error"] or "")
        for t in ranked
    ]
    if rows:
        table("Trials", ("trial", "stage", "", outcome["objective"], "values", "error"), rows)
    if outcome["next"]:
        table(
            "Next",
            ("trial", "stage", "values"),
            [(t["number"], t["stage"] + 1, _values(t["values"])) for t in outcome["next"]],
        )
    winner = outcome["winner"]
    if winner is not None:
        print(f"Best: {winner['name']}, {outcome['objective']} {_figure(winner['objective'])}{_interval(winner)}")
    if "files" in outcome:
        print(f"\n{outcome['files']['change']}")
        print(f"The recipe with these values: {outcome['files']['recipe']}")
        print(f"Next: nightshift retrain {outcome['files']['recipe']}")
    if "retrain" in outcome:
        print(f"Tonight's challenger: {outcome['retrain']['outcome']} - {outcome['retrain']['reason']}")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _interval(trial: dict[str, Any]) -> str:
    return "" if trial["low"] is None else f" ({trial['low']:.3f} to {trial['high']:.3f})"


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"{path.rpartition('.')[2]}={value}" for path, value in values.items())
