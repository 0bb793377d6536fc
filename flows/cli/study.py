"""The command for experiments: study."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flows.studies import Plan


class Scale(StrEnum):
    """How large."""

    QUICKSTART = "quickstart"
    FULL = "full"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(study)


def study(
    name: Annotated[
        str | None, typer.Argument(help="A study's name, or its .yaml file; none lists the studies.")
    ] = None,
    scale: Annotated[
        Scale, typer.Option(help="quickstart: the small model, without a GPU; full: as it was published.")
    ] = Scale.QUICKSTART,
    rows: Annotated[
        list[str] | None, typer.Option("--row", metavar="NAME", help="Run this row only; may be repeated.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change one value in every row's recipe; may be repeated."),
    ] = None,
    train: Annotated[int | None, typer.Option(min=1, help="Training rows of every run.")] = None,
    test_questions: Annotated[int | None, typer.Option(min=1, help="Test questions every run answers.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run rows again that failed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which rows would run and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Run an experiment row by row on one dataset, and compare its rows: tables, charts, findings.

    Finished rows are kept: the same command goes on where it was broken off. Exit code 1 when a row failed.

    Example: nightshift study ranks --scale quickstart
    """
    if name is None:
        _list(as_json)
        return
    from flows.studies import load_study, plan_study

    # Everything a person can get wrong is found before the slow imports.
    plan = plan_study(load_study(name), scale.value, overrides or (), train, test_questions)
    chosen = plan.chosen(rows or ())
    if dry_run:
        _show_plan(plan, [row.spec.name for row in chosen], as_json)
        return
    from flows.cli.progress import progress_bars
    from flows.embedded import prefect_api
    from infra.progress import emit
    from infra.settings import apply_environment, load_settings

    apply_environment(load_settings())
    with progress_bars(enabled=not as_json):
        emit("start", f"starting Prefect and MLflow for study {plan.spec.name}")
        with prefect_api("flows.study"):
            from flows.study import study as flow

            outcome = flow(name, scale.value, tuple(overrides or ()), tuple(rows or ()), train, test_questions, retry)
    if as_json:
        print(json.dumps(outcome, indent=2))
    else:
        _show(outcome)
    raise typer.Exit(1 if outcome["failed"] else 0)


def _list(as_json: bool) -> None:
    from flows.studies import builtin_studies, load_study

    found = [load_study(name) for name in builtin_studies()]
    if as_json:
        rows = [
            {
                "name": study.name,
                "title": study.title,
                "description": study.description,
                "varies": list(study.varies),
                "scales": {scale: [row.name for row in at.rows] for scale, at in study.scales.items()},
            }
            for study in found
        ]
        print(json.dumps(rows, indent=2))
        return
    from flows.cli.show import table

    table(
        "Studies",
        ("name", "rows", "what it asks"),
        [
            (s.name, ", ".join(f"{scale} {len(at.rows)}" for scale, at in s.scales.items()), s.description)
            for s in found
        ],
    )
    print("nightshift study NAME --scale quickstart runs one with the small model on this machine")


def _show_plan(plan: Plan, chosen: list[str], as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "name": row.spec.name,
            "label": row.spec.label,
            "model": row.recipes[0].model.partition("#")[0],
            "trainings": row.trainings,
            "methods": [] if row.spec.baseline else [stage.method for stage in row.recipes[0].training.stages],
        }
        for row in plan.rows
        if row.spec.name in chosen
    ]
    if as_json:
        print(json.dumps({"study": plan.spec.name, "scale": plan.scale, "rows": rows}, indent=2))
        return
    from flows.cli.show import table

    columns = ("row", "what", "model", "methods", "trainings")
    shown = [(r["name"], r["label"], r["model"], " + ".join(r["methods"]) or "none", r["trainings"]) for r in rows]
    table(f"{plan.spec.title}: {plan.scale}", columns, shown)
    for name, why in plan.at.left_out.items():
        print(f"left out: {name}: {why}")


def _show(outcome: dict[str, Any]) -> None:
    from flows.cli.runs import show_runs
    from tasks.evaluation.runs_report import RunsReport

    show_runs(RunsReport.model_validate(outcome["comparison"]))
    for ending, path in outcome["report"].items():
        print(f"report ({ending}): {path}")
    if outcome["failed"]:
        print(f"failed: {', '.join(outcome['failed'])}; --retry runs them again")
