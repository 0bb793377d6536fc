"""promote: register candidate -> gates -> verdict -> ledger -> Production, or rejected with the evidence.

Runs on `cpu`. Repeating it after a crash at any point leaves what one undisturbed run leaves. Ends with
`nights/<id>/promote.json`.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.answers import load_scorecard
from flows.approve import ask_person
from flows.card import write_card
from flows.night import Night, open_night
from flows.runtime import flow_name, locally, night_run
from infra import tracking
from infra.errors import NotFound
from infra.progress import emit
from infra.refs import Ref
from infra.store import Store
from registry import promotion
from registry.approval import approval_reason
from registry.attached import attach_verdict, attached_verdict
from registry.facts import gather_facts
from registry.gates import GateOutcome
from registry.integrity import Taught, integrity_outcomes
from registry.judging import Evidence, judge_gates
from registry.ledger import Ledger
from registry.manifest import make_manifest
from registry.package import pack_release
from registry.regression import fixed_examples
from registry.releases import Release, get_release, register_candidate
from registry.verdict import Verdict, VerdictAltered, decide
from tasks.data.dataset import MANIFEST, Manifest
from tasks.evaluation.scorecard import Scorecard

HEADLINE = ("execution_accuracy", "exact_match", "runs")


@flow(name="promote", flow_run_name=flow_name("promote"), validate_parameters=False)
def promote(night: str) -> None:
    """Register the night's adapter, judge it, and put it into Production if every gate passes."""
    now = open_night(night)
    if now.outcome("promote") is not None:
        emit("promote", "reused", 1, 1)
        return
    started = time.perf_counter()
    with locally(now):
        release = register(now)
        verdict = reach_verdict(now, release)
        write_card(now, release, verdict, scorecards(now))
        decision = act(now, release, verdict)
    decision |= {
        "version": release.version,
        "champion": verdict.champion_version,
        "gates": [gate.model_dump(mode="json") for gate in verdict.gates],
        "verdict": verdict.status,
        "seconds": round(time.perf_counter() - started, 2),
    }
    now.finish("promote", decision)


