"""prepare: ingest -> validate -> quarantine -> dedupe, split, decontaminate -> dataset.

Runs on `cpu`. Ends with `nights/<id>/prepare.json`: the dataset's reference and the account of every row, or the
reasons why the data break their contract.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.night import Night, open_night
from flows.runtime import flow_name, locally
from infra.errors import NotFound
from infra.progress import emit
from infra.refs import Ref
from tasks.data.attached import keep_databases, without_databases
from tasks.data.build import Divided, divide
from tasks.data.dataset import Manifest, write_dataset
from tasks.data.feedback_source import REGRESSION, FeedbackSource, read_feedback_source
from tasks.data.frame import TokenCounter
from tasks.data.ingest import read_sources
from tasks.data.uniform_gold import write_uniformly
from tasks.data.values import add_values
from tasks.models.steps import fetch_model
from tasks.models.tokens import token_counter
from validation.dataset import distribution, validate_dataset
from validation.quarantine import quarantine_table, write_quarantine
from validation.run import ValidationResult, validate_examples


@flow(name="prepare", flow_run_name=flow_name("prepare"), validate_parameters=False)
def prepare(night: str) -> None:
    """Make the night's dataset, or find that its data break the contract."""
    now = open_night(night)
    if now.outcome("prepare") is not None:
        emit("prepare", "reused", 1, 1)
        return
    started = time.perf_counter()
    with locally(now):
        checked = validate_sources(now)
        told = _told(now, checked)
        outcome: dict[str, Any] = {"accepted": False}
        if checked.success:
            outcome = build_dataset(now, checked)
            told["expectations"] += outcome.pop("expectations")
            told["success"] = outcome["accepted"]
    outcome |= feedback_accounts(now)
    outcome |= {"validation": told, "seconds": round(time.perf_counter() - started, 2)}
    now.finish("prepare", outcome)


def feedback_accounts(night: Night) -> dict[str, Any]:
    """What became of every feedback record, by source; empty for a recipe without feedback."""
    found = {}
    for source in night.recipe.data.sources:
        if isinstance(source, FeedbackSource):
            _, account = read_feedback_source(source)
            emit("prepare", ", ".join(f"{count} {name}" for name, count in account.counts().items()) + " feedback")
            found[source.name] = {"counts": account.counts(), "records": account.model_dump(mode="json")}
    return {"feedback": found} if found else {}


@task(task_run_name="ingest and validate", cache_policy=NO_CACHE)
def validate_sources(night: Night) -> ValidationResult:
    """Read every source and check every row with Great Expectations; Data Docs and quarantine go into the store."""
    emit("prepare", "reading sources")
    read = read_sources(night.recipe.data.sources)
    for left in read.undrawn:
        emit("prepare", left.told())
    emit("prepare", f"validating {len(read.examples) + len(read.bad):,} rows")
    place = night.work / "validation"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.rmtree(_project(night), ignore_errors=True)
    _project(night).mkdir(parents=True)
    result = validate_examples(
        read.examples,
        read.bad,
        night.recipe.validation,
        place / "docs",
        count_tokens=_tokenizer(night),
        project=_project(night),
        undrawn=read.undrawn,
    )
    write_quarantine(place / "quarantine.jsonl", result.quarantined)
    (place / "validation.json").write_text(json.dumps(_told(night, result), indent=1))
    night.store.put_tree(f"nights/{night.id}/validation", place)
    create_table_artifact(
        [{"reason": reason, "rows": count} for reason, count in result.reasons.items()]
        or [{"reason": "none", "rows": 0}],
        key="quarantine",
        description=f"{len(result.quarantined)} of {result.rows} rows quarantined",
    )
    create_markdown_artifact(quarantine_table(result), key="validation", description="the data contract")
    return result


