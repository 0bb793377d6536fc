"""evaluate: generate -> extract -> execute -> scorecards of base, challenger and champion on the same examples.

Runs on a GPU pool, or here. Predictions and scorecards are kept under the fingerprint of what they depend on, so that
a base or champion that was judged on the same test split before is not judged again. Ends with
`nights/<id>/evaluate.json`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.night import Night, open_night
from flows.runtime import fetch_dataset, flow_name, locally, night_run
from infra import tracking
from infra.hashing import code_version, fingerprint
from infra.progress import emit
from infra.refs import Ref
from registry.ledger import Ledger
from registry.regression import DIMENSION
from registry.releases import download_adapter, get_release
from tasks.data.attached import fetch_databases
from tasks.data.dataset import read_examples, write_examples
from tasks.data.example import Example
from tasks.data.prompts import PromptSpec
from tasks.data.strata import stratified_sample
from tasks.data.values import add_values
from tasks.evaluation.predictions import read_predictions
from tasks.evaluation.scorecard import Role, Scorecard, Subject
from tasks.evaluation.scorecard_build import build_scorecard
from tasks.models.resolve import LocalModel
from tasks.models.session import GenerationJob, SubjectJob
from tasks.models.steps import fetch_model, generate_predictions
from tasks.sql.executor import Limits

ANSWERING_CODE = (
    "tasks.models",
    "tasks.data.prompts",
    "tasks.data.schema",
    "tasks.sql.continuation",
    "tasks.sql.scope",
    "tasks.sql.copying",
    "tasks.sql.executor",
)
JUDGING_CODE = ("tasks.sql", "tasks.evaluation")
LIBRARIES = ("torch", "transformers", "peft", "sqlglot")


@dataclass(frozen=True)
class Candidate:
    """One model to judge: a base model with or without an adapter, and the prompt format it was taught."""

    role: Role
    name: str
    base: LocalModel
    adapter: Path | None
    adapter_hash: str
    prompt: PromptSpec
    version: str | None = None

    @property
    def fingerprint(self) -> str:
        """What its answers depend on."""
        return fingerprint([self.base.fingerprint, self.adapter_hash, self.prompt.model_dump(mode="json")])


@flow(name="evaluate", flow_run_name=flow_name("evaluate"), validate_parameters=False)
def evaluate(night: str) -> None:
    """Judge base, challenger and champion on tonight's test split."""
    now = open_night(night)
    if is_current(now):
        emit("evaluate", "reused", 1, 1)
        return
    started = time.perf_counter()
    with locally(now):
        work = now.work / "evaluate"
        work.mkdir(parents=True, exist_ok=True)
        examples, test = test_split(now)
        candidates = find_candidates(now)
        answered = answer(now, candidates, examples, test, work)
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
    # Drawn by hash, since files are sorted by database: the first rows would be about a few of them.
    chosen = stratified_sample(rows, night.recipe.evaluation.max_samples or len(rows), ("difficulty",), "evaluation")
    drawn = {row.id for row in chosen}
    # What was fixed once is always asked again, however few samples the recipe takes.
    examples = [row for row in rows if row.id in drawn or DIMENSION in row.tags]
    test = fingerprint([example.to_row() for example in examples])
    return fetch_databases(night.store, examples, night.work / "databases"), test


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
    prompt = PromptSpec.model_validate_json((folder / "prompt.json").read_text())
    return Candidate("champion", f"{name} version {version}", base, folder, adapter_hash, prompt, version)


def answer(night: Night, candidates: list[Candidate], examples: list[Example], test: str, work: Path) -> dict[str, Ref]:
    """Predictions of every candidate, generated where the store has none; returns their references by role."""
    spec = night.recipe.evaluation
    settings = [spec.max_new_tokens, code_version(ANSWERING_CODE, LIBRARIES)]
    refs: dict[str, Ref] = {}
    for candidate in candidates:
        mark = fingerprint([candidate.fingerprint, test, settings])
        refs[candidate.role] = Ref(kind="predictions", fingerprint=mark, key=f"predictions/{mark}.jsonl")
    asked = [c for c in candidates if not night.store.exists(refs[c.role].key)]
    if asked:
        most = max(c.prompt.sample_values for c in asked)  # a prompt that shows fewer takes what it shows
        write_examples(work / "test.jsonl", add_values(examples, most))
        subjects = tuple(
            SubjectJob(
                role=c.role,
                base=str(c.base.path),
                adapter=str(c.adapter or ""),
                prompt=c.prompt,
                output=f"{refs[c.role].fingerprint}.jsonl",
            )
            for c in asked
        )
        job = GenerationJob(
            examples=str(work / "test.jsonl"),
            subjects=subjects,
            max_new_tokens=spec.max_new_tokens,
            batch_size=spec.batch_size,
        )
        generate_predictions(job, work)
        for candidate in asked:
            ref = refs[candidate.role]
            night.store.write(ref.key, (work / f"{ref.fingerprint}.jsonl").read_bytes())
    return refs


@task(task_run_name="score {role}", cache_policy=NO_CACHE)
def score(
    night: Night, role: str, candidate: Candidate, predictions: Ref, examples: list[Example], test: str, work: Path
) -> Ref:
    """The scorecard of one candidate, from its predictions; kept in the store and in MLflow."""
    spec = night.recipe.evaluation
    limits = Limits(seconds=spec.seconds_per_query)
    code = code_version(JUDGING_CODE, ("sqlglot",))
    mark = fingerprint([predictions.fingerprint, limits.model_dump(mode="json"), code, role])
    ref = Ref(kind="scorecard", fingerprint=mark, key=f"scorecards/{mark}.json")
    if not night.store.exists(ref.key):
        path = work / f"{predictions.fingerprint}.read.jsonl"
        path.write_bytes(night.store.read(predictions.key))
        subject = Subject(role=candidate.role, name=candidate.name, fingerprint=candidate.fingerprint)
        card = build_scorecard(
            examples,
            read_predictions(path, [e.id for e in examples]),
            subject,
            test,
            limits=limits,
            workers=spec.workers,
            progress=lambda done, total: emit(f"judge: {role}", "", done, total),
        )
        night.store.write(ref.key, card.model_dump_json().encode())
    card = load_scorecard(night, ref)
    record_scorecard(night, card)
    emit(f"judge: {role}", f"execution accuracy {card.metrics['execution_accuracy'].value:.3f}", 1, 1)
    return ref


def load_scorecard(night: Night, ref: Ref) -> Scorecard:
    """The scorecard behind a reference."""
    return Scorecard.model_validate_json(night.store.read(ref.key))


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
