"""What a finished night shows: the HTML report, MLflow's record of it, and Prefect artifacts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.answers import load_scorecard
from flows.night import Night
from flows.told import next_commands, report_file
from infra import tracking
from infra.progress import emit
from infra.refs import Ref
from registry.curve import keep_point, read_curve
from tasks.evaluation.report import ReportData, render_report


@task(task_run_name="publish report", cache_policy=NO_CACHE)
def publish(night: Night, outcome: dict[str, Any], run: str) -> str:
    """Write the report into the store, the home folder and MLflow; returns its key in the store.

    The night's MLflow run also gets its dataset as input and the headline metrics of every model.
    """
    emit("report", "writing the report")
    key = f"nights/{night.id}/report.html"
    # From the store: `prepare` may have run on another machine.
    docs = night.store.get_tree(f"nights/{night.id}/validation", night.work / "validation-fetched") / "docs"
    path = report_file(night.settings.root, night.recipe.name, night.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = report_data(night, outcome)
    if data.version is not None and (card := data.scorecards.get("challenger")) is not None:
        keep_point(night.store, data.release, data.version, data.created, card)
    data = data.model_copy(update={"nights": read_curve(night.store, data.release)})
    # Everywhere the same page, but for where the Data Docs are from there.
    night.store.write(key, render_report(_with_docs(data, docs, "validation/docs")).encode())
    path.write_text(render_report(_with_docs(data, docs, os.path.relpath(docs, path.parent))), encoding="utf-8")
    tracking.log_text(run, render_report(_with_docs(data, docs, "data_docs")), "report.html")
    prepared = night.outcome("prepare") or {}
    if prepared["accepted"]:
        dataset = Ref.model_validate(prepared["dataset"])
        manifest = prepared["manifest"]
        for split, context in (("train", "training"), ("test", "evaluation")):
            profile = {"num_rows": manifest["splits"][split], "difficulty": manifest["difficulty"][split]}
            tracking.log_dataset(
                run, f"{night.recipe.name} {split}", dataset.fingerprint, dataset.key, context, profile
            )
    for role in ("", "base_", "champion_"):
        values = outcome.get(f"{role}metrics") or {}
        tracking.log_metrics(run, {f"{role}{key}": value for key, value in values.items()})
    tracking.log_metrics(run, {f"seconds_{step}": value for step, value in outcome["seconds"].items()})
    if docs.is_dir():
        tracking.log_folder(run, docs, "data_docs")
    where = f"`report.html` of MLflow run `{run}`; in the store `{key}`; on the machine of the night `{path.name}`"
    create_markdown_artifact(where, key="report", description="where the night's report is")
    emit("report", path.name, 1, 1)
    return key


def _with_docs(data: ReportData, docs: Path, place: str) -> ReportData:
    link = f"{place}/index.html" if (docs / "index.html").is_file() else ""
    return data.model_copy(update={"data": data.data.model_copy(update={"docs": link})})


def report_data(night: Night, outcome: dict[str, Any]) -> ReportData:
    """Everything the report shows, from what the steps left in the store."""
    prepared = night.outcome("prepare") or {}
    trained = night.outcome("train") or {}
    evaluated = night.outcome("evaluate") or {}
    manifest = prepared.get("manifest") or {}
    validation = prepared["validation"]
    accounting = manifest.get("accounting") or {key: validation[key] for key in ("rows", "kept", "quarantined")}
    lineage = night.lineage()
    if "dataset" in prepared:
        lineage["dataset"] = prepared["dataset"]["fingerprint"]
    if "adapter" in trained:
        lineage["adapter"] = trained["adapter"]["fingerprint"]
    return ReportData(
        outcome=outcome["outcome"],
        night=night.id,
        recipe=night.recipe.name,
        release=night.recipe.release.name,
        version=outcome["version"],
        champion_version=outcome["champion"],
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        base_model=night.recipe.model,
        reason=outcome["reason"],
        stages=trained.get("stages", []),
        scorecards={
            role: load_scorecard(night.store, Ref.model_validate(r))
            for role, r in evaluated.get("scorecards", {}).items()
        },
        gates=outcome["gates"],
        data={
            "counts": {key: value for key, value in accounting.items() if isinstance(value, int)},
            "reasons": validation["reasons"],
            "splits": manifest.get("splits", {}),
        },
        seconds=outcome["seconds"],
        lineage=lineage,
        commands=next_commands(outcome),
    )
