"""evaluate: generate -> extract -> execute -> scorecards of base, challenger and champion on the same examples.

Runs on a GPU pool, or here. A base or champion that was judged on the same test split before is not judged again, and
answers of a run that broke off are kept (`flows.answers`). Ends with `nights/<id>/evaluate.json`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.answers import Candidate, answer, draw, judge, load_scorecard
from flows.budget import Budget
from flows.night import Night, open_night
from flows.runtime import fetch_dataset, flow_name, locally, night_run
from infra import tracking
from infra.hashing import fingerprint
from infra.progress import emit
from infra.refs import Ref
from registry.download import download_adapter
from registry.ledger import Ledger
from registry.manifest import read_prompt
from registry.regression import DIMENSION
from registry.releases import get_release
from tasks.data.attached import fetch_databases
from tasks.data.dataset import read_examples
from tasks.data.example import Example
from tasks.evaluation.scorecard import Scorecard
from tasks.models.job import GenerationJob
from tasks.models.steps import fetch_model, generate_predictions


@flow(name="evaluate", flow_run_name=flow_name("evaluate"), validate_parameters=False)
def evaluate(night: str) -> None:
    """Judge base, challenger and champion on tonight's test split."""
    now = open_night(night)
    if is_current(now):
        emit("evaluate", "reused", 1, 1)
        return
    started = time.perf_counter()
    with locally(now), Budget(now, "evaluate") as budget:
        work = now.work / "evaluate"
        work.mkdir(parents=True, exist_ok=True)
        examples, test = test_split(now)
        candidates = find_candidates(now)
        spec = now.recipe.evaluation

        def generate(job: GenerationJob, folder: Path, save: Callable[[], None]) -> None:
            def tick() -> None:
                budget.check()
                save()

            generate_predictions(job, folder, tick)

        answered = answer(now.store, candidates, examples, test, spec, work, generate, lambda: training_rows(now))
        scorecards = {c.role: score(now, c.role, c, answered[c.role], examples, test, work) for c in candidates}
        champion = next(
            ({"version": c.version, "adapter_hash": c.adapter_hash} for c in candidates if c.role == "champion"), None
        )
    outcome = {
        "test_fingerprint": test,
        "rows": len(examples),
        "scorecards": {role: ref.model_dump() for role, ref in scorecards.items()},
        "champion": champion,
        "seconds": round(time.perf_counter() - started, 2),
    }
    now.finish("evaluate", outcome)


def is_current(night: Night) -> bool:
    """Whether the night was evaluated against what is in Production now.

    Somebody may promote or roll back between a night that broke off and its repetition; then it meets the new champion.
    """
    outcome = night.outcome("evaluate")
    if outcome is None:
        return False
    head = Ledger(night.store, night.recipe.release.name).head()
    if head is not None and head.night == night.id:
        return True
    return (head.version if head else None) == (outcome["champion"] or {}).get("version")


def test_split(night: Night) -> tuple[list[Example], str]:
    """The examples that all models answer, and their fingerprint."""
    _, dataset = fetch_dataset(night)
    rows = read_examples(dataset / "test.jsonl")
    drawn = {row.id for row in draw(rows, night.recipe.evaluation.max_samples)}
    # What was fixed once is always asked again, however few samples the recipe takes.
    examples = [row for row in rows if row.id in drawn or DIMENSION in row.tags]
    test = fingerprint([example.to_row() for example in examples])
    return fetch_databases(night.store, examples, night.work / "databases"), test


def training_rows(night: Night) -> list[Example]:
    """What the night trains on, for models that are shown examples of it."""
    _, dataset = fetch_dataset(night)
    return read_examples(dataset / "train.jsonl")


def find_candidates(night: Night) -> list[Candidate]:
    """Base and challenger of this night, and the champion if the ledger names one."""
    base = fetch_model(night.recipe.model, night.settings.models_path)
    trained = Ref.model_validate((night.outcome("train") or {})["adapter"])
    folder = night.store.get_tree(trained.key, night.work / "adapter-fetched") / "adapter"
    prompt = night.recipe.prompt
    found = [
        Candidate("base", night.recipe.model.partition("#")[0], base, None, "", prompt),
        Candidate("challenger", f"night {night.id}", base, folder, trained.fingerprint, prompt),
    ]
    head = Ledger(night.store, night.recipe.release.name).head()
    if head is not None:
        found.append(_champion(night, head.version, head.adapter_hash))
    return found


def _champion(night: Night, version: str, adapter_hash: str) -> Candidate:
    """The version in Production, on the base model and with the prompt format it was trained with."""
    name = night.recipe.release.name
    folder = night.work / f"champion-{adapter_hash}"
    if not folder.is_dir():
        download_adapter(name, version, folder)
    base = fetch_model(get_release(name, version).tags["nightshift.base_model"], night.settings.models_path)
    label = f"{name} version {version}"
    return Candidate("champion", label, base, folder, adapter_hash, read_prompt(folder), version)


@task(task_run_name="score {role}", cache_policy=NO_CACHE)
def score(
    night: Night, role: str, candidate: Candidate, predictions: Ref, examples: list[Example], test: str, work: Path
) -> Ref:
    """The scorecard of one candidate, from its predictions; kept in the store and in MLflow."""
    ref = judge(night.store, candidate, predictions, examples, test, night.recipe.evaluation, work)
    card = load_scorecard(night.store, ref)
    record_scorecard(night, card)
    emit(f"judge: {role}", f"execution accuracy {card.metrics['execution_accuracy'].value:.3f}", 1, 1)
    return ref


def record_scorecard(night: Night, card: Scorecard) -> None:
    """A scorecard's metrics as a run below the night's, and as a table in the Prefect UI."""
    run = tracking.child_run(night_run(night), "scorecard", f"scorecard {card.subject.role}", card.subject.role)
    tracking.log_metrics(run, {name: interval.value for name, interval in card.metrics.items()})
    tracking.finish(run, "FINISHED")
    rows: list[dict[str, Any]] = [
        {"metric": name, "value": round(i.value, 4), "low": round(i.low, 4), "high": round(i.high, 4), "n": i.n}
        for name, i in card.metrics.items()
    ]
    create_table_artifact(rows, key=f"scorecard-{card.subject.role}", description=f"{card.subject.name}")
