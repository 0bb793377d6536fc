"""What a study tells: its recorded trials as runs, compared, in the store, in the home folder and in MLflow."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact

from flows.night import Night
from flows.runs import as_run, outcomes_of
from flows.studies import Plan
from flows.study_rows import row_of_candidate
from flows.study_spec import MOST_CANDIDATES
from infra import tracking
from infra.refs import Ref
from infra.store import Store
from tasks.evaluation.runs import Run
from tasks.evaluation.runs_report import RunsReport, compare_runs, report_markdown
from tasks.evaluation.runs_view import render_runs
from tasks.training.trials import read_trials

SCHEMA_VERSION = 1


def open_run(plan: Plan, key: str) -> str:
    """The study's MLflow run, above those of its trials."""
    name = f"study {plan.spec.name} ({plan.scale})"
    run = tracking.night_run(plan.rows[0].recipes[0].name, key, name, {"nightshift.study": plan.spec.name})
    tracking.log_params(run, {"scale": plan.scale, "train": plan.train, "test_questions": plan.test_questions})
    return run


def publish(plan: Plan, night: Night, key: str, dataset: Ref, run: str) -> dict[str, Any]:
    """Write the report everywhere; returns what `nightshift study --json` prints."""
    report = study_report(plan, night, key, dataset)
    files = {"html": render_runs(report), "md": report_markdown(report), "json": report.model_dump_json(indent=1)}
    folder = night.settings.root / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    places = {}
    for ending, text in files.items():
        night.store.write(f"studies/{key}/report.{ending}", text.encode())
        path = folder / f"study-{plan.spec.name}-{plan.scale}-{key}.{ending}"
        path.write_text(text, encoding="utf-8")
        tracking.log_text(run, text, f"report.{ending}")
        places[ending] = _as_typed(path)
    failed = [one.name for one in report.runs if not one.finished]
    missing = [row.spec.name for row in plan.rows if row.spec.name not in {one.name for one in report.runs}]
    tracking.log_metrics(run, {"rows": float(len(report.runs)), "rows_failed": float(len(failed))})
    tracking.finish(run, "FAILED" if failed else "FINISHED")
    create_markdown_artifact(files["md"], key="study", description=report.title)
    return {
        "schema_version": SCHEMA_VERSION,
        "study": plan.spec.name,
        "scale": plan.scale,
        "key": key,
        "failed": failed,
        "missing": missing,
        "report": places,
        "comparison": report.model_dump(mode="json"),
    }


def study_report(plan: Plan, night: Night, key: str, dataset: Ref) -> RunsReport:
    """The comparison of all rows that were run, from what the store holds of them."""
    runs, trials = _runs(plan, night.store, key)
    names, planned = {run.name for run in runs}, {row.spec.name for row in plan.rows}
    return compare_runs(
        plan.spec.title,
        runs,
        outcomes_of(runs, night.store),
        varies=plan.spec.varies,
        reference=plan.spec.reference if plan.spec.reference in names else "",
        trials=trials,
        questions=[asked for asked in plan.spec.findings if asked.runs <= planned],
        facts=_facts(plan, night, dataset, runs),
        left_out=plan.at.left_out | _not_run(plan, names),
        description=plan.at.description,
        created=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    )


def _not_run(plan: Plan, names: set[str]) -> dict[str, str]:
    waiting = [row for row in plan.rows if row.spec.name not in names]
    return {row.title: row.unmet_needs or "not run yet" for row in waiting}


def _runs(plan: Plan, store: Store, key: str) -> tuple[list[Run], list[Run]]:
    """The rows that were run, and every trial behind them, in the order of the study."""
    rows = {row.number: row for row in plan.rows}
    searched = any(len(row.recipes) > 1 for row in plan.rows)
    results = read_trials(store, key)
    own = {result.number: result for result in results if row_of_candidate(result.number) is None}
    runs: dict[int, Run] = {}
    trials: dict[int, Run] = {}
    for result in results:
        number, place = row_of_candidate(result.number) or (result.number, None)
        row, settled = rows[number], own.get(number)
        staged = row.spec.sweep is not None
        told = {"name": row.spec.name, "note": row.spec.note, "label": row.spec.label, "candidates": row.candidates}
        if place is not None:
            told |= {"label": result.name, "name": f"{row.spec.name}-{place}", "note": ""}
            won = settled is not None and (settled.stage, settled.values) == (result.stage, result.values)
            if staged and won:  # the row is this very training, with answers
                continue
        run = as_run(result, row.recipe_of(result.values), store, **told)
        if place is None:
            runs[number] = run
        stage = f"{result.stage + 1}" if staged else "search" if place is not None else "final" if searched else ""
        # The trials of one search differ in what they train: what they have in common is their row.
        trials[result.number] = run.model_copy(update={"stage": stage} | ({"peft": row.title} if staged else {}))
    ordered = sorted(trials, key=lambda number: row_of_candidate(number) or (number, MOST_CANDIDATES))
    return [runs[number] for number in sorted(runs)], [trials[number] for number in ordered]


def _facts(plan: Plan, night: Night, dataset: Ref, runs: list[Run]) -> dict[str, str]:
    """What all rows share, for the end of the page."""
    manifest = (night.outcome("prepare") or {}).get("manifest") or {}
    splits, first = manifest.get("splits", {}), plan.rows[0].recipes[0]
    asked = next((run.execution_accuracy.n for run in runs if run.execution_accuracy), 0)
    seeds = sorted({str(recipe.training.seed) for row in plan.rows for recipe in row.recipes})
    machines = sorted({run.device for run in runs if run.device})
    return {
        "study": f"{plan.spec.name}, scale {plan.scale}",
        "what varies": ", ".join(plan.spec.varies),
        "data": f"{dataset.fingerprint}: {splits.get('train', 0):,} training rows"
        + (f", {plan.train:,} of them for each run" if plan.train else "")
        + f", {splits.get('validation', 0):,} validation rows",
        "test": f"{asked:,} questions answered by every run, of {splits.get('test', 0):,}",
        "prompt": f"{first.prompt.format}, schema as {first.prompt.schema_style}, decoding {first.prompt.decoding}",
        "seed": ", ".join(seeds),
        **({"device": ", ".join(machines)} if machines else {}),
        "code": night.code,
    }


def _as_typed(path: Path) -> str:
    """The path as a person would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
