"""promote: register candidate -> gates -> verdict -> ledger -> Production, or rejected with the evidence.

Runs on `cpu`. Repeating it after a crash at any point leaves what one undisturbed run leaves. Ends with
`nights/<id>/promote.json`.
"""

from __future__ import annotations

import time
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.evaluate import load_scorecard
from flows.night import Night, open_night
from flows.runtime import flow_name, locally, night_run
from infra import tracking
from infra.progress import emit
from infra.refs import Ref
from registry import promotion
from registry.gates import judge_gates
from registry.ledger import Ledger
from registry.releases import Release, attach_verdict, attached_verdict, register_candidate
from registry.verdict import Verdict, decide
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
    lineage = night.lineage() | {"dataset": dataset, "stage_key": trained.key}
    return register_candidate(
        night.recipe.release.name,
        night_run(night),
        folder,
        night.id,
        {f"nightshift.{key}": value for key, value in lineage.items()},
        f"{night.recipe.description or night.recipe.name}; night {night.id}, dataset {dataset}",
    )


@task(task_run_name="judge gates", cache_policy=NO_CACHE)
def reach_verdict(night: Night, release: Release) -> Verdict:
    """The sealed verdict on the version; the one it already carries, if a broken-off run got that far."""
    evaluated = night.outcome("evaluate") or {}
    known = attached_verdict(release.name, release.version)
    if known is not None and known.champion_version == (evaluated["champion"] or {}).get("version"):
        return known
    emit("promote", "judging the gates")
    cards: dict[str, Scorecard] = {
        role: load_scorecard(night, Ref.model_validate(ref)) for role, ref in evaluated["scorecards"].items()
    }
    champion = evaluated["champion"]
    outcomes = judge_gates(
        night.recipe.gates,
        cards.get("challenger"),
        cards.get("champion"),
        cards.get("base"),
        champion_absent=champion is None,
    )
    verdict = decide(
        outcomes,
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
            {"gate": g.id, "status": g.status, "value": g.value, "threshold": g.threshold, "evidence": g.evidence}
            for g in outcomes
        ],
        key="gates",
        description=f"{release.name} version {release.version}: {verdict.status}",
    )
    return verdict


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
    if verdict.status == "needs_approval" or night.recipe.release.approval == "manual":
        emit("promote", f"version {release.version} awaits approval", 1, 1)
        return {
            "outcome": "awaiting_approval",
            "reason": "a named person decides: nightshift promote VERSION --approve",
        }
    reason = f"all {len(verdict.gates)} gates passed"
    promotion.promote(night.store, release.name, verdict, actor="nightshift", reason=reason)
    emit("promote", f"version {release.version} is in Production", 1, 1)
    return {"outcome": "promoted", "reason": reason}
