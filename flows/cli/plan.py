"""The command that says where a recipe fits: plan."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(plan)


def plan(
    recipe: Annotated[str, typer.Argument(help="Built-in recipe or path of a recipe file.")] = "quickstart",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the recipe; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say which GPU class each step of a recipe's night needs and why, what would fit elsewhere, hours and cost.

    Nothing runs and no weights are loaded. Prices are yours: NIGHTSHIFT_PRICES='{"gpu-l4": 0.8}'.

    Example: nightshift plan spider --set training.per_device_batch=4
    """
    from flows.plan import plan_recipe
    from flows.recipe import load_recipe
    from infra.settings import apply_environment, load_settings

    settings = load_settings()
    loaded = load_recipe(recipe, overrides or [])
    apply_environment(settings)
    found = plan_recipe(loaded, settings)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from flows.cli.show import table

    title = f"{found['recipe']}: {found['model']}, {found['parameters'] / 1e9:.2f} billion weights"
    table(title, ("step", "pool", "why"), [(n, s["pool"] or "none", s["why"]) for n, s in found["steps"].items()])
    for name, step in found["steps"].items():
        if step["classes"]:
            table(
                f"{name} on every class",
                ("pool", "GPUs", "GiB", "of", "precision", "fits", "hours", "cost"),
                [_row(c) for c in step["classes"]],
            )
    if not any(c["hours"] for c in found["steps"]["train"]["classes"]):
        print("No hours: no night has recorded its speed on these classes with this model yet.")


def _row(found: dict[str, Any]) -> tuple[Any, ...]:
    if found["fits"]:
        fits = "yes"
    elif found["levers"]:
        fits = f"with {', '.join(found['levers'])}"
    else:
        fits = "no"
    return (
        found["pool"],
        str(found["gpus"]),
        f"{found['need_gib']:.1f}",
        f"{found['room_gib']:.0f}",
        found["precision"],
        fits,
        "" if found["hours"] is None else f"{found['hours']:.2f}",
        "" if found["cost"] is None else f"{found['cost']:.2f}",
    )