@task(task_run_name="register candidate", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def register(night: Night) -> Release:
    """The night's adapter as a version of the registered model, with its lineage as tags."""
    emit("promote", "registering the candidate")
    trained = Ref.model_validate((night.outcome("train") or {})["adapter"])
    folder = night.store.get_tree(trained.key, night.work / "adapter-fetched") / "adapter"
    dataset = (night.outcome("prepare") or {})["dataset"]["fingerprint"]
    manifest = make_manifest(folder, night.recipe.model, night.recipe.evaluation.max_new_tokens)
    lineage = night.lineage() | {
        "dataset": dataset,
        "stage_key": trained.key,
        "base_revision": manifest.base_revision,
        "tokenizer_hash": manifest.tokenizer_hash,
        "prompt_hash": manifest.prompt_hash,
    }
    with tempfile.TemporaryDirectory(dir=night.work) as scratch:
        return register_candidate(
            night.recipe.release.name,
            night_run(night),
            pack_release(Path(scratch) / "release", folder, manifest, lineage),
            night.id,
            {f"nightshift.{key}": value for key, value in lineage.items()},
            f"{night.recipe.description or night.recipe.name}; night {night.id}, dataset {dataset}",
        )


@task(task_run_name="judge gates", cache_policy=NO_CACHE)
def reach_verdict(night: Night, release: Release) -> Verdict:
    """The sealed verdict on the version; the one it already carries, if a broken-off run got that far."""
    evaluated = night.outcome("evaluate") or {}
    try:
        known = attached_verdict(release.name, release.version)
    except VerdictAltered:
        known = None  # gone from MLflow, or altered: what counts is reached anew from the scorecards
    if known is not None and known.champion_version == (evaluated["champion"] or {}).get("version"):
        return known
    emit("promote", "judging the gates")
    cards = scorecards(night)
    champion = evaluated["champion"]
    verdict = decide(
        judge(night, cards),
        release=release.name,
        version=release.version,
        adapter_hash=release.adapter_hash,
        test_fingerprint=evaluated["test_fingerprint"],
        champion_version=champion["version"] if champion else None,
        champion_adapter_hash=champion["adapter_hash"] if champion else None,
        night=night.id,
    )
    metrics = cards["challenger"].metrics
    attach_verdict(
        release.name, release.version, verdict, {key: metrics[key].value for key in HEADLINE if key in metrics}
    )
    create_table_artifact(
        [
            {
                "gate": gate.id,
                "status": gate.status,
                "value": None if gate.value is None else round(gate.value, 4),
                "asked": gate.threshold,
                "evidence": gate.evidence,
            }
            for gate in verdict.gates
        ],
        key="gates",
        description=f"{release.name} version {release.version}: {verdict.status}",
    )
    return verdict


def scorecards(night: Night) -> dict[str, Scorecard]:
    """The night's scorecards by role."""
    found = (night.outcome("evaluate") or {})["scorecards"]
    return {role: load_scorecard(night.store, Ref.model_validate(ref)) for role, ref in found.items()}


def judge(night: Night, cards: dict[str, Scorecard]) -> list[GateOutcome]:
    """The outcomes of the integrity rules and of the recipe's gates."""
    prepared, trained, evaluated = ((night.outcome(step) or {}) for step in ("prepare", "train", "evaluate"))
    champion, name = evaluated["champion"], night.recipe.release.name
    manifest = _manifest(night.store, prepared["dataset"]["fingerprint"])
    taught_champion = None
    if champion is not None:
        # What it was trained on is a tag of its version; unknown is not the same as nothing.
        dataset = get_release(name, champion["version"]).tags.get("nightshift.dataset")
        taught_champion = _taught(_manifest(night.store, dataset), "train") if dataset else None
    evidence = Evidence(
        challenger=cards.get("challenger"),
        champion=cards.get("champion"),
        base=cards.get("base"),
        champion_absent=champion is None,
        facts=gather_facts(prepared, trained, evaluated, _adapter_bytes(night), night.recipe.release.price_per_hour),
        fixed=fixed_examples(night.store, name),
    )
    return [
        *integrity_outcomes(
            prepared,
            _taught(manifest, "test"),
            _taught(manifest, "train"),
            taught_champion,
            cards.get("challenger"),
            champion_absent=champion is None,
        ),
        *judge_gates(night.recipe.gates, evidence),
    ]


def _manifest(store: Store, dataset: str) -> Manifest | None:
    try:
        return Manifest.model_validate_json(store.read(f"datasets/{dataset}/{MANIFEST}"))
    except NotFound:
        return None


def _taught(manifest: Manifest | None, split: str) -> Taught | None:
    if manifest is None:
        return None
    databases = {database for database, where in manifest.databases.items() if where == split}
    return Taught(frozenset(manifest.ids[split]), frozenset(databases))


def _adapter_bytes(night: Night) -> int:
    trained = Ref.model_validate((night.outcome("train") or {})["adapter"])
    folder = night.store.get_tree(trained.key, night.work / "adapter-fetched") / "adapter"
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@task(task_run_name="decide", cache_policy=NO_CACHE)
def act(night: Night, release: Release, verdict: Verdict) -> dict[str, Any]:
    """Promote, wait for approval, or reject; the ledger's head tells a repeated run that it was done before."""
    tracking.set_tags(night_run(night), {"nightshift.verdict": verdict.status, "nightshift.version": release.version})
    head = Ledger(night.store, release.name).head()
    if head is not None and head.verdict_seal == verdict.sealed:
        promotion.project(night.store, release.name)
        return {"outcome": "promoted", "reason": head.reason}
    if verdict.status == "fail":
        missed = [gate for gate in verdict.gates if gate.status == "fail"]
        reason = "; ".join(f"{gate.id}: {gate.evidence}" for gate in missed)
        promotion.reject(release.name, release.version, verdict, reason)
        emit("promote", f"version {release.version} rejected", 1, 1)
        return {"outcome": "rejected", "reason": reason}
    asked = approval_reason(
        night.recipe.release.approval, verdict, _gain(scorecards(night)), _champion_base(verdict), night.recipe.model
    )
    if asked is not None:
        where = ask_person(night.store, release.name, verdict, asked, night.recipe.release.approval_hours)
        emit("promote", f"version {release.version} awaits approval", 1, 1)
        return {"outcome": "awaiting_approval", "reason": f"{asked}; {where}"}
    reason = f"all {len(verdict.gates)} gates passed"
    promotion.promote(night.store, release.name, verdict, actor="nightshift", reason=reason)
    emit("promote", f"version {release.version} is in Production", 1, 1)
    return {"outcome": "promoted", "reason": reason}


def _gain(cards: dict[str, Scorecard]) -> float | None:
    """Challenger minus champion in execution accuracy; None where one of them has none."""
    if not {"challenger", "champion"} <= cards.keys():
        return None
    ours, theirs = (cards[role].metrics.get("execution_accuracy") for role in ("challenger", "champion"))
    return None if ours is None or theirs is None else ours.value - theirs.value


def _champion_base(verdict: Verdict) -> str | None:
    if verdict.champion_version is None:
        return None
    return get_release(verdict.release, verdict.champion_version).tags.get("nightshift.base_model")