@task(task_run_name="build dataset", cache_policy=NO_CACHE)
def build_dataset(night: Night, checked: ValidationResult) -> dict[str, Any]:
    """Drop duplicates, divide as before, keep training clear of test rows, mix the sources, write the dataset."""
    emit("prepare", "building the dataset")
    divided = divide(checked.kept, night.recipe.data, _splits_before(night))
    if warning := divided.mixed.warning(night.recipe.data.mixture):
        emit("prepare", warning)
    expectations, accepted = _check_dataset(night, divided)
    if not accepted:
        return {"accepted": False, "expectations": expectations}
    manifest, ref = _store_dataset(night, divided, checked)
    night.store.write_json(f"splits/{night.recipe.name}.json", _splits_before(night) | divided.assignment)
    shape = {"dataset": manifest.fingerprint, "distribution": distribution(divided)}
    night.store.write_json(_accepted(night), shape)
    emit("prepare", f"{manifest.splits['train']:,} training and {manifest.splits['test']:,} test rows", 1, 1)
    regression = sum(REGRESSION in example.tags for example in divided.splits["test"])
    return {
        "accepted": True,
        "dataset": ref.model_dump(),
        "manifest": manifest.summary(),
        "regression": regression,
        "expectations": expectations,
    }


def _check_dataset(night: Night, divided: Divided) -> tuple[list[dict[str, Any]], bool]:
    """The outcomes of the dataset's own expectations, and whether all hold; they join the night's Data Docs."""
    emit("prepare", "checking the splits")
    place = night.work / "validation"
    outcomes = validate_dataset(
        divided,
        night.recipe.validation,
        _read(night, _accepted(night)).get("distribution", {}),
        place / "docs",
        by_database=night.recipe.data.splits.by == "database",
        project=_project(night),
    )
    night.store.put_tree(f"nights/{night.id}/validation", place)
    return [outcome.to_json() for outcome in outcomes], all(outcome.success for outcome in outcomes)


def _tokenizer(night: Night) -> TokenCounter | None:
    """The tokenizer of the recipe's model, when its limits ask for one."""
    if not night.recipe.validation.counts_tokens:
        return None
    return token_counter(fetch_model(night.recipe.model, night.settings.models_path).path)


def _told(night: Night, result: ValidationResult) -> dict[str, Any]:
    """The validation's document; its Data Docs by their key in the store, which other machines can read."""
    return result.to_json() | {"docs": f"nights/{night.id}/validation/docs/index.html"}


def _project(night: Night) -> Path:
    return night.work / "great_expectations"


def _accepted(night: Night) -> str:
    """Where the shape of the recipe's last accepted dataset is kept."""
    return f"accepted/{night.recipe.name}.json"


def _splits_before(night: Night) -> dict[str, str]:
    return _read(night, f"splits/{night.recipe.name}.json")


def _read(night: Night, key: str) -> dict[str, Any]:
    """A document of the store, empty when there is none yet."""
    try:
        return night.store.read_json(key)
    except NotFound:
        return {}


def _store_dataset(night: Night, divided: Divided, checked: ValidationResult) -> tuple[Manifest, Ref]:
    folder: Path = night.work / "dataset"
    shutil.rmtree(folder, ignore_errors=True)
    most = night.recipe.prompt.sample_values
    learned = {split: rows for split, rows in divided.splits.items() if split != "test"}
    if night.recipe.data.sql_style == "uniform":
        emit("prepare", "writing training queries one way")
        learned = {split: write_uniformly(rows) for split, rows in learned.items()}
    shown = {split: add_values(rows, most) for split, rows in learned.items()}
    runs = night.recipe.training.runs_queries
    # Validation rows are answered, too, by a search that compares trials by their answers.
    splits = {
        "train": keep_databases(night.store, shown["train"]) if runs else without_databases(shown["train"]),
        "validation": keep_databases(night.store, shown["validation"]),
        "test": keep_databases(night.store, divided.splits["test"]),
    }
    accounting = divided.accounting(checked.rows, len(checked.quarantined), checked.reasons, checked.undrawn)
    manifest = write_dataset(folder, splits, divided.assignment, accounting, divided.dropped, divided.mixed)
    ref = Ref(kind="dataset", fingerprint=manifest.fingerprint, key=f"datasets/{manifest.fingerprint}")
    if not night.store.has_tree(ref.key):
        night.store.put_tree(ref.key, folder, manifest.summary())
    return manifest, ref
